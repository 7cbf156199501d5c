"""Knowing a server by its key: the key is pinned beforehand, and no password is sent to anybody else."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko

from etl.core.errors import Stop

_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """A server key we trust: its SHA256 fingerprint as OpenSSH prints it and, where known, its type."""

    fingerprint: str
    key_type: str | None


def read_pinned_key(text: str, connection: str) -> PinnedKey:
    """Return the key written as OpenSSH does: "ssh-ed25519 AAAA...", "ssh-ed25519 SHA256:..." or "SHA256:..."."""
    words = text.split()
    key_type = words.pop(0) if len(words) >= 2 and not words[0].startswith("SHA256:") else None
    if words and words[0].startswith("SHA256:"):
        digest = words[0].removeprefix("SHA256:").rstrip("=")
        if len(digest) == 43:
            return PinnedKey(f"SHA256:{digest}", key_type)
    elif words and key_type is not None:
        try:
            return PinnedKey(fingerprint_of(base64.b64decode(words[0], validate=True)), key_type)
        except binascii.Error:
            pass
    raise Stop(
        f"{connection}: the pinned host key {text[:60]!r} cannot be read. Write it as 'type base64' (a line of "
        "ssh-keyscan without the host) or 'SHA256:...' (of ssh-keygen -lf), several keys one a line, after "
        "comparing it with what the partner tells you."
    )


def host_key_lines(text: str) -> tuple[str, ...]:
    """Return the pinned keys of a connection's `host_key`: one a line, several while a server changes its key."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def fingerprint_of(key: bytes) -> str:
    """Return the fingerprint of a public key's wire form, as OpenSSH prints it."""
    return f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"


def ask_for_types(transport: paramiko.Transport, pinned: Sequence[PinnedKey]) -> None:
    """Have the server show a key of a pinned type if it has one: it has several, and might show another that nobody
    pinned.
    """
    options = transport.get_security_options()
    types = [each.key_type for each in pinned if each.key_type is not None]
    wanted = [name for key_type in types for name in (_RSA_SIGNATURES if key_type == "ssh-rsa" else (key_type,))]
    first = [name for name in wanted if name in options.key_types]
    options.key_types = tuple(dict.fromkeys([*first, *options.key_types]))


def check_server_key(transport: paramiko.Transport, pinned: Sequence[PinnedKey], where: str, connection: str) -> None:
    """Raise Stop unless the server showed a pinned key; to be called before anything of ours is sent."""
    key = transport.get_remote_server_key()
    seen = fingerprint_of(key.asbytes())
    if seen not in {each.fingerprint for each in pinned}:
        expected = " or ".join(each.fingerprint for each in pinned)
        raise Stop(
            f"{connection}: the host key of {where} is not the pinned one: expected {expected}, seen {seen} "
            f"({key.get_name()}). "
            "Nothing was sent. Ask the partner by another way whether they changed it; if so, pin the new key in "
            "the connection."
        )
