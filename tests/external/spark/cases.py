"""Recorded queries, and many small ones made into one: a query on Spark takes a second, however few its rows are."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Parameter

# What tells one world's things from another's. All else (amounts, days, statuses, currencies) may be the same in both.
_IDS = frozenset(
    "chain_id next_key partner_account sale_id transaction_id original_transaction_id click_id click_ref"
    " reduction_click_ref ref_folded conversion_id order_ref delivery_id decision_id document_id merchant_id program_id"
    " told_program_id click_program_id partner partner_program_id rule_id term_id winner_id debit_owner credit_owner"
    .split()
)  # fmt: skip
# Where a sale is told by its place, each world has so many of them.
_PLACES = 1_000_000
# Lengths of references, which grow with the mark of their world.
_LENGTHS = frozenset({"ref_length"})


@dataclass(frozen=True, slots=True)
class QueryCase:
    """One run of a query: its name, its relations as tables, its parameters."""

    name: str
    relations: Mapping[str, pa.Table]
    parameters: Mapping[str, Parameter]

    @property
    def row_count(self) -> int:
        """How many rows it reads."""
        return sum(table.num_rows for table in self.relations.values())


def recorded(folder: Path) -> dict[str, list[QueryCase]]:
    """Return what `recorder` wrote, by query, the larger cases first."""
    found: dict[str, list[QueryCase]] = {}
    for place in sorted(folder.iterdir()):
        cases = [QueryCase(*pickle.loads(file.read_bytes())) for file in sorted(place.iterdir())]
        found[cases[0].name] = sorted(cases, key=lambda case: -case.row_count)
    return found


def together(cases: Iterable[QueryCase]) -> Iterator[QueryCase]:
    """Yield one case for all that have the same query and parameters: their worlds side by side, sharing no id."""
    alike: defaultdict[str, list[QueryCase]] = defaultdict(list)
    for case in cases:
        columns = [(name, str(table.schema)) for name, table in sorted(case.relations.items())]
        alike[repr((case.name, sorted(case.parameters.items()), columns))].append(case)
    for group in sorted(alike.values(), key=len, reverse=True):
        first = group[0]
        yield QueryCase(
            first.name,
            {name: _side_by_side([case.relations[name] for case in group]) for name in first.relations},
            first.parameters,
        )


def _side_by_side(tables: list[pa.Table]) -> pa.Table:
    schema = tables[0].schema
    if not _IDS & set(schema.names):
        # Reference data of no world in particular: lengths, currencies, rates. The first world's stand for all, but of
        # days every world has its own instants.
        if "sale_on" in schema.names:
            return pa.concat_tables(tables).group_by(schema.names).aggregate([]).select(schema.names).cast(schema)
        return _marked(tables[0], 0)
    return pa.concat_tables([_marked(table.cast(schema), number) for number, table in enumerate(tables)])


def _marked(table: pa.Table, number: int) -> pa.Table:
    mark = f"w{number:03}~"
    for place, column in enumerate(table.schema):
        if column.name in _IDS and pa.types.is_integer(column.type):
            table = table.set_column(
                place, column, pc.add(table[column.name], pa.scalar(number * _PLACES, column.type))
            )
        elif column.name in _IDS:
            table = table.set_column(
                place, column, pc.binary_join_element_wise(pa.scalar(mark), table[column.name], "").cast(column.type)
            )
        elif column.name in _LENGTHS:
            table = table.set_column(place, column, pc.add(table[column.name], len(mark)).cast(column.type))
    return table
