"""Load clicks, conversions and payees from each click source.

**Reads** the mapped tables of each tracker database, from its watermark less the overlap. **Writes** new clicks and
conversions, what checks find in the clicks (told in the note on the run), and payees with their IBAN encrypted; then
the asset `tallyback/clicks/<source>`, which starts `tallyback__reconcile_accrue`.

**Re-run** at any time: a known row is not written again, and the watermark moves only with what was committed. **If
it fails**: a database that does not answer is tried again; a missing column stops, and the note on the run names it.
See docs/runbooks/tallyback__clicks.md.
"""

from __future__ import annotations

import tallyback_settings
from airflow.sdk import DAG, Asset
from tallyback_stage import DAY_PARAM, stage_task

SETTINGS = tallyback_settings.load()

with DAG(
    dag_id="tallyback__clicks",
    schedule=SETTINGS.schedule("CLICKS"),
    start_date=tallyback_settings.START,
    catchup=False,
    max_active_runs=1,
    params=DAY_PARAM,
    doc_md=__doc__,
    tags=["tallyback", "ingest"],
) as dag:
    for source in SETTINGS.click_sources:
        outlets = [Asset(f"tallyback/clicks/{source}")]
        stage_task(SETTINGS, "clicks", source, task_id=f"clicks_{source}", outlets=outlets)
