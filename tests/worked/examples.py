"""The worked examples as they are written down, and how one of them is lived in a warehouse."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import yaml

from etl.accrue import accrue
from etl.clawback import write_off_debts
from etl.close import begin
from etl.core.configuration import ClawbackPolicy
from etl.core.context import Context
from etl.core.payouts import load_batch
from etl.remit import remit
from etl.revalue import revalue
from etl.settle import cancel, return_payout, settle
from tests.accrue.books import sale, version, world, write
from tests.accrue.naive import Version
from tests.adjust.desk import adjusted
from tests.close.months import desk as closing_desk
from tests.opening.desk import desk, opened
from tests.payout.office import Office
from tests.remit.statements import line, load, statement

LAST = date(2026, 6, 30)
POLICY = ClawbackPolicy(date(2026, 1, 1), {"EUR": 5000}, 90, {"EUR": 5000})


@dataclass(frozen=True)
class Example:
    """One example: its story, what happens step by step, and what an accountant worked out by hand."""

    title: str
    story: str
    steps: list[dict[str, Any]]
    journal: list[tuple[str, ...]]
    balances: list[tuple[str, ...]]
    rates: list[tuple[date, str, str]] = field(default_factory=list)


def read_examples() -> list[Example]:
    """Return all examples in their order."""
    told = yaml.safe_load((Path(__file__).parent / "examples.yaml").read_text(encoding="utf-8"))
    return [
        Example(
            one["title"],
            " ".join(one["story"].split()),
            one["steps"],
            _table(one["journal"]),
            _table(one["balances"]),
            [tuple(each) for each in one.get("rates", ())],
        )
        for one in told
    ]


def _table(text: str) -> list[tuple[str, ...]]:
    return [tuple(cell.strip() for cell in row.split("|")) for row in text.splitlines()]


@dataclass
class Life:
    """A warehouse in which one example is lived."""

    url: str
    folder: Path
    example: Example
    rows: list[Version] = field(default_factory=list)
    account: str = "shop_a"
    payout: str = ""

    def live(self) -> None:
        """Let every step happen."""
        for step in self.example.steps:
            for name in ("rows", "statement", "payout", "opening", "adjust", "revalue", "write_off"):
                if name in step:
                    getattr(self, f"_{name}")(step)

    def desk(self, on: date) -> Context:
        """Return the context of a morning, under the house's policy of debts."""
        here = desk(self.url, self.folder, known_at=datetime.combine(on, time(9)))
        entity = dataclasses.replace(here.entity, clawback=(POLICY,))
        return dataclasses.replace(here, configuration=dataclasses.replace(here.configuration, entity=entity))

    def _rows(self, step: dict[str, Any]) -> None:
        self.account = step.get("account", self.account)
        for on, transaction, status, amount, commission, currency in step["rows"]:
            number = sum(each.transaction_id == transaction for each in self.rows) + 1
            self.rows.append(
                version(
                    commission, status, sale_id=f"{self.account}:1", transaction_id=transaction, version_no=number,
                    effective_on=on, sale_amount=Decimal(amount), currency=currency,
                )
            )  # fmt: skip
        rates = {(currency, on): Decimal(rate) for on, currency, rate in self.example.rates}
        write(self.url, world(self.rows, sales=(sale(f"{self.account}:1"),), rates=rates))
        accrue(self.desk(step["rows"][-1][0]), LAST)

    def _statement(self, step: dict[str, Any]) -> None:
        names = ("line_kind", "line_amount", "transaction_id")
        lines = [line(each[0], each[1], **dict(zip(names[2:], each[2:], strict=False))) for each in step["lines"]]
        head = {name: str(value) for name, value in step["statement"].items()}
        here = self.desk(step["statement"]["received_on"])
        assert load(here, statement(*lines, **head), self.account).count("rejects") == 0
        remit(here, LAST)
        accrue(here, LAST)

    def _payout(self, step: dict[str, Any]) -> None:
        office = Office(self.url, self.folder, entity="house")
        office.context = dataclasses.replace(office.context, known_at=datetime.combine(step["day"], time(12)))
        event = step["payout"]
        if event == "reserve":
            office.payee("member-1")
            batch = office.select(maturity=0, day=step["day"]).batch
            assert batch is not None
            self.payout = f"{batch.batch_id}-000001"
            return
        batch_id = self.payout.removesuffix("-000001")
        if event == "transmit":
            with office.context.warehouse.transaction() as connection:
                batch = load_batch(connection, batch_id)
            office.transmit(office.approve(office.freeze(batch)))
        elif event == "settle":
            settle(office.context, batch_id, step["day"])
        elif event == "return":
            return_payout(office.context, self.payout, step["day"], "AC04: the account is closed")
        else:
            cancel(office.context, batch_id, "Anna", "the wrong day")

    def _opening(self, step: dict[str, Any]) -> None:
        here = self.desk(date(2026, 3, 2))
        here.temporary.mkdir(parents=True, exist_ok=True)
        opened(here, step["opening"], *step["control"])

    def _adjust(self, step: dict[str, Any]) -> None:
        adjusted(self.desk(step["day"]), *step["adjust"], on=str(step["day"]))

    def _revalue(self, step: dict[str, Any]) -> None:
        by = closing_desk(self.url, self.folder, step["day"])
        begin(by, step["revalue"])
        revalue(by, step["revalue"])

    def _write_off(self, step: dict[str, Any]) -> None:
        write_off_debts(self.desk(step["write_off"]), step["write_off"])

    # --- what came of it ------------------------------------------------------------------------------------------

    def journal(self) -> list[tuple[str, ...]]:
        """Return what was posted: day, kind of document, debit, credit, amount."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                "SELECT effective_for, document_kind, debit_kind, debit_owner, credit_kind, credit_owner, amount_minor,"
                " scale, currency FROM mart.posting"
            ).fetchall()
        return [
            (str(on), document, _account(*debit), _account(*credit), f"{_amount(minor, scale)} {currency}")
            for on, document, *sides, minor, scale, currency in rows
            for debit, credit in [(sides[:2], sides[2:])]
        ]

    def balances(self) -> list[tuple[str, ...]]:
        """Return what every account holds, a debit above zero; both scales of a currency are one there."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                "SELECT kind, owner, balance_minor, scale, currency FROM mart.balance ORDER BY 1, 2, 5, 4"
            ).fetchall()
        sums: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for kind, owner, minor, scale, currency in rows:
            sums[_account(kind, owner), currency].append((int(minor), scale))
        told = []
        for (account, currency), parts in sums.items():
            scale = max(scale for minor, scale in parts if minor) if any(minor for minor, _ in parts) else 0
            whole = sum(Decimal(minor).scaleb(-each) for minor, each in parts)
            if whole:
                told.append((account, f"{whole:.{scale}f} {currency}"))
        return told


def _account(kind: str, owner: str) -> str:
    return f"{kind}({owner})" if owner else kind


def _amount(minor: int, scale: int) -> str:
    return f"{Decimal(minor).scaleb(-scale):f}"
