"""Where a benchmark works, and where it says how far it is."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def place(parent: Path | None) -> Iterator[Path]:
    """Yield a new folder under `parent` (or the system's temporary one), gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tallyback-bench-", dir=parent) as folder:
        made = Path(folder)
        made.chmod(0o711)  # Root's server account must be able to enter.
        yield made


def told(text: str) -> None:
    """Say something that is no figure, at once."""
    print(text, file=sys.stderr, flush=True)
