"""Write the reconciliation report of the month of the run's day.

**Reads** the ledger, breaks and payouts. **Writes** an HTML and an XLSX file into the folder of TALLYBACK_REPORTS.

**Re-run** at any time: the file of the same inputs is the same. **If it fails**: nothing is half-written; correct
what the note on the run names and clear the task. See docs/runbooks/tallyback__report.md.
"""

from __future__ import annotations

import tallyback_settings
from airflow.sdk import DAG
from tallyback_stage import DAY_PARAM, stage_task

SETTINGS = tallyback_settings.load()

with DAG(
    dag_id="tallyback__report",
    schedule=SETTINGS.schedule("REPORT"),
    start_date=tallyback_settings.START,
    catchup=False,
    max_active_runs=1,
    params=DAY_PARAM,
    doc_md=__doc__,
    tags=["tallyback", "report"],
) as dag:
    stage_task(SETTINGS, "report")
