"""Loads the DAGs of a folder in a process of its own, as the DAG processor does, and prints what it found as JSON."""

import json
import sys
from pathlib import Path

from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk import AssetAny
from airflow.serialization.serialized_objects import DagSerialization

HEAVY = (
    "pandas",
    "duckdb",
    "great_expectations",
    "psycopg",
    "pyarrow",
    "etl",
    "connectors",
    "zeep",
    "paramiko",
    "boto3",
)


def main(folder: Path) -> None:
    """Print the DAGs, their tasks, what importing them dragged in, and how long each file took."""
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name="tallyback")
    dags = {}
    for dag_id, dag in bag.dags.items():
        dags[dag_id] = {
            "doc": dag.doc_md,
            "file": Path(dag.fileloc).name,
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "schedule": dag.schedule if isinstance(dag.schedule, str) else None,
            "assets": sorted(asset.name for asset in dag.schedule.objects)
            if isinstance(dag.schedule, AssetAny)
            else [],
            "params": {name: dag.params[name] for name in dag.params},
            "serialized": DagSerialization.to_dict(dag)["dag"]["dag_id"],
            "tasks": {
                task.task_id: {
                    "upstream": sorted(task.upstream_task_ids),
                    "outlets": [asset.name for asset in task.outlets],
                    "pool": task.pool,
                    "retries": task.retries,
                    "has_policy": task.retry_policy is not None,
                    "tells": bool(task.on_failure_callback),
                    "trigger_rule": str(task.trigger_rule),
                }
                for task in dag.tasks
            },
        }
    heavy = sorted(name for name in sys.modules if name.split(".")[0] in HEAVY)
    seconds = {Path(one.file).name: one.duration.total_seconds() for one in bag.dagbag_stats}
    print(json.dumps({"dags": dags, "errors": bag.import_errors, "heavy": heavy, "seconds": seconds}))


main(Path(sys.argv[1]))
