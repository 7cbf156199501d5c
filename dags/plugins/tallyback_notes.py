"""An Airflow plugin that writes on each run of Tallyback what its stages said, so that the list of runs can be read.

A task cannot write a note: Airflow 3's task API has no such call, and a login to the public API, if tasks had one,
could answer questions meant for people. The scheduler can: it tells its listeners when a run has ended, with the run
in its own session. What a person wrote on a run stays, above what the stages said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

NOTE_LENGTH = 1000
OURS = "\n\n"
"""Between a person's note and ours."""


def note_of(said: Sequence[tuple[str, str, Any]], failed: Sequence[str] = ()) -> str:
    """Return the note of a run from its XComs (task_id, key, value; oldest first) and the tasks that failed."""
    problems = {task_id: value for task_id, key, value in said if key == "problem"}
    parts = [f"FAILED {task_id}: {problems.get(task_id, 'see its log')}" for task_id in failed]
    notes = []
    for _, key, value in said:
        if key != "return_value" or not isinstance(value, dict):
            continue
        if isinstance(value.get("note"), str) and value["note"]:
            notes.append(value["note"])
        elif value.get("responded_by_user") and value.get("chosen_options"):
            notes.append(f"{value['responded_by_user']['name']}: {', '.join(value['chosen_options'])}")
    # Silence comes first: it is what a person must see.
    notes.sort(key=lambda note: not note.startswith("NO DATA"))
    return "; ".join([*parts, *notes])


def write_note(dag_run: Any, failed: Sequence[str] = ()) -> None:
    """Write the note on a run that has ended; it commits with the run's state, in the scheduler's own transaction."""
    if not dag_run.dag_id.startswith("tallyback__"):
        return
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    rows = session.execute(
        select(XComModel.task_id, XComModel.key, XComModel.value)
        .where(XComModel.dag_run_id == dag_run.id, XComModel.key.in_(["return_value", "problem"]))
        .order_by(XComModel.timestamp, XComModel.task_id)
    )
    text = note_of([(row.task_id, row.key, row.value) for row in rows], failed)
    if not text:
        return
    known = dag_run.dag_run_note
    if known is not None and known.user_id is not None:
        text = f"{(known.content or '').split(OURS)[0]}{OURS}{text}"
    dag_run.note = text[:NOTE_LENGTH]


class RunNotes:
    """What the scheduler calls when a run has ended."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any) -> None:
        """Write what the stages said."""
        write_note(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any) -> None:
        """Write which tasks failed and why, then what the others said."""
        failed = sorted(ti.task_id for ti in dag_run.get_task_instances(state=["failed"]))
        write_note(dag_run, failed)


class TallybackPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "tallyback"
    listeners = [RunNotes()]  # noqa: RUF012  # Airflow's plugin protocol wants a plain class attribute
