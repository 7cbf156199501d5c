"""A payee's personal data and where it is bound to: who writes it and who reads it must name the same place."""

from __future__ import annotations

from dataclasses import dataclass

from etl.core.encryption import BoundTo, KeyRing, decrypt
from etl.core.iban import mask

NAME_COLUMN = "name_encrypted"
IBAN_COLUMN = "iban_encrypted"


@dataclass(frozen=True, slots=True, repr=False)
class Payee:
    """One version of a member's payee in plain; its repr masks the IBAN and leaves out the name."""

    member_id: str
    version: int
    name: str
    iban: str

    def __repr__(self) -> str:
        return f"Payee({self.member_id!r}, version={self.version}, iban={mask(self.iban)})"


@dataclass(frozen=True, slots=True)
class SealedPayee:
    """A payee as `pii.payee` keeps it."""

    member_id: str
    version: int
    name_encrypted: str
    iban_encrypted: str


def payee_place(column: str, member_id: str, version: int) -> BoundTo:
    """Return the place of one encrypted column of one version of a member's payee."""
    return BoundTo("pii.payee", column, f"{member_id}/{version}")


def unseal(keyring: KeyRing, sealed: SealedPayee) -> Payee:
    """Return the payee in plain, for a payment file and nothing else; Stop if it was changed or moved."""
    name = decrypt(keyring, sealed.name_encrypted, payee_place(NAME_COLUMN, sealed.member_id, sealed.version))
    iban = decrypt(keyring, sealed.iban_encrypted, payee_place(IBAN_COLUMN, sealed.member_id, sealed.version))
    return Payee(sealed.member_id, sealed.version, name, iban)
