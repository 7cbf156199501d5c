"""Working ahead changes neither what comes nor in which order, and leaves no thread behind."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from etl.core.ahead import read_ahead


def test_items_come_in_order_and_an_error_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        raise ValueError("at the eleventh")

    read: list[int] = []
    with pytest.raises(ValueError, match="at the eleventh"):
        read.extend(read_ahead(items(), 2))
    assert read == list(range(10))


def test_no_more_is_made_than_was_asked_for_and_closing_ends_the_thread() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1_000):
            made.append(number)
            yield number

    before = threading.active_count()
    with contextlib.closing(read_ahead(items(), 3)) as ahead:
        assert [next(ahead), next(ahead)] == [0, 1]
    assert len(made) <= 2 + 3 + 1
    assert threading.active_count() == before
