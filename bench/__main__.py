"""`python -m bench NAME`: run a benchmark and print its figures; `--json` ends with one JSON object on a line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import daily, match, match_large, memory, parse, pipeline, post, spark
from bench.measure import CaseFailed
from bench.place import place, told
from bench.result import Result

Benchmark = Callable[[Path, int | None, int, Callable[[str], None]], Result]

BENCHMARKS: dict[str, tuple[str, Benchmark]] = {
    "match": (match.__doc__ or "", match.run),
    "match-large": (match_large.__doc__ or "", match_large.run),
    "parse": (parse.__doc__ or "", parse.run),
    "pipeline": (pipeline.__doc__ or "", pipeline.run),
    "daily": (daily.__doc__ or "", daily.run),
    "post": (post.__doc__ or "", post.run),
    "memory": (memory.__doc__ or "", memory.run),
    "spark": (spark.__doc__ or "", spark.run),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks (all if none is named) and return the exit status."""
    listed = "\n".join(f"  {name:12} {text.splitlines()[0]}" for name, (text, _) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"{__doc__}\n\nBenchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", help="which; all if none is named")
    parser.add_argument("--json", action="store_true", help="end with one JSON object a benchmark")
    parser.add_argument("--rows", type=int, help="another size than the benchmark's own")
    parser.add_argument("--repeat", type=int, default=3, help="how often each case runs; the best counts (default 3)")
    parser.add_argument("--dir", type=Path, help="where the generated data goes (default: a temporary folder)")
    given = parser.parse_args(arguments)
    names = given.name or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose of {', '.join(BENCHMARKS)}")

    for name in names:
        with place(given.dir) as folder:
            try:
                result = BENCHMARKS[name][1](folder, given.rows, given.repeat, told)
            except CaseFailed as error:
                told(f"{name} failed: {error}")
                return 1
        print(result.as_json() if given.json else "\n".join(result.lines()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
