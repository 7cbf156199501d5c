"""Commands that book by hand: propose, approve, reject, reverse, and what was proposed."""

import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from etl.cli.app import PAY, AsJson, actor, app, installation, out, person, show, told
from etl.cli.breaks import amount_of
from etl.cli.layout import amount, counted, print_json, say
from etl.core.adjustment import GIVEN, AdjustmentKind
from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.payouts import books_day
from etl.installation import Installation, clock

adjust = typer.Typer(
    no_args_is_help=True,
    help="Book by hand what no fact says: goodwill, a bonus, a partner's promise. One person proposes with a reason "
    "and a file that shows it, another approves; only then it is booked. What is approved is taken back by another one "
    "that names it.",
)
app.add_typer(adjust, name="adjust", rich_help_panel=PAY)

By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]
On = Annotated[
    datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="The day it is effective for; today if absent.")
]
Id = Annotated[str, typer.Argument(help="The adjustment, as `adjust list` shows it.")]
Evidence = Annotated[Path, typer.Option(help="The file that shows it; it is kept, sealed.")]
Reason = Annotated[str, typer.Option(help="Why.")]


def _context(opened: Installation, by: str) -> Context:
    return opened.context(f"cli/adjust/{uuid.uuid4()}", clock(opened.settings), by)


@adjust.command("propose")
def adjust_propose(
    kind: Annotated[
        str,
        typer.Argument(
            help="goodwill, bonus, referral (a member gets it, at our cost); release (opened cashback becomes payable),"
            " decline (opened cashback is none); receivable (what a partner account owes)."
        ),
    ],
    owner: Annotated[str, typer.Argument(help="The member's id; for receivable the partner account.")],
    given: Annotated[str, typer.Argument(metavar="AMOUNT", help="Such as 12.50.")],
    currency: Annotated[str, typer.Argument(help="Such as EUR.")],
    reason: Reason,
    evidence: Evidence,
    account: Annotated[
        str | None,
        typer.Option(
            help="The member's account, pending, confirmed or payable; payable if absent, to release confirmed."
        ),
    ] = None,
    sale: Annotated[str | None, typer.Option(help="The sale it is about, if one.")] = None,
    on: On = None,
    by: By = None,
) -> None:
    """Propose an adjustment; nothing is booked until another person approves it."""
    from etl.adjust import Proposal, propose

    with told():
        if kind not in {each.value for each in AdjustmentKind}:
            raise Stop(f"{kind!r} is no adjustment: {', '.join(each.value for each in AdjustmentKind)}")
        chosen = AdjustmentKind(kind)
        named = None
        if chosen is not AdjustmentKind.RECEIVABLE:
            named = f"cashback_{account or ('payable' if chosen in GIVEN else 'confirmed')}"
        value = amount_of(given)
        assert value is not None
        opened = installation()
        context = _context(opened, person(by))
        day = on.date() if on else books_day(context)
        proposal = Proposal(chosen, owner, value, currency, reason, day, named, sale)
        _say_next(propose(context, proposal, evidence, opened.key_ring()))


@adjust.command("reverse")
def adjust_reverse(adjustment: Id, reason: Reason, evidence: Evidence, on: On = None, by: By = None) -> None:
    """Propose the opposite of an approved adjustment; it needs approval as well."""
    from etl.adjust import reverse

    with told():
        opened = installation()
        context = _context(opened, person(by))
        day = on.date() if on else books_day(context)
        _say_next(reverse(context, adjustment, reason, day, evidence, opened.key_ring()))


def _say_next(adjustment_id: str) -> None:
    say(f"Proposed as {adjustment_id}; nothing is booked yet.")
    say(f"next: another person: tallyback adjust approve {adjustment_id}")


@adjust.command("approve")
def adjust_approve(adjustment: Id, by: By = None) -> None:
    """Approve what another person proposed, and book it."""
    from etl.adjust import approve

    with told():
        show(approve(_context(installation(), person(by)), adjustment))


@adjust.command("reject")
def adjust_reject(adjustment: Id, reason: Reason, by: By = None) -> None:
    """Reject a proposal, or withdraw your own; it is kept with the reason."""
    from etl.adjust import reject

    with told():
        reject(_context(installation(), person(by)), adjustment, reason)
        out.print(f"{adjustment} is rejected.")


@adjust.command("list")
def adjust_list(
    state: Annotated[str | None, typer.Option(help="Only proposed, approved or rejected ones.")] = None,
    as_json: AsJson = False,
) -> None:
    """List adjustments, the newest first: what is proposed waits for another person."""
    from etl.adjust import list_adjustments

    with told():
        if state not in (None, "proposed", "approved", "rejected"):
            raise Stop(f"{state!r} is no state: proposed, approved or rejected")
        rows = list_adjustments(_context(installation(), actor()), state).to_pylist()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        what = f"{row['kind']} {amount(row['amount'], row['currency'])} for {row['owner']}"
        say(f"{row['adjustment_id']}  {what}  {row['state']}", "bold")
        about = f", sale {row['sale_id']}" if row["sale_id"] else ""
        about += f", takes back {row['reverses']}" if row["reverses"] else ""
        say(f"    {row['account'] or 'commission_receivable'}, effective {row['effective_on']}{about}")
        say(f"    {row['reason']}; shown by {row['evidence_name']} (sha256 {row['evidence_sha256'][:12]})")
        said = f", {row['state']} by {row['said_by']}" if row["said_by"] else ""
        say(f"    proposed by {row['proposed_by']}{said}{': ' + row['said_reason'] if row['said_reason'] else ''}")
        if row["state"] == "proposed":
            say(f"    next: another person: tallyback adjust approve {row['adjustment_id']}")
    say(counted(len(rows), "adjustment") if rows else "No adjustment is like that.")


@adjust.command("evidence")
def adjust_evidence(
    adjustment: Id, output: Annotated[Path, typer.Option("--out", help="Where to write the file.")]
) -> None:
    """Write the evidence of an adjustment to look at it before approving. It may name people: delete it after."""
    from etl.adjust import read_evidence

    with told():
        opened = installation()
        name, content = read_evidence(_context(opened, actor()), adjustment, opened.key_ring())
        output.write_bytes(content)
        output.chmod(0o600)
        say(f"Wrote {name} to {output}. Delete it when you are done.")
