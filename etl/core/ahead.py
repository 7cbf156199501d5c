"""Ahead: what comes next is made in a thread while what came before is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
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


def call_ahead(calls: Iterator[Callable[[], Item]]) -> Generator[Item, None, None]:
    """Yield what `calls` return, in their order: each runs in a thread while what the one before returned is worked on.

    Unlike with `read_ahead` the iterator itself runs here, when an item is asked for: for what it needs that no other
    thread may use meanwhile, such as a connection. Close the generator when it is not read to its end.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="call-ahead") as aside:
        running: Future[Item] | None = None
        for call in calls:
            following = aside.submit(call)
            if running is not None:
                yield running.result()
            running = following
        if running is not None:
            yield running.result()
