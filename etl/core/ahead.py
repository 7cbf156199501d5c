"""Read ahead: what an iterator gives next is made in a thread while what it gave before is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class _Ended:
    """What comes after the last item, or in the place of the next: the error that ended the iterator."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def read_ahead(items: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """Yield `items` in their order, up to `count` of them made before they are asked for; errors come in their place.

    All of `items` runs in one thread. Close the generator when it is not read to its end (contextlib.closing): the
    thread then stops after the item it is at.
    """
    waiting: queue.SimpleQueue[Item | _Ended] = queue.SimpleQueue()
    room = threading.Semaphore(count)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                room.acquire()
                if stopped.is_set():
                    return
                waiting.put(item)
        except BaseException as error:  # noqa: BLE001 - raised again where the item was asked for
            waiting.put(_Ended(error))
        else:
            waiting.put(_Ended())

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _Ended):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        room.release()
        thread.join()
