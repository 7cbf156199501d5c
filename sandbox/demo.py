"""The demo: a cashback month from click to payment file through Airflow, on this machine, needing nobody.

`run` starts everything, takes the world through its days, pays, proves, reports and ends everything; run again it only
repeats the last day and shows that nothing changes. `up` keeps the same world running; `down` ends it.
"""

import argparse
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from etl.core.context import StageResult
from etl.core.errors import TallybackError
from etl.core.settings import read_settings
from etl.installation import clock, credentials_from_environment, open_installation
from etl.pipeline import run_day
from sandbox import up as servers
from sandbox.airflow_api import AirflowClient, DagRun
from sandbox.airflow_stack import AirflowStack
from sandbox.clock import now as clock_of
from sandbox.guide import tell, write_environment
from sandbox.house import Place, advance, environment, prepare
from sandbox.judge import judge
from sandbox.summary import count_facts, print_summary
from sandbox.uci import invoices, span

ROOT = Path(os.environ.get("TALLYBACK_DEMO", ".tallyback")).absolute()
PROJECT = Path(__file__).resolve().parent.parent
RELEASES, APPROVES = "robin", "alex"
MONTH = ["2026-09-09", "2026-09-17", "2026-09-25", "2026-10-02", "2026-11-20"]
"""The mornings on which the generated month is fetched: four weeks, and once when partners have validated."""

LAST_WINDOWS_BY_AIRFLOW = 3
"""How many of the last months of real orders go through the DAGs; those before, through `tallyback run`'s stages."""

console = Console(soft_wrap=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which world, and the mornings it is fetched: first by the pipeline alone, then through Airflow."""

    name: str
    seed: int
    size: str
    orders: Path | None
    by_pipeline: list[datetime]
    by_airflow: list[datetime]

    @property
    def rates(self) -> Path | None:
        """Return the real exchange rates that lie beside real orders, if they do."""
        beside = self.orders.with_name("eurofxref-hist.csv.gz") if self.orders else None
        return beside if beside and beside.exists() else None


def plan_of(seed: int, size: str, orders: Path | None) -> Plan:
    """Return the plan of a world: the generated month, or the whole span of a table of real orders."""
    if orders is None:
        mornings = [_morning(date.fromisoformat(day)) for day in MONTH]
        return Plan(f"{size}_{seed}", seed, size, None, [], mornings)
    if not orders.is_file():
        raise SystemExit(f"There is no file {orders}. ORDERS names a Parquet file of orders (see sandbox/README.md).")
    digest = hashlib.sha256(orders.read_bytes()).hexdigest()[:8]
    first, last = span(invoices(orders))
    mornings, month = [], _next_month(first)
    while month <= _next_month(last):
        mornings.append(_morning(month + timedelta(days=1)))
        month = _next_month(month)
    mornings.append(_morning(mornings[-1].date() + timedelta(days=75)))
    cut = len(mornings) - LAST_WINDOWS_BY_AIRFLOW
    return Plan(f"orders_{digest}_{seed}", seed, size, orders, mornings[:cut], mornings[cut:])


def _morning(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 6, 30, tzinfo=UTC)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


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
        variables = environment(place, url, plan.rates)
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


def run(plan: Plan) -> int:
    """Run the demo and return its exit status."""
    progress = ROOT / plan.name / "mornings"
    done = progress.read_text(encoding="utf-8").split() if progress.exists() else []
    with world(plan) as (place, stack):
        before = count_facts(place)
        for morning in plan.by_pipeline:
            if _stamp(morning) not in done:
                _by_pipeline(place, morning)
                done.append(_stamp(morning))
                progress.write_text("\n".join(done), encoding="utf-8")
        start(stack)
        try:
            robin, alex = stack.client(RELEASES), stack.client(APPROVES)
            due = [morning for morning in plan.by_airflow if _stamp(morning) not in done] or plan.by_airflow[-1:]
            for morning in due:
                advance(place, _stamp(morning))
                _by_airflow(place, robin, morning)
                done.append(_stamp(morning))
                progress.write_text("\n".join(done), encoding="utf-8")
            _pay(robin, alex, plan.by_airflow[-1])
            _one(robin, "tallyback__verify", plan.by_airflow[-1], "the books are proved")
            _one(robin, "tallyback__report", plan.by_airflow[-1], "the reconciliation is written")
        finally:
            say("Airflow ends")
            stack.stop()
        after = count_facts(place)
        print_summary(console, place, before, after)
        console.rule("Against the truth, which only a sandbox knows")
        for line in judge(place, clock_of(place.world)).lines:
            console.print(line)
    return 0


def _stamp(morning: datetime) -> str:
    return morning.strftime("%Y-%m-%dT%H:%M:%S")


def _by_pipeline(place: Place, morning: datetime) -> None:
    advance(place, _stamp(morning))
    opened = open_installation(read_settings())
    known_at = clock(opened.settings)

    def told(result: StageResult) -> None:
        if result.stage in {"reconcile", "accrue"}:
            counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in result.counts)
            say(f"{morning.date()} {result.stage}: {counts}")

    run_day(
        opened,
        known_at.date(),
        run_id=f"demo/{_stamp(morning)}",
        known_at=known_at,
        actor="demo",
        credentials=credentials_from_environment(),
        told=told,
    )


def _start(client: AirflowClient, dag_id: str, morning: datetime) -> DagRun:
    known = client.run_of(dag_id, morning)
    if known is not None:
        return client.run_again(known)
    return client.trigger(dag_id, logical_date=morning, conf={"day": morning.date().isoformat()})


def _by_airflow(place: Place, client: AirflowClient, morning: datetime) -> None:
    say(f"{morning.date()}: reference data, rates and clicks, then three partners")
    wanted = sorted(dag for dag in client.dag_ids() if "__ingest__" in dag)
    first = [f"tallyback__{name}" for name in ("reference", "rates", "clicks")]
    before = count_facts(place)
    for runs in ([_start(client, dag, morning) for dag in first], [_start(client, dag, morning) for dag in wanted]):
        for one in runs:
            _ended_well(client.wait(one, timeout_seconds=600))
    client.wait_until_quiet(timeout_seconds=600)
    _assets_ended_well(client)
    after = count_facts(place)
    say(
        f"{morning.date()}: {after.rows - before.rows:,} rows, {after.rejects - before.rejects:,} rejects, "
        f"{after.versions - before.versions:,} new versions, {after.postings - before.postings:,} postings, "
        f"{after.breaks:,} open breaks"
    )


def _ended_well(run: DagRun) -> None:
    if run.state != "success":
        raise SystemExit(f"The run {run.run_id} of {run.dag_id} ended as {run.state}: see its log under {ROOT}.")


def _assets_ended_well(client: AirflowClient) -> None:
    for run in client.runs("tallyback__reconcile_accrue", state="failed"):
        _ended_well(run)


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
            _ended_well(current)
            return
        time.sleep(0.5)
    raise SystemExit("The payout did not end within five minutes; look at it with `make up`.")


def _one(client: AirflowClient, dag_id: str, morning: datetime, what: str) -> None:
    _ended_well(client.wait(_start(client, dag_id, morning), timeout_seconds=300))
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
    plan = plan_of(given.seed, given.size, given.orders)
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
    except KeyboardInterrupt:
        if given.command == "up":
            console.print("Ended.")
            return 0
        console.print("Interrupted; nothing is left running. The same command goes on where this stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
