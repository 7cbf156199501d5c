"""Trace: from any end of a cent to everything it hangs together with, up to the payout, down to delivery and row."""

from __future__ import annotations

import re
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
from etl.trace import queries

Row = dict[str, object]

LISTED_MAX = 20
"""Sales of a member and versions of a delivery that are listed, the newest first; how many more there are is said."""


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
    ENTRY = "entry"
    DELIVERY = "delivery"
    REJECT = "reject"
    MEMBER = "member"


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
    """Return a tree for each thing of that name; Stop if there is none.

    Names are those of payouts, remittances, sales, transactions, clicks, members and documents, of journal entries
    (`2026/17`), and of deliveries, whole or their first eight characters or more, and their rows (`DELIVERY:5`).

    A payout leads to its lines, their sales, and from each to postings, versions, delivery rows, the click, and the
    remittances that paid for it. A remittance leads to its lines and the sales they pay. A sale, transaction or click
    leads the same way down, and up to the payouts it is paid by. An entry leads to its document; a row of a delivery to
    its sale; a member to balances, payouts and sales.
    """
    with context.warehouse.transaction() as connection:
        tracer = _Tracer(context, connection)
        found = tuple(tracer.roots(name))
    if not found:
        raise Stop(
            f"{name!r} is no payout, remittance, sale, transaction, click, member, document, journal entry (2026/17)"
            " or delivery (with its row: DELIVERY:5) that is known: check it for typing mistakes"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Tracer:
    context: Context
    connection: Connection

    def roots(self, name: str) -> Iterator[Node]:
        for row in self._rows(queries.PAYOUT, name):
            yield self._payout(row)
        for row in self._rows(queries.REMITTANCE, name, name):
            yield self._remittance(row)
        sales = [str(row["sale_id"]) for row in self._rows(queries.SALE_OF, name, name, name)]
        clicks = [str(row["click_id"]) for row in self._rows(queries.CLICK_OF, name)] or self._clicks_in_lake(name)
        for sale_id in sales:
            yield self._sale(sale_id, is_up=True)
        for click_id in clicks:
            of_click = [str(row["sale_id"]) for row in self._rows(queries.SALE_BY_CLICK, click_id)]
            children = tuple(self._sale(sale_id, is_up=True) for sale_id in of_click)
            yield self._click(click_id, children)
        yield from self._other_roots(name)

    def _other_roots(self, name: str) -> Iterator[Node]:
        if found := re.fullmatch(r"([0-9]{4})/([0-9]{1,18})", name):
            for row in self._rows(queries.ENTRY, self.context.entity.name, int(found[1]), int(found[2])):
                yield self._entry(row)
        if found := re.fullmatch(r"([0-9a-f]{8,64})(?::([0-9]{1,18}))?", name):
            for row in self._rows(queries.DELIVERIES, found[1]):
                yield self._delivery(row) if found[2] is None else self._delivered(row, int(found[2]))
        for row in self._rows(queries.DOCUMENTS, self.context.entity.name, name):
            yield self._document(str(row["document_kind"]), name)
        for row in self._rows(queries.MEMBER, name, name):
            yield self._member(str(row["member_id"]))

    def _entry(self, row: Row) -> Node:
        """Return a journal entry with its postings, and the document they are of with all that stands behind it."""
        kind, document_id = str(row["document_kind"]), str(row["document_id"])
        of_entry = f"{row['year']}/{row['number']} "
        postings = tuple(each for each in self._postings(kind, document_id) if each.name.startswith(of_entry))
        if kind == "sale":
            behind = [self._sale(document_id, is_up=True)]
        elif kind == "payout":
            behind = [self._payout(each) for each in self._rows(queries.PAYOUT, document_id)]
        elif kind == "remittance":
            behind = [self._remittance(each) for each in self._rows(queries.REMITTANCE, document_id, document_id)]
        else:
            behind = [self._document(kind, document_id)]
        return Node(NodeKind.ENTRY, of_entry.strip(), _facts(row, "year", "number"), (*postings, *behind))

    def _delivery(self, row: Row) -> Node:
        delivery_id = str(row["delivery_id"])
        parts = [
            Node(NodeKind.PART, str(each["name"]), _facts(each, "name"))
            for each in self._rows(queries.PARTS, delivery_id)
        ]
        versions = [self._version(each, with_row=False) for each in self._rows(queries.DELIVERED_VERSIONS, delivery_id)]
        rejects = [self._reject(each) for each in self._rows(queries.REJECTS, delivery_id, None, None)]
        facts = _facts(row, "delivery_id")
        left_out = int(str(row["versions"])) - LISTED_MAX
        if left_out > 0:
            facts = (*facts, ("not_listed", f"{left_out} more versions; DELIVERY:ROW shows a row"))
        return Node(NodeKind.DELIVERY, delivery_id, facts, (*parts, *rejects, *versions[:LISTED_MAX]))

    def _delivered(self, row: Row, number: int) -> Node:
        """Return one row of a delivery: refused, or the transaction it tells of with its sale."""
        delivery_id = str(row["delivery_id"])
        children = [self._reject(each) for each in self._rows(queries.REJECTS, delivery_id, number, number)]
        path = next((each["object_path"] for each in self._rows(queries.DELIVERY, delivery_id)), None)
        told = self._parsed_row(str(path), number) if path is not None else None
        facts = (*_facts(row, "delivery_id", "versions"), *(() if told is None else _facts(told, "partner_account")))
        if told is not None:
            key = (row["partner_account"], told["transaction_id"])
            children += [self._sale(str(each["sale_id"]), is_up=True) for each in self._rows(queries.SALE_OF_KEY, *key)]
        elif not children:
            facts = (*facts, ("row", "none: the file has fewer rows, or was not parsed"))
        return Node(NodeKind.ROW, f"delivery {delivery_id} row {number}", facts, tuple(children))

    def _parsed_row(self, path: str, number: int) -> Row | None:
        names = ["row_number", "transaction_id", "line_id", "status", "sale_amount", "commission_amount", "currency"]
        with self.context.lake.open(path) as source:
            table = pq.read_table(source, columns=names, filters=[("row_number", "=", number)])
        return table.to_pylist()[0] if table.num_rows else None

    @staticmethod
    def _reject(row: Row) -> Node:
        return Node(NodeKind.REJECT, f"row {row['row_number']}", _facts(row, "row_number"))

    def _member(self, member_id: str) -> Node:
        balances = tuple(
            (f"{row['kind']} {row['currency']}", str(row["balance"]))
            for row in self._rows(queries.MEMBER_BALANCES, self.context.entity.name, member_id)
        )
        payouts = [
            Node(NodeKind.PAYOUT, str(row["payout_id"]), _facts(row, "payout_id"))
            for row in self._rows(queries.MEMBER_PAYOUTS, member_id)
        ]
        sales = [
            Node(NodeKind.SALE, str(row["sale_id"]), _facts(row, "sale_id"))
            for row in self._rows(queries.MEMBER_SALES, member_id)
        ]
        left_out = len(sales) - LISTED_MAX
        told = (("not_listed", f"{left_out} older sales; `statement` shows all"),) if left_out > 0 else ()
        return Node(NodeKind.MEMBER, member_id, (*balances, *told), (*payouts, *sales[:LISTED_MAX]))

    def _rows(self, query: str, *parameters: object) -> list[Row]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def _payout(self, row: Row) -> Node:
        lines = tuple(self._line(line) for line in self._rows(queries.LINES, row["payout_id"]))
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
        lines = tuple(self._remittance_line(line, key) for line in self._rows(queries.REMITTANCE_LINES, *key))
        name = f"{row['partner_account']}:{row['remittance_id']}"
        return Node(NodeKind.REMITTANCE, name, _facts(row), (*lines, *self._postings("remittance", name)))

    def _remittance_line(self, row: Row, key: tuple[object, ...]) -> Node:
        paid = self._rows(queries.PAYS, *key[:2], row["line_no"])
        sales = [str(each["sale_id"]) for each in paid if each["sale_id"] is not None]
        facts = (*_facts(row, "line_no"), *(("pays", f"{each['amount']} of {each['transaction_id']}") for each in paid))
        paid_sales = list(dict.fromkeys(sales))
        # What pays hundreds of sales would tell each one's whole life: then a sale is named, and traced by its name.
        is_long = len(paid_sales) > LISTED_MAX
        children = tuple(
            self._named_sale(sale_id) if is_long else self._sale(sale_id, is_up=False) for sale_id in paid_sales
        )
        return Node(NodeKind.REMITTANCE_LINE, str(row["line_no"]), facts, children)

    def _document(self, kind: str, document_id: str) -> Node:
        said = self._rows(queries.SAID[kind], document_id) if kind in queries.SAID else []
        facts = _facts(said[0]) if said else ()
        return Node(NodeKind.DOCUMENT, f"{kind} {document_id}", facts, self._postings(kind, document_id))

    def _sale(self, sale_id: str, *, is_up: bool) -> Node:
        rows = self._rows(queries.SALE, sale_id)
        facts = _facts(rows[0], "sale_id") if rows else (("known", "no more: its rows belong to other sales now"),)
        children: list[Node] = []
        if is_up:
            for row in self._rows(queries.PAID_BY, sale_id):
                children.append(Node(NodeKind.PAYOUT, str(row["payout_id"]), _facts(row, "payout_id")))
            if rows and rows[0]["click_id"] is not None:
                children.append(self._click(str(rows[0]["click_id"])))
        for row in self._rows(queries.PAID_FOR, sale_id):
            name = f"{row['partner_account']}:{row['remittance_id']} line {row['line_no']}"
            children.append(Node(NodeKind.REMITTANCE, name, _facts(row, "partner_account", "remittance_id", "line_no")))
        children += self._postings("sale", sale_id)
        if given_up := self._postings("write_off", sale_id):
            children.append(Node(NodeKind.DOCUMENT, f"write_off {sale_id}", (), given_up))
        children += [self._version(row) for row in self._rows(queries.VERSIONS, sale_id)]
        children += [
            Node(NodeKind.BREAK, str(row["kind"]), _facts(row, "kind")) for row in self._rows(queries.BREAKS, sale_id)
        ]
        if not is_up and rows and rows[0]["click_id"] is not None:
            children.append(self._click(str(rows[0]["click_id"])))
        return Node(NodeKind.SALE, sale_id, facts, tuple(children))

    def _named_sale(self, sale_id: str) -> Node:
        rows = self._rows(queries.SALE, sale_id)
        return Node(NodeKind.SALE, sale_id, _facts(rows[0], "sale_id") if rows else ())

    def _postings(self, document_kind: str, document_id: str) -> tuple[Node, ...]:
        return tuple(
            Node(
                NodeKind.POSTING,
                f"{row['year']}/{row['number']} leg {row['leg']}",
                _facts(row, "year", "number", "leg"),
            )
            for row in self._rows(queries.POSTINGS, document_kind, document_id)
        )

    def _version(self, row: Row, *, with_row: bool = True) -> Node:
        name = f"{row['transaction_id']}{'/' if row['line_id'] else ''}{row['line_id']} version {row['version_no']}"
        return Node(
            NodeKind.VERSION,
            name,
            _facts(row, "transaction_id", "line_id", "version_no", "delivery_id", "row_number", "content_hash"),
            (self._row(row),) if with_row else (),
        )

    def _row(self, version: Row) -> Node:
        """Return the delivery row a version came from, with whether the parsed file still says the same."""
        delivery_id, number = str(version["delivery_id"]), int(str(version["row_number"]))
        parts = tuple(
            Node(NodeKind.PART, str(row["name"]), _facts(row, "name")) for row in self._rows(queries.PARTS, delivery_id)
        )
        facts: list[tuple[str, str]] = []
        for delivery in self._rows(queries.DELIVERY, delivery_id):
            path = delivery.pop("object_path")
            facts += _facts(delivery)
            if number == 0:
                moved = str(version.get("raw_status") or "")
                why = moved if moved.startswith("moved to ") else "a complete answer without this transaction"
                facts.append(("row", f"none: {why}"))
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
        days = self._rows(queries.CLICK_DAY, click_id)
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
        return [str(row["object_path"]) for row in self._rows(queries.CLICK_FILES, day, day)]

    def _read_click(self, path: str, click_id: str) -> pa.Table:
        return self.context.lake.read_table(path).filter(pc.field("click_id") == click_id)


def _facts(row: Row, *without: str) -> tuple[tuple[str, str], ...]:
    """Return the columns of a row that say something, as text."""
    return tuple((name, str(value)) for name, value in row.items() if name not in without and value not in (None, ""))
