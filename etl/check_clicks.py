"""Check tracked clicks: findings are stored and told, and nothing is held, as the clicks are facts in use already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from etl.core.context import Context, StageResult
from etl.core.expectations import Severity, Suite, load_suite
from etl.core.findings import Checked, check_together, findings_of, renumbered, with_facts, write_checked
from etl.core.warehouse import fetch, lock

GROUP_ROWS_MAX = 200_000
_FILE = pa.schema([("object_path", pa.string()), ("row_count", pa.int64())])
# What is stored of a click: its id finds it. What else it says may be personal where it should not be.
_STORED = ("row_number", "click_id")


_DUE = """
SELECT object_path, row_count
FROM ops.tracked_file AS f
WHERE relation = 'click' AND source = %s
    AND NOT EXISTS (SELECT 1 FROM ops.check_result AS c WHERE c.delivery_id = f.object_path)
ORDER BY day, object_path
"""


def check_clicks(context: Context, source: str) -> StageResult:
    """Check the files of tracked clicks of a source that were not checked yet, once each.

    A finding is stored under the path of the file that holds the click; its row number is the place in that file. The
    note counts the findings by check. A second run finds nothing to do.
    """
    suite = load_suite("click")
    counts = {"checked_files": 0, "checked_clicks": 0, "findings": 0}
    kinds: Counter[str] = Counter()
    with context.warehouse.transaction() as connection:
        due = fetch(connection, _DUE, _FILE, (source,)).to_pylist()
    for paths in _groups([(row["object_path"], row["row_count"]) for row in due]):
        checked = _checked(context, suite, paths)
        with context.warehouse.transaction() as connection:
            lock(connection, f"check_clicks:{source}")
            still = set(fetch(connection, _DUE, _FILE, (source,))["object_path"].to_pylist())
            new = [(each, rows) for each, rows in checked if each.name in still]
            write_checked(connection, [each for each, _ in new])
        counts["checked_files"] += len(new)
        counts["checked_clicks"] += sum(rows for _, rows in new)
        kinds.update(finding.check.name for each, _ in new for finding in each.findings)
    counts["findings"] = kinds.total()
    note = ""
    if kinds:
        told = ", ".join(f"{name} {count:,}" for name, count in sorted(kinds.items()))
        note = f"{kinds.total():,} findings on clicks ({told}); docs/checks.md says how to list them"
    return StageResult("clicks", source, tuple(counts.items()), note)


def _groups(files: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Yield the paths in order, small files together."""
    group: list[str] = []
    rows = 0
    for path, row_count in files:
        if group and rows + row_count > GROUP_ROWS_MAX:
            yield group
            group, rows = [], 0
        group.append(path)
        rows += row_count
    if group:
        yield group


def _checked(context: Context, suite: Suite, paths: Sequence[str]) -> list[tuple[Checked, int]]:
    """Return what was found in each file, and how many clicks it has."""
    files: list[pa.Table] = []
    for path in paths:
        clicks = context.lake.read_table(path)
        files.append(clicks.append_column("row_number", pa.array(range(1, clicks.num_rows + 1), pa.int64())))
    bases = [sum(file.num_rows for file in files[:place]) for place in range(len(files))]
    told = pa.concat_tables(
        renumbered(file, base).append_column("file_number", pa.repeat(pa.scalar(place, pa.int64()), file.num_rows))
        for place, (file, base) in enumerate(zip(files, bases, strict=True))
    )
    facts = context.engine.run("validate/click_fact", {"click": told}, {"known_at": context.known_at})
    judged = with_facts(told, facts)
    tables = [renumbered(judged.slice(base, file.num_rows), -base) for file, base in zip(files, bases, strict=True)]
    outcomes = check_together(suite.rows, tables)
    return [
        (Checked(path, 0, tuple(of), tuple(findings_of(of, file.select(_STORED), set(Severity)))), file.num_rows)
        for path, of, file in zip(paths, outcomes, files, strict=True)
    ]
