"""The order of the books: the same for the same flows, in whatever order they come, and what plain Python says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core import journal
from etl.core.journal import LANE, in_order, ranked, ranked_flows, ranked_lanes
from etl.core.ledger import FLOW

DAYS = [date(2025, 12, 30) + timedelta(days=number) for number in range(4)]
# What is for the first two days is booked on the second.
BOOKED = dict(zip(DAYS, [DAYS[1], *DAYS[1:]], strict=True))

_FLOW = st.builds(
    lambda names, day, component, amount, rated: {
        **dict(zip(("document_id", *LANE), names, strict=True)),
        "effective_for": day,
        "component": component,
        "amount": amount,
        "base_amount": None if rated is None else Decimal(rated[0]),
        "rate": None if rated is None else Decimal(rated[1]),
    },
    st.tuples(*[st.sampled_from(["", "a", "b", "Ü"])] * 6),
    st.sampled_from(DAYS),
    st.sampled_from(["bonus", "cashback"]),
    st.integers(1, 2),
    st.none() | st.tuples(st.integers(-1, 1), st.integers(0, 2)),
)


def _posting(flow: dict[str, Any]) -> tuple[object, ...]:
    """Return what a flow is ordered by within its entry: with its rate unknown it comes last."""
    rate, base = flow["rate"], flow["base_amount"]
    texts = (str(flow[name]).encode() for name in ("component", *LANE))
    known = (rate is None, rate or 0, flow["amount"], base or 0)
    return (flow["effective_for"], *texts, *known)


def _naive(flows: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    """Yield year, number, document, entry_no, booked_on, leg and the order of each posting, the slow way."""

    def entry(flow: dict[str, Any]) -> tuple[bytes, date]:
        return str(flow["document_id"]).encode(), BOOKED[flow["effective_for"]]

    numbers, entry_nos = Counter({2026: 7}), Counter({"a": 3})
    for (document, booked_on), postings in groupby(sorted(flows, key=entry), entry):
        numbers[booked_on.year] += 1
        entry_nos[document.decode()] += 1
        head = (booked_on.year, numbers[booked_on.year], document.decode(), entry_nos[document.decode()], booked_on)
        for leg, posting in enumerate(sorted(map(_posting, postings)), 1):
            yield (*head, leg, posting)


def _ours(flows: list[dict[str, Any]], documents_at_once: int) -> Iterator[tuple[object, ...]]:
    table = pa.Table.from_pylist(flows, schema=FLOW)
    ordered = ranked_flows(table)
    documents = ordered.document.values.to_pylist()
    last_entry_no = np.array([3 if document == "a" else 0 for document in documents])
    for chunk in in_order(
        ordered,
        ranked_lanes(table, [ranked(table[name]) for name in LANE]),
        BOOKED,
        last_entry_no,
        {2026: 7},
        documents_at_once,
    ):
        assert sorted(chunk.year.tolist()) == chunk.year.tolist()
        heads = [
            (year, number, documents[document], entry_no, date(1970, 1, 1) + timedelta(days=booked_on))
            for year, number, document, entry_no, booked_on in zip(
                *(column.tolist() for column in (chunk.year, chunk.number, chunk.document, chunk.entry_no)),
                chunk.booked_on.tolist(),
                strict=True,
            )
        ]
        for row, entry, leg in zip(chunk.row.tolist(), chunk.entry.tolist(), chunk.leg.tolist(), strict=True):
            yield (*heads[entry], leg, _posting(flows[row]))


@settings(max_examples=150, deadline=None)
@given(st.lists(_FLOW, min_size=1, max_size=25), st.integers(1, 4), st.randoms())
def test_entries_and_legs_are_what_plain_python_says_in_whatever_order_flows_come(
    flows: list[dict[str, Any]], documents_at_once: int, chance: Random
) -> None:
    expected = sorted(_naive(flows))
    assert sorted(_ours(flows, documents_at_once)) == expected
    chance.shuffle(flows)
    assert sorted(_ours(flows, documents_at_once)) == expected


def test_places_too_many_for_one_number_order_rows_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("document_id", *LANE)
    flows: list[dict[str, Any]] = [
        {name: str((place * 7 + step) % 5) for step, name in enumerate(texts)}
        | {"effective_for": DAYS[place % 4], "component": "bonus", "amount": 1 + place % 3, "rate": None}
        | {"base_amount": None}
        for place in range(60)
    ]
    expected = list(_ours(flows, 3))
    monkeypatch.setattr(journal, "_LAST", 300)
    assert list(_ours(flows, 3)) == expected
    assert sorted(expected) == sorted(_naive(flows))
