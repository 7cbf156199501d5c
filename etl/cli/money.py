"""Commands that pay members: select, approve, transmit, and what the bank said, entered by hand until it is read."""

import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from etl.cli.app import Day, app, installation, out, person, run_one, told
from etl.core.context import Context
from etl.core.warehouse import PIPELINE
from etl.installation import Installation, clock

payout = typer.Typer(
    no_args_is_help=True,
    help="Pay members. In order: `payout select BANK` reserves and freezes the file, `payout approve` by another, "
    "`payout transmit`; later `payout settle`, `payout return` or, if nobody knows whether a file arrived, "
    "`payout resolve`.",
)
app.add_typer(payout, name="payout")

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
def payout_list() -> None:
    """List all batches, the newest first, with what each needs next."""
    with told():
        opened = installation()
        with opened.warehouse.transaction(PIPELINE) as connection:
            rows = connection.execute(
                "SELECT batch_id, selected_for, bank, payout_count, total_minor, currency, state, released_by, sha256"
                " FROM payout.batch ORDER BY created_at DESC, batch_id"
            ).fetchall()
    table = Table("batch", "for", "bank", "payouts", "total", "state", "released by", "sha256")
    for batch, day, bank, count, total, currency, state, released_by, sha256 in rows:
        minor = int(str(total))
        amount = f"{currency} {minor // 100:,}.{minor % 100:02d}"
        table.add_row(str(batch), str(day), str(bank), str(count), amount, str(state), str(released_by), str(sha256))
    out.print(table)


@payout.command("approve")
def payout_approve(
    batch: BatchId, sha256: Annotated[str, typer.Option(help="Of the file you looked at.")], by: By = None
) -> None:
    """Approve the file of a batch by its sha256. Not by whoever released it or changed anything in it."""
    from etl.paying import approve_batch

    with told():
        out.print(approve_batch(_context(installation(), by), batch, sha256).sentence)


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
        out.print(f"{moved} payouts are settled.")


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
            raise Stop(f"{outcome!r} is neither sent nor not_sent")
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
