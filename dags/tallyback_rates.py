"""Load exchange rates from the ECB's file of TALLYBACK_RATES.

**Reads** that file (csv, zip or gz). **Writes** the rates of days that are new; then the asset `tallyback/rates`,
which starts `tallyback__reconcile_accrue`: sales that waited for a rate are booked in the base currency.

**Re-run** at any time: a known rate is not written again. **If it fails**: a rate that changed, or a file that is
none, stops it; the note on the run says which. See docs/runbooks/tallyback__rates.md.
"""

from __future__ import annotations

import tallyback_settings
from airflow.sdk import DAG, Asset
from tallyback_stage import DAY_PARAM, stage_task

SETTINGS = tallyback_settings.load()

with DAG(
    dag_id="tallyback__rates",
    schedule=SETTINGS.schedule("RATES"),
    start_date=tallyback_settings.START,
    catchup=False,
    max_active_runs=1,
    params=DAY_PARAM,
    doc_md=__doc__,
    tags=["tallyback", "reference"],
) as dag:
    stage_task(SETTINGS, "rates", outlets=[Asset("tallyback/rates")])
