"""A firm's books after anything that can happen to them, for thousands of steps.

TALLYBACK_STEPS=3000 takes as many steps, in lives of twenty-five; without it, few.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.books.firm import Firm
from tests.books.paying import PayingLife

STEPS = int(os.environ.get("TALLYBACK_STEPS", "0"))
LIFE = settings(
    # Hypothesis begins with the simplest life and an empty one; the others are drawn.
    max_examples=2 + (max(1, STEPS // 25) if STEPS else 2),
    stateful_step_count=25 if STEPS else 8,
    deadline=None,
    # A failing life is shown as it was lived: shrinking it takes hours.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_the_books_are_those_by_hand(warehouse_url: str, tmp_path: Path) -> None:
    class Here(PayingLife):
        firm = Firm(warehouse_url, tmp_path)

    run_state_machine_as_test(Here, settings=LIFE)
    if STEPS:
        print(*(f"{count:>7,} {what}" for what, count in Here.seen.most_common()), sep="\n")
