"""What a payout rail and a bank's inbox promise to the stages that pay: a file, read back by other code; a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import BinaryIO, Protocol

from etl.core.iban import mask


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """What all payments of a file share. `created_at` is naive UTC and stored, so that a second file has its bytes."""

    batch_id: str
    created_at: datetime
    execute_on: date
    currency: str


@dataclass(frozen=True, slots=True, repr=False)
class PaymentInstruction:
    """Money to one payee; the repr masks the IBAN and leaves out the name."""

    payout_id: str
    end_to_end_id: str
    amount_minor: int
    payee_name: str
    iban: str

    def __repr__(self) -> str:
        return f"PaymentInstruction({self.payout_id!r}, amount_minor={self.amount_minor}, iban={mask(self.iban)})"


@dataclass(frozen=True, slots=True)
class RailProblem:
    """Why a payout cannot go over this rail (or nothing of the batch, if `payout_id` is empty); no secret in it."""

    payout_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileTotals:
    """The sha256 of a payment file and what it holds, as its writer or its reader counted it."""

    sha256: str
    byte_count: int
    payment_count: int
    total_minor: int


@dataclass(frozen=True, slots=True, repr=False)
class PaymentRead:
    """One payment as the bank will read it."""

    end_to_end_id: str
    amount_minor: int
    currency: str
    iban: str


@dataclass(frozen=True, slots=True)
class FileRead:
    """A payment file as an independent reader found it, every total in it verified."""

    batch_id: str
    execute_on: date
    debtor_iban_masked: str
    payments: tuple[PaymentRead, ...]
    totals: FileTotals


class Rail(Protocol):
    """A way to pay: `problems`, `write` and, by code that shares nothing with the two, `read_back`."""

    @property
    def name(self) -> str:
        """Return the rail's name, as the configuration of banks uses it."""
        ...

    @property
    def suffix(self) -> str:
        """Return how its files end, such as '.xml'."""
        ...

    @property
    def payments_max(self) -> int:
        """Return how many payments the bank takes in one file."""
        ...

    def problems(self, order: PaymentOrder, payments: Sequence[PaymentInstruction]) -> tuple[RailProblem, ...]:
        """Return every rule of the rail that the order or a payment breaks."""
        ...

    def write(self, order: PaymentOrder, payments: Sequence[PaymentInstruction], out: BinaryIO) -> FileTotals:
        """Write the file; the same order and payments give the same bytes. Raises Stop if a rule is broken."""
        ...

    def read_back(self, source: BinaryIO) -> FileRead:
        """Return what the file says, its debtor account being ours; Stop at anything unknown or untrue in it."""
        ...


class Inbox(Protocol):
    """Where a bank takes files. A file gets its final name in `finish` and never before; no name is overwritten."""

    def exists(self, name: str) -> bool:
        """Return whether the bank has a file of this final name."""
        ...

    def put_part(self, content: bytes, name: str) -> None:
        """Bring the bytes there under a temporary name and check that all arrived; nothing is delivered yet."""
        ...

    def finish(self, name: str) -> None:
        """Give the complete file its final name. Whatever this raises, the file may have been delivered."""
        ...

    def read_back(self, name: str) -> bytes | None:
        """Return the bytes under the final name; None if the bank took the file away already."""
        ...
