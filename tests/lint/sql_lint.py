"""Checks the parsed tree of every file under sql/ against the house's SQL rules. Run: python -m tests.lint.sql_lint

Where what matters is known only at run time (the type of a column), the rule is about form and name: a sum stands in a
CAST, one factor of a product says its type, whole numbers are told by their names. Reasons: docs/sql-subset.md.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp

from etl.core.dialect import to_spark
from etl.core.errors import Stop
from etl.core.spark import SparkEngine

CHECKOUT = Path(__file__).parents[2]
ENGINE = frozenset({"reconcile", "accrue"})
"""Folders whose files run on DuckDB and on Spark, row for row the same."""

ON_POSTGRES = frozenset({"report", "console", "mart"})
FOR_PEOPLE = frozenset({"report", "console"})
WITHOUT_RULES = frozenset({"migrations"})
DIGITS_AT_MOST = 38
DIGITS_OF_WHOLE = 19

_WHOLE = {exp.DType.BIGINT, exp.DType.INT, exp.DType.SMALLINT, exp.DType.TINYINT}
_WHOLE_NAMES = ("_minor", "_product", "_count", "_share", "_rest", "_rank", "whole", "unit", "factor")
_INEXACT = {exp.DType.DOUBLE, exp.DType.FLOAT, exp.DType.INT128, exp.DType.UINT128}
_NOT_PORTABLE = {exp.DType.TIMESTAMPTZ, exp.DType.TIMETZ, exp.DType.UUID}


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One file: its folder below sql/, its leading comment and its text."""

    path: Path
    folder: str
    header: str
    text: str

    @property
    def dialect(self) -> str:
        """The dialect it is written in; a file that runs on PostgreSQL elsewhere than its folder says, says so."""
        return "postgres" if self.folder in ON_POSTGRES or "postgresql" in self.header.lower() else "duckdb"

    @property
    def is_engine(self) -> bool:
        """Whether it must run on both engines."""
        return self.folder in ENGINE and self.dialect == "duckdb"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong in one file."""

    path: Path
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}: {self.what}"


Rule = Callable[[SqlFile, exp.Expr], Iterator[str]]
_REGULAR = "regular expressions belong to parse"
_CHOICE = "is free to choose among rows; use min, max, or row_number over a total order"
_BANNED: dict[type[exp.Expr], str] = {
    exp.Div: "`/` goes through DOUBLE; multiply by a rate, or use whole numbers and floor",
    exp.Avg: "avg goes through DOUBLE; keep sum and count",
    exp.AtTimeZone: "zones belong to parse; see instant_iso() there",
    exp.FromTimeZone: "zones belong to parse; see instant_iso() there",
    exp.RegexpReplace: _REGULAR,
    exp.RegexpLike: _REGULAR,
    exp.RegexpILike: _REGULAR,
    exp.RegexpExtract: _REGULAR,
    exp.RegexpExtractAll: _REGULAR,
    exp.RegexpFullMatch: _REGULAR,
    exp.TimeToStr: "strftime differs between engines; a form for people belongs to the report",
    exp.StrToTime: "strptime differs between engines; reading times belongs to parse",
    exp.ArgMax: f"arg_max, max_by {_CHOICE}",
    exp.ArgMin: f"arg_min, min_by {_CHOICE}",
    exp.AnyValue: f"any_value {_CHOICE}",
    exp.First: f"first {_CHOICE}",
    exp.Last: f"last {_CHOICE}",
    exp.TryCast: "TRY_CAST belongs to parse, behind a test of the form",
}
_BANNED_NAMES = {
    "hash": "hash() differs between engines; use sha256 of a length-prefixed text",
    "timezone": "zones belong to parse; see instant_iso() there",
    "list": "an ordered list() differs between engines; use string_agg with ORDER BY",
}
_CLOCKS = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.Localtimestamp, exp.Rand, exp.Uuid)
_CLOCK_NAMES = frozenset(
    {"now", "get_current_timestamp", "transaction_timestamp", "clock_timestamp", "gen_random_uuid"}
)
_ROUNDED = (exp.Round, exp.Floor, exp.Ceil, exp.Sum, exp.Count, exp.RowNumber, exp.Length, exp.Extract, exp.DateDiff)


def has_header(file: SqlFile, _tree: exp.Expr) -> Iterator[str]:
    """A file begins with its purpose, grain, what it reads and (a relation) its key."""
    keyless = file.folder in FOR_PEOPLE or _gives_one_row(file)
    for word in ("purpose", "grain", "reads", *(() if keyless else ("key",))):
        if not re.search(rf"\b{word}\b[^.]*?:", file.header, re.IGNORECASE):
            yield f"the comment at its head does not say its {word}"


def has_explicit_columns(_file: SqlFile, tree: exp.Expr) -> Iterator[str]:
    """`SELECT *` is nowhere, and what a file gives to others is named column by column."""
    selects = list(tree.find_all(exp.Select))
    for select in selects:
        source = select.args.get("from_")
        if source is not None and isinstance(source.this, exp.Values):
            continue  # VALUES as a relation of its own: the parser writes the star.
        if any(isinstance(column, exp.Star | exp.Columns) for column in select.expressions):
            yield "SELECT *: name the columns"
    final = [select for select in selects if _is_final(select)]
    if any(
        isinstance(column, exp.Column) and isinstance(column.this, exp.Star) for one in final for column in one.selects
    ):
        yield "the final columns hold a `table.*`: name them"


def is_ordered(file: SqlFile, tree: exp.Expr) -> Iterator[str]:
    """What a person or a file will see has an order."""
    is_seen = file.folder in FOR_PEOPLE and "prepare" not in file.path.parts
    if is_seen and not _gives_one_row(file) and tree.args.get("order") is None:
        yield "no ORDER BY at its end: what people see must not change by chance"


def asks_no_clock(_file: SqlFile, tree: exp.Expr) -> Iterator[str]:
    """The day and all ids are parameters, so that a replay is true."""
    for call in tree.find_all(*_CLOCKS):
        yield f"{call.sql()}: take it as a parameter"
    for call in tree.find_all(exp.Anonymous):
        if call.name.lower() in _CLOCK_NAMES:
            yield f"{call.name}(): take it as a parameter"


def casts_behind_a_test(file: SqlFile, tree: exp.Expr) -> Iterator[str]:
    """A text of a partner becomes a value in a macro, which tests its form first; a bare cast rounds and guesses."""
    if file.folder != "parse":
        return
    for cast in tree.find_all(exp.Cast, exp.TryCast):
        if isinstance(cast, exp.TryCast) or (
            isinstance(cast.this, exp.Column) and cast.to.this not in exp.DataType.TEXT_TYPES
        ):
            yield f"{cast.sql('duckdb')}: use a macro (money, whole, instant, ...)"


def macros_test_the_form(text: str) -> Iterator[str]:
    """In a macro, too, a text is cast only in the THEN of a CASE whose WHEN tests its whole form."""
    plain = re.sub(r"--[^\n]*", "", text)
    macros = re.findall(r"\bMACRO\s+(\w+)\s*\([^)]*\)\s+AS\s+(.*?);[ ]*$", plain, re.DOTALL | re.MULTILINE)
    if not macros or len(macros) != len(re.findall(r"\bMACRO\b", plain)):
        yield "holds a macro that cannot be read: write it as CREATE ... MACRO name(arguments) AS expression;"
    for name, body in macros:
        tree = sqlglot.parse_one(f"SELECT {body}", dialect="duckdb")
        for cast in tree.find_all(exp.Cast, exp.TryCast):
            if cast.to.this not in exp.DataType.TEXT_TYPES and not _is_behind_a_test(cast):
                yield f"{name}: {cast.sql('duckdb')} stands behind no test of the form"


def _is_behind_a_test(cast: exp.Expr) -> bool:
    inner: exp.Expr = cast
    while (outer := inner.parent) is not None:
        is_then = isinstance(outer, exp.If) and outer.args.get("true") is inner
        if is_then and outer.this.find(exp.RegexpFullMatch) is not None:
            return True
        inner = outer
    return False


def keeps_to_the_subset(file: SqlFile, tree: exp.Expr) -> Iterator[str]:
    """What differs between DuckDB and Spark, or leaves exact numbers, is not used."""
    if not file.is_engine:
        return
    for node in tree.walk():
        if type(node) in _BANNED:
            yield f"{node.sql('duckdb')[:80]}: {_BANNED[type(node)]}"
        elif isinstance(node, exp.Anonymous) and node.name.lower() in _BANNED_NAMES:
            yield _BANNED_NAMES[node.name.lower()]
        elif isinstance(node, exp.ArrayAgg) and node.find(exp.Order):
            yield _BANNED_NAMES["list"]
        elif isinstance(node, exp.GroupConcat) and not node.find(exp.Order):
            yield f"{node.sql('duckdb')[:80]}: string_agg without ORDER BY"
        elif isinstance(node, exp.Join) and node.method == "ASOF":
            yield "ASOF JOIN is not known to Spark; use a join and row_number"
        elif isinstance(node, exp.Distinct) and node.args.get("on"):
            yield "DISTINCT ON is not known to Spark; use QUALIFY row_number()"
        elif isinstance(node, exp.Literal) and not node.is_string and "e" in node.name.lower():
            yield f"{node.name} is a DOUBLE; write its digits"
        else:
            yield from _typed(node)


def can_be_said_in_spark(file: SqlFile, _tree: exp.Expr) -> Iterator[str]:
    """What runs on both engines translates; no Spark is asked."""
    name = "/".join(file.path.with_suffix("").parts[-3 if "prepare" in file.path.parts else -2 :])
    if file.dialect != "duckdb" or not SparkEngine.is_for_spark(name):
        return
    try:
        to_spark(file.text, {})
    except Stop as error:
        yield str(error)


def _gives_one_row(file: SqlFile) -> bool:
    return re.search(r"grain: one row\.", file.header) is not None


def _typed(node: exp.Expr) -> Iterator[str]:
    """Yield what is wrong with the types a cast, a sum or a product leads to."""
    text = node.sql("duckdb")[:80]
    if isinstance(node, exp.DataType) and node.this in _INEXACT:
        yield f"{text} is not exact, or becomes DOUBLE in Parquet"
    elif isinstance(node, exp.DataType) and node.this in _NOT_PORTABLE:
        yield f"{text} does not survive Parquet on both engines; use TIMESTAMP (UTC) or VARCHAR"
    elif isinstance(node, exp.Cast) and node.to.this in _WHOLE and _may_be_decimal(node.this):
        yield f"{text}: decimal to whole number rounds differently; use round or floor inside"
    elif isinstance(node, exp.Sum) and not isinstance(_of_aggregate(node), exp.Cast):
        yield f"{text}: a sum of whole numbers is HUGEINT; cast it"
    elif isinstance(node, exp.IntDiv) and not (_is_whole(node.this) and _is_whole(node.expression)):
        yield f"{text}: `//` goes through DOUBLE on decimals; name or cast both sides as whole numbers"
    elif isinstance(node, exp.Mul):
        digits = [_digits(factor) for factor in (node.this, node.expression)]
        if not any(digits):
            yield f"{text}: cast one factor to a type, so that what the product can hold is stated"
        elif all(digits) and sum(digits) > DIGITS_AT_MOST:
            yield f"{text}: {sum(digits)} digits do not fit into DECIMAL({DIGITS_AT_MOST}, s)"


def _of_aggregate(node: exp.Expr) -> exp.Expr | None:
    """Return what stands around an aggregate, its FILTER, its OVER and its parentheses."""
    parent = node.parent
    while isinstance(parent, exp.Filter | exp.Window | exp.Paren | exp.Coalesce):
        parent = parent.parent
    return parent


def _may_be_decimal(node: exp.Expr) -> bool:
    inner = node.unnest()
    while isinstance(inner, exp.Window | exp.Filter):
        inner = inner.this
    return not isinstance(inner, (*_ROUNDED, exp.Literal, exp.Null, exp.Case, exp.Placeholder, exp.Cast))


def _is_whole(node: exp.Expr) -> bool:
    """Whether a form or a name says that this is a whole number."""
    inner = node.unnest()
    if isinstance(inner, exp.Column):
        return inner.name.endswith(_WHOLE_NAMES)
    if isinstance(inner, exp.Cast):
        return inner.to.this in _WHOLE
    if isinstance(inner, exp.Neg | exp.Abs):
        return _is_whole(inner.this)
    if isinstance(inner, exp.Add | exp.Sub | exp.Mul):
        return _is_whole(inner.this) and _is_whole(inner.expression)
    return isinstance(inner, exp.Literal) and not inner.is_string and inner.is_int


def _digits(factor: exp.Expr) -> int:
    """Return how many digits a factor may have, as far as it says so, else 0."""
    inner = factor.unnest()
    while isinstance(inner, exp.Neg | exp.Abs | exp.Round):
        inner = inner.this.unnest()
    if isinstance(inner, exp.Interval):
        return 1
    if isinstance(inner, exp.Literal):
        return len(inner.name.replace(".", ""))
    if isinstance(inner, exp.Cast) and inner.to.this == exp.DType.DECIMAL and inner.to.expressions:
        return int(inner.to.expressions[0].name)
    return DIGITS_OF_WHOLE if _is_whole(inner) else 0


def _is_final(select: exp.Select) -> bool:
    """Whether a select gives the file's rows: it stands in no CTE, no subquery, no EXISTS."""
    parent = select.parent
    while isinstance(parent, exp.SetOperation):
        parent = parent.parent
    return parent is None


RULES: tuple[Rule, ...] = (
    has_header,
    has_explicit_columns,
    is_ordered,
    asks_no_clock,
    casts_behind_a_test,
    keeps_to_the_subset,
    can_be_said_in_spark,
)


def read(path: Path, root: Path) -> SqlFile:
    """Read one file below `root`, the folder sql/."""
    text = path.read_text()
    head = re.match(r"(?:\s*--[^\n]*\n)*", text)
    folder = path.relative_to(root).parts[0]
    prepared = "prepare" in path.relative_to(root).parts
    return SqlFile(
        path, f"{folder} prepare" if prepared and folder in ENGINE else folder, head[0] if head else "", text
    )


def lint(file: SqlFile) -> list[Finding]:
    """Return all that is wrong in one file."""
    if file.folder in WITHOUT_RULES:
        return []
    if file.path.name == "macros.sql":
        # Macros are what the rules send people to; tests/parse covers them value by value.
        return [Finding(file.path, "macros test the form", what) for what in macros_test_the_form(file.text)]
    try:
        trees = [tree for tree in sqlglot.parse(file.text, dialect=file.dialect) if tree is not None]
    except sqlglot.ParseError as error:
        return [Finding(file.path, "parse", f"no {file.dialect}: {str(error).splitlines()[0]}")]
    if len(trees) != 1:
        return [Finding(file.path, "one statement", f"has {len(trees)} statements")]
    if not isinstance(trees[0], exp.Select | exp.SetOperation):
        return [Finding(file.path, "one relation", f"is no SELECT but {type(trees[0]).__name__}")]
    return [
        Finding(file.path, rule.__name__.replace("_", " "), what) for rule in RULES for what in rule(file, trees[0])
    ]


def main(root: Path = CHECKOUT / "sql") -> int:
    """Lint every file below sql/, print what is wrong, return 1 if anything is."""
    files = [read(path, root) for path in sorted(root.rglob("*.sql"))]
    findings = [finding for file in files for finding in lint(file)]
    for finding in findings:
        print(finding)
    print(f"{len(files)} SQL files, {len(findings)} findings")
    return 1 if findings or not files else 0


if __name__ == "__main__":
    sys.exit(main())
