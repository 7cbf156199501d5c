"""Commands that answer questions: what must be looked at, where a cent comes from, what is missing here."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from etl.breaks import LISTED_MAX, BreakFilter, list_breaks
from etl.cli.app import LOOK, SET_UP, AsJson, app, installation, out, person, told
from etl.cli.layout import Branch, amount, columns, counted, print_json, say, tree
from etl.core.errors import Stop
from etl.installation import clock, credentials_from_environment

if TYPE_CHECKING:
    from etl.trace import Node

breaks = typer.Typer(
    no_args_is_help=True,
    help="What a person must look at, and what they say of it. A decision is an input like any other: it survives "
    "every replay and is undone only by another decision.",
)
app.add_typer(breaks, name="breaks", rich_help_panel=LOOK)

By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]


def amount_of(text: str | None) -> Decimal | None:
    """Return the amount that was typed; Stop if it is none."""
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise Stop(f"{text!r} is no amount: write it as 12.50") from None
    if not amount.is_finite():
        raise Stop(f"{text!r} is no amount: write it as 12.50")
    return amount


@breaks.command("list")
def breaks_list(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind, for example unmatched.")] = None,
    sale: Annotated[str | None, typer.Option(help="Only of this sale.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only opened on or after.")] = None,
    at_least: Annotated[str | None, typer.Option(help="Only with at least this commission at stake.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List open breaks, most money at stake first."""
    with told():
        opened = installation()
        context = opened.context(f"cli/breaks/{uuid.uuid4()}", clock(opened.settings), "")
        if account is not None:
            opened.configuration.account(account)
        only = BreakFilter(account, kind, sale, since.date() if since else None, amount_of(at_least))
        rows = list_breaks(context, only, limit).to_pylist()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        _say_break(row)
    if not rows:
        _say_none(only)
    elif len(rows) == limit:
        out.print(f"{limit} shown, the limit; there may be more (--limit {limit * 2})")
    else:
        out.print(counted(len(rows), "open break"))


def _say_break(row: Mapping[str, object]) -> None:
    at_stake, currency = row["amount"], row["currency"]
    money = amount(at_stake if isinstance(at_stake, Decimal) else None, str(currency or "")) or "no amount"
    say(f"{money}  {row['kind']}  {row['partner_account']}  since {row['opened_on']}", "bold")
    line = f" line {row['line_id']}" if row["line_id"] else ""
    sale = f"  sale {row['sale_id']}" if row["sale_id"] else ""
    say(f"    transaction {row['transaction_id']}{line}{sale}")
    say(f"    expected {row['expected'] or 'nothing'}; found {row['found'] or 'nothing'}")


def _say_none(only: BreakFilter) -> None:
    """Say that nothing was found and, if a kind was asked for, which kinds there are."""
    out.print("No open break is like that." if only != BreakFilter() else "No open breaks: nothing needs a look.")
    if only.kind is not None:
        with told():
            opened = installation()
            context = opened.context(f"cli/breaks/{uuid.uuid4()}", clock(opened.settings), "")
            kinds = sorted(set(list_breaks(context, limit=LISTED_MAX)["kind"].to_pylist()))
        out.print(f"Kinds that are open: {', '.join(kinds) or 'none'}")


@breaks.command("candidates")
def breaks_candidates(
    sale: Annotated[str, typer.Argument(help="The sale of a break, as `breaks list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show the clicks a sale could belong to, the best first, and why; `breaks decide` takes one of them."""
    from etl.breaks import candidates

    with told():
        opened = installation()
        context = opened.context(f"cli/breaks/{uuid.uuid4()}", clock(opened.settings), "")
        found = candidates(context, sale)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        out.print("No click of that program lies in the window of this sale.")
        return
    rows = [
        (
            each.click_id,
            each.member_id,
            f"{each.clicked_at:%Y-%m-%d %H:%M:%S}",
            str(each.score),
            "; ".join(each.reasons),
        )
        for each in found
    ]
    columns(("click", "member", "clicked at (UTC)", "score", "because"), rows, right=("score",))


@breaks.command("decide")
def breaks_decide(
    sale: Annotated[str, typer.Argument(help="The sale the decision is about.")],
    kind: Annotated[str, typer.Argument(help="accept_click, no_cashback, release_hold or undo.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    evidence: Annotated[str, typer.Option(help="The break's evidence, as `breaks list --json` shows it.")],
    click: Annotated[str | None, typer.Option(help="The click, for accept_click.")] = None,
    undoes: Annotated[str | None, typer.Option(help="The decision, for undo.")] = None,
    by: By = None,
) -> None:
    """Record what a person says of a break; the next reconcile and accrual act on it."""
    from etl.breaks import Decision, DecisionKind, decide

    with told():
        if kind not in {each.value for each in DecisionKind}:
            raise Stop(f"{kind!r} is no decision: {', '.join(each.value for each in DecisionKind)}")
        opened = installation()
        context = opened.context(f"cli/breaks/{uuid.uuid4()}", clock(opened.settings), person(by))
        decision = decide(context, Decision(DecisionKind(kind), sale, reason, evidence, click, undoes))
        out.print(f"Recorded as {decision}.")


@app.command(rich_help_panel=LOOK)
def trace(
    name: Annotated[str, typer.Argument(help="A payout, remittance, sale, transaction or click, by its id.")],
    as_json: AsJson = False,
) -> None:
    """Show where a cent comes from and went to: payouts, remittances, sales, postings, versions, rows and clicks."""
    from etl.trace import trace as trace_name

    with told():
        opened = installation()
        context = opened.context(f"cli/trace/{uuid.uuid4()}", clock(opened.settings), "")
        found = trace_name(context, name)
    if as_json:
        print_json([node.as_json() for node in found])
        return

    tree(name, [_branch(node) for node in found])


def _branch(node: "Node") -> Branch:
    facts = "  ".join(f"{fact} {value}" for fact, value in node.facts)
    return f"{node.kind} {node.name}", facts, [_branch(child) for child in node.children]


@app.command(rich_help_panel=LOOK)
def holds(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None, as_json: AsJson = False
) -> None:
    """List the deliveries that a check holds, and why; nothing of them is booked until `release`."""
    from etl.findings import list_holds

    with told():
        opened = installation()
        rows = list_holds(opened.context(f"cli/holds/{uuid.uuid4()}", clock(opened.settings), ""), account).to_pylist()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        window = f"{row['window_from']} to before {row['window_until']}"
        say(f"{row['partner_account']}  {window}  {counted(row['row_count'], 'row')}  {row['check_name']}", "bold")
        say(f"    {_reason(row['partner'], row['check_name']) or row['expected']}; found {row['actual']}")
        say(f"    delivery {row['delivery_id']}")
    held = len({row["delivery_id"] for row in rows})
    if not held:
        out.print("No delivery is held.")
        return
    out.print(
        f"{counted(held, 'held delivery', 'held deliveries')}. Look at what the partner's screens "
        "say of those days; then: tallyback release DELIVERY --reason TEXT"
    )


def _reason(partner: str, check_name: str) -> str:
    """Return what a check says of itself; '' if the suite has it no more."""
    from etl.core.expectations import load_suite

    return next((each.reason for each in load_suite("transaction", partner).whole if each.name == check_name), "")


@app.command(rich_help_panel=LOOK)
def rejects(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None,
    delivery: Annotated[str | None, typer.Option(help="Only of this delivery.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List rows of partners that were not taken, and why; of the newest delivery first."""
    from etl.findings import list_rejects

    with told():
        opened = installation()
        context = opened.context(f"cli/rejects/{uuid.uuid4()}", clock(opened.settings), "")
        rows = list_rejects(context, account, delivery, limit).to_pylist()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say(f"{row['partner_account']}  row {row['row_number']}  {row['reason']}", "bold")
        where = f"{row['column_name']} = {row['value']!r}" if row["column_name"] else "the whole row"
        say(f"    {where}; transaction {row['transaction_id'] or 'unknown'}; found by {row['stage']}, {row['rule']}")
        say(f"    delivery {row['delivery_id']}")
    more = f", the limit; there may be more (--limit {limit * 2})" if len(rows) == limit else ""
    out.print(f"{counted(len(rows), 'reject')}{more}" if rows else "No row was rejected.")


@app.command(rich_help_panel=SET_UP)
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing or misconfigured here, in the order in which to repair it."""
    from etl.doctor import diagnose

    found = diagnose(os.environ, datetime.now(UTC).replace(tzinfo=None), credentials_from_environment())
    if as_json:
        rows = [{"name": each.name, "ok": each.is_ok, "found": each.found, "next": each.next_step} for each in found]
        print_json(rows)
    else:
        width = max(len(each.name) for each in found)
        for each in found:
            mark = Text("ok", "green") if each.is_ok else Text("NO", "bold red")
            out.print(Text.assemble(mark, f"  {each.name:<{width}}  {each.found}"), soft_wrap=True)
            if each.next_step:
                out.print(Text.assemble(" " * (width + 6), ("→ ", "bold"), each.next_step), soft_wrap=True)
        wrong = sum(not each.is_ok for each in found)
        say(
            f"{wrong} of {len(found)} need you, in this order." if wrong else f"All {len(found)} are as they must be.",
            "bold",
        )
    if not all(each.is_ok for each in found):
        raise typer.Exit(1)
