"""The transaction rows of which new deliveries may make other versions, and those versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Relation
from etl.core.schemas import TEXT, TRANSACTION, VERSION
from etl.given import object_path_of
from etl.match import CONFLICT, SALE_LINK, run_step
from etl.narrow.files import Instants, Interval
from etl.narrow.search import KEY, KEY_COLUMNS, SALE_ID, Search, columns_of, evidence, keys, union

_DELIVERY_ID = pa.schema([("delivery_id", TEXT)])
_KNOWN_KEY = pa.schema([("delivery_id", TEXT), *KEY])
_HAPPENED = pa.schema([("partner_account", TEXT), ("happened_on", pa.date32())])
_DAY = timedelta(days=1)


def touched_versions(search: Search, changed: Sequence[str]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return the keys that may have other versions, all rows of their sales among them, the versions, conflicts."""
    key = keys([_told_otherwise(search, changed), _decided_keys(search)])
    if key.num_rows == 0:
        return key, VERSION.empty_table(), CONFLICT.empty_table()
    key = keys([key, _moved_keys(search)])
    # Known mates first, so that the rows are mostly read once.
    key = keys([key, search.keys_of(union(search.sales_of(key)))])
    fresh, observed = key, []
    while True:
        if key.num_rows > search.limit:
            return key, VERSION.empty_table(), CONFLICT.empty_table()
        observed.append(_observation(search, fresh, changed))
        observation = pa.concat_tables(observed)
        versions = search.given.versions(observation)
        sales = union(versions["sale_id"], search.sales_of(key), _summed_with(search, versions))
        fresh = keys([search.keys_of(sales)]).join(key, KEY.names, join_type="left anti").cast(KEY)
        if fresh.num_rows == 0:
            conflict = run_step(search.given.engine, "conflict", {"observation": observation}, {})
            return key, versions, conflict
        key = keys([key, fresh])


def _told_otherwise(search: Search, changed: Sequence[str]) -> pa.Table:
    """Return the keys of which deliveries that are new, or read anew, tell something else than the last word."""
    if not changed:
        return KEY.empty_table()
    known, given = search.before.of("delivery"), search.given
    told = given.delivery.filter(pc.is_in(given.delivery["delivery_id"], pa.array(changed, TEXT)))
    former = [object_path_of(known[name]) for name in changed if name in known]
    paths = dict.fromkeys([*told["object_path"].to_pylist(), *former])
    observation = given.observation(given.files(paths, TRANSACTION))
    search.stage("told_key", keys([observation.select(KEY.names)]))
    last = search.fetch(
        f"SELECT {', '.join(f'v.{name}' for name in TRANSACTION.names)} FROM told_key AS k CROSS JOIN LATERAL ("
        " SELECT * FROM ops.transaction_version AS o WHERE o.partner_account = k.partner_account"
        " AND o.transaction_id = k.transaction_id AND o.line_id = k.line_id ORDER BY o.version_no DESC LIMIT 1"
        ") AS v WHERE NOT v.is_absent",
        TRANSACTION,
    )
    fresh = [name for name in changed if name not in known]
    relations: dict[str, Relation] = {
        "observation": observation,
        "last_observation": given.observation(last),
        "new_delivery": pa.table([pa.array(fresh, TEXT)], schema=_DELIVERY_ID),
        "doubted_key": search.fetch(f"SELECT {KEY_COLUMNS} FROM ops.break WHERE kind = 'conflicting_versions'", KEY),
        "known_key": _known_in_scope(search, changed),
    }
    return run_step(given.engine, "prepare/touched_key", relations, {}).cast(KEY)


def _known_in_scope(search: Search, changed: Sequence[str]) -> pa.Table:
    """Return the keys known to be of the days that a complete answer among these deliveries speaks of."""
    scope = search.given.scope
    is_meant = pc.and_(scope["states_scope"], pc.is_in(scope["delivery_id"], pa.array(changed, TEXT)))
    search.stage("told_scope", scope.filter(is_meant).select(["delivery_id", "partner_account", "from_at", "until_at"]))
    return search.fetch(
        "SELECT DISTINCT s.delivery_id, v.partner_account, v.transaction_id, v.line_id FROM told_scope AS s"
        " JOIN ops.transaction_version AS v ON v.partner_account = s.partner_account"
        " AND v.occurred_at >= s.from_at AND v.occurred_at < s.until_at",
        _KNOWN_KEY,
    )


def _moved_keys(search: Search) -> pa.Table:
    """Return the keys of sales that moved: they hang together over all keys of a chain."""
    if search.given.moved.num_rows == 0:
        return KEY.empty_table()
    relations: dict[str, Relation] = {
        "transaction_row": search.rows_of(pc.unique(search.given.moved["partner_account"])),
        "moved_key": search.given.moved,
    }
    return run_step(search.given.engine, "prepare/moved_row_key", relations, {}).cast(KEY)


def _observation(search: Search, key: pa.Table, changed: Sequence[str]) -> pa.Table:
    """Return all that was ever told of some keys."""
    accounts = pc.unique(key["partner_account"])
    happened = None if _may_be_anywhere(search, key, changed) else _happened(search, key, changed)
    relations: dict[str, Relation] = {"transaction_row": search.rows_of(accounts, happened), "touched_key": key}
    return search.given.observation(run_step(search.given.engine, "prepare/row_of_key", relations, {}))


def _may_be_anywhere(search: Search, key: pa.Table, changed: Sequence[str]) -> bool:
    """Return whether rows of these keys may have happened when no version says.

    Each row that was heard is a version or says what the version before it said. Not heard are rows that are told of a
    sale after it moved, and those that contradict each other: where a later word settled that, a delivery that is read
    anew may take the word back.
    """
    if search.given.moved.num_rows or any(name in search.before.of("delivery") for name in changed):
        return True
    search.stage("asked_key", key)
    doubted = f"SELECT {columns_of('k')} FROM asked_key AS k JOIN ops.break AS b USING ({KEY_COLUMNS})"
    return bool(search.fetch(f"{doubted} WHERE b.kind = 'conflicting_versions' LIMIT 1", KEY).num_rows)


def _happened(search: Search, key: pa.Table, changed: Sequence[str]) -> dict[str, Instants]:
    """Return the days on which rows of these keys happened, by account: as it was known, and as it was told anew."""
    given = search.given
    told = given.delivery.filter(pc.is_in(given.delivery["delivery_id"], pa.array(changed, TEXT)))
    search.stage("asked_key", key)
    known = search.fetch(
        "SELECT DISTINCT v.partner_account, v.occurred_at::date AS happened_on"
        f" FROM asked_key AS k JOIN ops.transaction_version AS v USING ({KEY_COLUMNS})",
        _HAPPENED,
    )
    relations: dict[str, Relation] = {
        "transaction_row": given.files(told["object_path"].to_pylist(), TRANSACTION),
        "touched_key": key,
    }
    anew = run_step(given.engine, "prepare/day_of_key", relations, {}).cast(_HAPPENED)
    days: dict[str, list[Interval]] = {name: [] for name in pc.unique(key["partner_account"]).to_pylist()}
    for row in pa.concat_tables([known, anew]).to_pylist():
        begun = datetime.combine(row["happened_on"], time())
        days[row["partner_account"]].append((begun, begun + _DAY))
    return {name: Instants(each) for name, each in days.items()}


def _summed_with(search: Search, versions: pa.Table) -> pa.ChunkedArray:
    """Return the sales that a day's sum of a partner that tells sums may belong to, by its reference."""
    model = search.given.model
    summing = model.filter(pc.equal(model["reversal_model"], "aggregate"))["partner_account"]
    rows = versions.filter(pc.is_in(versions["partner_account"], summing.combine_chunks()))
    if rows.num_rows == 0:
        return SALE_ID.empty_table()["sale_id"]
    known = search.known_links(pa.table([pc.unique(rows["sale_id"])], schema=SALE_ID), SALE_LINK.empty_table())
    refs = pa.concat_tables([rows.select(["click_ref"]), known.select(["click_ref"])])
    return search.linked(evidence(click_ref=refs["click_ref"]))


def _decided_keys(search: Search) -> pa.Table:
    """Return the keys that decisions are about which came or went: a key may have no sale."""
    search.stage("changed_id", pa.table([pa.array(search.before.changed(search.now, "decision"), TEXT)], names=["id"]))
    return search.fetch(
        f"SELECT {columns_of('d')} FROM changed_id AS c"
        " JOIN ops.decision AS d ON d.decision_id = c.id WHERE d.break_kind = 'conflicting_versions'"
        # A decision of before breaks were named in them may be about any row of its sale.
        f" UNION SELECT {columns_of('v')} FROM changed_id AS c"
        " JOIN ops.decision AS d ON d.decision_id = c.id"
        " JOIN ops.transaction_version AS v ON v.sale_id = d.sale_id WHERE d.break_kind IS NULL",
        KEY,
    )


def conflicts_of(search: Search, sales: pa.Table, key: pa.Table) -> pa.Table:
    """Return the open contradictions in rows of some sales that nobody told anything new of."""
    search.stage("asked_sale", sales)
    search.stage("asked_key", key)
    return search.fetch(
        "SELECT b.partner, b.partner_account, b.transaction_id, b.line_id, b.expected, b.found"
        " FROM ops.break AS b JOIN asked_sale AS s ON s.sale_id = b.sale_id"
        " WHERE b.kind = 'conflicting_versions'"
        f" AND NOT EXISTS (SELECT 1 FROM asked_key AS k WHERE ({columns_of('k')}) = ({columns_of('b')}))",
        CONFLICT,
    )
