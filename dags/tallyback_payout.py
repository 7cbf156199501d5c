"""Pay members through a bank: select, reserve, write the SEPA file, have it approved, send it.

**Reads** payable balances, payees and the approval row. **Writes** a batch, its reservations and its encrypted
payment file (`payout`), the approval (`record_approval`), and sends the file once (`transmit`). Whoever triggers the
run releases the batch; a scheduled run asks for a person first (`ask_release`). `approve` shows another person batch,
count, total and sha256; the answer counts for that sha256 alone, and not from who released it. Without a batch nobody
is asked.

**Re-run** at any time: an open batch is taken up again, a file is written once, nothing is sent twice. **If it
fails**: before `transmit` nothing has left; correct what the note on the run names and clear that task. A batch that
is `unknown` may have left: ask the bank, then `tallyback payout resolve`. See
docs/runbooks/tallyback__payout__sepa.md.
"""

from __future__ import annotations

from typing import Any

import tallyback_approval as approval
import tallyback_settings
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, get_current_context, task
from tallyback_stage import DAY_PARAM, notify, task_defaults

SETTINGS = tallyback_settings.load()
BANK = Param(next(iter(SETTINGS.banks), None), type=["null", "string"], description="The bank that pays")
QUESTION = {**task_defaults(SETTINGS), "response_timeout": SETTINGS.answer_timeout}

with DAG(
    dag_id="tallyback__payout__sepa",
    schedule=SETTINGS.schedule("PAYOUT"),
    start_date=tallyback_settings.START,
    catchup=False,
    max_active_runs=1,
    params={**DAY_PARAM, "bank": BANK},
    doc_md=__doc__,
    tags=["tallyback", "payout"],
) as dag:
    ask_release = ApprovalOperator(
        task_id="ask_release",
        subject="Release a batch of payouts?",
        body="The scheduler is nobody: who approves this releases the batch, and another person approves its file.",
        pre_execute=approval.skip_if_released,
        notifiers=[notify],
        **QUESTION,
    )

    @task(trigger_rule="none_failed", **task_defaults(SETTINGS))
    def payout() -> dict[str, Any]:
        return approval.select_batch(str(get_current_context()["params"]["bank"]))

    approve = ApprovalOperator(
        task_id="approve",
        subject="{{ ti.xcom_pull(task_ids='payout').get('subject') }}",
        body="{{ ti.xcom_pull(task_ids='payout').get('body') }}",
        pre_execute=approval.skip_if_settled,
        notifiers=[approval.remember_question],
        **QUESTION,
    )

    # Refused, this is skipped by `approve`; approved in an earlier run, it goes on without a question.
    @task(trigger_rule="none_failed", **task_defaults(SETTINGS))
    def record_approval() -> dict[str, Any]:
        return approval.record_approval()

    @task(task_id="transmit", **task_defaults(SETTINGS))
    def transmit() -> dict[str, Any]:
        return approval.send()

    ask_release >> payout() >> approve >> record_approval() >> transmit()
