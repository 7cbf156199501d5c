"""Passwords of a PostgreSQL server's roles, in a file that nobody else can read: libpq's passfile, one line a role."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from etl.core.errors import Stop


@dataclass(frozen=True, slots=True)
class Passfile:
    """The file of that path, which need not exist yet."""

    path: Path

    def passwords(self) -> dict[str, str]:
        """Return the password of each role."""
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return {}
        except PermissionError as error:
            raise Stop(
                f"{self.path} belongs to somebody else. Run this as its owner, or name another folder."
            ) from error
        return {role: password for _host, _port, _database, role, password in (line.split(":") for line in lines)}

    def password(self, role: str) -> str:
        """Return the password of a role, made and stored on first use; only one process may ask at a time."""
        passwords = self.passwords()
        if role not in passwords:
            passwords[role] = secrets.token_urlsafe(24)
            write_private(self.path, "".join(f"*:*:*:{name}:{password}\n" for name, password in passwords.items()))
        return passwords[role]


def write_private(path: Path, text: str) -> None:
    """Write a file nobody else can read, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    partial.rename(path)
