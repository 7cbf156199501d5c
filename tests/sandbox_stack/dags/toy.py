"""Two DAGs joined by an asset; the second asks a person."""

from datetime import datetime
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, dag, task

batch = Asset("toy_batch", "x-tallyback://toy/batch")
START = datetime(2026, 1, 1)  # Airflow takes a date without a zone as UTC


@dag(dag_id="toy__make", schedule=None, start_date=START, catchup=False)
def make() -> None:
    @task
    def count() -> list[int]:
        return [1, 2, 3]

    @task
    def double(number: int) -> int:
        print(f"doubling {number}")
        return 2 * number

    @task(outlets=[batch])
    def publish(numbers: list[int]) -> int:
        return sum(numbers)

    publish(double.expand(number=count()))


@dag(dag_id="toy__pay", schedule=[batch], start_date=START, catchup=False)
def pay() -> None:
    approve = ApprovalOperator(task_id="approve", subject="Pay the batch?", body="sha256 0a1b", fail_on_reject=True)

    @task
    def book(answer: dict[str, Any]) -> str:
        return f"{answer['chosen_options'][0]} by {answer['responded_by_user']['id']}"

    book(approve.output)


make()
pay()
