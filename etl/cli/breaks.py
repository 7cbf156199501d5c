"""Commands about breaks: what a person must look at, what they say of it, and what a second person agrees to."""

import sys
import uuid
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from etl.breaks import list_breaks
from etl.cli.app import LOOK, AsJson, Day, app, day_of, installation, out, person, told
from etl.cli.break_lines import name_of, say_break, say_decision, say_preview
from etl.cli.layout import columns, counted, print_json, say
from etl.core.context import Context
from etl.core.decision_log import NAME_SHOWN
from etl.core.decisions import LISTED_MAX, BreakFilter, BreakState, DecisionKind, allowed
from etl.core.errors import Stop
from etl.installation import Installation, clock

breaks = typer.Typer(
    no_args_is_help=True,
    help="What a person must look at, and what they say of it. `breaks list` names each break, `breaks resolve` "
    "decides about one or many, `breaks proposals` shows what waits for a second person. A decision is an input like "
    "any other: it survives every replay, acts on the next run, and is undone only by another decision.",
)
app.add_typer(breaks, name="breaks", rich_help_panel=LOOK)

By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks at it in a year.")]
Account = Annotated[str | None, typer.Option(help="Only of this partner account.")]
Kind = Annotated[str | None, typer.Option(help="Only of this kind, for example unmatched.")]
Sale = Annotated[str | None, typer.Option(help="Only of this sale.")]
Since = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only opened on or after.")]
AtLeast = Annotated[
    str | None, typer.Option("--amount-at-least", "--at-least", help="Only with at least so much at stake.")
]
AtMost = Annotated[
    str | None, typer.Option("--amount-at-most", "--at-most", help="Only with at most so much at stake.")
]
Decided = Annotated[
    str, typer.Argument(help="A decision or batch, as `breaks decisions` or `breaks proposals` show it.")
]

_TAUGHT = 3
_NEEDS_A_LOOK = (BreakState.OPEN, BreakState.DISPUTED, BreakState.PROPOSED)


@breaks.command("list")
def breaks_list(
    account: Account = None,
    kind: Kind = None,
    sale: Sale = None,
    since: Since = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    state: Annotated[
        str | None,
        typer.Option(help="open, waiting, disputed, proposed, decided or all; what waits or is decided only if asked."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """List breaks with their names and how they stand, most money at stake first."""
    with told():
        opened = installation()
        context, on = _context(opened, ""), day_of(day, opened)
        states = _NEEDS_A_LOOK if state is None else _states(state)
        only = _filter(opened, account, kind, sale, since, at_least, at_most, states)
        rows = list_breaks(context, on, only, limit).to_pylist()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say_break(row, on)
    if not rows:
        _say_none(context, on, only, is_narrowed=only != BreakFilter(states=states))
    elif len(rows) == limit:
        out.print(f"{limit} shown, the limit; there may be more (--limit {limit * 2})")
    else:
        out.print(counted(len(rows), "break"))
    if state is None:
        _say_quiet(context, on)
    kinds = sorted({str(row["kind"]) for row in rows})
    for each in kinds if len(kinds) <= _TAUGHT else ():
        say(f"{each}: tallyback breaks resolve NAME --as {'|'.join(allowed(each))} --reason TEXT")
    if len(kinds) > _TAUGHT:
        out.print("What may be said of a kind: tallyback breaks list --kind KIND")


def _say_none(context: Context, on: date, only: BreakFilter, *, is_narrowed: bool) -> None:
    """Say that nothing was found and, if a kind was asked for, which kinds there are."""
    out.print("No break is like that." if is_narrowed else "No open breaks: nothing needs a look.")
    if only.kind is not None:
        kinds = sorted(set(list_breaks(context, on, limit=LISTED_MAX)["kind"].to_pylist()))
        out.print(f"Kinds that are open: {', '.join(kinds) or 'none'}")


def _say_quiet(context: Context, on: date) -> None:
    """Say how many breaks are not shown because they wait or are decided."""
    quiet = list_breaks(
        context, on, BreakFilter(states=(BreakState.WAITING, BreakState.DECIDED)), LISTED_MAX
    ).to_pylist()
    waiting = sum(row["state"] == BreakState.WAITING for row in quiet)
    if waiting:
        out.print(f"{counted(waiting, 'more waits', 'more wait')} for a day: --state waiting")
    if decided := len(quiet) - waiting:
        out.print(f"{counted(decided, 'more is decided', 'more are decided')}, the next run acts: --state decided")


@breaks.command("candidates")
def breaks_candidates(
    sale: Annotated[str, typer.Argument(help="The sale of a break, as `breaks list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show the clicks a sale could belong to, the best first, and why; `breaks resolve` takes one of them."""
    from etl.breaks import candidates

    with told():
        found = candidates(_context(installation(), ""), sale)
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


@breaks.command("resolve")
def breaks_resolve(
    reason: Reason,
    kind_of_decision: Annotated[
        str,
        typer.Option("--as", help="accept_click, no_cashback, release_hold, wait, dispute or write_off."),
    ],
    names: Annotated[
        list[str] | None, typer.Argument(help="Breaks by name, as `breaks list` shows them; else those of the options.")
    ] = None,
    account: Account = None,
    kind: Kind = None,
    sale: Sale = None,
    since: Since = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    state: Annotated[
        str, typer.Option(help="By options: only breaks that are so: open, waiting or disputed.")
    ] = "open",
    click: Annotated[str | None, typer.Option(help="The click, to accept_click.")] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day on which it is open again, to wait.")
    ] = None,
    claim: Annotated[
        str | None, typer.Option(help="What you claim of the partner, to dispute; all at stake if absent.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Decide about all that the options let through.")] = False,
    expect: Annotated[str | None, typer.Option(help="Only if it is still the set shown under this name.")] = None,
    day: Day = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Decide about breaks: named ones at once, those that options let through after a look at them.

    Without --yes it shows what it would decide, and asks at a terminal. A decision about more money than
    `second_person_above` allows (config/entity.yaml; of several breaks their sum counts) is only proposed.
    """
    from etl.decide import Verdict, decide, preview

    with told():
        opened = installation()
        context, on = _context(opened, person(by)), day_of(day, opened)
        verdict = Verdict(
            _decision_kind(kind_of_decision), reason, click, until.date() if until else None, amount_of(claim)
        )
        chosen: BreakFilter | list[str]
        only = _filter(opened, account, kind, sale, since, at_least, at_most, _states(state))
        if names:
            if only != BreakFilter(states=_states("open")):
                raise Stop("name breaks, or let options choose them: not both")
            chosen = names
        else:
            if only == BreakFilter(states=only.states):
                raise Stop("which breaks? Name them, or choose by --kind, --account, --sale, --since or amounts")
            chosen = only
            if not yes:
                shown = preview(context, on, chosen, verdict)
                say_preview(
                    shown.breaks.to_pylist(), shown.stake.needs_agreement, verdict.kind, as_json, shown.batch_id
                )
                if not shown.breaks.num_rows or as_json or not _is_confirmed(shown.breaks.num_rows):
                    return
                expect = shown.batch_id
        done = decide(context, on, chosen, verdict, expect)
    if as_json:
        print_json(asdict(done))
        return
    count = counted(len(done.decision_ids), "decision")
    if not done.decision_ids:
        out.print("No break is like that: nothing is decided.")
    elif not done.is_new:
        out.print(f"Recorded before: {count}{name_of(done.decision_ids, done.batch_id)}.")
    elif done.is_proposed:
        out.print(
            f"Proposed: {count}{name_of(done.decision_ids, done.batch_id)}. Nothing acts until another person agrees:"
        )
        say(f"    tallyback breaks agree {(done.batch_id or done.decision_ids[0])[:NAME_SHOWN]} --reason TEXT")
    else:
        acts = "" if verdict.kind in (DecisionKind.WAIT, DecisionKind.DISPUTE) else " The next run acts on it."
        out.print(f"Recorded: {count}{name_of(done.decision_ids, done.batch_id)}.{acts}")


def _is_confirmed(count: int) -> bool:
    """Return whether the person at a terminal typed the number of breaks; never without a terminal."""
    if not sys.stdin.isatty():
        return False
    return bool(
        typer.prompt("Type the number of breaks to decide about them", default="", show_default=False) == str(count)
    )


@breaks.command("undo")
def breaks_undo(name: Decided, reason: Reason, day: Day = None, by: By = None) -> None:
    """Undo a decision, or all of a batch, by another one: the books become what they would be without it."""
    from etl.decide import undo

    with told():
        opened = installation()
        done = undo(_context(opened, person(by)), day_of(day, opened), name, reason)
    count = counted(len(done.decision_ids), "decision")
    if done.is_proposed:
        out.print(f"Proposed to undo {count}{name_of(done.decision_ids, done.batch_id)}: it is above the limit; next:")
        say(f"    tallyback breaks agree {(done.batch_id or done.decision_ids[0])[:NAME_SHOWN]} --reason TEXT")
    else:
        out.print(f"Undone: {count}. The next run acts on it.")


@breaks.command("agree")
def breaks_agree(name: Decided, reason: Reason, day: Day = None, by: By = None) -> None:
    """Agree to what another person proposed, a decision or a whole batch: from now on it acts."""
    from etl.decide import agree

    with told():
        opened = installation()
        done = agree(_context(opened, person(by)), day_of(day, opened), name, reason)
    count = counted(len(done.decision_ids), "decision")
    out.print(f"Agreed: {count}. The next run acts on it." if done.is_new else f"Agreed before: {count}.")


@breaks.command("refuse")
def breaks_refuse(name: Decided, reason: Reason, by: By = None) -> None:
    """Refuse what another person proposed, or withdraw what you proposed: it will never act."""
    from etl.decide import refuse

    with told():
        done = refuse(_context(installation(), person(by)), name, reason)
    out.print(f"Refused: {counted(len(done.decision_ids), 'decision')}.")


@breaks.command("proposals")
def breaks_proposals(as_json: AsJson = False) -> None:
    """List what waits for a second person, oldest first."""
    from etl.decide import proposals

    with told():
        rows = proposals(_context(installation(), ""))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say_decision(row)
    if not rows:
        out.print("No proposal waits for a second person.")
        return
    out.print(
        f"{counted(len(rows), 'proposal')}. As another person: tallyback breaks agree NAME --reason TEXT, or refuse;"
        " the name of a batch is good for all of it"
    )


@breaks.command("decisions")
def breaks_decisions(
    sale: Sale = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what people decided about breaks, the newest first: who, why, and whether it is in force."""
    from etl.decide import decisions

    with told():
        rows = decisions(_context(installation(), ""), sale, limit)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say_decision(row)
    out.print(counted(len(rows), "decision") if rows else "Nobody has decided about a break yet.")


def _context(opened: Installation, actor: str) -> Context:
    return opened.context(f"cli/breaks/{uuid.uuid4()}", clock(opened.settings), actor)


def _filter(
    opened: Installation,
    account: str | None,
    kind: str | None,
    sale: str | None,
    since: datetime | None,
    at_least: str | None,
    at_most: str | None,
    states: tuple[BreakState, ...],
) -> BreakFilter:
    if account is not None:
        opened.configuration.account(account)
    opened_since = since.date() if since else None
    return BreakFilter(account, kind, sale, opened_since, amount_of(at_least), amount_of(at_most), states)


def _states(text: str) -> tuple[BreakState, ...]:
    if text == "all":
        return ()
    if text not in {each.value for each in BreakState}:
        raise Stop(f"{text!r} is no state of a break: {', '.join(BreakState)} or all")
    return (BreakState(text),)


def _decision_kind(text: str) -> DecisionKind:
    if text not in {each.value for each in DecisionKind}:
        raise Stop(f"{text!r} is no decision: {', '.join(each for each in DecisionKind if each != 'undo')}")
    return DecisionKind(text)


def amount_of(text: str | None) -> Decimal | None:
    """Return the amount that was typed; Stop if it is none."""
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Stop(f"{text!r} is no amount: write it as 12.50") from None
    if not value.is_finite() or abs(value) >= Decimal(10) ** 14 or value != value.quantize(Decimal("0.0001")):
        raise Stop(f"{text!r} is no amount: write it as 12.50, with at most four digits after the point")
    return value
