"""Commands for money from partners: load what they told, look at it."""

import uuid
from pathlib import Path
from typing import Annotated

import typer
from psycopg.rows import dict_row

from etl.cli.app import LOOK, PAY, AsJson, Day, actor, app, day_of, installation, out, person, show, told
from etl.cli.layout import columns, print_json, say
from etl.core.errors import Stop
from etl.installation import Installation, clock

remittance = typer.Typer(
    no_args_is_help=True,
    help="Money partners paid. `remittance load` takes their statements, `remittance list` and `show` tell what each "
    "pays.",
)
app.add_typer(remittance, name="remittance", rich_help_panel=PAY)


@remittance.command("load")
def remittance_load(
    files: Annotated[list[Path], typer.Argument(help="CSV files of one partner account.")],
    account: Annotated[str, typer.Option(help="Partner account, as in config/partners.")],
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="ours=theirs; adds to the account's layout. Repeat.")
    ] = None,
    fixed: Annotated[
        list[str] | None, typer.Option("--fixed", help="ours=value for a column the file has not. Repeat.")
    ] = None,
) -> None:
    """Load remittances from CSV. Those whose lines do not add up are rejected; loaded again, nothing is written."""
    from etl.remittances import layout_of, load_remittances

    rejects = 0
    with told():
        opened = installation()
        context = opened.context(f"cli/remittances/{uuid.uuid4()}", clock(opened.settings), actor() or "command line")
        found = opened.configuration.account(account)
        layout = layout_of(found, columns or (), fixed or ())
        for file in files:
            result = load_remittances(context, file, found, layout)
            rejects += result.count("rejects")
            show(result)
    if rejects:
        raise typer.Exit(1)


@remittance.command("list")
def remittance_list(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List remittances in their highest revision, the newest first."""
    with told():
        rows = _rows(
            installation(),
            "SELECT partner_account, remittance_id, revision, invoice_ref, due_on, received_on, currency, net, vat,"
            " withholding, gross, bank, bank_amount, bank_currency, coverage, period_from, period_until"
            " FROM mart.remittance WHERE NOT is_superseded AND (%s::text IS NULL OR partner_account = %s)"
            " ORDER BY received_on DESC NULLS FIRST, partner_account, remittance_id",
            account,
            account,
        )
    if as_json:
        print_json(rows)
        return
    headings = ("account", "remittance", "invoice", "due", "received", "net", "vat", "withheld", "at the bank", "pays")
    shown = []
    for row in rows:
        pays = "lines" if row["coverage"] == "lines" else f"{row['period_from']} until {row['period_until']}"
        bank = "" if row["bank"] is None else f"{row['bank_currency']} {row['bank_amount']} at {row['bank']}"
        revision = f" (revision {row['revision']})" if row["revision"] != 1 else ""
        texts = (row["invoice_ref"], row["due_on"], row["received_on"] or "not yet", f"{row['currency']} {row['net']}")
        values = (row["partner_account"], f"{row['remittance_id']}{revision}", *texts, row["vat"], row["withholding"])
        shown.append(_texts(*values, bank, pays))
    columns(headings, shown, right=("net", "vat", "withheld"))


@remittance.command("show")
def remittance_show(
    name: Annotated[str, typer.Argument(help="The remittance, as `remittance list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show a remittance: its revisions and their files, the newest one's lines, what they pay, and decisions."""
    from etl.remit import find_remittance

    with told():
        opened = installation()
        with opened.warehouse.transaction() as connection:
            key = find_remittance(connection, name)
        revisions = _rows(opened, _REVISIONS, *key[:2])
        lines = _rows(opened, _LINES, *key)
        paid = _rows(opened, _PAID, *key[:2])
        decisions = _rows(opened, _DECISIONS, *key[:2])
    if as_json:
        print_json({"revisions": revisions, "lines": lines, "pays": paid, "decisions": decisions})
        return
    for row in revisions:
        state = "superseded" if row["is_superseded"] else "counts"
        facts = "  ".join(
            f"{key} {value}" for key, value in row.items() if value is not None and key != "is_superseded"
        )
        say(f"{state}  {facts}", "bold" if state == "counts" else "")
    names = ("line_no", "kind", "transaction_id", "line_id", "payment_ref")
    shown = [_texts(*(row[name] for name in names), f"{row['currency']} {row['amount']}") for row in lines]
    columns(("line", "kind", "transaction", "line of it", "payment", "amount"), shown, right=("amount",))
    shown = []
    for row in paid:
        amount, funded = f"{row['currency']} {row['amount']}", row["funded_on"] or "carried forward"
        shown.append(_texts(row["line_no"], row["sale_id"], row["transaction_id"], amount, row["rule"], funded))
    columns(("line", "pays sale", "transaction", "amount", "by rule", "funded"), shown, right=("amount",))
    for row in decisions:
        say("decision  " + "  ".join(f"{key} {value}" for key, value in row.items() if value))


@remittance.command("decide")
def remittance_decide(
    name: Annotated[str, typer.Argument(help="The remittance, as `remittance list` shows it.")],
    kind: Annotated[str, typer.Argument(help="withhold, oldest_first or undo.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    undoes: Annotated[str | None, typer.Option(help="The decision, for undo.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON if absent.")] = None,
) -> None:
    """Keep a remittance's money unallocated, or let a lump sum pay the oldest; the next `remit` acts on it."""
    from etl.remit import Decision, DecisionKind, decide

    with told():
        if kind not in {each.value for each in DecisionKind}:
            raise Stop(f"{kind!r} is no decision: {', '.join(each.value for each in DecisionKind)}")
        opened = installation()
        context = opened.context(f"cli/remittances/{uuid.uuid4()}", clock(opened.settings), person(by))
        out.print(f"Recorded as {decide(context, Decision(DecisionKind(kind), name, reason, undoes))}.")


@remittance.command("ageing")
def remittance_ageing(day: Day = None, as_json: AsJson = False) -> None:
    """Show approved commission that is not paid, by account and age; with --json, sale by sale."""
    from etl.remit import ageing

    with told():
        opened = installation()
        context = opened.context(f"cli/remittances/{uuid.uuid4()}", clock(opened.settings), "")
        found = ageing(context, day_of(day, opened))
    if as_json:
        print_json(found.sales.to_pylist())
        return
    shown = [
        _texts(row["partner_account"], row["age"], f"{row['sale_count']:,}", f"{row['currency']} {row['amount']}")
        for row in found.summed.to_pylist()
    ]
    columns(("account", "age", "sales", "open"), shown, right=("sales", "open"))


@app.command(rich_help_panel=LOOK)
def exposure(as_json: AsJson = False) -> None:
    """Show what members are owed for each partner account's sales, against what the partner owes and has paid."""
    from etl.exposure import exposure as exposed

    with told():
        opened = installation()
        rows = exposed(opened.context(f"cli/exposure/{uuid.uuid4()}", clock(opened.settings), "")).to_pylist()
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("Nothing is booked yet.")
        return
    headings = [name.replace("_", " ") for name in rows[0]]
    columns(headings, [_texts(*row.values()) for row in rows], right=headings[2:])


_REVISIONS = """
    SELECT r.*, m.is_superseded, f.name AS file
    FROM ops.remittance AS r
    JOIN mart.remittance AS m USING (partner_account, remittance_id, revision)
    JOIN ops.remittance_file AS f ON f.sha256 = r.file_sha256 AND f.partner_account = r.partner_account
    WHERE r.partner_account = %s AND r.remittance_id = %s
    ORDER BY r.revision DESC
"""
_LINES = """
    SELECT line_no, kind, transaction_id, line_id, payment_ref, amount, currency
    FROM ops.remittance_line
    WHERE partner_account = %s AND remittance_id = %s AND revision = %s
    ORDER BY line_no
"""
_PAID = """
    SELECT a.line_no, a.transaction_id, a.line_id, a.currency, a.amount, a.rule, a.funded_on,
        (SELECT min(v.sale_id) FROM ops.transaction_version AS v
         WHERE v.partner_account = a.partner_account AND v.transaction_id = a.transaction_id) AS sale_id
    FROM mart.remittance_allocation AS a
    WHERE a.partner_account = %s AND a.remittance_id = %s
    ORDER BY a.line_no, a.transaction_id, a.line_id
"""
_DECISIONS = """
    SELECT decision_id, kind, revision, undoes, decided_by, decided_at, reason
    FROM ops.remittance_decision
    WHERE partner_account = %s AND remittance_id = %s
    ORDER BY decided_at, decision_id
"""


def _texts(*values: object) -> list[str]:
    return ["" if value is None else str(value) for value in values]


def _rows(opened: Installation, query: str, *parameters: object) -> list[dict[str, object]]:
    with opened.warehouse.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
