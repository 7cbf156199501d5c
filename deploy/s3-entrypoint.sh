#!/bin/sh
# SeaweedFS takes its credentials from a file; this makes it from the environment, readable by its owner alone.
set -eu
: "${S3_ACCESS_KEY:?}" "${S3_SECRET_KEY:?}"
umask 077
cat >/tmp/s3.json <<JSON
{"identities": [{"name": "tallyback",
  "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
exec /usr/bin/weed server -dir=/data -ip.bind=0.0.0.0 -s3 -s3.port=8333 -s3.config=/tmp/s3.json
