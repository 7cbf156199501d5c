"""Suites of checks from `expectations/`, run by Great Expectations on pandas; every failing row is named.

Great Expectations is imported when the first check runs, and never before: it costs three seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from etl.core.errors import Stop
from etl.core.plain_yaml import read_yaml

if TYPE_CHECKING:
    import pandas as pd

EXPECTATIONS = Path(__file__).resolve().parent.parent.parent / "expectations"
BATCH_ROWS_MAX = 500_000
VALUES_MAX = 1_000
"""So many values of a column, and no more, are asked of once each instead of row by row."""

_SHOWN_VALUES = 5
_PLACE = "place_of_row"
# What these say of a value hangs on nothing but whether there is one and how long it is;
_OF_SHAPE = frozenset(
    f"expect_column_{words}"
    for words in ("values_to_be_null", "values_to_not_be_null", "value_lengths_to_be_between", "value_lengths_to_equal")
)
# and of these on nothing but the value: not on other rows, nor on how many there are.
_OF_VALUE = frozenset(
    f"expect_column_values_to_{words}"
    for words in ("be_in_set", "not_be_in_set", "be_between", "match_regex", "not_match_regex")
)


class Severity(StrEnum):
    """What a failed check does: its row stays out, the delivery waits for a person, or it is only shown."""

    REJECT = "reject"
    HOLD = "hold"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation, what follows if it fails, and the column whose value a person is then shown."""

    name: str
    expectation: str
    kwargs: Mapping[str, object]
    severity: Severity
    reason: str
    shows: str

    @property
    def expected(self) -> str:
        """Return the expectation as a line of text."""
        return f"{self.expectation}({', '.join(f'{name}={value}' for name, value in self.kwargs.items())})"


@dataclass(frozen=True, slots=True)
class Suite:
    """The checks of a table: of its rows, of the whole of it, and the numbers its SQL facts use."""

    name: str
    rows: tuple[Check, ...]
    whole: tuple[Check, ...]
    parameters: Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found: the row numbers that fail, in order, and some of what was there instead."""

    check: Check
    failing: tuple[int, ...]
    actual: str

    @property
    def is_passed(self) -> bool:
        """Return whether nothing failed."""
        return not self.failing


def load_suite(table: str, partner: str | None = None, directory: Path = EXPECTATIONS) -> Suite:
    """Return the suite of a table, with what `<partner>.yaml` adds or replaces by name; Stop if a file is wrong."""
    paths = [directory / f"{table}.yaml"]
    if partner is not None and (directory / f"{partner}.yaml").exists():
        paths.append(directory / f"{partner}.yaml")
    rows: dict[str, Check] = {}
    whole: dict[str, Check] = {}
    parameters: dict[str, int | str] = {}
    for path in paths:
        content = _read(path)
        if content.get("table") != table:
            raise Stop(f"{path.name}: it is for table {content.get('table')!r}, not {table!r}")
        for part, checks in (("rows", rows), ("whole", whole)):
            for item in _listed(path, content, part):
                check = _check(path, item)
                checks[check.name] = check
        parameters |= _parameters(path, content)
    if shared := rows.keys() & whole.keys():
        raise Stop(f"{paths[-1].name}: {sorted(shared)} are checks of rows and of the whole; rename one")
    return Suite(paths[-1].stem, tuple(rows.values()), tuple(whole.values()), parameters)


def run_checks(checks: Sequence[Check], table: pa.Table) -> list[Outcome]:
    """Return what each check found in `table`, which has a column `row_number`; in batches of `BATCH_ROWS_MAX` rows.

    Of a column with few values each is asked once, where the check is about the value alone; what is said of it holds
    for all rows that have it. Raises Stop if an expectation is unknown or cannot be computed.
    """
    failing: dict[str, list[int]] = {check.name: [] for check in checks}
    shown: dict[str, list[str]] = {check.name: [] for check in checks}
    if checks and table.num_rows:
        columns = sorted({str(check.kwargs["column"]) for check in checks})
        needed = table.select(["row_number", *columns]).combine_chunks()
        for start in range(0, needed.num_rows, BATCH_ROWS_MAX):
            batch = needed.slice(start, BATCH_ROWS_MAX)
            for check, places in _failing_rows(checks, batch):
                failing[check.name] += batch["row_number"].take(places).to_pylist()
                values = batch[str(check.kwargs["column"])].take(places[: _SHOWN_VALUES - len(shown[check.name])])
                shown[check.name] += [str(value)[:200] for value in values.to_pylist()]
    return [
        Outcome(check, tuple(sorted(failing[check.name])), ", ".join(dict.fromkeys(shown[check.name])) or "as expected")
        for check in checks
    ]


@dataclass(frozen=True, slots=True)
class _Alike:
    """The rows of a column by what its checks can tell apart: the group of each row, and a value of each group."""

    groups: pa.Array
    values: pa.Array


def _failing_rows(checks: Sequence[Check], batch: pa.Table) -> Iterator[tuple[Check, pa.Array]]:
    """Yield the places of the rows of a batch that fail, in order, for each check that does not hold."""
    alike: dict[str, _Alike] = {}
    if batch.num_rows > VALUES_MAX:
        asked: dict[str, set[str]] = {}
        for check in checks:
            asked.setdefault(str(check.kwargs["column"]), set()).add(check.expectation)
        for name, expectations in asked.items():
            if (found := _alike(batch[name].combine_chunks(), expectations)) is not None:
                alike[name] = found
    of_groups = [check for check in checks if str(check.kwargs["column"]) in alike]
    of_rows = [check for check in checks if str(check.kwargs["column"]) not in alike]
    if of_groups:
        for check, places in _failures(of_groups, _values({name: each.values for name, each in alike.items()})):
            groups = alike[str(check.kwargs["column"])].groups
            yield check, pc.indices_nonzero(pc.is_in(groups, places.cast(groups.type))).cast(pa.int64())
    if of_rows:
        yield from _failures(of_rows, batch.select(sorted({str(check.kwargs["column"]) for check in of_rows})))


def _alike(column: pa.Array, expectations: Set[str]) -> _Alike | None:
    """Return the rows that these expectations cannot tell apart; None if they can, or tell too many apart."""
    if not expectations <= _OF_SHAPE | _OF_VALUE:
        return None
    if expectations <= _OF_SHAPE:
        shape = pc.utf8_length(column) if pa.types.is_string(column.type) else pc.is_null(column)
        encoded = shape.dictionary_encode(null_encoding="encode")
        if len(encoded.dictionary) > VALUES_MAX:
            return None
        return _Alike(encoded.indices, column.take(pc.index_in(encoded.dictionary, value_set=shape)))
    encoded = column.dictionary_encode(null_encoding="encode")
    return _Alike(encoded.indices, encoded.dictionary) if len(encoded.dictionary) <= VALUES_MAX else None


def _values(values: Mapping[str, pa.Array]) -> pa.Table:
    """Return the values of each column, its first one again where another column has more."""
    most = max(map(len, values.values()))
    return pa.table(
        {name: each.take(pa.array([*range(len(each)), *([0] * (most - len(each)))])) for name, each in values.items()}
    )


def _read(path: Path) -> dict[str, object]:
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Stop(f"expectations/{path.name} cannot be read as YAML: {error}") from error
    known = {"table", "parameters", "rows", "whole"}
    if not isinstance(content, dict) or not content.keys() <= known:
        raise Stop(f"expectations/{path.name}: it is a mapping of {sorted(known)} and nothing else")
    return content


def _listed(path: Path, content: Mapping[str, object], part: str) -> list[object]:
    listed = content.get(part, [])
    if not isinstance(listed, list):
        raise Stop(f"expectations/{path.name}: {part} is a list of checks")
    return listed


def _parameters(path: Path, content: Mapping[str, object]) -> dict[str, int | str]:
    found = content.get("parameters", {})
    if not isinstance(found, dict) or not all(isinstance(value, int | str) for value in found.values()):
        raise Stop(f"expectations/{path.name}: parameters are names with a whole number or a text each")
    return {str(name): value for name, value in found.items()}


def _check(path: Path, item: object) -> Check:
    required = {"name", "expectation", "kwargs", "severity", "reason"}
    if not isinstance(item, dict) or not required <= item.keys() <= required | {"shows"}:
        raise Stop(f"expectations/{path.name}: a check has {sorted(required)}, and may have shows: {item!r:.200}")
    kwargs = item["kwargs"]
    if not isinstance(kwargs, dict) or "column" not in kwargs or "mostly" in kwargs:
        raise Stop(f"expectations/{path.name}: check {item['name']}: kwargs name a column, and never `mostly`")
    if item["severity"] not in set(Severity):
        raise Stop(f"expectations/{path.name}: check {item['name']}: severity is one of {[*map(str, Severity)]}")
    return Check(
        name=str(item["name"]),
        expectation=str(item["expectation"]),
        kwargs=kwargs,
        severity=Severity(item["severity"]),
        reason=str(item["reason"]),
        shows=str(item.get("shows", kwargs["column"])),
    )


def _frame(table: pa.Table) -> pd.DataFrame:
    import pandas

    placed = table.append_column(_PLACE, pa.array(range(table.num_rows), pa.int64()))
    frame: pandas.DataFrame = placed.to_pandas(types_mapper=pandas.ArrowDtype)
    return frame


def _failures(checks: Sequence[Check], table: pa.Table) -> Iterator[tuple[Check, pa.Array]]:
    """Yield the places of the rows of a table that fail, in order, for each check that does not hold.

    All checks are asked first whether they hold, and those that do not then for their rows: to list none costs as much
    as to list many, and on most days every check holds.
    """
    frame = _frame(table)
    failed = {result.expectation_config.meta["check"] for result in _asked(checks, frame, "BOOLEAN_ONLY")}
    broken = {check.name: check for check in checks if check.name in failed}
    if broken:
        complete: dict[str, object] = {"result_format": "COMPLETE", "unexpected_index_column_names": [_PLACE]}
        for result in _asked(list(broken.values()), frame, complete):
            name = str(result.expectation_config.meta["check"])
            yield broken[name], pa.array(_places(name, result), pa.int64())


def _asked(checks: Sequence[Check], frame: pd.DataFrame, result_format: str | dict[str, object]) -> list[Any]:
    """Return the results of the checks that do not hold; Stop if one cannot be computed."""
    batch_of, suite_of = _great_expectations()
    described = [
        {"type": check.expectation, "kwargs": dict(check.kwargs), "meta": {"check": check.name}} for check in checks
    ]
    batch = batch_of.get_batch(batch_parameters={"dataframe": frame})
    found = batch.validate(suite_of(described), result_format=result_format)
    if len(found.results) != len(checks):
        raise Stop(f"{len(checks)} checks were asked for and {len(found.results)} answered: are two of them the same?")
    for result in found.results:
        if result.exception_info and result.exception_info.get("raised_exception"):
            name, why = result.expectation_config.meta["check"], result.exception_info.get("exception_message")
            raise Stop(f"check {name} cannot be computed: {why}")
    return [result for result in found.results if not result.success]


@cache
def _great_expectations() -> tuple[Any, Any]:
    """Return what makes a batch of a data frame, and what makes a suite; imported and set up once a process."""
    # Set before the import, which reads it; there is nobody to be told about our checks.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation import ColumnMapExpectation

    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")

    def suite_of(described: list[dict[str, object]]) -> Any:
        try:
            suite = great_expectations.ExpectationSuite(name="checks", expectations=described)
        except (GreatExpectationsError, ValueError) as error:
            raise Stop(f"an expectation is unknown or has wrong arguments: {error}") from error
        for each in suite.expectations:
            if not isinstance(each, ColumnMapExpectation):
                raise Stop(f"{each.expectation_type} names no rows: use an expectation about the values of one column")
        return suite

    return asset.add_batch_definition_whole_dataframe("rows"), suite_of


def _places(name: str, result: Any) -> list[int]:  # Great Expectations' result has no type of its own here.
    listed = result.result.get("unexpected_index_list")
    if not listed:
        raise Stop(f"check {name} lists no rows: use an expectation about the values of one column")
    return sorted(int(row[_PLACE]) for row in listed)
