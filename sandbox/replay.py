"""The deliveries of a lived world again in another order, split and repetition: the books must be the same.

`python -m sandbox.replay --name month_1` takes every accepted delivery of the world, lands all of them in a scratch
warehouse in a random order, in several steps with all stages after each, or each of them three times (the very same
answer again, and the same bytes seen a second later); then compares versions, sales, matches, breaks, allocations and
the sums of the ledger, row by row, with those of the world. Nothing is written into the world.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.rows import class_row

from connectors.partners import connector_for
from etl.core.compared import Difference, compare
from etl.core.connector import Answer, Part, Window
from etl.core.context import Context
from etl.core.scratch import copy_inputs, scratch_beside, snapshot
from etl.core.settings import Settings
from etl.core.warehouse import Connection
from etl.installation import clock, open_installation
from etl.land import land
from etl.parse import parse
from etl.rederive import DERIVED, book, booked_through, compared
from etl.validate import release, validate
from sandbox.house import Place

SAME = ("version", "sale", "match", "break", "allocation", "ledger")
"""What is the same whatever came first; when a delivery was parsed, checked and held is not."""
_LEFT_OUT = (
    *DERIVED, "ops.delivery", "ops.delivery_part", "ops.hold_release", "ops.run", "ops.journal_export", "ref.period",
)  # fmt: skip
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Way:
    """One way for the deliveries to come: shuffled by a seed, in so many steps, each once or several times."""

    name: str
    seed: int
    step_count: int
    is_repeated: bool


WAYS = (
    Way("shuffled, all at once", 1, 1, False),
    Way("shuffled, in five steps", 2, 5, False),
    Way("shuffled, in three steps, each three times", 3, 3, True),
)


@dataclass(frozen=True, slots=True)
class _Delivery:
    partner_account: str
    window_from: date
    window_until: date
    observed_at: datetime
    is_secret_blanked: bool
    paths: list[str]
    names: list[str]
    media_types: list[str]


def replay(
    context: Context, day: date, way: Way, told: Callable[[str], None], scratch_url: str | None = None
) -> tuple[int, list[Difference]]:
    """Return how many deliveries came that way, and every difference of the books from those of the world.

    The scratch warehouse is the empty database at `scratch_url`, or that of a server of its own.
    """
    with snapshot(context.warehouse) as stored, scratch_beside(context, scratch_url) as scratch:
        with psycopg.connect(scratch.warehouse.url) as target:
            copy_inputs(stored, target, ("ref", "ops"), _LEFT_OUT)
        arrivals = _arrivals(_deliveries(stored), way)
        for step in range(way.step_count):
            part = arrivals[step :: way.step_count]
            told(f"{way.name}: step {step + 1} of {way.step_count}, {len(part):,} arrivals")
            _live(scratch, part, day)
        with psycopg.connect(scratch.warehouse.url) as derived:
            found = [
                difference
                for what in compared(context.entity.name)
                if what.name in SAME
                for difference in compare(stored, derived, what)
            ]
    return len(arrivals), found


def _deliveries(stored: Connection) -> list[_Delivery]:
    """Return the deliveries that were accepted; what is held is in nobody's books."""
    with stored.cursor(row_factory=class_row(_Delivery)) as cursor:
        return cursor.execute(
            "SELECT d.partner_account, d.window_from, d.window_until, d.observed_at, d.is_secret_blanked,"
            " array_agg(p.object_path ORDER BY p.part_no) AS paths, array_agg(p.name ORDER BY p.part_no) AS names,"
            " array_agg(p.media_type ORDER BY p.part_no) AS media_types"
            " FROM ops.delivery AS d JOIN ops.delivery_part AS p USING (delivery_id)"
            " WHERE EXISTS (SELECT 1 FROM ops.validation AS v"
            "  WHERE v.delivery_id = d.delivery_id AND v.state = 'passed')"
            "  OR EXISTS (SELECT 1 FROM ops.hold_release AS h WHERE h.delivery_id = d.delivery_id)"
            " GROUP BY d.delivery_id ORDER BY d.observed_at, d.delivery_id"
        ).fetchall()


def _arrivals(deliveries: Sequence[_Delivery], way: Way) -> list[_Delivery]:
    arrivals = list(deliveries)
    if way.is_repeated:
        later = [replace(each, observed_at=each.observed_at + timedelta(seconds=1)) for each in deliveries]
        arrivals = [*arrivals, *deliveries, *later]
    random.Random(way.seed).shuffle(arrivals)
    return arrivals


def _live(scratch: Context, arrivals: Sequence[_Delivery], day: date) -> None:
    """Land what arrived and run all stages over it; whatever a check holds, a person has released before."""
    for account in scratch.configuration.accounts:
        connector = connector_for(account.partner)
        with ExitStack() as borrowed:
            answers = [
                Answer(
                    Window(each.window_from, each.window_until),
                    each.observed_at,
                    tuple(
                        Part(borrowed.enter_context(scratch.lake.borrowed(path)), name, media_type)
                        for path, name, media_type in zip(each.paths, each.names, each.media_types, strict=True)
                    ),
                    each.is_secret_blanked,
                )
                for each in arrivals
                if each.partner_account == account.name
            ]
            land(scratch, account, connector, answers)
        parse(scratch, account, connector)
        validate(scratch, account, connector.facts)
    with scratch.warehouse.transaction() as connection:
        held = connection.execute("SELECT delivery_id FROM ops.validation WHERE state = 'held' ORDER BY 1").fetchall()
    for (delivery_id,) in held:
        release(scratch, str(delivery_id), "replay", "accepted in the world that is replayed")
    book(scratch, day, lambda _: None)


@contextmanager
def opened(place: Place) -> Iterator[Context]:
    """Yield a context of the world's installation; its PostgreSQL is started if it does not run, and ended then."""
    with ExitStack() as ends:
        if not place.postgres.running:
            ends.callback(place.postgres.stop)
            place.postgres.start()
        settings = Settings.model_validate(
            {
                "warehouse_url": place.postgres.url(f"tallyback_{place.name}"),
                "lake": str(place.home / "lake"),
                "configuration": place.home / "config",
                "temporary": place.home / "temporary",
                "clock": place.world / "clock.json",
            }
        )
        yield open_installation(settings).context("replay", clock(settings), "replay")


def _progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a world of the demo in every way and return the exit status: 1 if any books differ."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path(".tallyback"), help="where worlds live (default .tallyback)")
    parser.add_argument("--name", default="month_1", help="the world's folder there (default month_1)")
    options = parser.parse_args(arguments)
    place = Place(options.root.resolve(), options.name)
    if not (place.home / "built").exists():
        sys.stderr.write(f"there is no world {place.home}: run `make demo` first, or name another with --name\n")
        return 2
    differing = 0
    with opened(place) as context:
        day = booked_through(context)
        if day is None:
            sys.stderr.write(f"the world {options.name} has no books yet: run `make demo` to its end first\n")
            return 2
        for way in WAYS:
            count, found = replay(context, day, way, _progress)
            by_table = ", ".join(
                f"{name} {number:,}" for name, number in sorted(Counter(o.table for o in found).items())
            )
            print(f"{way.name}: {count:,} arrivals, {len(found):,} differences {by_table}".rstrip(), flush=True)
            for one in found[:_SHOWN]:
                print(f"  {one.table} {one.key}: the world has {one.stored}, here it is {one.follows}")
            differing += bool(found)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
