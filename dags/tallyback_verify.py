"""Prove the books, every night.

**Reads** the whole ledger and what it should say. **Writes** nothing but its own run. For every document, account and
day the sum of what is posted must be the target; per currency the border balances must sum to zero.

**Re-run** at any time. **If it fails**: the books and the facts differ, and the note on the run names the first
differences. Pay nothing before they are explained. See docs/runbooks/tallyback__verify.md.
"""

from __future__ import annotations

import tallyback_settings
from airflow.sdk import DAG
from tallyback_stage import DAY_PARAM, stage_task

SETTINGS = tallyback_settings.load()

with DAG(
    dag_id="tallyback__verify",
    schedule=SETTINGS.schedule("VERIFY"),
    start_date=tallyback_settings.START,
    catchup=False,
    max_active_runs=1,
    params=DAY_PARAM,
    doc_md=__doc__,
    tags=["tallyback", "books"],
) as dag:
    stage_task(SETTINGS, "verify")
