"""A trace in words: of each thing what a person looks for first, so that a cent's whole way fits on one screen."""

from collections.abc import Mapping

from etl.cli.layout import Branch
from etl.trace import Node, NodeKind

_SHORT = 12
"""Characters of a delivery's id or of a sha256 that are shown: enough to find it again."""


def branch(node: Node) -> Branch:
    """Return a node with its words; what has none of its own tells all its facts."""
    facts = dict(node.facts)
    said = _words(node.kind, facts)
    told = "  ".join(f"{name} {value}" for name, value in facts.items()) if said is None else said
    return f"{node.kind} {_name(node)}", told, [branch(child) for child in node.children]


def _name(node: Node) -> str:
    if node.kind in (NodeKind.ROW, NodeKind.DELIVERY):
        return " ".join(word[:_SHORT] for word in node.name.split(" "))
    return node.name


def _words(kind: NodeKind, facts: Mapping[str, str]) -> str | None:
    say = _Said(facts)
    match kind:
        case NodeKind.POSTING:
            debit, credit = say.account("debit"), say.account("credit")
            late = "" if facts["booked_on"] == facts["effective_for"] else f", booked {facts['booked_on']}"
            base = say.told(" = {base_amount} base") if facts.get("base_amount") != facts["amount"] else ""
            return f"{facts['effective_for']}{late}  {debit} <- {credit}  {facts['amount']} {facts['currency']}{base}"
        case NodeKind.VERSION:
            absent = "not in a complete answer  " if facts.get("is_absent") == "True" else ""
            paid = "  paid by the partner" if facts.get("partner_paid") == "True" else ""
            money = say.told("sale {sale_amount}  commission {commission_amount} {currency}")
            return f"{facts['effective_on']}  {absent}{facts.get('status', 'no status')}{paid}  {money}"
        case NodeKind.ROW if "parsed_row" in facts or "sha256" in facts:
            window = say.told("{partner_account}  {window_from} to before {window_until}  seen {observed_at}")
            rest = [
                say.told(each)
                for each in ("  {row}", "  its parsed row {parsed_row}", "  transaction {transaction_id}")
            ]
            return window + "".join(rest)
        case NodeKind.PART:
            return say.told("{object_path}")
        case NodeKind.CLICK if "member_id" in facts:
            return say.told("{clicked_at} UTC  member {member_id}  program {program_id}")
        case NodeKind.SALE if "occurred_at" in facts:
            by = say.told(" by {rule}") + say.told(", member {member_id}")
            held = "  payout held" if facts.get("is_payout_held") == "True" else ""
            earns = "" if facts.get("earns_cashback") != "False" else "  earns no cashback"
            return say.told("{occurred_at} UTC  program {program_id}  {outcome}") + by + earns + held
        case NodeKind.SALE if "sale_on" in facts:
            return say.told("{sale_on}  program {program_id}  {outcome}") + say.told(" by {rule}, click {click_id}")
        case NodeKind.REMITTANCE_LINE:
            names = say.told("  transaction {transaction_id}") + say.told("  payment {payment_ref}")
            return say.told("{kind}  {amount} {currency}") + names
        case NodeKind.DELIVERY:
            window = say.told("{partner_account}  {window_from} to before {window_until}  seen {observed_at}")
            counts = say.told("  {row_count} rows, {reject_count} refused, {versions} new versions  {check_state}")
            return window + counts + say.told("  {not_listed}")
        case NodeKind.BREAK:
            return say.told("since {opened_on}") + say.told("  expected {expected}") + say.told(", found {found}")
        case NodeKind.REMITTANCE if "rule" in facts:
            funded = say.told("  funded {funded_on}") or "  not funded"
            return say.told("{received_on}  pays {transaction_id} {amount} {currency} by {rule}") + funded
        case NodeKind.ENTRY:
            return say.told("{document_kind} {document_id}  booked {booked_on}  posted {posted_at} by {created_by}")
        case _:
            return None


class _Said:
    """Facts that are put into words; words that need a fact which is not there are left out."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._facts = facts

    def told(self, words: str) -> str:
        try:
            return words.format_map(self._facts)
        except KeyError:
            return ""

    def account(self, side: str) -> str:
        owner = self._facts.get(f"{side}_owner")
        return self._facts[f"{side}_kind"] + (f"({owner})" if owner else "")
