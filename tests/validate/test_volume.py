"""An ordinary file is hardly ever held for its size, however the account grows, rests or bursts; a broken one is."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta

import pyarrow as pa
import pytest

from etl.core.engine import Engine
from etl.core.expectations import load_suite
from etl.validate import _DELIVERY, _HISTORY, _PLACE, _WHOLE_PARAMETERS

FIRST = date(2026, 1, 5)
DAYS = 150
SIZES = (3, 30, 100, 400, 3_000)
Counts = list[int]


def facts_of(rows: list[dict[str, object]], held: list[int]) -> pa.Table:
    """Return the facts of deliveries whose rows are all in order, in a run that holds those places."""
    suite, size = load_suite("transaction"), len(rows)
    in_order = pa.array([0] * size, pa.int64())
    row_total = {
        "place": pa.array(range(1, size + 1), pa.int64()),
        "newest_at": pa.nulls(size, pa.timestamp("us")),
        **dict.fromkeys(("outside_window", "conflicting_keys", "repeated_count"), in_order),
    }
    numbered = [{**row, "place": place, "reject_count": 0} for place, row in enumerate(rows, 1)]
    return Engine().run(
        "validate/whole_fact",
        {
            "delivery": pa.Table.from_pylist(numbered, schema=_DELIVERY),
            "row_total": pa.table(row_total),
            "history": _HISTORY.empty_table(),
            "held": pa.table([held], schema=_PLACE),
        },
        {name: suite.parameters[name] for name in _WHOLE_PARAMETERS},
    )


def judged(
    counts: Mapping[str, Counts], fact: str = "rows_beyond_history", *, days: int = 1, held: tuple[int, ...] = ()
) -> dict[str, list[int]]:
    """Return for each series the numbers of those whose fact is above 0; each sees those before it but for the held."""
    of: list[tuple[str, int]] = []
    rows: list[dict[str, object]] = []
    for number in range(max(map(len, counts.values()))):
        for series in counts:
            if number < len(counts[series]):
                day = FIRST + timedelta(days=number * days)
                of.append((series, number))
                rows.append(
                    {
                        "delivery_id": f"{series} {number:04d}",
                        "series": series,
                        "window_from": day,
                        "window_until": day + timedelta(days=days),
                        "observed_at": datetime.combine(day, datetime.min.time()) + timedelta(days=days, hours=6),
                        "row_count": counts[series][number],
                    }
                )
    facts = facts_of(rows, [place for place, (_, number) in enumerate(of, 1) if number in held])
    found: dict[str, list[int]] = defaultdict(list)
    for (series, number), value in zip(of, facts[fact].to_pylist(), strict=True):
        if value:
            found[series].append(number)
    return found


def poisson(chance: random.Random, mean: float) -> int:
    """Return a count with that mean, by chance alone."""
    if mean > 500:
        return max(0, round(chance.gauss(mean, mean**0.5)))
    count, waited = 0, chance.expovariate(1)
    while waited < mean:
        count, waited = count + 1, waited + chance.expovariate(1)
    return count


def bursty(chance: random.Random, mean: float, spread: float) -> int:
    """Return a count that varies by `spread` of its mean beside chance."""
    shape = 1 / spread**2
    return poisson(chance, chance.gammavariate(shape, mean / shape))


KINDS: dict[str, Callable[[random.Random, int, int], int]] = {
    "steady": lambda chance, mean, _: poisson(chance, mean),
    "bursty": lambda chance, mean, _: bursty(chance, mean, 0.3),
    "wild": lambda chance, mean, _: bursty(chance, mean, 0.7),
    "rests at weekends": lambda chance, mean, day: bursty(chance, mean * (0.3 if day % 7 > 4 else 1), 0.1),
    "closed on Saturdays": lambda chance, mean, day: 0 if day % 7 == 5 else bursty(chance, mean, 0.1),
    "grows by 1 % a day": lambda chance, mean, day: bursty(chance, mean * 1.01**day / 3, 0.1),
    "grows by 5 % a day": lambda chance, mean, day: bursty(chance, mean * min(1.05**day / 100, 3), 0.1),
    "dies slowly": lambda chance, mean, day: bursty(chance, mean * 0.98**day, 0.1),
    "triples at month ends": lambda chance, mean, day: bursty(chance, mean * (3 if is_month_end(day) else 1), 0.1),
}


def is_month_end(day: int) -> bool:
    return (FIRST + timedelta(days=day + 1)).day < 3


def ordinary(seed: int) -> dict[str, Counts]:
    """Return the daily counts of an account of each kind and size."""
    return {
        f"{kind}, {mean}": [make(random.Random(f"{seed}/{kind}/{mean}/{day}"), mean, day) for day in range(DAYS)]
        for kind, make in KINDS.items()
        for mean in SIZES
    }


def test_an_ordinary_file_is_hardly_ever_held_for_its_size() -> None:
    found = judged(ordinary(seed=1))
    held = {series: places for series, places in found.items() if places}
    print(f"{sum(map(len, held.values()))} of {len(KINDS) * len(SIZES) * DAYS:,} held: {held}")
    assert sum(map(len, held.values())) <= len(KINDS) * len(SIZES) * DAYS / 1_000
    assert all(len(places) <= 2 for places in held.values()), held


@pytest.mark.parametrize(
    ("kind", "mean", "factor"),
    [
        ("steady", 100, 0), ("steady", 100, 0.1), ("steady", 400, 0.5), ("steady", 200, 2), ("steady", 3_000, 0.7),
        ("steady", 3_000, 1.4), ("bursty", 400, 10), ("rests at weekends", 400, 0), ("rests at weekends", 400, 5),
        ("closed on Saturdays", 400, 3), ("grows by 1 % a day", 400, 5), ("triples at month ends", 400, 0.1),
    ],
)  # fmt: skip
def test_a_file_cut_short_or_doubled_is_held_where_history_can_tell(kind: str, mean: int, factor: float) -> None:
    counts = {}
    for seed in range(20):
        whole = [KINDS[kind](random.Random(f"{seed}/{day}"), mean, day) for day in range(66)]
        counts[f"{seed}"] = [*whole[:65], int(whole[65] * factor)]
    caught = sum(65 in places for places in judged(counts).values())
    print(f"{kind}, {mean} rows, times {factor}: {caught} of 20 held")
    assert caught >= 18


def test_what_is_held_is_no_history_and_what_is_released_is() -> None:
    steady = [100 + day % 7 for day in range(30)]
    counts = {"a": [*steady, 1_000, 990, 1_000]}
    assert judged(counts) == {"a": [30]}
    assert judged(counts, held=(30,)) == {"a": [30, 31]}
    assert judged(counts, held=(30, 31)) == {"a": [30, 31, 32]}


def test_two_weeks_are_the_least_history_and_six_deliveries() -> None:
    assert judged({"a": [*[100] * 13, 1_000]}) == {}
    assert judged({"a": [*[100] * 14, 1_000]}) == {"a": [14]}
    assert judged({"a": [*[100] * 5, 1_000]}, days=5) == {}
    assert judged({"a": [*[100] * 6, 1_000]}, days=5) == {"a": [6]}


def test_files_of_a_small_and_a_large_network_are_not_compared() -> None:
    counts = {"network=3": [*[5] * 40, 900], "network=9": [900] * 41}
    assert judged(counts) == {"network=3": [40]}


def test_a_first_month_end_may_be_large_and_a_second_only_as_large() -> None:
    days = [40 if is_month_end(day) else 10 for day in range(60)]
    first = [day for day in range(60) if is_month_end(day)]
    counts = [count * 20 for count in days]
    assert len(first) == 4
    assert judged({"a": counts}) == {}
    counts[first[2]] = 4_000
    assert judged({"a": counts}) == {"a": [first[2]]}


def test_silence_is_told_of_an_account_that_always_had_rows_and_of_no_other() -> None:
    always = [40 + day % 5 for day in range(30)]
    counts = {"always": [*always, 0], "small": [*[3] * 30, 0], "sometimes": [*always[:15], 2, *always[:14], 0]}
    assert judged(counts, "is_silent") == {"always": [30]}


def test_an_answer_that_lacks_what_the_one_before_it_had_is_told() -> None:
    told = [(10, 300), (17, 500), (17, 495), (17, 440), (24, 430), (10, 20)]
    rows: list[dict[str, object]] = [
        {
            "delivery_id": f"d{number}",
            "series": "",
            "window_from": date(2026, 9, 1),
            "window_until": date(2026, 9, until),
            "observed_at": datetime(2026, 9, 20) + timedelta(days=number),
            "row_count": count,
        }
        for number, (until, count) in enumerate(told)
    ]
    assert facts_of(rows, [])["lost_permille"].to_pylist() == [None, None, None, 111, 22, 933]
