"""A rate budget per credential, shared by all processes of a machine: at most so many calls in any window of time.

A partner counts calls per user, not per process or account, so parallel tasks must share one count. The count is a
small file of fixed size: one slot per allowed call, each holding the instant of a call as an 8-byte float. A new call
takes the oldest slot. Under the lock a caller only *reserves* an instant, which may lie ahead; it sleeps after letting
go of the lock. A process that dies between the two wastes one slot, never more: the lock goes with the process and a
slot is written in one piece.
"""

import fcntl
import hashlib
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etl.core.errors import Retry, Stop

_SLOT = struct.Struct("<d")
SLOTS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `calls` calls in any `window_seconds` for one credential, counted in a file of `directory`.

    `credential` is a name ("awin/main"), not a secret. `clock` returns seconds and must be the same clock in every
    process (time.time). `margin_seconds` widens the window: a call reserved for an instant reaches the partner a
    little later.
    """

    directory: Path
    credential: str
    calls: int
    window_seconds: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    wait_max_seconds: float = 600.0
    margin_seconds: float = 0.25

    def __post_init__(self) -> None:
        if not 1 <= self.calls <= SLOTS_MAX or not 0 < self.window_seconds < math.inf:
            raise Stop(
                f"Rate budget of {self.credential}: {self.calls} calls in {self.window_seconds} s makes no sense; "
                f"correct it in the partner account's configuration."
            )

    @property
    def path(self) -> Path:
        """Return the file that counts for this credential; its name is a hash, as a credential's name may hold
        anything.
        """
        return self.directory / f"{hashlib.sha256(self.credential.encode()).hexdigest()[:24]}.budget"

    def take(self) -> float:
        """Wait until a call may be made, and count it; return the seconds waited.

        Raises Retry, with `after_seconds`, where the wait would be longer than `wait_max_seconds`; nothing is counted
        then.
        """
        wait = self._reserve()
        if wait > 0:
            self.sleep(wait)
        return wait

    def _reserve(self) -> float:
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            now = self.clock()
            slots = self._slots(descriptor, now)
            oldest = min(range(self.calls), key=slots.__getitem__)
            at = max(now, slots[oldest] + self.window_seconds + self.margin_seconds)
            if at - now > self.wait_max_seconds:
                raise Retry(
                    f"The rate budget of {self.credential} ({self.calls} calls in {self.window_seconds:g} s) is "
                    "spent for "
                    f"the next {at - now:.0f} s; try again then.",
                    after_seconds=math.ceil(at - now),
                )
            os.pwrite(descriptor, _SLOT.pack(at), oldest * _SLOT.size)
            return at - now
        finally:
            os.close(descriptor)

    def _slots(self, descriptor: int, now: float) -> list[float]:
        """Return one instant per slot, making the file the right size if the configuration changed or it is new."""
        content = os.pread(descriptor, SLOTS_MAX * _SLOT.size, 0)
        whole = len(content) - len(content) % _SLOT.size
        known = [value for (value,) in _SLOT.iter_unpack(content[:whole])]
        # A slot can lie ahead by a reservation, but no further; anything else is a clock set back, or damage: count it
        # as now.
        ahead = now + self.wait_max_seconds + self.window_seconds
        slots = [value if -math.inf <= value <= ahead else now for value in known]
        if len(content) == self.calls * _SLOT.size:
            return slots
        slots = sorted(slots)[-self.calls :]
        slots = [-math.inf] * (self.calls - len(slots)) + slots
        os.pwrite(descriptor, b"".join(map(_SLOT.pack, slots)), 0)
        os.ftruncate(descriptor, self.calls * _SLOT.size)
        return slots
