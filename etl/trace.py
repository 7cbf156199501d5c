"""Trace: from a payout, transaction, sale or click to everything it hangs together with, down to delivery and row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg.rows import dict_row

from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.warehouse import Connection

Row = dict[str, object]


class NodeKind(StrEnum):
    """What a node of the tree is."""

    PAYOUT = "payout"
    PAYOUT_LINE = "payout_line"
    SALE = "sale"
    DOCUMENT = "document"
    POSTING = "posting"
    VERSION = "version"
    ROW = "row"
    PART = "part"
    CLICK = "click"
    BREAK = "break"
    REMITTANCE = "remittance"
    REMITTANCE_LINE = "remittance_line"


@dataclass(frozen=True, slots=True)
class Node:
    """A thing, what is known of it in words, and what it leads to."""

    kind: NodeKind
    name: str
    facts: tuple[tuple[str, str], ...] = ()
    children: tuple[Node, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the tree as plain values for JSON."""
        return {
            "kind": str(self.kind),
            "name": self.name,
            "facts": dict(self.facts),
            "children": [child.as_json() for child in self.children],
        }

    def find(self, kind: NodeKind) -> Iterator[Node]:
        """Yield this node and all below it that are of `kind`."""
        if self.kind is kind:
            yield self
        for child in self.children:
            yield from child.find(kind)


def trace(context: Context, name: str) -> tuple[Node, ...]:
    """Return a tree for each payout, remittance, sale, transaction or click of that name; Stop if there is none.

    A payout leads to its lines, their sales, and from each to postings, versions, delivery rows, the click, and the
    remittances that paid for it. A remittance leads to its lines and the sales they pay. A sale, transaction or click
    leads the same way down, and up to the payouts it is paid by.
    """
    with context.warehouse.transaction() as connection:
        tracer = _Tracer(context, connection)
        found = tuple(tracer.roots(name))
    if not found:
        raise Stop(
            f"{name!r} is no payout, remittance, sale, transaction or click that is known: check it for typing mistakes"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Tracer:
    context: Context
    connection: Connection

    def roots(self, name: str) -> Iterator[Node]:
        for row in self._rows(_PAYOUT, name):
            yield self._payout(row)
        for row in self._rows(_REMITTANCE, name, name):
            yield self._remittance(row)
        sales = [str(row["sale_id"]) for row in self._rows(_SALE_OF, name, name, name)]
        clicks = [str(row["click_id"]) for row in self._rows(_CLICK_OF, name)] or self._clicks_in_lake(name)
        for sale_id in sales:
            yield self._sale(sale_id, is_up=True)
        for click_id in clicks:
            of_click = [str(row["sale_id"]) for row in self._rows(_SALE_BY_CLICK, click_id)]
            children = tuple(self._sale(sale_id, is_up=True) for sale_id in of_click)
            yield self._click(click_id, children)

    def _rows(self, query: str, *parameters: object) -> list[Row]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def _payout(self, row: Row) -> Node:
        lines = tuple(self._line(line) for line in self._rows(_LINES, row["payout_id"]))
        postings = self._postings("payout", str(row["payout_id"]))
        return Node(NodeKind.PAYOUT, str(row["payout_id"]), _facts(row, "payout_id"), (*lines, *postings))

    def _line(self, row: Row) -> Node:
        kind, document_id = str(row["document_kind"]), str(row["document_id"])
        document = self._sale(document_id, is_up=False) if kind == "sale" else self._document(kind, document_id)
        return Node(
            NodeKind.PAYOUT_LINE, f"{kind} {document_id}", _facts(row, "document_kind", "document_id"), (document,)
        )

    def _remittance(self, row: Row) -> Node:
        key = (row["partner_account"], row["remittance_id"], row["revision"])
        lines = tuple(self._remittance_line(line, key) for line in self._rows(_REMITTANCE_LINES, *key))
        name = f"{row['partner_account']}:{row['remittance_id']}"
        return Node(NodeKind.REMITTANCE, name, _facts(row), (*lines, *self._postings("remittance", name)))

    def _remittance_line(self, row: Row, key: tuple[object, ...]) -> Node:
        paid = self._rows(_PAYS, *key[:2], row["line_no"])
        sales = [str(each["sale_id"]) for each in paid if each["sale_id"] is not None]
        facts = (*_facts(row, "line_no"), *(("pays", f"{each['amount']} of {each['transaction_id']}") for each in paid))
        children = tuple(self._sale(sale_id, is_up=False) for sale_id in dict.fromkeys(sales))
        return Node(NodeKind.REMITTANCE_LINE, str(row["line_no"]), facts, children)

    def _document(self, kind: str, document_id: str) -> Node:
        return Node(NodeKind.DOCUMENT, f"{kind} {document_id}", (), self._postings(kind, document_id))

    def _sale(self, sale_id: str, *, is_up: bool) -> Node:
        rows = self._rows(_SALE, sale_id)
        facts = _facts(rows[0], "sale_id") if rows else (("known", "no more: its rows belong to other sales now"),)
        children: list[Node] = []
        if is_up:
            for row in self._rows(_PAID_BY, sale_id):
                children.append(Node(NodeKind.PAYOUT, str(row["payout_id"]), _facts(row, "payout_id")))
            if rows and rows[0]["click_id"] is not None:
                children.append(self._click(str(rows[0]["click_id"])))
        for row in self._rows(_PAID_FOR, sale_id):
            name = f"{row['partner_account']}:{row['remittance_id']} line {row['line_no']}"
            children.append(Node(NodeKind.REMITTANCE, name, _facts(row, "partner_account", "remittance_id", "line_no")))
        children += self._postings("sale", sale_id)
        children += [self._version(row) for row in self._rows(_VERSIONS, sale_id)]
        children += [
            Node(NodeKind.BREAK, str(row["kind"]), _facts(row, "kind")) for row in self._rows(_BREAKS, sale_id)
        ]
        if not is_up and rows and rows[0]["click_id"] is not None:
            children.append(self._click(str(rows[0]["click_id"])))
        return Node(NodeKind.SALE, sale_id, facts, tuple(children))

    def _postings(self, document_kind: str, document_id: str) -> tuple[Node, ...]:
        return tuple(
            Node(
                NodeKind.POSTING,
                f"{row['year']}/{row['number']} leg {row['leg']}",
                _facts(row, "year", "number", "leg"),
            )
            for row in self._rows(_POSTINGS, document_kind, document_id)
        )

    def _version(self, row: Row) -> Node:
        name = f"{row['transaction_id']}{'/' if row['line_id'] else ''}{row['line_id']} version {row['version_no']}"
        return Node(
            NodeKind.VERSION,
            name,
            _facts(row, "transaction_id", "line_id", "version_no", "delivery_id", "row_number", "content_hash"),
            (self._row(row),),
        )

    def _row(self, version: Row) -> Node:
        """Return the delivery row a version came from, with whether the parsed file still says the same."""
        delivery_id, number = str(version["delivery_id"]), int(str(version["row_number"]))
        parts = tuple(
            Node(NodeKind.PART, str(row["name"]), _facts(row, "name")) for row in self._rows(_PARTS, delivery_id)
        )
        facts: list[tuple[str, str]] = []
        for delivery in self._rows(_DELIVERY, delivery_id):
            path = delivery.pop("object_path")
            facts += _facts(delivery)
            if number == 0:
                facts.append(("row", "none: a complete answer without this transaction"))
            elif path is not None:
                agrees = self._content_hash(str(path), number) == version["content_hash"]
                facts.append(("parsed_row", "says the same" if agrees else "says something else"))
        return Node(NodeKind.ROW, f"delivery {delivery_id} row {number}", tuple(facts), parts)

    def _content_hash(self, path: str, number: int) -> str | None:
        with self.context.lake.open(path) as source:
            table = pq.read_table(source, columns=["row_number", "content_hash"])
        found = table.filter(pc.equal(table["row_number"], number))["content_hash"]
        return str(found[0].as_py()) if len(found) else None

    def _click(self, click_id: str, children: Sequence[Node] = ()) -> Node:
        days = self._rows(_CLICK_DAY, click_id)
        facts: tuple[tuple[str, str], ...] = ()
        for path in self._click_paths(days[0]["day"] if days else None):
            for row in self._read_click(path, click_id).to_pylist():
                facts = (*_facts(row, "click_id"), ("file", path))
        return Node(
            NodeKind.CLICK, click_id, facts or (("file", "none: the click is not in the lake"),), tuple(children)
        )

    def _clicks_in_lake(self, name: str) -> list[str]:
        return [name] if any(self._read_click(path, name).num_rows for path in self._click_paths(None)) else []

    def _click_paths(self, day: object) -> list[str]:
        return [str(row["object_path"]) for row in self._rows(_CLICK_FILES, day, day)]

    def _read_click(self, path: str, click_id: str) -> pa.Table:
        return self.context.lake.read_table(path).filter(pc.field("click_id") == click_id)


def _facts(row: Row, *without: str) -> tuple[tuple[str, str], ...]:
    """Return the columns of a row that say something, as text."""
    return tuple((name, str(value)) for name, value in row.items() if name not in without and value not in (None, ""))


_PAYOUT = """
    SELECT p.payout_id, p.batch_id, p.member_id, p.currency, p.amount_minor, p.state, p.payee_version, p.end_to_end_id,
        b.selected_for, b.state AS batch_state, b.sha256 AS file_sha256, b.remote_name,
        (SELECT string_agg(a.approved_by, ', ' ORDER BY a.approved_by) FROM payout.approval AS a
         WHERE a.batch_id = b.batch_id AND a.sha256 = b.sha256) AS approved_by
    FROM payout.payout AS p
    JOIN payout.batch AS b ON b.batch_id = p.batch_id
    WHERE p.payout_id = %s
"""
_LINES = """
    SELECT document_kind, document_id, amount_minor FROM payout.payout_line WHERE payout_id = %s
    ORDER BY document_kind, document_id
"""
_SALE_OF = """
    SELECT DISTINCT sale_id FROM ops.transaction_version
    WHERE transaction_id = %s OR partner_account || ':' || transaction_id = %s OR sale_id = %s
    ORDER BY sale_id
"""
_CLICK_OF = "SELECT DISTINCT click_id FROM ops.sale WHERE click_id = %s"
_SALE_BY_CLICK = "SELECT sale_id FROM ops.sale WHERE click_id = %s ORDER BY sale_id"
_SALE = """
    SELECT sale_id, partner, partner_account, program_id, order_ref, occurred_at, outcome, rule, click_id, clicked_at,
        member_id, earns_cashback, is_payout_held
    FROM ops.sale WHERE sale_id = %s
"""
_PAID_BY = """
    SELECT p.payout_id, p.member_id, p.currency, l.amount_minor, p.state, p.batch_id
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    WHERE l.document_kind = 'sale' AND l.document_id = %s
    ORDER BY p.payout_id
"""
_REMITTANCE = """
    SELECT m.*, f.name AS file, f.object_path
    FROM mart.remittance AS m
    JOIN ops.remittance AS r USING (partner_account, remittance_id, revision)
    JOIN ops.remittance_file AS f ON f.sha256 = r.file_sha256 AND f.partner_account = r.partner_account
    WHERE NOT m.is_superseded AND (m.remittance_id = %s OR m.partner_account || ':' || m.remittance_id = %s)
    ORDER BY m.partner_account, m.remittance_id
"""
_REMITTANCE_LINES = """
    SELECT line_no, kind, transaction_id, line_id, payment_ref, amount, currency
    FROM ops.remittance_line WHERE partner_account = %s AND remittance_id = %s AND revision = %s
    ORDER BY line_no
"""
_PAYS = """
    SELECT a.transaction_id, a.amount, a.rule,
        (SELECT min(v.sale_id) FROM ops.transaction_version AS v
         WHERE v.partner_account = a.partner_account AND v.transaction_id = a.transaction_id) AS sale_id
    FROM mart.remittance_allocation AS a
    WHERE a.partner_account = %s AND a.remittance_id = %s AND a.line_no = %s
    ORDER BY a.transaction_id, a.line_id
"""
_PAID_FOR = """
    SELECT a.partner_account, a.remittance_id, a.line_no, a.transaction_id, a.amount, a.currency, a.rule, a.received_on,
        a.funded_on
    FROM mart.remittance_allocation AS a
    WHERE EXISTS (
        SELECT 1 FROM ops.transaction_version AS v
        WHERE v.partner_account = a.partner_account AND v.transaction_id = a.transaction_id AND v.sale_id = %s
    )
    ORDER BY a.received_on, a.partner_account, a.remittance_id, a.line_no, a.transaction_id
"""
_POSTINGS = """
    SELECT year, number, leg, effective_for, booked_on, posted_at, debit_kind, debit_owner, credit_kind, credit_owner,
        amount, currency, component, base_amount, rate, run_id
    FROM mart.posting WHERE document_kind = %s AND document_id = %s
    ORDER BY year, number, leg
"""
_VERSIONS = """
    SELECT transaction_id, line_id, version_no, effective_on, kind, status, raw_status, is_absent, partner_paid,
        sale_amount, commission_amount, currency, observed_at, delivery_id, row_number, content_hash
    FROM ops.transaction_version WHERE sale_id = %s
    ORDER BY transaction_id, line_id, version_no
"""
_BREAKS = "SELECT kind, expected, found, amount, currency, opened_on FROM ops.break WHERE sale_id = %s ORDER BY kind"
_DELIVERY = """
    SELECT d.partner_account, d.window_from, d.window_until, d.observed_at, d.sha256,
        (SELECT p.object_path FROM ops.parse AS p WHERE p.delivery_id = d.delivery_id
         ORDER BY p.parse_version DESC LIMIT 1) AS object_path
    FROM ops.delivery AS d WHERE d.delivery_id = %s
"""
_PARTS = "SELECT name, media_type, sha256, object_path FROM ops.delivery_part WHERE delivery_id = %s ORDER BY part_no"
_CLICK_DAY = "SELECT clicked_at::date AS day FROM ops.sale WHERE click_id = %s AND clicked_at IS NOT NULL LIMIT 1"
_CLICK_FILES = """
    SELECT object_path FROM ops.tracked_file WHERE relation = 'click' AND (%s::date IS NULL OR day = %s)
    ORDER BY day, object_path
"""
