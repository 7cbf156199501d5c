"""What a test knows of the SFTP server it talks to, whichever server that is."""

from dataclasses import dataclass
from pathlib import Path

from connectors.transport.sftp import SftpSettings


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: how to connect, the folder it serves (`local` here, `directory` there), other keys it shows."""

    settings: SftpSettings
    local: Path
    directory: str
    other_host_keys: tuple[str, ...] = ()
