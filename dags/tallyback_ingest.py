"""Fetch, parse and validate the reports of one partner account.

**Reads** the partner (its connection's credentials) and the account's earlier deliveries. **Writes** deliveries,
their bytes in the lake, parsed transactions, rejects and holds; then the asset `tallyback/<partner_account>`, which
starts `tallyback__reconcile_accrue`. The day is the end of the run's data interval; all windows due on it are
fetched. Give `from_on` and `until_on` to fetch one window instead, `day` for another day.

**Re-run** at any time: the same answer writes nothing. **If it fails**: what may pass by itself is tried again; what
stops needs you, and the note on the run says why. See docs/runbooks/tallyback__ingest.md.
"""

from __future__ import annotations

import tallyback_settings
from airflow.sdk import DAG, Asset
from tallyback_stage import WINDOW_PARAMS, stage_task

SETTINGS = tallyback_settings.load()


def ingest(account: str) -> DAG:
    """Return the DAG that ingests `account`."""
    with DAG(
        dag_id=f"tallyback__ingest__{account}",
        schedule=SETTINGS.schedule("INGEST"),
        start_date=tallyback_settings.START,
        catchup=False,
        # Windows of one account land in order, and a backfill keeps to the partner's rate.
        max_active_runs=1,
        params=WINDOW_PARAMS,
        doc_md=__doc__,
        tags=["tallyback", "ingest"],
    ) as dag:
        fetched = stage_task(SETTINGS, "fetch", account, pool=SETTINGS.pools[account])
        parsed = stage_task(SETTINGS, "parse", account)
        validated = stage_task(SETTINGS, "validate", account, outlets=[Asset(f"tallyback/{account}")])
        fetched >> parsed >> validated
    return dag


for name in SETTINGS.accounts:
    globals()[f"ingest_{name}"] = ingest(name)
