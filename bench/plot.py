"""`python -m bench.plot FILE`: measure match and pipeline at several sizes and draw time and memory against size.

What was measured is kept beside the drawing, a line of JSON each, as `python -m bench NAME --json` prints it; `--kept`
draws such files and measures nothing, so sizes that take long can be measured apart.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import match, pipeline
from bench.place import place, told
from bench.result import Result

SIZES: dict[str, tuple[int, ...]] = {
    "match": (100_000, 250_000, 500_000, 1_000_000, 2_000_000),
    "pipeline": (25_000, 50_000, 100_000, 250_000, 500_000),
}
_RUNS: dict[str, Callable[[Path, int | None, int, Callable[[str], None]], Result]] = {
    "match": match.run_ours,
    "pipeline": pipeline.run,
}
_COLOURS = {"match": "#1f6f8b", "match-large": "#7a4f9a", "pipeline": "#c2571a"}
_PANEL, _MARGIN, _GAP = (330, 260), (58, 44), 76
_LEGEND = (
    "Solid: ours, the memory of its process. Dashed: in the same run, the bare join (match), the bare COPY (pipeline), "
    "the memory of PostgreSQL (pipeline).",
    "Both axes are logarithmic; a line as steep as the grey diagonals grows in proportion to the rows.",
)


@dataclass(frozen=True, slots=True)
class Point:
    """What one size took: ours, the floor, and PostgreSQL's memory where there was one."""

    rows: int
    seconds: float
    peak_mb: int
    floor_seconds: float
    postgres_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One measure against rows: lines of (rows, value) by series, and dashed ones to compare."""

    title: str
    unit: str
    lines: Mapping[str, Sequence[tuple[int, float]]]
    dashed: Mapping[str, Sequence[tuple[int, float]]]


def read(lines: Iterable[str]) -> dict[str, list[Point]]:
    """Return the points of lines of JSON, by series and in order of rows; of one size told twice the last counts."""
    found: dict[str, dict[int, Point]] = {}
    for line in lines:
        told_of = json.loads(line)
        if told_of["name"] in _COLOURS:
            point = Point(
                int(told_of["rows"]),
                float(told_of["seconds"]),
                int(told_of["peak_mb"]),
                float(told_of["floor_seconds"]),
                told_of.get("postgres_peak_mb"),
            )
            found.setdefault(told_of["name"], {})[point.rows] = point
    return {name: [points[rows] for rows in sorted(points)] for name, points in sorted(found.items())}


def drawn(series: Mapping[str, Sequence[Point]]) -> str:
    """Return an SVG of two panels, both axes logarithmic: seconds and MB against rows."""
    panels = (
        Panel(
            "Time, seconds",
            "s",
            {name: [(p.rows, p.seconds) for p in points] for name, points in series.items()},
            {name: [(p.rows, p.floor_seconds) for p in points] for name, points in series.items()},
        ),
        Panel(
            "Peak memory, MB",
            "MB",
            {name: [(p.rows, float(p.peak_mb)) for p in points] for name, points in series.items()},
            {
                name: [(p.rows, float(p.postgres_mb)) for p in points if p.postgres_mb is not None]
                for name, points in series.items()
            },
        ),
    )
    width = 2 * (_PANEL[0] + _MARGIN[0]) + _GAP
    height = _PANEL[1] + 2 * _MARGIN[1] + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="Time and memory against rows" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(_MARGIN[0] + number * (_PANEL[0] + _GAP + _MARGIN[0] // 2), panel)
    for number, text in enumerate(_LEGEND):
        y = height - 8 - 15 * (len(_LEGEND) - 1 - number)
        parts.append(f'<text x="{_MARGIN[0]}" y="{y}" font-size="10" fill="#555555">{text}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: int, panel: Panel) -> list[str]:
    every = [point for lines in (panel.lines, panel.dashed) for points in lines.values() for point in points]
    top, bottom = _MARGIN[1], _MARGIN[1] + _PANEL[1]
    across = _Axis([rows for rows, _ in every], left, left + _PANEL[0])
    up = _Axis([value for _, value in every], bottom, top)
    parts = [f'<text x="{left}" y="{top - 16}" font-size="13" font-weight="bold">{panel.title}</text>']
    for tick in across.ticks():
        x = across.at(tick)
        parts.append(f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:,.0f}</text>')
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + _PANEL[0]}" y2="{y}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:,g}</text>')
    parts += _in_proportion(across, up)
    for name, points in panel.dashed.items():
        parts += _line(points, across, up, f'stroke="{_COLOURS[name]}" stroke-width="1.5" stroke-dasharray="4 3"')
        parts += _dots(
            points, across, up, f'r="2" fill="#ffffff" stroke="{_COLOURS[name]}"', f"beside {name}", panel.unit
        )
    for number, (name, points) in enumerate(panel.lines.items()):
        colour = _COLOURS[name]
        parts += _line(points, across, up, f'stroke="{colour}" stroke-width="2"')
        parts += _dots(points, across, up, f'r="3" fill="{colour}"', name, panel.unit)
        parts.append(f'<text x="{left + 10}" y="{top + 18 + 15 * number}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{left + _PANEL[0]}" y="{bottom + 31}" text-anchor="end">rows</text>')
    return parts


def _line(points: Sequence[tuple[int, float]], across: _Axis, up: _Axis, style: str) -> list[str]:
    at = " ".join(f"{across.at(rows)},{up.at(value)}" for rows, value in points)
    return [f'<polyline points="{at}" fill="none" {style}/>'] if points else []


def _dots(points: Sequence[tuple[int, float]], across: _Axis, up: _Axis, style: str, name: str, unit: str) -> list[str]:
    return [
        f'<circle cx="{across.at(rows)}" cy="{up.at(value)}" {style}>'
        f"<title>{name}: {rows:,} rows, {value:,.1f} {unit}</title></circle>"
        for rows, value in points
    ]


def _in_proportion(across: _Axis, up: _Axis) -> list[str]:
    """Return a diagonal through each crossing of powers of ten at the left and the bottom edge."""
    begins = [(across.ticks()[0], value) for value in up.ticks()[:-1]]
    begins += [(rows, up.ticks()[0]) for rows in across.ticks()[1:-1]]
    parts = []
    for rows, value in begins:
        times = min(across.ticks()[-1] / rows, up.ticks()[-1] / value)
        parts.append(
            f'<line x1="{across.at(rows)}" y1="{up.at(value)}" x2="{across.at(rows * times)}" '
            f'y2="{up.at(value * times)}" stroke="#ececec"/>'
        )
    return parts


class _Axis:
    """A logarithmic scale over whole decades around some values."""

    def __init__(self, values: Sequence[float], begin: int, end: int) -> None:
        self._least = math.floor(math.log10(min(values)))
        self._most = max(math.ceil(math.log10(max(values))), self._least + 1)
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        """Return where a value is drawn."""
        share = (math.log10(value) - self._least) / (self._most - self._least)
        return round(self._begin + share * (self._end - self._begin), 1)

    def ticks(self) -> list[float]:
        """Return the powers of ten on the scale."""
        return [10.0**power for power in range(self._least, self._most + 1)]


def measured(rows_max: int, parent: Path | None, keep: Callable[[str], None]) -> None:
    """Run both benchmarks at all sizes up to `rows_max`, once each, and hand the line of each result to `keep`."""
    for name, run in _RUNS.items():
        for rows in (size for size in SIZES[name] if size <= rows_max):
            with place(parent) as folder:
                keep(run(folder, rows, 1, told).as_json())


def main(arguments: list[str] | None = None) -> int:
    """Measure, then write the drawing; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("file", type=Path, help="the SVG; what was measured goes beside it, as .jsonl")
    parser.add_argument("--kept", type=Path, nargs="+", help="draw what these files hold, and measure nothing")
    parser.add_argument("--rows-max", type=int, default=1_000_000_000, help="leave larger sizes out")
    parser.add_argument("--dir", type=Path, help="where the generated data goes (default: a temporary folder)")
    given = parser.parse_args(arguments)
    kept: list[Path] = given.kept or [given.file.with_suffix(".jsonl")]
    if given.kept is None:
        kept[0].write_text("", encoding="utf-8")

        def keep(line: str) -> None:
            print(line, flush=True)
            with kept[0].open("a", encoding="utf-8") as out:
                out.write(f"{line}\n")

        measured(given.rows_max, given.dir, keep)
    lines = [line for path in kept for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    if not (series := read(lines)):
        told(f"nothing was measured: {' and '.join(map(str, kept))} hold no line of {', '.join(_COLOURS)}")
        return 1
    given.file.write_text(drawn(series), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
