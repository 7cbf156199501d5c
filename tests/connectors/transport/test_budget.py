"""Promises of the rate budget, with a clock of our own, and with real processes and the real one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.transport.budget import Budget
from etl.core.errors import Retry, Stop


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def budget(folder: Path, clock: Clock, **changes: float) -> Budget:
    calls = int(changes.pop("calls", 3))
    wanted = {"window_seconds": 60.0, "margin_seconds": 0.0, **changes}
    return Budget(folder, "awin/main", calls, clock=clock, sleep=clock.sleep, **wanted)


def test_calls_within_the_budget_do_not_wait_and_the_next_waits_for_the_oldest(tmp_path: Path) -> None:
    clock = Clock()
    each = budget(tmp_path, clock)
    assert [each.take() for _ in range(3)] == [0.0, 0.0, 0.0]
    clock.now += 10
    assert each.take() == 50.0
    assert clock.now == 1_000_060.0


@settings(max_examples=40, deadline=None)
@given(pauses=st.lists(st.floats(0, 100), max_size=40), calls=st.integers(1, 5))
def test_no_window_ever_holds_more_calls_than_allowed(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float], calls: int
) -> None:
    clock = Clock()
    each = budget(tmp_path_factory.mktemp("budget"), clock, calls=calls)
    instants = []
    for pause in pauses:
        clock.now += pause
        each.take()
        instants.append(clock.now)
    for first, later in zip(instants, instants[calls:], strict=False):
        assert later - first >= 60.0 - 1e-6


def test_a_wait_too_long_is_left_to_the_scheduler_and_costs_nothing(tmp_path: Path) -> None:
    clock = Clock()
    each = budget(tmp_path, clock, calls=1, wait_max_seconds=30.0)
    each.take()
    before = each.path.read_bytes()
    with pytest.raises(Retry) as caught:
        each.take()
    assert caught.value.after_seconds == 60
    assert each.path.read_bytes() == before


def test_a_changed_configuration_keeps_the_newest_calls(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        budget(tmp_path, clock).take()
        clock.now += 1
    assert budget(tmp_path, clock, calls=5).take() == 0.0
    assert budget(tmp_path, clock, calls=5).take() == 0.0
    assert budget(tmp_path, clock, calls=5).take() == 57.0
    assert budget(tmp_path, clock, calls=1).take() == 60.0


@pytest.mark.parametrize("damage", [b"", b"abc", b"\xff" * 24, b"\x00" * 23, b"\xff" * 8000])
def test_a_damaged_file_never_blocks_for_good(tmp_path: Path, damage: bytes) -> None:
    clock = Clock()
    each = budget(tmp_path, clock)
    each.path.write_bytes(damage)
    for _ in range(9):
        assert each.take() <= 60.0


def test_a_clock_that_was_set_back_does_not_block_for_a_day(tmp_path: Path) -> None:
    clock = Clock()
    each = budget(tmp_path, clock)
    for _ in range(3):
        each.take()
    clock.now -= 86_400
    for _ in range(6):
        assert each.take() <= 60.0


def test_credentials_have_budgets_of_their_own_and_names_are_no_paths(tmp_path: Path) -> None:
    clock = Clock()
    for name in ("a", "b", "../../etc/passwd", "x/y"):
        each = Budget(tmp_path / "budgets", name, 1, 60.0, clock=clock, sleep=clock.sleep)
        assert each.take() == 0.0
        assert each.path.parent == tmp_path / "budgets"
    assert len(list((tmp_path / "budgets").iterdir())) == 4


def test_a_budget_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="makes no sense"):
        budget(tmp_path, Clock(), calls=0)


PROGRAM = """
import sys, time
from pathlib import Path
from connectors.transport.budget import Budget
each = Budget(Path(sys.argv[1]), "shared", 4, 0.6, clock=time.time, sleep=time.sleep, margin_seconds=0.1)
for _ in range(int(sys.argv[2])):
    each.take()
    print(repr(time.time()), flush=True)
"""


def start(folder: Path, calls: int) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(calls)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_two_processes_share_one_budget(tmp_path: Path) -> None:
    both = [start(tmp_path, 6), start(tmp_path, 6)]
    outputs = [each.communicate(timeout=60)[0].split() for each in both]
    assert [len(each) for each in outputs] == [6, 6]
    instants = sorted(float(text) for output in outputs for text in output)
    assert instants[-1] - instants[0] >= 1.2, "twelve calls at four in 0.6 s take two windows"
    for first, later in zip(instants, instants[4:], strict=False):
        assert later - first >= 0.6


def test_a_process_that_is_killed_leaves_no_lock_behind(tmp_path: Path) -> None:
    killed = start(tmp_path, 1000)
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    begun = time.monotonic()
    output, _ = start(tmp_path, 2).communicate(timeout=30)
    assert len(output.split()) == 2
    assert time.monotonic() - begun < 20
