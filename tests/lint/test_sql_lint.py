"""Each SQL rule can fail, and the tree as it stands keeps them all."""

from pathlib import Path

import pytest

from tests.lint.sql_lint import CHECKOUT, Finding, lint, main, read

HEADER = "-- purpose: a test.\n-- grain: one row a sale. reads: sale.\n-- key: sale_id.\n"
GOOD = "SELECT sale_id, CAST(SUM(amount_minor) AS BIGINT) AS amount FROM sale GROUP BY sale_id ORDER BY sale_id\n"


def findings(folder: Path, name: str, text: str) -> list[Finding]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return lint(read(path, folder))


def test_a_file_that_keeps_the_rules_is_clean(tmp_path: Path) -> None:
    assert findings(tmp_path, "accrue/good.sql", HEADER + GOOD) == []


@pytest.mark.parametrize(
    "column",
    [
        "a / b",
        "a // b",
        "AVG(a)",
        "SUM(a)",
        "SUM(a) FILTER (WHERE b > 0)",
        "SUM(a) OVER (PARTITION BY b)",
        "CAST(a AS BIGINT)",
        "CAST(a * rate AS BIGINT)",
        "a * b",
        "CAST(a AS DECIMAL(28, 4)) * CAST(b AS DECIMAL(18, 9))",
        "CAST(a AS DOUBLE)",
        "CAST(a AS HUGEINT)",
        "1e3",
        "CAST(a AS TIMESTAMPTZ)",
        "CAST(a AS UUID)",
        "a AT TIME ZONE 'UTC'",
        "timezone('UTC', a)",
        "list(a ORDER BY b)",
        "array_agg(a ORDER BY b)",
        "string_agg(a, ',')",
        "regexp_replace(a, 'b', 'c')",
        "regexp_matches(a, 'b')",
        "regexp_extract(a, 'b')",
        "regexp_full_match(a, 'b')",
        "strftime(a, '%Y')",
        "strptime(a, '%Y')",
        "arg_max(a, b)",
        "max_by(a, b)",
        "min_by(a, b)",
        "any_value(a)",
        "first(a)",
        "hash(a)",
        "TRY_CAST(a AS INTEGER)",
        "now()",
        "current_date",
        "random()",
        "uuid()",
    ],
)
def test_what_the_engines_disagree_on_is_refused_in_reconcile_and_accrue(tmp_path: Path, column: str) -> None:
    for name in ("reconcile/bad.sql", "accrue/bad.sql"):
        assert findings(tmp_path, name, f"{HEADER}SELECT sale_id, {column} AS x FROM sale ORDER BY sale_id"), name


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a.sale_id FROM sale AS a ASOF JOIN click AS c ON a.at >= c.at",
        "SELECT DISTINCT ON (sale_id) sale_id FROM sale",
    ],
)
def test_a_join_or_choice_spark_does_not_know_is_refused(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, "reconcile/bad.sql", HEADER + text)


@pytest.mark.parametrize(
    "column",
    [
        "CAST(SUM(a) FILTER (WHERE b > 0) AS BIGINT)",
        "CAST(SUM(a) OVER (PARTITION BY b) AS BIGINT)",
        "CAST(ROUND(a, 0) AS BIGINT)",
        "CAST(FLOOR(a) AS BIGINT)",
        "CAST(a AS DECIMAL(28, 4)) * rate",
        "CAST(a AS DECIMAL(18, 4)) * CAST(b AS DECIMAL(18, 9))",
        "member_minor // whole",
        "amount_minor * 10",
        "occurred_at + INTERVAL 1 DAY * lookback_days",
        "string_agg(a, ',' ORDER BY b)",
        "row_number() OVER (PARTITION BY a ORDER BY b, sale_id)",
        "first_value(a) OVER (PARTITION BY b ORDER BY sale_id)",
        "sha256(a)",
    ],
)
def test_what_is_the_same_on_both_engines_is_allowed(tmp_path: Path, column: str) -> None:
    assert findings(tmp_path, "accrue/good.sql", f"{HEADER}SELECT sale_id, {column} AS x FROM sale") == []


def test_what_is_prepared_for_the_engine_may_use_all_of_duckdb(tmp_path: Path) -> None:
    text = HEADER + "SELECT sale_id, regexp_replace(a, 'b', 'c') AS x FROM sale"
    assert findings(tmp_path, "reconcile/prepare/good.sql", text) == []
    assert findings(tmp_path, "reconcile/bad.sql", text)


@pytest.mark.parametrize("word", ["purpose", "grain", "reads", "key"])
def test_a_header_that_leaves_something_out_is_refused(tmp_path: Path, word: str) -> None:
    header = HEADER.replace(f"{word}:", "")
    (found,) = findings(tmp_path, "accrue/bad.sql", header + GOOD)
    assert found.what.endswith(f"its {word}")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM sale",
        "SELECT * EXCLUDE (a) FROM sale",
        "SELECT COLUMNS('a') FROM sale",
        "WITH s AS (SELECT * FROM sale) SELECT sale_id FROM s",
        "SELECT s.* FROM sale AS s",
        "SELECT sale_id FROM a UNION ALL SELECT s.* FROM sale AS s",
    ],
)
def test_a_star_is_refused_wherever_it_would_hide_what_a_file_gives(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, "ledger/bad.sql", HEADER + text)


@pytest.mark.parametrize("text", [GOOD + ";" + GOOD, "CREATE TABLE t (a INTEGER)", "SELECT FROM WHERE", ""])
def test_a_file_that_is_not_one_select_is_refused(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, "ledger/bad.sql", HEADER + text)


@pytest.mark.parametrize(
    "column", ["TRY_CAST(amount AS DECIMAL(18, 4))", "CAST(amount AS DECIMAL(18, 4))", "amount::INTEGER"]
)
def test_a_bare_cast_of_a_partner_s_text_is_refused(tmp_path: Path, column: str) -> None:
    assert findings(tmp_path, "parse/awin.sql", f"{HEADER}SELECT {column} AS amount FROM flat")


def test_a_macro_or_a_cast_of_nothing_is_allowed_in_parse(tmp_path: Path) -> None:
    text = "SELECT money(amount) AS amount, CAST(NULL AS VARCHAR) AS reason, CAST(row_number AS VARCHAR) AS r FROM flat"
    assert findings(tmp_path, "parse/awin.sql", HEADER + text) == []


@pytest.mark.parametrize(
    ("body", "is_refused"),
    [
        ("TRY_CAST(t AS DECIMAL(18, 4))", True),
        ("CAST(t AS INTEGER)", True),
        ("CASE WHEN t <> '' THEN TRY_CAST(t AS DATE) END", True),
        ("CASE WHEN regexp_matches(t, '[0-9]') THEN TRY_CAST(t AS BIGINT) END", True),
        ("CASE WHEN regexp_full_match(t, '[0-9]{1,9}') THEN NULL ELSE TRY_CAST(t AS BIGINT) END", True),
        ("CASE WHEN regexp_full_match(t, '[0-9]{1,9}') THEN 1 + CAST(t[1:3] AS BIGINT) END", False),
        ("CASE WHEN regexp_full_match(t, '[a-z]') THEN t::VARCHAR END", False),
        ("hash t", True),
    ],
)
def test_a_macro_casts_only_behind_a_test_of_the_whole_form(tmp_path: Path, body: str, is_refused: bool) -> None:
    text = f"-- why: (a comment;)\nCREATE OR REPLACE TEMP MACRO x(t) AS\n    {body};\n"
    if body == "hash t":
        text = text.replace("MACRO x(t) AS", "MACRO x AS")
    assert bool(findings(tmp_path, "parse/macros.sql", text)) is is_refused


def test_what_people_see_has_an_order(tmp_path: Path) -> None:
    text = HEADER + "SELECT sale_id FROM sale"
    (found,) = findings(tmp_path, "report/bad.sql", text)
    assert "ORDER BY" in found.what
    assert findings(tmp_path, "report/good.sql", text + " ORDER BY sale_id") == []
    assert findings(tmp_path, "report/prepare/good.sql", text) == []


def test_migrations_are_left_alone(tmp_path: Path) -> None:
    assert findings(tmp_path, "migrations/0001.sql", "CREATE TABLE a (b INTEGER); CREATE TABLE c (d INTEGER);") == []


def test_an_empty_tree_is_no_success(tmp_path: Path) -> None:
    assert main(tmp_path) == 1


def test_the_tree_keeps_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    found = main(CHECKOUT / "sql")
    said = capsys.readouterr().out
    assert found == 0, said
    assert len(list((CHECKOUT / "sql" / "parse").glob("*.sql"))) > 1
