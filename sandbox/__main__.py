"""The sandbox from the command line: build a world, start its servers, move its clock, ask for the truth."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

_EXAMPLE = """\
a world in four steps:
  python -m sandbox build --dir .world --seed 1 --size small
  python -m sandbox up    --dir .world                  (keeps running; addresses are in .world/addresses.json)
  python -m sandbox clock --dir .world --set 2026-09-20T06:00:00Z
  python -m sandbox truth --dir .world --as-of 2026-09-20T06:00:00Z

sizes: tiny (8 orders), small (500), month (4,000), large (100,000); or --orders with a table of real ones
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError, RuntimeError, LookupError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description=__doc__, epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="command")

    build = _command(commands, "build", "build a world from a seed into an empty folder", _build)
    build.add_argument("--seed", type=int, default=1, help="the same seed gives the same world (default 1)")
    build.add_argument("--size", choices=("tiny", "small", "month", "large"), default="small")
    build.add_argument("--from", dest="from_on", type=date.fromisoformat, default=date(2026, 9, 1), help="first day")
    build.add_argument("--until", dest="until_on", type=date.fromisoformat, help="day after the last (default 30 days)")
    build.add_argument("--orders", type=Path, help="a Parquet table of real orders; their dates set the span")
    build.add_argument("--rates", type=Path, help="an ECB history file, plain or .gz (default: made from the seed)")
    build.add_argument("--tracker-url", help="SQLAlchemy URL of an empty database (default: SQLite in the folder)")

    up = _command(commands, "up", "start the servers and keep them until SIGTERM, Ctrl-C or the parent's end", _up)
    up.add_argument("--awin-calls-per-minute", type=int, default=20, help="0 allows any number (default 20)")

    serve = _command(commands, "serve", "start one server (what `up` does four times)", _serve)
    serve.add_argument("server", choices=("awin", "tradetracker", "rakuten", "bank"))
    serve.add_argument("--awin-calls-per-minute", type=int, default=20)

    clock = _command(commands, "clock", "show simulated now, or move it forward", _clock)
    clock.add_argument("--set", dest="instant", help="an instant such as 2026-09-08T06:00:00Z")

    truth = _command(commands, "truth", "say what members are really owed at an instant", _truth)
    truth.add_argument("--as-of", help="an instant (default: simulated now)")
    truth.add_argument("--out", type=Path, help="write one row per sale to this Parquet file")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--dir", dest="directory", type=Path, required=True, help="the world's folder")
    command.set_defaults(run=run)
    return command


def _build(options: argparse.Namespace) -> int:
    from sandbox import folder
    from sandbox.world import build_world

    until_on = options.until_on or options.from_on + timedelta(days=30)
    world = build_world(options.seed, options.size, options.from_on, until_on, options.orders, options.rates)
    folder.save(world, options.directory, options.tracker_url)
    sys.stdout.write(f"world of seed {world.seed}, {world.from_on} to {world.until_on}, in {options.directory}\n")
    for name, count in dataclasses.asdict(world.counts).items():
        sys.stdout.write(f"  {name.removesuffix('_count').replace('_', ' '):<32}{count:>10,}\n")
    return 0


def _up(options: argparse.Namespace) -> int:
    from sandbox.servers import process
    from sandbox.up import ADDRESSES_FILE, start

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with start(options.directory, awin_calls_per_minute=options.awin_calls_per_minute) as running:
        for name, address in running.addresses.items():
            shown = address.get("url") or f"sftp://{address['host']}:{address['port']}{address['directory']}"
            sys.stdout.write(f"{name:<14}{shown}\n")
        sys.stdout.write(f"addresses in {options.directory / ADDRESSES_FILE}; Ctrl-C stops all\n")
        sys.stdout.flush()
        process.stop_when_orphaned(stopping)
        # A server that ends by itself is a failure to be seen, so look now and then.
        while not stopping.wait(1.0):
            if any(child.poll() is not None for child in running.processes):
                sys.stderr.write("sandbox: a server ended by itself\n")
                return 1
    return 0


def _serve(options: argparse.Namespace) -> int:
    from sandbox.servers.start import serve

    serve(options.server, options.directory, options.awin_calls_per_minute)
    return 0


def _clock(options: argparse.Namespace) -> int:
    from sandbox import clock
    from sandbox.instants import parsed, shown

    if options.instant is not None:
        count = clock.move_to(options.directory, parsed(options.instant))
        sys.stdout.write(f"{count:,} rows reached the tracker\n")
    sys.stdout.write(shown(clock.now(options.directory)) + "\n")
    return 0


def _truth(options: argparse.Namespace) -> int:
    import pyarrow.parquet as pq

    from sandbox import clock, folder
    from sandbox.instants import parsed, shown
    from sandbox.truth import truth_balance, truth_owed

    world = folder.load(options.directory)
    as_of = parsed(options.as_of) if options.as_of else clock.now(options.directory)
    balances = truth_balance(world, as_of).to_pylist()
    for state in ("pending_minor", "confirmed_minor"):
        total = sum(row[state] for row in balances)
        sys.stdout.write(f"{state.removesuffix('_minor'):<12}EUR {total // 100:>12,}.{total % 100:02d}\n")
    sys.stdout.write(f"{len(balances)} members, as of {shown(as_of)}\n")
    if options.out is not None:
        pq.write_table(truth_owed(world, as_of), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
