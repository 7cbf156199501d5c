"""Match what partners reported with what we tracked, and book what follows.

**Reads** versions, clicks, conversions, programs, rules, rates, decisions, and new files of TALLYBACK_REMITTANCES.
**Writes** sales, matches and breaks (`reconcile`), what remittances pay and their postings (`remit`), then postings for
every touched sale (`accrue`). Begun by any of the assets: new data of a partner
account or click source, reference data, rates. It is for today, so that an old run begun again does not turn the
books back.

**Re-run** at any time: what did not change is not written. **If it fails**: each stage commits whole or not at all;
correct what the note on the run names and clear the task. See docs/runbooks/tallyback__reconcile_accrue.md.
"""

from __future__ import annotations

import tallyback_settings
from airflow.sdk import DAG, Asset, AssetAny
from tallyback_stage import DAY_PARAM, stage_task

SETTINGS = tallyback_settings.load()
ASSETS = [
    *(Asset(f"tallyback/{account}") for account in SETTINGS.accounts),
    *(Asset(f"tallyback/clicks/{source}") for source in SETTINGS.click_sources),
    Asset("tallyback/reference"),
    Asset("tallyback/rates"),
]

with DAG(
    dag_id="tallyback__reconcile_accrue",
    schedule=AssetAny(*ASSETS),
    start_date=tallyback_settings.START,
    catchup=False,
    max_active_runs=1,
    params=DAY_PARAM,
    doc_md=__doc__,
    tags=["tallyback", "books"],
) as dag:
    stage_task(SETTINGS, "reconcile") >> stage_task(SETTINGS, "remit") >> stage_task(SETTINGS, "accrue")
