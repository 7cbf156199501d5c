"""What reconcile and remit copy as bytes has the types of its tables: PostgreSQL takes any value of the same width."""

from __future__ import annotations

import psycopg
import pyarrow as pa

from etl.reconcile import KEPT
from etl.remit import SALE_OUTCOMES

_OWN = {
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.string(): "text",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp without time zone",
    pa.decimal128(18, 4): "numeric(18,4)",
}


def test_what_is_copied_as_bytes_has_the_types_of_the_tables(warehouse_url: str) -> None:
    query = (
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
    )
    typed = [target for target in (*KEPT, SALE_OUTCOMES) if target.is_typed]
    assert {target.noun for target in typed} == {"versions", "sales", "matches", "outcomes"}
    with psycopg.connect(warehouse_url) as connection:
        for target in typed:
            stored = {str(name): kind for name, kind in connection.execute(query, (target.table,)).fetchall()}
            assert stored == {field.name: _OWN[field.type] for field in target.schema}
