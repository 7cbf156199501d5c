"""Tokens, passwords and host keys of one world: kept in its folder, readable by its owner alone."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox import files
from sandbox.model import TRADETRACKER_CUSTOMER_ID

CREDENTIALS_FILE = "credentials.json"
KEY_FOLDER = "keys"
SFTP_SERVERS = ("rakuten", "bank")


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A user of an SFTP server."""

    username: str
    password: str


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What a client needs to be let in, and where the tracker database is."""

    awin_token: str
    tradetracker_passphrase: str
    rakuten: Login
    bank: Login
    tracker_url: str


def generate(directory: Path, tracker_url: str | None) -> Secrets:
    """Make the secrets and host keys of a new world and return the secrets."""
    made = Secrets(
        secrets.token_urlsafe(24),
        secrets.token_urlsafe(18),
        Login("tallyback", secrets.token_urlsafe(18)),
        Login("tallyback", secrets.token_urlsafe(18)),
        tracker_url or f"sqlite:///{(directory / 'tracker.sqlite').resolve()}",
    )
    content = {
        "awin": {"token": made.awin_token},
        "tradetracker": {"customer_id": TRADETRACKER_CUSTOMER_ID, "passphrase": made.tradetracker_passphrase},
        "rakuten": asdict(made.rakuten),
        "bank": asdict(made.bank),
        "tracker": {"url": made.tracker_url},
    }
    files.write_atomically(directory / CREDENTIALS_FILE, json.dumps(content, indent=2) + "\n", 0o600)
    (directory / KEY_FOLDER).mkdir(mode=0o700)
    for server in SFTP_SERVERS:
        _make_host_key(directory / KEY_FOLDER / server)
    return made


def load(directory: Path) -> Secrets:
    """Return the secrets of a world."""
    content = json.loads((directory / CREDENTIALS_FILE).read_text(encoding="utf-8"))
    return Secrets(
        content["awin"]["token"],
        content["tradetracker"]["passphrase"],
        Login(**content["rakuten"]),
        Login(**content["bank"]),
        content["tracker"]["url"],
    )


def relocate_tracker(directory: Path, tracker_url: str) -> None:
    """Say where the tracker database is now: its server takes another port whenever it starts."""
    content = json.loads((directory / CREDENTIALS_FILE).read_text(encoding="utf-8"))
    if content["tracker"]["url"] != tracker_url:
        content["tracker"]["url"] = tracker_url
        files.write_atomically(directory / CREDENTIALS_FILE, json.dumps(content, indent=2) + "\n", 0o600)


def host_key_path(directory: Path, server: str) -> Path:
    """Return the path of a server's private host key; its public key lies beside it with `.pub`."""
    return directory / KEY_FOLDER / server


def public_host_key(directory: Path, server: str) -> str:
    """Return a server's public host key as `ssh-ed25519 AAAA...`, to be pinned."""
    return host_key_path(directory, server).with_suffix(".pub").read_text(encoding="ascii").strip()


def _make_host_key(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    files.write_atomically(path, private.decode("ascii"), 0o600)
    files.write_atomically(path.with_suffix(".pub"), public.decode("ascii") + "\n")
