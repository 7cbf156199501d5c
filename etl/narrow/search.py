"""What a search for touched sales asks: the warehouse of one transaction, the links of all sales, files of the lake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Objects, Relation
from etl.core.schemas import CLICK, TEXT, TRANSACTION, VERSION
from etl.core.seen import FEW_SALES, SHARE_MAX, Seen
from etl.core.warehouse import Connection, fetch, stage
from etl.given import Given
from etl.match import SALE_LINK, run_step
from etl.narrow.files import Columns, Ids, Instants, Spans

KEY = pa.schema([("partner_account", TEXT), ("transaction_id", TEXT), ("line_id", TEXT)])
SALE_ID = pa.schema([("sale_id", TEXT)])
_LINK_FILE = pa.schema(
    [("object_path", TEXT), ("row_count", pa.int64()), ("first_sale_id", TEXT), ("last_sale_id", TEXT)]
)
_LINK_FILES = f"SELECT {', '.join(_LINK_FILE.names)} FROM ops.sale_link_file ORDER BY object_path"
KEY_COLUMNS = ", ".join(KEY.names)


class Search:
    """One search for what is touched: what was seen `before` and is there `now`, and the most it may find (`limit`)."""

    def __init__(self, connection: Connection, given: Given, before: Seen) -> None:
        self.connection, self.given, self.before, self.now = connection, given, before, given.seen
        self._spans = Spans(connection, given.lake)
        self._link_file = self.fetch(_LINK_FILES, _LINK_FILE)
        self.links = given.files(self._link_file["object_path"].to_pylist(), SALE_LINK)
        self.limit = max(FEW_SALES, (pc.sum(self._link_file["row_count"]).as_py() or 0) // SHARE_MAX)

    def stage(self, name: str, table: pa.Table) -> None:
        """Hold `table` for the queries of this transaction."""
        stage(self.connection, name, table)

    def fetch(self, query: str, schema: pa.Schema, *parameters: object) -> pa.Table:
        """Return the rows of a query of the warehouse."""
        return fetch(self.connection, query, schema, parameters)

    def sales(self, query: str, *parameters: date) -> pa.ChunkedArray:
        """Return the sales that a query of the warehouse names."""
        return self.fetch(query, SALE_ID, *parameters)["sale_id"]

    def sales_of(self, key: pa.Table) -> pa.ChunkedArray:
        """Return the sales that some keys are of, as far as the warehouse knows."""
        self.stage("asked_key", key)
        return self.sales(
            f"SELECT DISTINCT v.sale_id FROM asked_key AS k JOIN ops.transaction_version AS v USING ({KEY_COLUMNS})"
        )

    def keys_of(self, sales: pa.Table) -> pa.Table:
        """Return the keys of some sales, as far as the warehouse knows."""
        self.stage("asked_sale", sales)
        return self.fetch(
            f"SELECT DISTINCT {columns_of('v')} FROM asked_sale AS s JOIN ops.transaction_version AS v USING (sale_id)",
            KEY,
        )

    def versions_of(self, sales: pa.Table, key: pa.Table, versions: pa.Table) -> pa.Table:
        """Return the versions of some sales: those found anew, and of other keys the stored ones."""
        self.stage("asked_sale", sales)
        self.stage("asked_key", key)
        stored = self.fetch(
            f"SELECT {', '.join(f'v.{name}' for name in VERSION.names)} FROM asked_sale AS s"
            " JOIN ops.transaction_version AS v USING (sale_id)"
            f" WHERE NOT EXISTS (SELECT 1 FROM asked_key AS k WHERE ({columns_of('k')})"
            f" = ({columns_of('v')}))",
            VERSION,
        )
        return pa.concat_tables([among(versions, sales), stored])

    def new_files(self, relation: str, schema: pa.Schema) -> Objects:
        """Return the clicks or conversions that were not seen before."""
        known = self.before.of("tracked_file")
        return self.given.files([path for path in self.given.tracked_paths(relation) if path not in known], schema)

    def all_files(self, relation: str, schema: pa.Schema) -> Objects:
        """Return all clicks or conversions."""
        return self.given.files(self.given.tracked_paths(relation), schema)

    def new_click_ids(self) -> pa.Array:
        """Return the ids of the clicks that were not seen before."""
        found = run_step(self.given.engine, "prepare/new_click_id", {"new_click": self.new_files("click", CLICK)}, {})
        return found["click_id"].combine_chunks()

    def rows_of(self, accounts: pa.Array, happened: Mapping[str, Instants] | None = None) -> Objects:
        """Return all files of what partners told of some accounts, or those that may tell of what `happened` in each.

        A complete answer tells of its days by what it leaves out, too.
        """
        told = self.given.delivery.filter(pc.is_in(self.given.delivery["partner_account"], accounts))
        paths: list[str] = told["object_path"].to_pylist()
        if happened is None:
            return self.given.files(paths, TRANSACTION)
        known = self._spans.of(paths, Columns("occurred_at"))
        scopes = {row["delivery_id"]: row for row in self.given.scope.to_pylist() if row["states_scope"]}
        chosen = []
        for row in told.to_pylist():
            at, instants = known[row["object_path"]].at, happened[row["partner_account"]]
            scope = scopes.get(row["delivery_id"])
            is_of_scope = scope is not None and instants.meet(scope["from_at"], scope["until_at"])
            if at is None or is_of_scope or instants.meet(*at):
                chosen.append(row["object_path"])
        return self.given.files(chosen, TRANSACTION)

    def clicks_of(self, happened: Instants, ids: Ids | None) -> Objects:
        """Return the files of clicks that may hold some that `happened` or have these `ids`, and all new ones."""
        paths, seen = self.given.tracked_paths("click"), self.before.of("tracked_file")
        known = self._spans.of(paths, Columns("clicked_at", "click_id"))
        chosen = []
        for path in paths:
            span = known[path]
            if (
                path not in seen
                or span.at is None
                or happened.meet(*span.at)
                or (ids is not None and (span.ids is None or ids.may_lie(*span.ids)))
            ):
                chosen.append(path)
        return self.given.files(chosen, CLICK)

    def known_links(self, sales: pa.Table, new_link: pa.Table) -> pa.Table:
        """Return all that these sales could be found by, and the reversals of their programs."""
        ids = Ids(sales["sale_id"].to_pylist(), ())
        paths = [
            row["object_path"]
            for row in self._link_file.to_pylist()
            if row["first_sale_id"] is None or ids.may_lie(row["first_sale_id"], row["last_sale_id"])
        ]
        links = self.given.files(paths, SALE_LINK)
        relations: dict[str, Relation] = {"sale_link": links, "new_link": new_link, "touched_sale": sales}
        return run_step(self.given.engine, "prepare/link_of_sale", relations, {}).cast(SALE_LINK)

    def linked(self, evidence: pa.Table) -> pa.ChunkedArray:
        """Return the sales that share something with this evidence (schema SALE_LINK)."""
        if evidence.num_rows == 0:
            return SALE_ID.empty_table()["sale_id"]
        relations: dict[str, Relation] = {"sale_link": self.links, "evidence": evidence}
        return run_step(self.given.engine, "prepare/linked_sale", relations, {})["sale_id"]


def columns_of(alias: str) -> str:
    """Return the columns of a key, of the table called `alias`."""
    return ", ".join(f"{alias}.{name}" for name in KEY.names)


def among(table: pa.Table, sales: pa.Table) -> pa.Table:
    """Return the rows of `table` that are of some sales."""
    return table.filter(pc.is_in(table["sale_id"], sales["sale_id"].combine_chunks()))


def union(*ids: pa.ChunkedArray) -> pa.Table:
    """Return all these ids of sales, each once."""
    chunks = [chunk for each in ids for chunk in pa.chunked_array(each, TEXT).chunks]
    return pa.table([pc.unique(pa.chunked_array(chunks, TEXT)).drop_null().sort()], schema=SALE_ID)


def keys(tables: Iterable[pa.Table]) -> pa.Table:
    """Return all these keys (schema KEY), each once."""
    return pa.concat_tables([table.cast(KEY) for table in tables]).group_by(KEY.names).aggregate([]).select(KEY.names)


def evidence(**columns: pa.ChunkedArray) -> pa.Table:
    """Return evidence of these columns of SALE_LINK, the others null."""
    count = len(next(iter(columns.values()))) if columns else 0
    return pa.table([columns.get(each.name, pa.nulls(count, each.type)) for each in SALE_LINK], schema=SALE_LINK)


def without_click(links: Iterable[pa.Table]) -> pa.Table:
    """Return links as evidence of what sales share: that two are matched to one click is nothing to either."""
    table = pa.concat_tables([each.cast(SALE_LINK) for each in links])
    place = SALE_LINK.get_field_index("click_id")
    return table.set_column(place, SALE_LINK.field("click_id"), pa.nulls(table.num_rows, TEXT))
