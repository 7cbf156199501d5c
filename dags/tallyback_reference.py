"""Load programs and cashback rules from the files of TALLYBACK_REFERENCE.

**Reads** `programs.csv`, `cashback_rules.csv`, `contract_terms.csv` and `aliases.csv` if there are such.
**Writes** their new and changed rows, dated by validity; then the
asset `tallyback/reference`, which starts `tallyback__reconcile_accrue`, as an unknown program may be known now.

**Re-run** at any time: the same files write nothing. **If it fails**: the note on the run names file, row and column;
correct the file and clear the task. See docs/runbooks/tallyback__reference.md.
"""

from __future__ import annotations

import tallyback_settings
from airflow.sdk import DAG, Asset
from tallyback_stage import DAY_PARAM, stage_task

SETTINGS = tallyback_settings.load()

with DAG(
    dag_id="tallyback__reference",
    schedule=SETTINGS.schedule("REFERENCE"),
    start_date=tallyback_settings.START,
    catchup=False,
    max_active_runs=1,
    params=DAY_PARAM,
    doc_md=__doc__,
    tags=["tallyback", "reference"],
) as dag:
    stage_task(SETTINGS, "reference", outlets=[Asset("tallyback/reference")])
