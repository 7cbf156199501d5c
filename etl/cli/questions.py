"""Commands that answer questions: what must be looked at, where a cent comes from, what is missing here."""

import json
import os
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from etl.cli.app import AsJson, app, installation, out, person, told
from etl.core.errors import Stop
from etl.installation import clock, credentials_from_environment

breaks = typer.Typer(
    no_args_is_help=True,
    help="What a person must look at, and what they say of it. A decision is an input like any other: it survives "
    "every replay and is undone only by another decision.",
)
app.add_typer(breaks, name="breaks")

By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]


def _amount(text: str | None) -> Decimal | None:
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
    from etl.breaks import BreakFilter, list_breaks

    with told():
        opened = installation()
        context = opened.context(f"cli/breaks/{uuid.uuid4()}", clock(opened.settings), "")
        only = BreakFilter(account, kind, sale, since.date() if since else None, _amount(at_least))
        rows = list_breaks(context, only, limit).to_pylist()
    if as_json:
        json.dump(rows, sys.stdout, indent=2, default=str)
        print()
        return
    table = Table("kind", "sale", "transaction", "at stake", "expected", "found", "since")
    for row in rows:
        at_stake = f"{row['currency'] or ''} {row['amount']}" if row["amount"] is not None else ""
        values = (row["kind"], row["sale_id"], row["transaction_id"], at_stake, row["expected"], row["found"])
        table.add_row(*(str(value) if value is not None else "" for value in (*values, row["opened_on"])))
    out.print(table)
    out.print(
        f"{len(rows)} shown" + (f", the limit; there may be more (--limit {limit * 2})" if len(rows) == limit else "")
    )


@breaks.command("candidates")
def breaks_candidates(sale: Annotated[str, typer.Argument(help="The sale of a break.")]) -> None:
    """Show the clicks a sale could belong to, the best first, and why."""
    from etl.breaks import candidates

    with told():
        opened = installation()
        context = opened.context(f"cli/breaks/{uuid.uuid4()}", clock(opened.settings), "")
        found = candidates(context, sale)
    table = Table("click", "member", "clicked at (UTC)", "score", "because")
    for each in found:
        table.add_row(each.click_id, each.member_id, str(each.clicked_at), str(each.score), "; ".join(each.reasons))
    out.print(table if found else "No click of that program lies in the window of this sale.")


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


@app.command()
def trace(
    name: Annotated[str, typer.Argument(help="A payout, sale, transaction or click, by its id.")],
    as_json: AsJson = False,
) -> None:
    """Show where a cent comes from and went to: payouts, sales, postings, versions, delivery rows and clicks."""
    from etl.trace import Node
    from etl.trace import trace as trace_name

    with told():
        opened = installation()
        context = opened.context(f"cli/trace/{uuid.uuid4()}", clock(opened.settings), "")
        found = trace_name(context, name)
    if as_json:
        print(json.dumps([node.as_json() for node in found], indent=2))
        return

    def grow(tree: Tree, node: Node) -> None:
        facts = "  ".join(f"{fact} {value}" for fact, value in node.facts)
        branch = tree.add(Text.assemble((f"{node.kind} {node.name}", "bold"), "  ", facts))
        for child in node.children:
            grow(branch, child)

    root = Tree(Text(name))
    for node in found:
        grow(root, node)
    out.print(root)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing or misconfigured here, in the order in which to repair it."""
    from etl.doctor import diagnose

    found = diagnose(os.environ, datetime.now(UTC).replace(tzinfo=None), credentials_from_environment())
    if as_json:
        rows = [{"name": each.name, "ok": each.is_ok, "found": each.found, "next": each.next_step} for each in found]
        print(json.dumps(rows, indent=2))
    else:
        table = Table("", "", "found", "what to do")
        for each in found:
            table.add_row("[green]ok[/]" if each.is_ok else "[red]no[/]", each.name, each.found, each.next_step)
        out.print(table)
    if not all(each.is_ok for each in found):
        raise typer.Exit(1)
