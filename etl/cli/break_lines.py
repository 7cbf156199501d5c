"""How breaks and decisions are told on a terminal."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from etl.cli.app import out
from etl.cli.layout import amount, columns, counted, print_json, say
from etl.core.decision_log import NAME_SHOWN, Row
from etl.core.decisions import BreakState, DecisionKind

_SHOWN = 10


def say_break(row: Mapping[str, object], on: date) -> None:
    """Print a break with its name, how it stands on a day, and what people said of it."""
    head = f"{_money(row['amount'], row['currency']) or 'no amount'}  {row['kind']}  {row['partner_account']}"
    days = counted(int(str(row["age_days"])), "day")
    say(f"{str(row['name'])[:NAME_SHOWN]}  {head}  since {row['opened_on']} ({days}){_standing(row)}", "bold")
    line = f" line {row['line_id']}" if row["line_id"] else ""
    sale = f"  sale {row['sale_id']}" if row["sale_id"] else ""
    say(f"    transaction {row['transaction_id']}{line}{sale}")
    say(f"    expected {row['expected'] or 'nothing'}; found {row['found'] or 'nothing'}")
    if row["decision_id"] is not None:
        say(f"    {_said(row, on)}")


def _standing(row: Mapping[str, object]) -> str:
    """Return how a break stands, as words behind its head; '' if it is open."""
    if row["state"] == BreakState.WAITING:
        return f"  waiting until {row['until_on']}"
    if row["is_reopened"]:
        return "  open again"
    return "" if row["state"] == BreakState.OPEN else f"  {row['state']}"


def _said(row: Mapping[str, object], on: date) -> str:
    """Return what people said of a break, and what it said then if that is not what it says now."""
    who = f"{row['decided_by']} on {_day(row['decided_at'])}"
    why = f": {row['reason']} [{str(row['decision_id'])[:NAME_SHOWN]}]"
    kind = str(row["decision_kind"])
    if row["state"] == BreakState.PROPOSED:
        return f"{kind} proposed by {who}{why}; it acts when another person agrees"
    agreed = f", agreed by {row['agreed_by']}" if row["agreed_by"] else ""
    if row["seen_expected"] is not None or row["is_reopened"]:
        seen = f"expected {row['seen_expected']}; found {row['seen_found']}"
        money = _money(row["seen_amount"], row["seen_currency"])
        verb = "decided" if row["is_reopened"] else "proposed"
        return f"{kind} {verb} by {who}{agreed}{why}, when it said: {seen}{', ' + money if money else ''}"
    if kind == DecisionKind.WAIT and row["state"] == BreakState.OPEN:
        return f"waited until {row['until_on']}, by {who}{agreed}{why}"
    if kind == DecisionKind.DISPUTE:
        claim = _money(row["claim_amount"], row["currency"])
        days = f"{(on - date.fromisoformat(_day(row['decided_at']))).days} days"
        return f"claimed of the partner{': ' + claim if claim else ''}, by {who} ({days}){agreed}{why}"
    return f"{kind} by {who}{agreed}{why}"


def say_preview(
    rows: Sequence[Mapping[str, object]], needs_agreement: bool, kind: DecisionKind, as_json: bool, batch_id: str
) -> None:
    """Show what would be decided: how many, how much in each currency, the largest ones, and the name of the set."""
    if as_json:
        document = {"expect": batch_id, "needs_agreement": needs_agreement, "decision": kind, "breaks": list(rows)}
        print_json(document)
        return
    if not rows:
        out.print("No break is like that: nothing is decided.")
        return
    sums: dict[str, Decimal] = {}
    for row in rows:
        if row["currency"] is not None and row["amount"] is not None:
            sums[str(row["currency"])] = sums.get(str(row["currency"]), Decimal(0)) + abs(Decimal(str(row["amount"])))
    money = " and ".join(amount(sums[currency], currency) for currency in sorted(sums)) or "no amount"
    say(f"{kind} for {counted(len(rows), 'break')}, {money} at stake", "bold")
    shown = [
        (
            str(row["name"])[:NAME_SHOWN],
            _money(row["amount"], row["currency"]),
            *(str(row[name] or "") for name in ("kind", "partner_account", "transaction_id", "found")),
        )
        for row in rows[:_SHOWN]
    ]
    columns(("break", "at stake", "kind", "account", "transaction", "found"), shown, right=("at stake",))
    if len(rows) > _SHOWN:
        out.print(f"and {len(rows) - _SHOWN:,d} more, of less each")
    if needs_agreement:
        out.print("That is above the limit: it will be proposed, and acts when another person agrees.")
    out.print(f"Nothing is decided yet. The same with --yes --expect {batch_id} decides exactly this.")


def say_decision(row: Row) -> None:
    """Print a decision: about what, by whom, why, and how it stands."""
    standing = f"  {row['standing']}" if "standing" in row else ""
    undoes = f" of {str(row['undoes'])[:NAME_SHOWN]}" if row["undoes"] else ""
    batch = f"  batch {str(row['batch_id'])[:NAME_SHOWN]}" if row["batch_id"] else ""
    money = _money(row["amount"], row["currency"])
    head = f"{str(row['decision_id'])[:NAME_SHOWN]}  {row['kind']}{undoes}"
    say(f"{head}  {money or 'no amount'}{batch}{standing}", "bold")
    where = f"{row['break_kind'] or 'sale'} of {row['partner_account'] or ''} {row['transaction_id'] or row['sale_id']}"
    say(f"    {where}: expected {row['expected'] or 'nothing'}; found {row['found'] or 'nothing'}")
    until = f" until {row['until_on']}" if row["until_on"] else ""
    claim = f" claiming {_money(row['claim_amount'], row['currency'])}" if row["claim_amount"] else ""
    click = f" of click {row['click_id']}" if row["click_id"] else ""
    say(f"    by {row['decided_by']} on {_day(row['decided_at'])}{until}{claim}{click}: {row['reason']}")
    if row.get("agreed_by"):
        say(f"    agreed by {row['agreed_by']} on {_day(row['agreed_at'])}: {row['agreed_because']}")


def _money(value: object, currency: object) -> str:
    return amount(value if isinstance(value, Decimal) else None, str(currency or ""))


def _day(moment: object) -> str:
    return str(moment)[:10]


def name_of(ids: Sequence[str], batch_id: str | None) -> str:
    """Return the name of what was recorded, as words behind their count."""
    if batch_id is not None:
        return f", batch {batch_id[:NAME_SHOWN]}"
    return f" {ids[0][:NAME_SHOWN]}" if len(ids) == 1 else ""
