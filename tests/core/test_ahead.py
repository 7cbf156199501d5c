"""Working ahead changes neither what comes nor in which order, and leaves no thread behind."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from etl.core.ahead import call_ahead, read_ahead


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


def test_calls_are_asked_for_here_and_made_aside_one_ahead() -> None:
    here, asked, made = threading.get_ident(), list[int](), list[int]()

    def call(number: int) -> int:
        assert threading.get_ident() != here
        if number == 3:
            raise ValueError("at the fourth")
        made.append(number)
        return number

    def calls() -> Iterator[Callable[[], int]]:
        for number in range(10):
            assert threading.get_ident() == here
            asked.append(number)
            yield partial(call, number)

    read = []
    with contextlib.closing(call_ahead(calls())) as ahead, pytest.raises(ValueError, match="at the fourth"):
        for item in ahead:
            read.append(item)
            assert len(asked) == item + 2
    assert read == made[:3] == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_as_many_come_as_there_are_calls_and_closing_ends_the_thread(count: int) -> None:
    before = threading.active_count()
    assert list(call_ahead(partial(int, number) for number in range(count))) == list(range(count))
    with contextlib.closing(call_ahead(partial(int, number) for number in range(5))) as ahead:
        assert next(ahead) == 0
    assert threading.active_count() == before
