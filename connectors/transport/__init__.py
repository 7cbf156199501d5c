"""How bytes travel: SFTP, S3, HTTP and SOAP, each with limits and typed errors."""
