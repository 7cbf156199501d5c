"""Commands about contracts and rules: what is short, what would be under others, and corrections of them."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli.app import DAY, LOOK, AsJson, Day, app, day_of, installation, out, person, told
from etl.cli.layout import amount, columns, counted, print_json, say
from etl.core.context import Context
from etl.core.correction import Proposal, from_instant, undoing
from etl.core.errors import Stop
from etl.core.money import exponent, to_minor
from etl.core.warehouse import Connection
from etl.installation import clock

if TYPE_CHECKING:
    from etl.what_if import Effect, PayoutEffect

rules = typer.Typer(
    no_args_is_help=True,
    help="Corrections of cashback rules and contract terms. A correction that is loaded does nothing. `what-if` shows "
    "what it would do from a day on; `rules apply` puts it in force by a named person, as long as that is still "
    "what it would do. It acts on clicks from that day; the next reconcile and accrual post what changes.",
)
app.add_typer(rules, name="rules", rich_help_panel=DAY)

By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]
FromDay = Annotated[
    datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="For clicks from this day on, in books_zone.")
]
EffectHash = Annotated[
    str, typer.Option("--effect", help="The hash of the effect you looked at, as `what-if` says it.")
]
SHOWN = 10
"""So many of the members whose amounts change the most are shown; --json has all."""


@app.command(rich_help_panel=LOOK)
def shortfall(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None,
    period: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m"], help="Only sales of this month, as 2026-09.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write each sale with its evidence to this file, for the partner.")
    ] = None,
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """Show what partners report less than their contract says, by program; with --csv, what to send them for it."""
    from etl.shortfall import shortfall as found_short

    with told():
        opened = installation()
        context = opened.context(f"cli/shortfall/{uuid.uuid4()}", clock(opened.settings), "")
        found = found_short(context, day_of(day, opened), account, period.date() if period else None)
        if csv is not None:
            csv.write_bytes(found.as_csv())
    if as_json:
        print_json({"compared": found.compared_count, "sales": [asdict(each) for each in found.sales]})
        return
    compared = f"{counted(found.compared_count, 'sale')} compared with the contract"
    if not found.programs:
        say(f"{compared}: none is short.")
        return
    rows = [
        (each.partner_account, each.program or each.program_id, f"{each.sale_count:,}",
         *(amount(value, each.currency) for value in (each.reported, each.expected, each.shortfall)))
        for each in found.programs
    ]  # fmt: skip
    right = ("sales", "reported", "expected", "short")
    columns(("account", "program", *right), rows, right=right)
    say(f"{compared}, {counted(len(found.sales), 'sale')} short." + (f" Written to {csv}." if csv else ""))


@app.command("what-if", rich_help_panel=LOOK)
def what_if(
    rules_file: Annotated[Path | None, typer.Option("--rules", help="CSV of cashback rules as they could be.")] = None,
    contracts: Annotated[Path | None, typer.Option(help="CSV of contract terms as they could be.")] = None,
    correction: Annotated[str | None, typer.Option(help="A correction that is loaded.")] = None,
    undo: Annotated[str | None, typer.Option(help="A decision that put one in force, if it were undone.")] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="commission=0.50 or commission_share=0.02 (tolerances), or BANK=25.00 (least payout)."),
    ] = None,
    since: FromDay = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="Write the exact postings to this file, .csv or .parquet.")
    ] = None,
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """Show what members, margin and cash would be under other rules, terms or thresholds; nothing is touched."""
    from etl.what_if import of_file, of_proposal

    with told():
        if sum(each is not None for each in (rules_file, contracts, correction, undo, threshold)) != 1:
            raise Stop("say one of --rules, --contracts, --correction, --undo and --threshold")
        opened = installation()
        context = opened.context(f"cli/what-if/{uuid.uuid4()}", clock(opened.settings), "")
        on = day_of(day, opened)
        file = rules_file or contracts
        if threshold is not None:
            found = _of_threshold(context, on, threshold)
        elif file is not None:
            found = of_file(context, on, file, from_instant(context, _since(since)))
        else:
            with context.warehouse.transaction() as connection:
                if undo is not None:
                    proposal = undoing(connection, undo)
                else:
                    proposal = Proposal(str(correction), from_instant(context, _since(since)))
                found = of_proposal(context, connection, on, proposal)
        if output is not None:
            if not hasattr(found, "write"):
                raise Stop("a payout threshold changes no postings: leave --out away")
            found.write(output)
    _show(found, as_json)


def _since(given: datetime | None) -> date:
    if given is None:
        raise Stop("say from which day on clicks fall under it: --from 2026-03-01")
    return given.date()


def _of_threshold(context: Context, on: date, text: str) -> Effect | PayoutEffect:
    from etl.what_if import of_payout_threshold, of_tolerance

    name, _, given = text.partition("=")
    try:
        value = Decimal(given)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise Stop(f"{text!r} is no threshold: write commission=0.50, commission_share=0.02 or BANK=25.00")
    if name == "commission":
        return of_tolerance(context, on, value, None)
    if name == "commission_share":
        return of_tolerance(context, on, None, value)
    bank = context.configuration.bank(name)
    return of_payout_threshold(context, on, bank, to_minor(value, exponent(bank.currency)))


def _show(found: Effect | PayoutEffect, as_json: bool) -> None:
    from etl.what_if import PayoutEffect

    if isinstance(found, PayoutEffect):
        if as_json:
            print_json(asdict(found))
            return
        rows = [
            ("now", f"{found.before_count:,}", amount(found.before, found.currency)),
            ("then", f"{found.after_count:,}", amount(found.after, found.currency)),
        ]
        columns(("", "members", "could be paid"), rows, right=("members", "could be paid"))
        say("A threshold is configuration: change config/banks, and it acts from the next payout on.")
        return
    if as_json:
        print_json(
            {
                "effect": found.hash,
                "figures": [asdict(each) for each in found.figures],
                "members": [asdict(each) for each in found.members],
                "postings": found.postings.to_pylist(),
                "behind": found.behind_count,
            }
        )
        return
    _show_effect(found)


def _show_effect(found: Effect) -> None:
    figures = [
        (each.name, each.currency, str(each.before), str(each.after), f"{each.after - each.before:+f}")
        for each in found.figures
    ]
    columns(("figure", "", "now", "then", "change"), figures, right=("now", "then", "change"))
    say("")
    if found.members:
        say(f"{counted(len(found.members), 'member')} would be owed something else; the most:", "bold")
        rows = [
            (each.member_id, each.currency, f"{each.pending:+f}", f"{each.confirmed:+f}", f"{each.payable:+f}")
            for each in found.members[:SHOWN]
        ]
        columns(("member", "", "pending", "confirmed", "payable"), rows, right=("pending", "confirmed", "payable"))
    else:
        say("No member would be owed anything else.")
    say("")
    say(f"{counted(found.postings.num_rows, 'posting')}. Batches that are reserved or sent stay as they are.")
    if found.behind_count:
        waiting = counted(found.behind_count, "posting")
        say(f"The books are behind the facts by {waiting}, which are not part of this: run `tallyback accrue` first.")
    say(f"effect {found.hash}")


@rules.command("correct")
def rules_correct(
    file: Annotated[Path, typer.Argument(help="CSV of cashback rules or contract terms, as they should have been.")],
    by: By = None,
) -> None:
    """Load those that differ from what is known as a correction; nothing changes until it is applied."""
    from etl.correct import load_correction

    with told():
        correction = load_correction(_context(person(by)), file)
    say(f"Loaded as correction {correction}. It does nothing yet.")
    say(f"Look first: tallyback what-if --correction {correction} --from DAY")


@rules.command("list")
def rules_list(as_json: AsJson = False) -> None:
    """List the corrections and what was decided about each, the last loaded first."""
    from etl.correct import list_corrections

    with told():
        rows = list_corrections(_context("")).to_pylist()
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("No correction was ever loaded.")
        return
    for row in rows:
        loaded = f"{row['loaded_by']} at {row['loaded_at']:%Y-%m-%d %H:%M}"
        say(f"{row['correction_id']}  {counted(row['row_count'], row['relation'])} of {row['file_name']}", "bold")
        say(f"    loaded by {loaded}")
        if row["decision_id"] is None:
            say("    not in force")
            continue
        undone = f"; undone by {row['undone_by']}" if row["undone_by"] else ""
        say(
            f"    decision {row['decision_id']}: for clicks from {row['from_at']} UTC, by {row['decided_by']} at"
            f" {row['decided_at']:%Y-%m-%d %H:%M}, because: {row['reason']}{undone}"
        )


@rules.command("apply")
def rules_apply(
    correction: Annotated[str, typer.Argument(help="The correction, as `rules list` shows it.")],
    since: FromDay,
    reason: Annotated[str, typer.Option(help="Why.")],
    effect: EffectHash,
    by: By = None,
    day: Day = None,
) -> None:
    """Put a correction in force for clicks from a day on, if its effect is still the one you looked at."""
    with told():
        context = _context(person(by))
        proposal = Proposal(correction, from_instant(context, _since(since)))
        decision = _decide(context, proposal, reason, effect, day)
    say(f"Recorded as decision {decision}. The next reconcile and accrual post it.")


@rules.command("undo")
def rules_undo(
    decision: Annotated[str, typer.Argument(help="The decision, as `rules list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    effect: EffectHash,
    by: By = None,
    day: Day = None,
) -> None:
    """Undo a decision about a correction, if the effect is still what `what-if --undo` showed."""
    with told():
        context = _context(person(by))
        with context.warehouse.transaction() as connection:
            proposal = undoing(connection, decision)
        recorded = _decide(context, proposal, reason, effect, day)
    say(f"Recorded as decision {recorded}. The next reconcile and accrual post it.")


def _decide(context: Context, proposal: Proposal, reason: str, effect: str, day: datetime | None) -> str:
    from etl.correct import decide
    from etl.what_if import of_proposal

    on = day.date() if day else context.known_at.date()

    def effect_of(given: Context, connection: Connection, proposed: Proposal) -> str:
        return of_proposal(given, connection, on, proposed).hash

    return decide(context, proposal, reason, effect, effect_of)


def _context(by: str) -> Context:
    opened = installation()
    return opened.context(f"cli/rules/{uuid.uuid4()}", clock(opened.settings), by)
