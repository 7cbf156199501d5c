"""An Airflow plugin that writes on each run of Tallyback what its stages said, so that the list of runs can be read.

A task cannot write a note: Airflow 3's task API has no such call, and a login to the public API, if tasks had one,
could answer questions meant for people. The scheduler can: it tells its listeners when a run has ended, with the run
in its own session. What a person wrote on a run stays, above what the stages said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

NOTE_LENGTH = 1000
OURS = "\n\n"
"""Between a person's note and ours."""


def note_of(said: Sequence[tuple[str, str, Any]], failed: Sequence[str] = ()) -> str:
    """Return the note of a run from what its tasks and people said, oldest first, and the tasks that failed.

    What was said: (task_id, key, value) of XComs, and with the key `answer` the sentence that a person answered.
    """
    problems = {task_id: value for task_id, key, value in said if key == "problem"}
    parts = [f"FAILED {task_id}: {problems.get(task_id, 'see its log')}" for task_id in failed]
    notes = []
    for _, key, value in said:
        if key == "answer":
            notes.append(value)
        elif key == "return_value" and isinstance(value, dict) and isinstance(value.get("note"), str) and value["note"]:
            notes.append(value["note"])
    # Silence comes first: it is what a person must see.
    notes.sort(key=lambda note: not note.startswith("NO DATA"))
    return "; ".join([*parts, *notes])


def write_note(dag_run: Any) -> None:
    """Write the note on a run that has ended; it commits with the run's state, in the scheduler's own transaction."""
    if not dag_run.dag_id.startswith("tallyback__"):
        return
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    connection = session.connection()
    # The session is the scheduler's and may not commit, nor call what commits; whatever fails here, with another
    # version of Airflow say, must leave its transaction whole. A savepoint of the connection keeps both.
    with connection.begin_nested():
        said, failed = _said(connection, dag_run), _failed(connection, dag_run)
        text = note_of(said, failed)
        if text:
            _write(connection, dag_run.id, text)


def _said(connection: Any, dag_run: Any) -> list[tuple[str, str, Any]]:
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    by_tasks = select(XComModel.timestamp, XComModel.task_id, XComModel.key, XComModel.value).where(
        XComModel.dag_run_id == dag_run.id, XComModel.key.in_(["return_value", "problem"])
    )
    said = [(row.timestamp, row.task_id, row.key, row.value) for row in connection.execute(by_tasks)]
    # A person's no leaves no XCom, so answers are read where Airflow keeps them.
    by_people = (
        select(HITLDetail.responded_at, TaskInstance.task_id, HITLDetail.responded_by, HITLDetail.chosen_options)
        .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        .where(TaskInstance.dag_id == dag_run.dag_id, TaskInstance.run_id == dag_run.run_id)
    )
    for row in connection.execute(by_people):
        if row.responded_at is not None and row.responded_by and row.chosen_options:
            answer = f"{row.responded_by['name']}: {', '.join(row.chosen_options)}"
            said.append((row.responded_at, row.task_id, "answer", answer))
    said.sort(key=lambda one: one[:3])
    return [one[1:] for one in said]


def _failed(connection: Any, dag_run: Any) -> list[str]:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    query = (
        select(TaskInstance.task_id)
        .where(
            TaskInstance.dag_id == dag_run.dag_id,
            TaskInstance.run_id == dag_run.run_id,
            TaskInstance.state == "failed",
        )
        .order_by(TaskInstance.task_id)
    )
    return list(connection.execute(query).scalars())


def _write(connection: Any, dag_run_id: int, text: str) -> None:
    from airflow.models.dagrun import DagRunNote
    from airflow.sdk.timezone import utcnow
    from sqlalchemy import insert, select, update

    is_of_run = DagRunNote.dag_run_id == dag_run_id
    known = connection.execute(select(DagRunNote.content, DagRunNote.user_id).where(is_of_run)).first()
    if known is None:
        connection.execute(insert(DagRunNote).values(dag_run_id=dag_run_id, content=text[:NOTE_LENGTH]))
        return
    if known.user_id is not None:
        text = f"{(known.content or '').split(OURS)[0]}{OURS}{text}"
    connection.execute(update(DagRunNote).where(is_of_run).values(content=text[:NOTE_LENGTH], updated_at=utcnow()))


class RunNotes:
    """What the scheduler calls when a run has ended."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any) -> None:
        """Write what the stages said."""
        write_note(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any) -> None:
        """Write which tasks failed and why, then what the others said."""
        write_note(dag_run)


class TallybackPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "tallyback"
    listeners: ClassVar[list[object]] = [RunNotes()]
