"""Commands that pay members: select, approve, transmit, and what the bank said, entered by hand until it is read."""

import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from etl.cli.app import PAY, AsJson, Day, app, installation, out, person, run_one, told
from etl.cli.books import export
from etl.cli.layout import amount, counted, print_json, say
from etl.core.context import Context
from etl.core.money import exponent, from_minor
from etl.core.warehouse import PIPELINE
from etl.installation import Installation, clock

payout = typer.Typer(
    no_args_is_help=True,
    help="Pay members. In order: `payout select BANK` reserves and freezes the file, `payout approve` by another, "
    "`payout transmit`; later `payout settle`, `payout return` or, if nobody knows whether a file arrived, "
    "`payout resolve`. `payout list` says what each batch needs next.",
)
app.add_typer(payout, name="payout", rich_help_panel=PAY)

By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]
BatchId = Annotated[str, typer.Argument(help="The batch, as `payout list` shows it.")]
On = Annotated[
    datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="The day it happened; today if absent.")
]


def _context(opened: Installation, by: str | None) -> Context:
    return opened.context(f"cli/payout/{uuid.uuid4()}", clock(opened.settings), person(by))


@payout.command("select")
def payout_select(bank: Annotated[str, typer.Argument(help="Bank, as in config/banks.")], day: Day = None) -> None:
    """Reserve what may be paid today and freeze its payment file. Whoever runs this releases the batch."""
    run_one("payout", bank, day)


@payout.command("list")
def payout_list(as_json: AsJson = False) -> None:
    """List all batches, the newest first, with what each needs next."""
    with told():
        opened = installation()
        with opened.warehouse.transaction(PIPELINE) as connection:
            found = connection.execute(
                "SELECT b.batch_id, b.selected_for, b.bank, b.payout_count, b.total_minor, b.currency, b.state,"
                " b.released_by, b.sha256, (SELECT string_agg(a.approved_by, ', ' ORDER BY a.approved_by)"
                " FROM payout.approval AS a WHERE a.batch_id = b.batch_id AND a.sha256 = b.sha256)"
                " FROM payout.batch AS b ORDER BY b.created_at DESC, b.batch_id"
            ).fetchall()
    names = ("batch_id", "selected_for", "bank", "payout_count", "total_minor", "currency", "state", "released_by")
    rows = [dict(zip((*names, "sha256", "approved_by"), row, strict=True)) for row in found]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        total = from_minor(int(str(row["total_minor"])), exponent(str(row["currency"])))
        say(f"{row['batch_id']}  {amount(total, str(row['currency']))}  {row['state']}", "bold")
        people = f"released by {row['released_by']}, approved by {row['approved_by'] or 'nobody'}"
        say(
            f"    {row['bank']}, {counted(int(str(row['payout_count'])), 'payout')} for {row['selected_for']}, {people}"
        )
        say(f"    sha256 {row['sha256'] or 'none: its file is not written yet'}")
        if step := _NEXT.get(str(row["state"])):
            say("    next: " + step.format(batch=row["batch_id"], sha256=row["sha256"]))
    out.print(counted(len(rows), "batch", "batches") if rows else "No batch yet: tallyback payout select BANK")


_NEXT = {
    "reserved": "tallyback payout freeze {batch}",
    "frozen": "somebody else: tallyback payout approve {batch} --sha256 {sha256}",
    "approved": "tallyback payout transmit {batch}",
    "submitting": "wait; if nobody sends it any more, ask the bank, then: tallyback payout resolve {batch}",
    "unknown": "ask the bank whether it came, then: tallyback payout resolve {batch} sent|not_sent --evidence TEXT",
    "sent": "when the bank has paid: tallyback payout settle {batch}",
}
"""What a batch of a state needs next."""


@payout.command("freeze")
def payout_freeze(batch: BatchId, day: Day = None) -> None:
    """Write the payment file of a reserved batch, if `payout select` was interrupted; a written one is compared."""
    run_one("export", batch, day)


@export.command("batch")
def export_batch(batch: BatchId, day: Day = None) -> None:
    """Write the payment file of a batch and read it back; `payout select` does so itself. Also `payout freeze`."""
    run_one("export", batch, day)


@payout.command("approve")
def payout_approve(
    batch: BatchId, sha256: Annotated[str, typer.Option(help="Of the file you looked at.")], by: By = None
) -> None:
    """Approve the file of a batch by its sha256. Not by whoever released it or changed anything in it."""
    from etl.paying import approve_batch

    with told():
        say(approve_batch(_context(installation(), by), batch, sha256).sentence)
        say(f"next: tallyback payout transmit {batch}")


@payout.command("show")
def payout_show(
    batch: BatchId, output: Annotated[Path, typer.Option("--out", help="Where to write the file.")]
) -> None:
    """Write the plain payment file of a batch, to look at before approving. It holds full IBANs: delete it after."""
    from etl.core.payouts import load_batch
    from etl.export import read_file

    with told():
        opened = installation()
        context = _context(opened, None)
        with opened.warehouse.transaction() as connection:
            found = load_batch(connection, batch)
        output.write_bytes(read_file(context, found, opened.key_ring()))
        output.chmod(0o600)
        out.print(f"Wrote {output} (sha256 {found.sha256}). Delete it when you are done.")


@payout.command("transmit")
def payout_transmit(batch: BatchId, day: Day = None) -> None:
    """Send an approved batch to its bank, at most once."""
    run_one("transmit", batch, day)


@payout.command("settle")
def payout_settle(
    batch: BatchId,
    payouts: Annotated[
        list[str] | None, typer.Argument(help="Payouts that were paid; all in flight if absent.")
    ] = None,
    on: On = None,
    by: By = None,
) -> None:
    """Book that the bank paid payouts of a sent batch."""
    from etl.settle import settle

    with told():
        opened = installation()
        happened_on = (on or clock(opened.settings)).date()
        moved = settle(_context(opened, by), batch, happened_on, payouts or None)
        say(f"{counted(moved, 'payout')} settled." if moved else "They were settled before: nothing to book.")


@payout.command("return")
def payout_return(
    payout_id: Annotated[str, typer.Argument(help="The payout that came back.")],
    reason: Annotated[str, typer.Option(help="What the bank said, for example AC04 account closed.")],
    on: On = None,
    by: By = None,
) -> None:
    """Book that a payout came back: the member is owed the money again."""
    from etl.settle import return_payout

    with told():
        opened = installation()
        happened_on = (on or clock(opened.settings)).date()
        moved = return_payout(_context(opened, by), payout_id, happened_on, reason)
        out.print(f"{moved} payout is returned." if moved else "That was known already.")


@payout.command("resolve")
def payout_resolve(
    batch: BatchId,
    outcome: Annotated[str, typer.Argument(help="sent or not_sent: what the bank told you.")],
    evidence: Annotated[str, typer.Option(help="Who told you, when, how.")],
    by: By = None,
) -> None:
    """Say what became of a batch whose transmission nobody saw end. Ask the bank first: nothing is sent again."""
    from etl.core.errors import Stop
    from etl.settle import Resolution, resolve

    with told():
        if outcome not in {each.value for each in Resolution}:
            raise Stop(f"{outcome!r} is neither sent nor not_sent: say what the bank told you")
        context = _context(installation(), by)
        done = resolve(context, batch, Resolution(outcome), context.actor, evidence)
        out.print(f"Batch {done.batch_id} is {done.state}.")


@payout.command("cancel")
def payout_cancel(batch: BatchId, reason: Annotated[str, typer.Option(help="Why.")], by: By = None) -> None:
    """Cancel a batch that was not sent: its members are owed the money as before."""
    from etl.settle import cancel

    with told():
        context = _context(installation(), by)
        done = cancel(context, batch, context.actor, reason)
        out.print(f"Batch {done.batch_id} is {done.state}.")
