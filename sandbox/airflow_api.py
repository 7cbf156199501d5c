"""Airflow's REST API as one person uses it: start runs, watch them, read what they say, answer what waits for them."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from etl.core.errors import Retry, Stop

PAGE_ROWS = 100
PAGES_AT_MOST = 1000
READ_ATTEMPTS = 3
ANSWER_AFTER_SECONDS = 4.0
"""How long a question rests before we answer it. Airflow 3.3.2 fails a task that is answered before its scheduler heard
that it began to wait: it takes the end of the asking process for the end of the task. No person is that quick."""
FINISHED = frozenset({"success", "failed"})


@dataclass(frozen=True, slots=True)
class DagRun:
    """One run of a DAG. `run_type` is manual, scheduled, backfill or asset_triggered."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    logical_date: datetime | None
    queued_at: datetime | None
    ended_at: datetime | None
    note: str | None

    @property
    def finished(self) -> bool:
        """Whether the run has ended, well or badly."""
        return self.state in FINISHED


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One task instance of a run; `map_index` is -1 for a task that is not mapped."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    duration_seconds: float | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """A task that waits for a person, or waited for one; `answered_by` names who answered."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    subject: str
    body: str | None
    options: tuple[str, ...]
    asked_at: datetime
    chosen: tuple[str, ...]
    answered_by: str | None


@dataclass(slots=True)
class AirflowClient:
    """The API at `base_url`, as the person who logs in with this name and password."""

    base_url: str
    person: str
    password: str = field(repr=False)
    timeout_seconds: float = 30.0
    _http: httpx.Client | None = field(default=None, init=False, repr=False)

    def trigger(
        self,
        dag_id: str,
        *,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        note: str | None = None,
    ) -> DagRun:
        """Start a run. Without a logical date, Airflow calls it manual and dates it by the clock."""
        wanted = {
            "logical_date": None if logical_date is None else logical_date.isoformat(),
            "conf": dict(conf or {}),
            "note": note,
        }
        return _run(self._json("POST", f"/api/v2/dags/{_part(dag_id)}/dagRuns", json=wanted))

    def run(self, dag_id: str, run_id: str) -> DagRun:
        """Return one run as it stands."""
        return _run(self._json("GET", f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}"))

    def runs(
        self,
        dag_id: str = "~",
        *,
        run_type: str | None = None,
        state: str | None = None,
        queued_from: datetime | None = None,
    ) -> list[DagRun]:
        """Return runs, oldest first, of one DAG or of all: of a type such as `asset_triggered`, queued since a time."""
        wanted = {"order_by": "id", "run_type": run_type, "state": state}
        found = (_run(one) for one in self._rows(f"/api/v2/dags/{_part(dag_id)}/dagRuns", "dag_runs", wanted))
        return [
            one for one in found if queued_from is None or (one.queued_at is not None and one.queued_at >= queued_from)
        ]

    def run_of(self, dag_id: str, logical_date: datetime) -> DagRun | None:
        """Return the run of a logical date, of which a DAG has one at most."""
        wanted = {"logical_date_gte": logical_date.isoformat(), "logical_date_lte": logical_date.isoformat()}
        found = [_run(one) for one in self._rows(f"/api/v2/dags/{_part(dag_id)}/dagRuns", "dag_runs", wanted)]
        return found[0] if found else None

    def run_again(self, run: DagRun) -> DagRun:
        """Clear all tasks of a run that has ended, so that the scheduler runs them again."""
        path = f"/api/v2/dags/{_part(run.dag_id)}/dagRuns/{_part(run.run_id)}"
        self._json("POST", f"{path}/clear", json={"dry_run": False, "only_failed": False})
        return self.run(run.dag_id, run.run_id)

    def wait(
        self, run: DagRun, *, timeout_seconds: float, on_change: Callable[[DagRun, list[TaskRun]], None] | None = None
    ) -> DagRun:
        """Return the run once it has ended; `on_change` is called whenever the state of one of its tasks changed."""
        deadline, seen = time.monotonic() + timeout_seconds, None
        while True:
            run = self.run(run.dag_id, run.run_id)
            if on_change is not None:
                tasks = self.tasks(run)
                now = [(task.task_id, task.map_index, task.state) for task in tasks]
                if now != seen:
                    seen = now
                    on_change(run, tasks)
            if run.finished:
                return run
            if time.monotonic() > deadline:
                raise Retry(
                    f"Run {run.run_id} of {run.dag_id} is still {run.state} after {timeout_seconds:.0f} seconds. "
                    f"See {self.base_url}"
                )
            time.sleep(0.5)

    def wait_until_quiet(self, *, timeout_seconds: float) -> None:
        """Return when no run is queued or running and no asset event waits for a DAG it triggers."""
        deadline, quiet = time.monotonic() + timeout_seconds, 0
        # An asset's event becomes a run a moment later; three quiet looks in a row are meant to outlast that moment.
        while quiet < 3:
            busy = [*self.runs(state="running"), *self.runs(state="queued")]
            quiet = 0 if busy else quiet + 1
            if time.monotonic() > deadline:
                names = ", ".join(sorted({run.dag_id for run in busy}))
                raise Retry(f"Still running after {timeout_seconds:.0f} seconds: {names}. See {self.base_url}")
            time.sleep(0.5)

    def tasks(self, run: DagRun) -> list[TaskRun]:
        """Return the task instances of a run, in the order of their names."""
        path = f"/api/v2/dags/{_part(run.dag_id)}/dagRuns/{_part(run.run_id)}/taskInstances"
        found = [_task(one) for one in self._rows(path, "task_instances", {})]
        return sorted(found, key=lambda task: (task.task_id, task.map_index))

    def log(self, run: DagRun, task: TaskRun) -> str:
        """Return what a task's last try logged, one event a line."""
        path = (
            f"/api/v2/dags/{_part(run.dag_id)}/dagRuns/{_part(run.run_id)}/taskInstances/{_part(task.task_id)}"
            f"/logs/{task.try_number}"
        )
        told = self._json("GET", path, params={"map_index": task.map_index, "full_content": True})
        events = told["content"] if isinstance(told["content"], list) else [told["content"]]
        return "\n".join(str(event.get("event", event)) if isinstance(event, dict) else str(event) for event in events)

    def returned(self, run: DagRun, task_id: str, *, map_index: int = -1) -> Any:
        """Return what a task returned (its XCom)."""
        path = (
            f"/api/v2/dags/{_part(run.dag_id)}/dagRuns/{_part(run.run_id)}/taskInstances/{_part(task_id)}"
            "/xcomEntries/return_value"
        )
        return self._json("GET", path, params={"map_index": map_index, "deserialize": False, "stringify": False})[
            "value"
        ]

    def questions(self, dag_id: str = "~", *, pending: bool = True) -> list[Question]:
        """Return the tasks that wait for a person (or, with `pending=False`, all that ever did)."""
        wanted = {"response_received": False} if pending else {}
        path = f"/api/v2/dags/{_part(dag_id)}/dagRuns/~/hitlDetails"
        rows = self._rows(path, "hitl_details", wanted)
        return [_question(one) for one in rows if not pending or one["task_instance"]["state"] == "awaiting_input"]

    def answer(self, question: Question, option: str) -> None:
        """Answer a question as this person, once it has rested. Raises Stop if that was done before or they may not."""
        rested_seconds = (datetime.now(UTC) - question.asked_at).total_seconds()
        time.sleep(min(max(0.0, ANSWER_AFTER_SECONDS - rested_seconds), ANSWER_AFTER_SECONDS))
        path = (
            f"/api/v2/dags/{_part(question.dag_id)}/dagRuns/{_part(question.run_id)}/taskInstances/"
            f"{_part(question.task_id)}/{question.map_index}/hitlDetails"
        )
        self._json("PATCH", path, json={"chosen_options": [option], "params_input": {}})

    def dag_ids(self) -> list[str]:
        """Return the ids of the DAGs Airflow has read."""
        return sorted(one["dag_id"] for one in self._rows("/api/v2/dags", "dags", {}))

    def import_errors(self) -> list[str]:
        """Return, for each DAG file that cannot be read, its name and the error."""
        return [
            f"{one['filename']}: {one['stack_trace']}"
            for one in self._rows("/api/v2/importErrors", "import_errors", {})
        ]

    def set_pool(self, name: str, slots: int, description: str = "") -> None:
        """Make a pool of so many slots, or give it so many."""
        wanted = {"slots": slots, "description": description, "include_deferred": False}
        made = self._request("POST", "/api/v2/pools", json={"name": name, **wanted})
        if made.status_code == httpx.codes.CONFLICT:
            self._json("PATCH", f"/api/v2/pools/{_part(name)}", json={"pool": name, **wanted})
        else:
            _checked(made, self.person)

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    # --- HTTP -------------------------------------------------------------------------------------------------------

    def _rows(self, path: str, key: str, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        known = {name: value for name, value in wanted.items() if value is not None}
        for page in range(PAGES_AT_MOST):
            told = self._json("GET", path, params={**known, "limit": PAGE_ROWS, "offset": page * PAGE_ROWS})
            yield from told[key]
            if (page + 1) * PAGE_ROWS >= told["total_entries"]:
                return
        raise Stop(f"Airflow has more than {PAGES_AT_MOST * PAGE_ROWS} rows at {path}. Ask for fewer.")

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        told: dict[str, Any] = _checked(self._request(method, path, **arguments), self.person).json()
        return told

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        # Reading again harms nobody; what changes something is sent once.
        for attempt in reversed(range(READ_ATTEMPTS if method == "GET" else 1)):
            try:
                answer = self._logged_in().request(method, path, **arguments)
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    self.close()  # The token has aged.
                    answer = self._logged_in().request(method, path, **arguments)
                return answer
            except httpx.TransportError as error:
                if not attempt:
                    raise Retry(f"Airflow at {self.base_url} does not answer {method} {path}: {error!r}") from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _logged_in(self) -> httpx.Client:
        if self._http is None:
            who = {"username": self.person, "password": self.password}
            answer = httpx.post(f"{self.base_url}/auth/token", json=who, timeout=self.timeout_seconds)
            if answer.status_code != httpx.codes.CREATED:
                raise Stop(f"Airflow at {self.base_url} does not let {self.person} in: HTTP {answer.status_code}.")
            token = answer.json()["access_token"]
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=self.timeout_seconds)
        return self._http


def _checked(answer: httpx.Response, person: str) -> httpx.Response:
    if answer.is_error:
        asked = f"{answer.request.method} {answer.request.url.path} of {person}"
        text = f"Airflow answered {answer.status_code} to {asked}: {answer.text[:500]}"
        raise Retry(text) if answer.is_server_error else Stop(text)
    return answer


def _part(text: str) -> str:
    """Quote a name for a path; run ids hold `+` and `:`."""
    return quote(text, safe="~")


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _run(told: Mapping[str, Any]) -> DagRun:
    return DagRun(
        dag_id=told["dag_id"],
        run_id=told["dag_run_id"],
        state=told["state"],
        run_type=told["run_type"],
        logical_date=_instant(told["logical_date"]),
        queued_at=_instant(told["queued_at"]),
        ended_at=_instant(told["end_date"]),
        note=told["note"],
    )


def _task(told: Mapping[str, Any]) -> TaskRun:
    return TaskRun(
        task_id=told["task_id"],
        map_index=told["map_index"],
        state=told["state"],
        try_number=told["try_number"],
        duration_seconds=told["duration"],
        note=told["note"],
    )


def _question(told: Mapping[str, Any]) -> Question:
    task, person = told["task_instance"], told["responded_by_user"]
    return Question(
        dag_id=task["dag_id"],
        run_id=task["dag_run_id"],
        task_id=task["task_id"],
        map_index=task["map_index"],
        subject=told["subject"],
        body=told["body"],
        options=tuple(told["options"]),
        asked_at=datetime.fromisoformat(told["created_at"]),
        chosen=tuple(told["chosen_options"] or ()),
        answered_by=None if person is None else person["id"],
    )
