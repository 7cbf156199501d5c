"""What a member owes back, told so that a member understands it: what happened, when, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from etl.core.clawback import Course, DebtEvent, Document, Step
from etl.core.money import Asset, from_minor


@dataclass(frozen=True, slots=True)
class Origin:
    """What a document is to the member: where it comes from, its day, and the number the member knows it by."""

    document: Document
    shop: str
    on: date
    reference: str

    @property
    def text(self) -> str:
        """Return it as a part of a sentence, such as 'Shoes & more, bought on 2026-03-01 (number 4711)'."""
        if self.document[0] != "sale":
            return f"{self.shop} of {self.on}"
        return f"{self.shop}, bought on {self.on}" + (f" (number {self.reference})" if self.reference else "")


@dataclass(frozen=True, slots=True)
class DebtLine:
    """One thing that happened to a debt, and in words."""

    event: DebtEvent
    on: date
    amount: Decimal
    by: Origin | None
    text: str


@dataclass(frozen=True, slots=True)
class OwedBack:
    """A document whose cashback was used and then lost: all that became of the debt, and what is left of it."""

    origin: Origin
    currency: str
    lines: tuple[DebtLine, ...]
    left: Decimal

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return the story, a sentence a line."""
        rest = "Nothing of it is left."
        if self.left:
            rest = f"{self.currency} {self.left} is left. It is taken off what is earned next, the oldest debt first."
        return (*(line.text for line in self.lines), rest)

    @property
    def title(self) -> str:
        """Return how much of it was owed, and how much is left."""
        owed = sum((line.amount for line in self.lines if line.event is DebtEvent.INCURRED), Decimal(0))
        return f"Owed back: {self.currency} {owed}, of which {self.left} is left"

    def as_json(self) -> dict[str, object]:
        """Return it as plain values; amounts are text."""
        return {
            "document_kind": self.origin.document[0],
            "document_id": self.origin.document[1],
            "shop": self.origin.shop,
            "on": str(self.origin.on),
            "reference": self.origin.reference,
            "currency": self.currency,
            "amount": str(self.left),
            "events": [
                {
                    "event": str(line.event),
                    "on": str(line.on),
                    "amount": str(line.amount),
                    "by": None if line.by is None else line.by.document[1],
                }
                for line in self.lines
            ],
            "why": list(self.sentences),
        }


def owed_back(found: Course, asset: Asset, origins: Mapping[Document, Origin]) -> Iterator[OwedBack]:
    """Yield every document that the member came to owe something of, the first debt first."""
    for document in dict.fromkeys(step.document for step in found.steps):
        lines = tuple(_line(step, asset, origins) for step in found.steps if step.document == document)
        left = sum(debt.left_minor for debt in found.debts if debt.document == document)
        yield OwedBack(_origin(document, origins), asset.currency, lines, from_minor(left, asset.scale))


def _line(step: Step, asset: Asset, origins: Mapping[Document, Origin]) -> DebtLine:
    amount = from_minor(step.amount_minor, asset.scale)
    money, by = f"{asset.currency} {amount}", None if step.by is None else _origin(step.by, origins)
    return DebtLine(step.event, step.on, amount, by, f"{step.on}: {_text(step, money, by, origins)}")


def _text(step: Step, money: str, by: Origin | None, origins: Mapping[Document, Origin]) -> str:
    origin = _origin(step.document, origins)
    if step.event is DebtEvent.INCURRED:
        if step.document[0] == "sale":
            return (
                f"{origin.text}: the shop declined or changed the sale after its cashback had been paid out or used, so"
                f" {money} is owed back."
            )
        return f"{origin.text} is below zero: {money} is owed back."
    if step.event is DebtEvent.OFFSET:
        assert by is not None
        what = "the cashback of " if by.document[0] == "sale" else ""
        return f"{money} was taken off {what}{by.text}."
    if step.event is DebtEvent.REINSTATED:
        return f"{money} is not owed any more: the sale counts again."
    if step.event is DebtEvent.WRITTEN_OFF:
        return f"{money} was written off: it need not be paid back."
    return f"The sale counts again: the {money} that was written off is settled by it."


def _origin(document: Document, origins: Mapping[Document, Origin]) -> Origin:
    return origins.get(document) or Origin(document, document[0], date.min, "")
