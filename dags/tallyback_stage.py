"""One Airflow task that runs one stage: the way from Airflow's world (connections, dates, retries) into Tallyback's.

At parse time this imports airflow.sdk and the standard library; `etl` is imported when a task runs.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.providers.standard.exceptions import HITLTimeoutError
from airflow.sdk import Asset, BaseHook, Param, RetryDecision, RetryPolicy, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException
from tallyback_settings import DEFAULT_POOL, DagSettings

if TYPE_CHECKING:
    from etl.core.connector import Credentials, Window
    from etl.installation import CredentialsOf, Installation

log = logging.getLogger("tallyback")

ACTOR = "airflow"
NO_DATA = "NO DATA"
PROBLEM = "problem"
"""The XCom key under which a task that fails says why, for the note on its run."""
PROBLEM_LENGTH = 300
FOR_TODAY = frozenset({"reconcile", "accrue", "payout"})
"""Stages an old run, begun again, must not take back to its own day: they pay, or say what is due by now."""
DAY_PARAM = {"day": Param(None, type=["null", "string"], format="date", description="Run for this day")}
WINDOW_PARAMS = {
    **DAY_PARAM,
    "from_on": Param(None, type=["null", "string"], format="date", description="Fetch from this day on"),
    "until_on": Param(None, type=["null", "string"], format="date", description="Fetch up to, not with, this day"),
}


class StageRetry(AirflowException):
    """The world failed while a stage ran; Airflow tries again, after `after_seconds` if the other side said so."""

    def __init__(self, message: str, after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class AfterSeconds(RetryPolicy):
    """Waits as long as the other side asked before the next try, at most an hour; else as the task says.

    A question that nobody answered in time is told, not asked again and again.
    """

    def evaluate(self, exception: BaseException, *_: Any, **__: Any) -> RetryDecision:
        """Return when to try again after `exception`; which try it was, and of what, does not matter."""
        if isinstance(exception, StageRetry) and exception.after_seconds is not None:
            seconds = min(exception.after_seconds, 3600)
            return RetryDecision.retry(timedelta(seconds=seconds), f"the other side asked for {seconds} seconds")
        if isinstance(exception, HITLTimeoutError):
            return RetryDecision.fail("nobody answered in time")
        return RetryDecision.default()


def stage_task(
    settings: DagSettings,
    stage: str,
    key: str | None = None,
    *,
    task_id: str | None = None,
    pool: str = DEFAULT_POOL,
    outlets: Sequence[Asset] = (),
) -> Any:
    """Return the task that runs `stage` for `key` (None: the entity); its id is the stage's name if none is given."""

    @task(task_id=task_id or stage, pool=pool, outlets=list(outlets), **task_defaults(settings))
    def run() -> dict[str, Any]:
        return run_here(stage, key)

    return run()


def task_defaults(settings: DagSettings) -> dict[str, Any]:
    """Return what all tasks that run a stage share: how often and when they try again, and whom they tell."""
    return {
        "retries": settings.retries,
        "retry_delay": settings.retry_delay,
        "retry_policy": AfterSeconds(),
        "execution_timeout": settings.stage_timeout,
        "on_failure_callback": notify,
    }


def run_here(stage: str, key: str | None, *, actor: str = ACTOR) -> dict[str, Any]:
    """Run a stage in the task that calls this; return its counts and note, and a warning when no data came."""
    with outcomes():
        from etl.pipeline import Task, run_stage

        here = where(for_today=stage in FOR_TODAY)
        day, window = here.day, here.window if stage == "fetch" else None
        result = run_stage(
            here.installation,
            Task(stage, key or here.installation.configuration.entity.name, day, window),
            run_id=here.run_id,
            known_at=here.known_at,
            actor=actor,
            credentials=credentials_from_airflow(),
        )
        counts = dict(result.counts)
        note = result.note
        if is_silent(stage, counts):
            note = f"{NO_DATA}: {note}"
            log.warning("%s %s: no data came for %s. %s", stage, result.key, day, result.note)
        else:
            log.info("%s %s for %s: %s", stage, result.key, day, note)
        return {"counts": counts, "note": note}


def is_silent(stage: str, counts: Mapping[str, int]) -> bool:
    """Return whether a partner or tracker said nothing: no answer to a window, or answers without one row."""
    if stage == "fetch":
        return counts.get("windows", 1) > 0 and counts.get("answers", 1) == 0
    if stage == "parse":
        return counts.get("deliveries", 0) > 0 and counts.get("rows", 0) == 0
    return False


@contextmanager
def outcomes() -> Iterator[None]:
    """Turn Retry into an exception Airflow tries again after, Stop into one it does not; leave the reason in XCom."""
    from etl.core.errors import Retry, Stop

    try:
        yield
    except Retry as error:
        _leave_problem(str(error))
        raise StageRetry(str(error), error.after_seconds) from error
    except Stop as error:
        _leave_problem(str(error))
        raise AirflowFailException(str(error)) from error


def _leave_problem(text: str) -> None:
    get_current_context()["ti"].xcom_push(PROBLEM, text[:PROBLEM_LENGTH])


@dataclass(frozen=True, slots=True)
class Where:
    """The installation a task works on, and which run, instant, day and window it is about."""

    installation: Installation
    run_id: str
    known_at: datetime
    day: date
    window: Window | None


def where(*, for_today: bool = False) -> Where:
    """Return where the running task is; `for_today` leaves the run's data interval aside.

    Raises Stop if the settings are wrong or the run was asked for nonsense.
    """
    from pydantic import ValidationError

    from etl.core.errors import Stop
    from etl.core.settings import read_settings
    from etl.installation import clock, open_installation

    try:
        settings = read_settings()
    except ValidationError as error:
        # The values may be secret; the names are enough.
        names = ", ".join("TALLYBACK_" + "_".join(map(str, item["loc"])).upper() for item in error.errors())
        raise Stop(f"these settings are missing or wrong: {names}; set them where Airflow's workers run") from None
    installation = open_installation(settings, credentials_from_airflow())
    known_at = clock(settings)
    run = get_current_context()["dag_run"]
    wanted = {name: value for name, value in (run.conf or {}).items() if value is not None}
    ti = get_current_context()["ti"]
    return Where(
        installation=installation,
        run_id=f"{run.dag_id}/{run.run_id}/{ti.task_id}",
        known_at=known_at,
        day=day_of(
            wanted, None if for_today else run.data_interval_end, known_at, installation.configuration.entity.books_zone
        ),
        window=window_of(wanted),
    )


def day_of(wanted: Mapping[str, Any], until: datetime | None, known_at: datetime, books_zone: str) -> date:
    """Return the day a run is for, in the books' zone: what was asked for, else the end of its data interval.

    A run without one (an asset began it) is for today. No run is for a day that has not come yet: that is cut to today,
    by the installation's clock, which in a sandbox is not the machine's.
    """
    if "day" in wanted:
        return _date("day", wanted["day"])
    zone = ZoneInfo(books_zone)
    today = known_at.replace(tzinfo=UTC).astimezone(zone).date()
    return today if until is None else min(until.astimezone(zone).date(), today)


def window_of(wanted: Mapping[str, Any]) -> Window | None:
    """Return the window a run was asked to fetch, or None for those that are due. Raises Stop for half a window."""
    from etl.core.connector import Window
    from etl.core.errors import Stop

    if "from_on" not in wanted and "until_on" not in wanted:
        return None
    if "from_on" not in wanted or "until_on" not in wanted:
        raise Stop("a window has two ends: give both from_on and until_on, or neither")
    window = Window(_date("from_on", wanted["from_on"]), _date("until_on", wanted["until_on"]))
    if window.from_on >= window.until_on:
        raise Stop(f"the window {window} is empty: until_on is the first day that is not fetched")
    return window


def _date(name: str, value: object) -> date:
    from etl.core.errors import Stop

    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise Stop(f"{name} is {value!r}: write a day as 2026-09-01") from None


def credentials_from_airflow() -> CredentialsOf:
    """Return a reader of Airflow's connections; one that is not there is looked for in the environment.

    Host, port, login (as `username`), password and schema (as `database`) keep their names, and each key of the extra
    is added, or replaces one of those.
    """
    from etl.core.connector import Credentials
    from etl.installation import credentials_from_environment

    fallback = credentials_from_environment()

    def read(name: str) -> Credentials:
        try:
            connection = BaseHook.get_connection(name)
        except AirflowNotFoundException:
            return fallback(name)
        known = {
            "host": connection.host,
            "port": connection.port,
            "username": connection.login,
            "password": connection.password,
            "database": connection.schema,
            **connection.extra_dejson,
        }
        return Credentials({key: _text(value) for key, value in known.items() if value not in (None, "")})

    return read


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def notify(context: Mapping[str, Any]) -> None:
    """Tell somebody that a task failed or waits: through the notifier of TALLYBACK_NOTIFIER, else in the log.

    That names a class of Airflow's kind (`airflow.providers.smtp.notifications.smtp.SmtpNotifier`), and
    TALLYBACK_NOTIFIER_ARGUMENTS its arguments as a JSON object.
    """
    name = os.environ.get("TALLYBACK_NOTIFIER", "")
    ti = context["ti"]
    if not name:
        why = context.get("exception") or "it waits for a person"
        level = logging.ERROR if context.get("exception") else logging.WARNING
        log.log(level, "%s of %s (%s): %s", ti.task_id, ti.dag_id, ti.run_id, why)
        return
    module, _, attribute = name.rpartition(".")
    make: Callable[..., Callable[[Any], None]] = getattr(importlib.import_module(module), attribute)
    make(**json.loads(os.environ.get("TALLYBACK_NOTIFIER_ARGUMENTS", "{}")))(context)
