"""Who released a payout batch, who approved its file: what people told Airflow, handed to the stages by name.

The scheduler is nobody: a run that a person triggered was released by that person; any other asks for one first. What
counts is the approval row that `etl.pipeline.approve_batch` writes for the very sha256 the person was shown; it
refuses the person who released the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowSkipException
from tallyback_stage import log, notify, outcomes, run_here, where

APPROVE = "Approve"
ASKED = "asked"
"""The XCom key under which the task `approve` keeps which batch and sha256 it asked about."""


def person_of(run: Any) -> str | None:
    """Return who triggered a run, else whom its conf names as `released_by`; None if it was the scheduler."""
    told = run.triggering_user_name or (run.conf or {}).get("released_by")
    return str(told) if told else None


def skip_if_released(context: Mapping[str, Any]) -> None:
    """Skip the question who releases the batch if the run itself says so."""
    person = person_of(context["dag_run"])
    if person:
        raise AirflowSkipException(f"released by {person}, who triggered this run")


def select_batch(bank: str) -> dict[str, Any]:
    """Select, reserve and freeze a batch as who released it; return counts, note, and what is asked about it."""
    context = get_current_context()
    person = person_of(context["dag_run"]) or _answered_by(
        context["ti"].xcom_pull(task_ids="ask_release"), "ask_release"
    )
    done = run_here("payout", bank, actor=person)
    with outcomes():
        from etl.pipeline import batch_facts

        here = where()
        facts = batch_facts(here.installation, bank, run_id=here.run_id, known_at=here.known_at)
        if facts is None:
            return {**done, "batch": None}
        # The SEPA scheme pays in euros, which have cents.
        total = f"{facts.currency} {facts.total_minor // 100:,}.{facts.total_minor % 100:02d}"
        body = (
            f"| | |\n|-|-|\n| batch | `{facts.batch_id}` |\n| payouts | {facts.payout_count:,} |\n| total | {total} |\n"
            f"| sha256 of the file | `{facts.sha256}` |\n| released by | {facts.released_by} |\n\n"
            f"{facts.released_by} cannot approve it."
        )
        batch = {"batch_id": facts.batch_id, "sha256": facts.sha256, "state": facts.state}
        return {**done, "batch": batch, "subject": f"Pay {facts.payout_count:,} members {total}?", "body": body}


def skip_if_settled(context: Mapping[str, Any]) -> None:
    """Skip the question whether to pay if there is nothing to pay, or it was approved before."""
    batch = _batch(context["ti"])
    if batch is None or batch["state"] == "approved":
        raise AirflowSkipException("there is no batch" if batch is None else f"{batch['batch_id']} is approved already")


def remember_question(context: Mapping[str, Any]) -> None:
    """Keep what is being asked beside the answer to come, so that the answer holds for that file alone; tell people."""
    batch = _batch(context["ti"])
    context["ti"].xcom_push(ASKED, {} if batch is None else {name: batch[name] for name in ("batch_id", "sha256")})
    notify(context)


def record_approval() -> dict[str, Any]:
    """Write the approval row for the person who answered; return who approved what. Raises Stop unless they may."""
    with outcomes():
        from etl.core.errors import Stop

        ti = get_current_context()["ti"]
        batch = _batch(ti)
        if batch is None:
            log.warning("nothing to pay, nothing to approve")
            raise AirflowSkipException("nothing to approve")
        if batch["state"] == "approved":
            return {"counts": {"approvals": 0}, "note": "", "batch_id": batch["batch_id"]}
        asked = ti.xcom_pull(task_ids="approve", key=ASKED)
        if not asked:
            raise Stop("nobody was asked about this batch: clear the task approve, so that somebody is")
        person = _answered_by(ti.xcom_pull(task_ids="approve"), "approve")
        from etl.pipeline import approve_batch  # heavy, and not needed when there is nothing to pay

        here = where()
        approve_batch(
            here.installation,
            asked["batch_id"],
            asked["sha256"],
            person=person,
            run_id=here.run_id,
            known_at=here.known_at,
        )
        note = f"approved by {person} (sha256 {asked['sha256'][:12]}…)"
        return {"counts": {"approvals": 1}, "note": note, "batch_id": asked["batch_id"]}


def send() -> dict[str, Any]:
    """Send the approved file to the bank, at most once."""
    return run_here("transmit", get_current_context()["ti"].xcom_pull(task_ids="record_approval")["batch_id"])


def _batch(ti: Any) -> dict[str, Any] | None:
    batch: dict[str, Any] | None = (ti.xcom_pull(task_ids="payout") or {}).get("batch")
    return batch


def _answered_by(answer: Mapping[str, Any] | None, task_id: str) -> str:
    """Return the name of the person who approved; raises Stop if nobody did, whatever the task's state says."""
    with outcomes():
        from etl.core.errors import Stop

        person = (answer or {}).get("responded_by_user") or {}
        # Names, as the person who triggered a run is known by name too: both come from Airflow's auth manager.
        name = str(person.get("name") or person.get("id") or "")
        if not name or APPROVE not in (answer or {}).get("chosen_options", ()):
            raise Stop(f"no person answered {task_id} with {APPROVE}: clear that task, so that somebody is asked")
        return name
