"""What reconcile keeps of all sales, so that the next run finds those that something new could touch.

Links are files of the lake, in order of the sale, with the first and last sale of each in the warehouse: who asks for
some sales reads few of them. Links of sales that only reduce are apart, as any sale of their programs asks for them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.context import Context
from etl.core.engine import Files, Relation
from etl.core.warehouse import Connection, copy_in
from etl.match import SALE_LINK, SALE_REFERENCE, DerivedMatch, run_step
from etl.narrow import Narrowed

LINKS_OF_FILE = 250_000
# So many files more than these rows need are read in each run before they are made anew.
_MORE_FILES_MAX = 60


def remember_all(context: Context, connection: Connection, found: DerivedMatch) -> None:
    """Remember what all sales can be found by, when their references were clicked, and nothing of before."""
    _link_all(context, connection, context.engine.batches(found.link, SALE_LINK))
    connection.execute("DELETE FROM ops.sale_reference")
    copy_in(connection, "ops.sale_reference", context.engine.rows(found.reference).cast(SALE_REFERENCE))


def remember_more(context: Context, connection: Connection, part: Narrowed) -> None:
    """Remember that of sales that were looked at again, as far as it is not known already."""
    found = part.matched
    connection.execute("DELETE FROM ops.sale_reference AS r USING narrow_sale AS n WHERE n.sale_id = r.sale_id")
    copy_in(connection, "ops.sale_reference", found.reference)
    relations: dict[str, Relation] = {"link": found.link, "known_link": part.known_link}
    _put(context, connection, run_step(context.engine, "prepare/new_link", relations, {}).cast(SALE_LINK).to_batches())
    rows = connection.execute("SELECT object_path, row_count FROM ops.sale_link_file").fetchall()
    needed = sum(int(str(count)) for _, count in rows) // LINKS_OF_FILE
    if len(rows) > needed + _MORE_FILES_MAX:
        files = Files([context.lake.local(str(path)) for path, _ in rows], SALE_LINK)
        every = context.engine.derive("reconcile/prepare/every_link", {"sale_link": files})
        _link_all(context, connection, context.engine.batches(every, SALE_LINK))


def _link_all(context: Context, connection: Connection, links: Iterable[pa.RecordBatch]) -> None:
    connection.execute("DELETE FROM ops.sale_link_file")
    _put(context, connection, links)


def _put(context: Context, connection: Connection, links: Iterable[pa.RecordBatch]) -> None:
    """Write links, which come in the order of their sales, to the lake, and name the files in the warehouse."""
    reductions = []
    for piece in _pieces(links):
        is_reduction = pc.fill_null(piece["is_reduction"], False)
        reductions.append(piece.filter(is_reduction))
        rest = piece.filter(pc.invert(is_reduction))
        _put_file(
            context, connection, rest, (rest["sale_id"][0].as_py(), rest["sale_id"][-1].as_py()) if len(rest) else None
        )
    if reductions:
        _put_file(context, connection, pa.concat_tables(reductions), None)


def _pieces(links: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in links:
        held.append(batch)
        if sum(each.num_rows for each in held) >= LINKS_OF_FILE:
            yield pa.Table.from_batches(held, SALE_LINK)
            held = []
    if held:
        yield pa.Table.from_batches(held, SALE_LINK)


def _put_file(context: Context, connection: Connection, link: pa.Table, sales: tuple[str, str] | None) -> None:
    """Write one file with the first and last of its sales; of None any may be in it."""
    if link.num_rows == 0:
        return
    context.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sale-link-", dir=context.temporary) as folder:
        local = Path(folder) / "sale_link.parquet"
        pq.write_table(link, local, compression="zstd")
        path = context.lake.put_file(local, "derived/sale_link", ".parquet").path
    first, last = sales or (None, None)
    connection.execute(
        "INSERT INTO ops.sale_link_file (object_path, row_count, first_sale_id, last_sale_id) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (path, link.num_rows, first, last),
    )
