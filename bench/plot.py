"""`python -m bench.plot FILE`: measure match and pipeline at several sizes and draw time and memory against size."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import match, pipeline
from bench.result import Result

SIZES: dict[str, tuple[int, ...]] = {
    "match": (100_000, 250_000, 500_000, 1_000_000, 2_000_000),
    "pipeline": (50_000, 100_000, 250_000, 500_000, 1_000_000),
}
_RUNS: dict[str, Callable[[Path, int | None, int, Callable[[str], None]], Result]] = {
    "match": match.run_ours,
    "pipeline": pipeline.run,
}
_COLOURS = {"match": "#1f6f8b", "pipeline": "#c2571a"}
_PANEL, _MARGIN, _GAP = (300, 220), (64, 40), 84


@dataclass(frozen=True, slots=True)
class Point:
    """What one size took."""

    rows: int
    seconds: float
    peak_mb: int


def drawn(series: Mapping[str, Sequence[Point]]) -> str:
    """Return an SVG of two panels, both axes logarithmic: seconds and MB against rows."""
    panels: list[tuple[str, Callable[[Point], float]]] = [
        ("seconds", lambda point: point.seconds),
        ("peak memory of the process, MB", lambda point: float(point.peak_mb)),
    ]
    width = 2 * (_PANEL[0] + _MARGIN[0]) + _GAP
    height = _PANEL[1] + 2 * _MARGIN[1] + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="Time and memory against rows" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (title, value) in enumerate(panels):
        left = _MARGIN[0] + number * (_PANEL[0] + _GAP)
        parts += _panel(left, title, {name: [(p.rows, value(p)) for p in points] for name, points in series.items()})
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: int, title: str, series: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    every = [point for points in series.values() for point in points]
    across = _Axis([rows for rows, _ in every], left, left + _PANEL[0])
    up = _Axis([value for _, value in every], _MARGIN[1] + _PANEL[1], _MARGIN[1])
    bottom = _MARGIN[1] + _PANEL[1]
    parts = [f'<text x="{left}" y="{_MARGIN[1] - 14}" font-weight="bold">{title}</text>']
    for tick in across.ticks():
        x = across.at(tick)
        parts.append(f'<line x1="{x}" y1="{_MARGIN[1]}" x2="{x}" y2="{bottom}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:,.0f}</text>')
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + _PANEL[0]}" y2="{y}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:,g}</text>')
    for place, (name, points) in enumerate(series.items()):
        colour = _COLOURS.get(name, "#555555")
        line = " ".join(f"{across.at(rows)},{up.at(value)}" for rows, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{across.at(rows)}" cy="{up.at(value)}" r="3" fill="{colour}">'
            f"<title>{name}: {rows:,} rows, {value:,.1f}</title></circle>"
            for rows, value in points
        ]
        parts.append(f'<text x="{left + 10}" y="{_MARGIN[1] + 16 + 15 * place}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{left + _PANEL[0]}" y="{bottom + 32}" text-anchor="end">rows</text>')
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


def main(arguments: list[str] | None = None) -> int:
    """Measure, then write the drawing; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows-max", type=int, default=1_000_000_000, help="leave larger sizes out")
    parser.add_argument("--dir", type=Path, help="where the generated data goes (default: a temporary folder)")
    given = parser.parse_args(arguments)

    def told(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    series: dict[str, list[Point]] = {}
    for name, run in _RUNS.items():
        for rows in (size for size in SIZES[name] if size <= given.rows_max):
            with tempfile.TemporaryDirectory(prefix="tallyback-bench-", dir=given.dir) as folder:
                place = Path(folder)
                place.chmod(0o711)  # Root's server account must be able to enter.
                result = run(place, rows, 1, told)
            series.setdefault(name, []).append(Point(result.rows, result.ours.seconds, result.ours.peak_mb))
            print(f"{name}: {series[name][-1]}", flush=True)
    given.file.write_text(drawn(series), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
