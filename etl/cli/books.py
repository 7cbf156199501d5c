"""Commands that read the books: what was restated, balances as of any day, statements, exports."""

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from etl.cli.app import LOOK, AsJson, Known, actor, app, installation, known_instant, show, told
from etl.cli.layout import columns, say
from etl.cli.stages import reference
from etl.core.as_of import AsOf, Basis
from etl.core.context import Context
from etl.core.money import Asset, from_minor
from etl.core.payouts import books_day
from etl.installation import clock

export = typer.Typer(no_args_is_help=True, help="The books for other people's programs: an ERP, an auditor's ledger.")
app.add_typer(export, name="export", rich_help_panel=LOOK)

Month = Annotated[datetime, typer.Option("--month", formats=["%Y-%m"], help="The period, as 2026-09.")]


def _context() -> Context:
    opened = installation()
    return opened.context(f"cli/books/{uuid.uuid4()}", clock(opened.settings), actor() or "command line")


@app.command(rich_help_panel=LOOK)
def restatement(
    month: Month,
    documents: Annotated[bool, typer.Option("--documents", help="Show every entry the sums are made of.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every entry to this CSV file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what changed for a month since it was closed, by partner account, kind of account and cause."""
    from etl.restate import CAUSES, restate

    with told():
        found = restate(_context(), month.date())
        if csv is not None:
            csv.write_bytes(found.as_csv())
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    if not found.balances:
        say(f"Nothing of {found.starts_on:%Y-%m} changed since it was closed.")
        return
    say(f"{found.starts_on:%Y-%m}: what was closed, what changed since, what the books say of it now", "bold")
    right = ("as closed", "change", "now")
    balances = [
        (each.partner_account, each.kind, each.currency, str(each.closed), f"{each.change:+f}", str(each.now))
        for each in found.balances
    ]
    columns(("partner account", "account", "", *right), balances, right=right)
    say("")
    causes = [
        (each.partner_account, each.kind, each.currency, f"{each.change:+f}", str(each.document_count),
         CAUSES.get(each.cause, each.cause))
        for each in found.causes
    ]  # fmt: skip
    headings = ("partner account", "account", "", "change", "documents", "because of")
    columns(headings, causes, right=("change", "documents"))
    say("")
    if not documents:
        say("`--documents` shows the entries, `tallyback trace SALE` what stands behind one.")
        return
    rows = [
        (f"{row['year']}/{row['number']}", f"{row['document_kind']} {row['document_id']}", str(row["effective_from"]),
         str(row["booked_on"]), row["kind"], *_amount(row["amount_minor"], row["asset"]), row["cause"])
        for row in found.documents.to_pylist()
    ]  # fmt: skip
    named = ("entry", "document", "for", "booked on", "account", "", "amount", "because of")
    columns(named, rows, right=("amount",))


def _amount(minor: int, asset: str) -> tuple[str, str]:
    """Return the currency and the amount in its digits."""
    counted = Asset.parse(asset)
    return counted.currency, str(from_minor(minor, counted.scale))


@export.command("journal")
def export_journal(
    month: Month,
    output: Annotated[Path, typer.Option("--out", help="Folder for the CSV and its manifest.")],
    draft: Annotated[
        bool, typer.Option("--draft", help="Of a month that is not closed: the bytes may change.")
    ] = False,
) -> None:
    """Write the journal of a closed month for the ERP: per day, general ledger account and currency."""
    from etl.export_journal import export_journal as export_month

    with told():
        show(export_month(_context(), month.date(), output, is_draft=draft))


@reference.command("gl")
def reference_gl(file: Annotated[Path, typer.Argument(help="CSV: kind, gl_account, statement.")]) -> None:
    """Load the map from kinds of account to the general ledger; every kind in use must be in it."""
    from etl.export_journal import load_map

    with told():
        show(load_map(_context(), file))


AsOfDay = Annotated[
    datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="The last day that counts; today if absent.")
]


def _as_of(context: Context, day: datetime | None, known: datetime | None, *, is_booked: bool = False) -> AsOf:
    basis = Basis.BOOKED if is_booked else Basis.EFFECTIVE
    known_at = None if known is None else known_instant(known, context.entity.books_zone)
    return AsOf(day.date() if day else books_day(context), known_at, basis)


@app.command(rich_help_panel=LOOK)
def balance(
    day: AsOfDay = None,
    known: Known = None,
    kind: Annotated[str | None, typer.Option(help="Only accounts of this kind.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only accounts of this partner account, member or bank.")] = None,
    booked: Annotated[
        bool, typer.Option("--booked", help="By the day it is booked on, not the day it is true.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show balances as of any pair: until when they are true (or booked), and until when we knew."""
    from etl.balance import balances

    with told():
        context = _context()
        as_of = _as_of(context, day, known, is_booked=booked)
        rows = balances(context, as_of, kind, owner).to_pylist()
    for row in rows:
        asset = Asset.parse(row["asset"])
        row |= {"currency": asset.currency, "balance": str(from_minor(row["balance_minor"], asset.scale))}
    if as_json:
        head = {"as_of": as_of.day, "basis": as_of.basis, "known_at": as_of.known_at, "balances": rows}
        print(json.dumps(head, indent=2, default=str))
        return
    base = f"in {context.entity.base_currency}"
    listed = [
        (row["kind"], row["owner"], row["currency"], row["balance"],
         str(row["base_balance"]) + (" and more" if row["without_base_minor"] else ""))
        for row in rows
        if row["balance_minor"]
    ]  # fmt: skip
    say(f"{as_of.basis} until {as_of.day}", "bold")
    columns(("account", "owner", "", "balance", base), listed, right=("balance", base))
    say("A debit is positive: what is owed to us, and what we have. What we owe is negative.")


@app.command(rich_help_panel=LOOK)
def statement(
    member: Annotated[str, typer.Argument(help="The member's id.")],
    day: AsOfDay = None,
    known: Known = None,
    as_json: AsJson = False,
) -> None:
    """Show a member's statement: each sale and its state, payouts, what is owed back, why, and what became of it."""
    from etl.statement import PaymentState
    from etl.statement import statement as statement_of

    with told():
        context = _context()
        found = statement_of(context, member, _as_of(context, day, known))
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    say(f"Statement of {found.member_id} as of {found.as_of.day}", "bold")
    earned = [(each.shop, str(each.on), each.state, each.currency, str(each.amount)) for each in found.earnings]
    columns(("earned at", "day", "state", "", "amount"), earned, right=("amount",))
    if found.payments:
        say("")
        paid = [
            (str(each.on), each.state, each.currency, "" if each.state is PaymentState.RETURNED else str(each.amount))
            for each in found.payments
        ]
        columns(("payout of", "state", "", "amount"), paid, right=("amount",))
    say("")
    for total in found.totals:
        parts = {"waiting": total.pending, "confirmed": total.confirmed, "payable": total.payable}
        parts |= {"on its way": total.on_its_way, "paid out": total.paid}
        words = ", ".join(f"{name} {total.currency} {amount}" for name, amount in parts.items() if amount)
        say(f"Altogether: {words or f'{total.currency} 0'}.")
    for owed in found.owed_back:
        say("")
        say(owed.title, "bold")
        for sentence in owed.sentences:
            say(f"    {sentence}")


@export.command("beancount")
def export_beancount(
    output: Annotated[Path, typer.Option("--out", help="The file to write; bean-check reads it.")],
) -> None:
    """Write the whole ledger as beancount text, with what every account must come to: others' program, same books."""
    from etl.export_beancount import export_beancount as export_books

    with told():
        show(export_books(_context(), output))
