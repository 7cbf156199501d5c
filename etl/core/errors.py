"""The three outcomes of anything that goes wrong, as an error tree.

A wrong *row* is no error: it is a reject, stored, counted and shown. Everything else is one of these:

    TallybackError
    ├── Retry    the world fails (a timeout, HTTP 503, a lock): the same call may go through later
    └── Stop     an assumption is broken (a changed host key, a login page for a CSV): a person must act
"""


class TallybackError(Exception):
    """Base of all errors Tallyback raises on purpose. Its text names the thing, the value and the next step."""


class Retry(TallybackError):
    """The world failed; the same call may succeed later, after `after_seconds` if the other side said so."""

    def __init__(self, message: str, *, after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Stop(TallybackError):
    """An assumption is broken; retrying would not help and a person must act."""
