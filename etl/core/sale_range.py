"""Some sales out of many, a range of ids or a list, so that a stage goes through all of them with few in hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import psycopg

from etl.core.warehouse import Connection


@dataclass(frozen=True, slots=True)
class SaleRange:
    """Sales from an id up to another, in the order of the warehouse; None is from the first, or to the last."""

    from_id: str | None = None
    until_id: str | None = None


ALL = SaleRange()
Some: TypeAlias = "Sequence[str] | SaleRange"


def is_among(column: str, some: Some) -> tuple[str, dict[str, object]]:
    """Return the condition that `column` has the id of one of some sales, and its parameters."""
    if not isinstance(some, SaleRange):
        return f"{column} = ANY(%(named)s)", {"named": list(some)}
    conditions, parameters = ["true"], dict[str, object]()
    for name, sign, bound in (("from_id", ">=", some.from_id), ("until_id", "<", some.until_id)):
        if bound is not None:
            conditions.append(f"{column} {sign} %({name})s")
            parameters[name] = bound
    return " AND ".join(conditions), parameters


def condition_of(connection: Connection, column: str, some: Some) -> str:
    """Return the same condition with its parameters written out."""
    condition, parameters = is_among(column, some)
    return psycopg.ClientCursor(connection).mogrify(condition, parameters)


def in_parts(connection: Connection, sales: Sequence[str] | None, count: int) -> Iterator[Some]:
    """Yield `count` sales at a time, in their order: of the named ones, or of all there are (None).

    Of all, the parts cover every id, that of a sale which is no more, too.
    """
    if sales is not None:
        named = sorted(sales)
        yield from (named[first : first + count] for first in range(0, len(named), count))
        return
    from_id: str | None = None
    while (until_id := _after(connection, from_id, count)) is not None:
        yield SaleRange(from_id, until_id)
        from_id = until_id
    yield SaleRange(from_id)


def _after(connection: Connection, from_id: str | None, count: int) -> str | None:
    """Return the id of the sale that comes `count` sales after `from_id`, None if there are no more than so many."""
    condition, parameters = is_among("sale_id", SaleRange(from_id))
    query = f"SELECT sale_id FROM ops.sale WHERE {condition} ORDER BY sale_id OFFSET %(count)s LIMIT 1"
    row = connection.execute(query, {**parameters, "count": count}).fetchone()
    return None if row is None else str(row[0])
