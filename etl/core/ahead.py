"""Ahead: what comes next is made in a thread while what came before is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


class _Ended:
    """What comes after the last item."""


def read_ahead(items: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """Yield `items` in their order, up to `count` of them made before they are asked for; errors come in their place.

    All of `items` runs in one thread. Close the generator when it is not read to its end (contextlib.closing): the
    thread then stops after the item it is at.
    """
    aside = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    waiting: deque[Future[Item | _Ended]] = deque()
    try:
        waiting.extend(aside.submit(next, items, _Ended()) for _ in range(count))
        while not isinstance(item := waiting.popleft().result(), _Ended):
            waiting.append(aside.submit(next, items, _Ended()))
            yield item
    finally:
        aside.shutdown(cancel_futures=True)
