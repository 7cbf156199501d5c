"""The demo: a cashback month from click to payment file through Airflow, on this machine, needing nobody.

`run` starts everything, takes the world through its days, pays, proves, reports and ends everything; run again it only
repeats the last day and shows that nothing changes. `up` keeps the same world running; `down` ends it.
"""

import argparse
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from etl.core.context import StageResult
from etl.core.errors import TallybackError
from etl.core.settings import read_settings
from etl.findings import list_holds
from etl.installation import clock, credentials_from_environment, open_installation
from etl.pipeline import run_day
from etl.validate import release
from sandbox import folder
from sandbox import up as servers
from sandbox.airflow_api import AirflowClient, DagRun
from sandbox.airflow_stack import AirflowStack
from sandbox.clock import now as clock_of
from sandbox.files import write_atomically
from sandbox.guide import tell, write_environment
from sandbox.house import Place, advance, environment, prepare
from sandbox.judge import judge
from sandbox.plan import Plan, plan_of
from sandbox.seen import seen
from sandbox.summary import count_facts, print_summary
from sandbox.uci import OrdersError

ROOT = Path(os.environ.get("TALLYBACK_DEMO", ".tallyback")).absolute()
PROJECT = Path(__file__).resolve().parent.parent
RELEASES, APPROVES = "robin", "alex"

console = Console(soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """Print what happens now, with the time since the start."""
    console.print(f"[dim]{time.monotonic() - _START:6.1f} s[/]  {text}")


_START = time.monotonic()


@contextmanager
def world(plan: Plan) -> Iterator[tuple[Place, AirflowStack]]:
    """Start PostgreSQL, the partners' servers and Airflow, and end all of them."""
    place = Place(ROOT, plan.name)
    with ExitStack() as ends:
        say("PostgreSQL starts (embedded, on loopback)")
        # Before it starts: interrupted while it does, it is ended too.
        ends.callback(place.postgres.stop)
        place.postgres.start()
        url = prepare(place, seed=plan.seed, size=plan.size, orders=plan.orders, rates=plan.rates)
        say("partners start: awin (REST), tradetracker (SOAP), rakuten (SFTP), a bank (SFTP)")
        running = servers.start(place.world, awin_calls_per_minute=0)
        ends.callback(running.stop)
        variables = environment(place, url)
        os.environ.update(variables)
        metadata = place.postgres.url(f"airflow_{place.name}")
        write_environment(place, variables)
        stack = AirflowStack(place.home / "airflow", metadata, PROJECT / "dags", {**variables, **_QUIET})
        yield place, stack


def start(stack: AirflowStack) -> None:
    """Start Airflow, with a pool for each connection: partners are asked by one task at a time."""
    stack.start(say)
    for partner in ("awin", "tradetracker", "rakuten"):
        stack.client(RELEASES).set_pool(f"tallyback_{partner}", 1)


_QUIET = {
    # The demo's clock is not the machine's: it starts every run itself.
    "TALLYBACK_SCHEDULES": "off",
    # What fails here fails for good; nobody waits five minutes for the same.
    "TALLYBACK_RETRY_SECONDS": "5",
    "TALLYBACK_POOLS": "connection",
    "PYTHONPATH": str(PROJECT),
    # Writes the note on each run.
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "dags" / "plugins"),
}


@dataclass(slots=True)
class Progress:
    """The mornings that were lived through, kept in a file, so that what was interrupted goes on."""

    file: Path

    def left(self, mornings: Sequence[datetime]) -> list[datetime]:
        """Return those of `mornings` that are still to come."""
        done = self.file.read_text(encoding="utf-8").split() if self.file.exists() else []
        return [morning for morning in mornings if _stamp(morning) not in done]

    def add(self, morning: datetime) -> None:
        """Note a morning as lived through."""
        done = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        write_atomically(self.file, f"{done}{_stamp(morning)}\n")


def run(plan: Plan) -> int:
    """Run the demo and return its exit status."""
    progress = Progress(ROOT / plan.name / "mornings")
    with world(plan) as (place, stack):
        before = count_facts(place)
        live_through(place, plan, progress)
        start(stack)
        try:
            robin, alex = stack.client(RELEASES), stack.client(APPROVES)
            for morning in progress.left(plan.by_airflow) or plan.by_airflow[-1:]:
                advance(place, _stamp(morning))
                _by_airflow(place, robin, morning)
                progress.add(morning)
            if release_held():
                _one(robin, "tallyback__reconcile_accrue", plan.by_airflow[-1], "what was released is booked")
            _pay(robin, alex, plan.by_airflow[-1])
            _one(robin, "tallyback__verify", plan.by_airflow[-1], "the books are proved")
            _one(robin, "tallyback__report", plan.by_airflow[-1], "the reconciliation is written")
        finally:
            say("Airflow ends")
            stack.stop()
        print_summary(console, place, before, count_facts(place))
        say("the books are held against the truth")
        return tell_truth(console, place)


def tell_truth(out: Console, place: Place) -> int:
    """Print how the books stand against the world's truth; return 1 if an order of a table is not in them."""
    told = folder.load(place.world)
    now = clock_of(place.world)
    verdict = judge(place, now, told)
    out.rule("Against the truth, which only a sandbox knows")
    for line in verdict.lines:
        out.print(line)
    if not told.counts.cancellation_count:
        return 0
    found = seen(place, told, now)
    for line in found.lines:
        out.print(line)
    return 0 if found.is_whole else 1


def _stamp(morning: datetime) -> str:
    return morning.strftime("%Y-%m-%dT%H:%M:%S")


def live_through(place: Place, plan: Plan, progress: Progress) -> None:
    """Take the world through the mornings that `tallyback run`'s stages see: the history, without Airflow."""
    for morning in progress.left(plan.by_pipeline):
        advance(place, _stamp(morning))
        by_pipeline(_stamp(morning))
        progress.add(morning)


def by_pipeline(stamp: str, told: Callable[[StageResult], None] = lambda _: None) -> list[StageResult]:
    """Run all stages of the day that the world's clock shows and say what they did and how long they took."""
    opened = open_installation(read_settings())
    known_at = clock(opened.settings)
    seconds: dict[str, float] = defaultdict(float)
    began = time.monotonic()

    def ended(result: StageResult) -> None:
        nonlocal began
        seconds[result.stage] += time.monotonic() - began
        told(result)
        began = time.monotonic()

    results = run_day(
        opened,
        known_at.date(),
        run_id=f"demo/{stamp}",
        known_at=known_at,
        actor="demo",
        credentials=credentials_from_environment(),
        told=ended,
    )
    counts = {(result.stage, name): 0 for result in results for name, _ in result.counts}
    for result in results:
        for name, count in result.counts:
            counts[result.stage, name] += count
    rows, new = counts["parse", "rows"], counts["reconcile", "new_versions"]
    known = new - counts["reconcile", "new_matches"]
    say(
        f"{known_at.date()}: {rows:,} rows, {counts['reconcile', 'new_sales']:,} new sales, {new:,} new versions "
        f"({known:,} of rows known before), {counts['accrue', 'postings']:,} postings, "
        f"{counts['reconcile', 'open_breaks']:,} open breaks [dim]("
        + ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items() if spent >= 0.05)
        + " s)[/]"
    )
    return results


def release_held() -> int:
    """Release what the checks hold after the last morning, as a person would, and return how many deliveries it was.

    The orders of a world end; a partner that goes silent then, or has a few last rows, is held as it should be.
    """
    opened = open_installation(read_settings())
    context = opened.context("demo/release", clock(opened.settings), RELEASES)
    held = {one["delivery_id"]: one for one in list_holds(context).to_pylist()}
    for delivery_id in held:
        release(context, delivery_id, RELEASES, "the world's orders end here")
    if held:
        rows = sum(one["row_count"] for one in held.values())
        say(f"{RELEASES} looks at {len(held):,} held deliveries ({rows:,} rows) and releases them: the orders end here")
    return len(held)


def _start(client: AirflowClient, dag_id: str, morning: datetime) -> DagRun:
    known = client.run_of(dag_id, morning)
    if known is not None:
        return client.run_again(known)
    return client.trigger(dag_id, logical_date=morning, conf={"day": morning.date().isoformat()})


def _by_airflow(place: Place, client: AirflowClient, morning: datetime) -> None:
    wanted = sorted(dag for dag in client.dag_ids() if "__ingest__" in dag)
    say(f"{morning.date()}: reference data, rates and clicks, then {len(wanted)} partners")
    first = [f"tallyback__{name}" for name in ("reference", "rates", "clicks")]
    before = count_facts(place)
    for runs in ([_start(client, dag, morning) for dag in first], [_start(client, dag, morning) for dag in wanted]):
        for one in runs:
            _ended_well(client, client.wait(one, timeout_seconds=600))
    client.wait_until_quiet(timeout_seconds=600)
    _assets_ended_well(client)
    after = count_facts(place)
    say(
        f"{morning.date()}: {after.rows - before.rows:,} rows, {after.rejects - before.rejects:,} rejects, "
        f"{after.versions - before.versions:,} new versions, {after.postings - before.postings:,} postings, "
        f"{after.breaks:,} open breaks"
    )


def _ended_well(client: AirflowClient, run: DagRun) -> None:
    if run.state != "success":
        raise SystemExit(f"The run {run.run_id} of {run.dag_id} ended as {run.state}: see its log under {ROOT}.")
    if not client.tasks(run):
        # Airflow calls it a success when a run lies before its DAG's start.
        raise SystemExit(f"The run {run.run_id} of {run.dag_id} had no task: does {run.dag_id} begin after that day?")


def _assets_ended_well(client: AirflowClient) -> None:
    for run in client.runs("tallyback__reconcile_accrue", state="failed"):
        _ended_well(client, run)


def _pay(robin: AirflowClient, alex: AirflowClient, morning: datetime) -> None:
    say(f"payout: {RELEASES} releases the batch")
    started = _start(robin, "tallyback__payout__sepa", morning)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for question in alex.questions("tallyback__payout__sepa"):
            say(f"payout: {APPROVES} reads “{question.subject}” and approves")
            alex.answer(question, "Approve")
        current = robin.run(started.dag_id, started.run_id)
        if current.finished:
            _ended_well(robin, current)
            return
        time.sleep(0.5)
    raise SystemExit("The payout did not end within five minutes; look at it with `make up`.")


def _one(client: AirflowClient, dag_id: str, morning: datetime, what: str) -> None:
    _ended_well(client, client.wait(_start(client, dag_id, morning), timeout_seconds=300))
    say(what)


def keep_up(plan: Plan) -> int:
    """Run the world until it is told to end (SIGINT, SIGTERM or `down`)."""
    mornings = plan.by_pipeline + plan.by_airflow
    with world(plan) as (place, stack):
        _pid_file().write_text(str(os.getpid()), encoding="utf-8")
        try:
            advance(place, _stamp(mornings[0]))
            start(stack)
            tell(console, place, stack, mornings)
            signal.pause()
        finally:
            _pid_file().unlink(missing_ok=True)
            stack.stop()
    return 0


def _pid_file() -> Path:
    return ROOT / "up.pid"


def who_is_up() -> int | None:
    """Return the process that keeps a world up, or None; a file that a crash left behind names nobody."""
    try:
        pid = int(_pid_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return pid if _keeps_up(pid) else None


def _keeps_up(pid: int) -> bool:
    """Whether the process is one of ours: a number may be somebody else's by now."""
    try:
        return b"sandbox.demo" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def down() -> int:
    """End what `up` started."""
    pid = who_is_up()
    if pid is None:
        console.print("Nothing is up.")
        return 0
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    # It takes its file away first and ends its servers then.
    while _keeps_up(pid):
        time.sleep(0.2)
    console.print("Ended.")
    return 0


def _end_once(_number: int, _frame: object) -> None:
    """End everything at the first Ctrl-C or SIGTERM; a second one, while that goes on, would leave something behind."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    console.print("Everything is being ended; a moment.")
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    parser.add_argument("command", choices=["run", "up", "down"])
    parser.add_argument("--seed", type=int, default=1, help="another seed, another world (default 1)")
    parser.add_argument("--size", default="month", choices=["small", "month", "large"], help="default month")
    parser.add_argument("--orders", type=Path, help="Parquet of real orders instead of generated ones")
    given = parser.parse_args(arguments)
    if given.command == "down":
        return down()
    try:
        plan = plan_of(given.seed, given.size, given.orders)
    except OrdersError as error:
        console.print(f"[red]Stopped:[/] {escape(str(error))}")
        return 1
    if who_is_up() is not None:
        console.print("A world is up here (`make up`): end it first with `make down`.")
        return 1
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _end_once)
    try:
        return run(plan) if given.command == "run" else keep_up(plan)
    except TallybackError as error:
        console.print(f"[red]Stopped:[/] {escape(str(error))}")
        return 1
    except (KeyboardInterrupt, RuntimeError):
        # DuckDB makes an error of its own of a signal that comes while it computes.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise
        if given.command == "up":
            console.print("Ended.")
            return 0
        console.print("Interrupted; nothing is left running. The same command goes on where this stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
