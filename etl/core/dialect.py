"""The SQL of the engine said in Apache Spark's: what sqlglot translates, and the few things that it does not.

Pure text to text: no Spark, no Java. What cannot be said is a Stop, so that `make check` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from etl.core.errors import Stop

_KEPT = "_kept"
# Functions that sqlglot passes on by name and that Spark has by that name and meaning.
_SAME_NAME = frozenset({"concat_ws", "from_utc_timestamp"})
_UTC = "UTC"


def to_spark(text: str, relations: Mapping[str, str], *, is_ordered: bool = True) -> str:
    """Return one SELECT of DuckDB as Spark's; `relations` are the names that its relations go by there.

    Without `is_ordered` the order is left out, for a result that only other queries read. Raises Stop if something in
    it has no counterpart.
    """
    tree: exp.Expr = _parsed(text).copy()
    if not is_ordered:
        tree.set("order", None)
    for cte in tree.find_all(exp.CTE):
        # Whether DuckDB keeps what a CTE gave or asks for it again is nothing to Spark, which decides for itself.
        cte.set("materialized", None)
    _rename(tree, relations)
    # Those inside before those around them.
    for node in reversed(list(tree.walk())):
        if (said := _said(node)) is not node:
            node.replace(said)
    for select in list(tree.find_all(exp.Select)):
        if select.args.get("qualify") is not None:
            tree = _without_qualify(tree, select)
    try:
        return tree.sql("spark", comments=False, unsupported_level=sqlglot.ErrorLevel.RAISE)
    except SqlglotError as error:
        raise Stop(f"Spark has no counterpart of something in the query: {str(error).splitlines()[0]}") from error


def relations_of(text: str) -> frozenset[str]:
    """Return the names of the relations that a query reads; they are not its CTEs."""
    tree = _parsed(text)
    own = {cte.alias for cte in tree.find_all(exp.CTE)}
    return frozenset(table.name for table in tree.find_all(exp.Table)) - own


def names_in(text: str) -> frozenset[str] | None:
    """Return all names in a query, those of its columns among them; None if it reads all columns of something."""
    tree = _parsed(text)
    # The star of count(*) reads no column.
    stars = [star for star in tree.find_all(exp.Star) if not isinstance(star.parent, exp.Count)]
    return None if stars else frozenset(name.name for name in tree.find_all(exp.Identifier))


@lru_cache(maxsize=256)
def _parsed(text: str) -> exp.Query:
    try:
        (tree,) = sqlglot.parse(text, dialect="duckdb")
    except (SqlglotError, ValueError) as error:
        raise Stop(f"the query is not one SELECT of DuckDB: {str(error).splitlines()[0]}") from error
    if not isinstance(tree, exp.Query):
        raise Stop("the query is not one SELECT")
    return tree


def _rename(tree: exp.Expr, names: Mapping[str, str]) -> None:
    """Let tables of the query go by other names; a CTE of the same name hides one."""
    hidden = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.name in names and table.name not in hidden:
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
            table.set("this", exp.to_identifier(names[table.name]))


def _said(node: exp.Expr) -> exp.Expr:
    """Return what stands for one node, where sqlglot's own translation is not what DuckDB means."""
    if isinstance(node, exp.AtTimeZone):
        return _local_time(node)
    if isinstance(node, exp.TimestampTrunc):
        # Spark's gives a time with a zone, which only its session knows.
        return _as_instant(node.copy())
    if isinstance(node, exp.UnixToTime):
        return _as_instant(exp.Anonymous(this="TIMESTAMP_MICROS", expressions=[node.this.copy()]))
    if isinstance(node, exp.Anonymous):
        return _function(node)
    return node


def _local_time(node: exp.AtTimeZone) -> exp.Expr:
    """`x AT TIME ZONE 'UTC' AT TIME ZONE z`: what clocks in z show at the instant x."""
    inner = node.this
    if isinstance(node.parent, exp.AtTimeZone) and node.args["zone"].name == _UTC:
        return node
    if not (isinstance(inner, exp.AtTimeZone) and inner.args["zone"].name == _UTC):
        raise Stop(f"{node.sql('duckdb')}: zones are said as x AT TIME ZONE 'UTC' AT TIME ZONE z")
    return _as_instant(
        exp.Anonymous(this="FROM_UTC_TIMESTAMP", expressions=[inner.this.copy(), node.args["zone"].copy()])
    )


def _as_instant(node: exp.Expr) -> exp.Expr:
    return exp.Cast(this=node, to=exp.DataType.build("TIMESTAMP_NTZ", dialect="spark"))


def _function(node: exp.Anonymous) -> exp.Expr:
    name = node.name.lower()
    if name == "epoch_us":
        return exp.Anonymous(this="UNIX_MICROS", expressions=[exp.cast(node.expressions[0].copy(), "TIMESTAMPLTZ")])
    if name in _SAME_NAME:
        return node
    raise Stop(f"{node.sql('duckdb')[:80]}: Spark knows no such function, or another one of that name")


def _without_qualify(tree: exp.Expr, select: exp.Select) -> exp.Expr:
    """Return `tree` with the condition of `select` on its windows as a column that the select around it filters by."""
    condition = select.args["qualify"].this
    select.set("qualify", None)
    order = select.args.get("order")
    select.set("order", None)
    with_ = select.args.get("with_")
    select.set("with_", None)
    has_star = any(column.is_star for column in select.expressions)
    names = (
        [exp.Star(except_=[exp.to_identifier(_KEPT)])]
        if has_star
        else [exp.column(name) for name in select.named_selects]
    )
    outer = exp.select(*names)
    is_whole = select is tree
    if not is_whole:
        select.replace(outer)
    inner = select.select(exp.alias_(condition, _KEPT), copy=False)
    outer.set("from_", exp.From(this=exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("_all")))))
    outer.set("where", exp.Where(this=exp.column(_KEPT)))
    outer.set("order", _by_name(order))
    outer.set("with_", with_)
    return outer if is_whole else tree


def _by_name(order: exp.Order | None) -> exp.Order | None:
    """Return the order with columns as the select around it knows them: without the relation they came from."""
    for column in order.find_all(exp.Column) if order is not None else ():
        column.set("table", None)
    return order
