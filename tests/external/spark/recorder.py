"""A plugin of pytest: writes each query of sql/reconcile and sql/accrue that tests run, with its inputs, to a folder.

Run: TALLYBACK_RECORDED=folder python -m pytest -p tests.external.spark.recorder tests/reconcile ...
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pytest

from etl.core.engine import Engine, Parameter, Relation, register

FOLDERS = ("reconcile/", "accrue/")
_RUN, _DERIVE = Engine.run, Engine.derive


def _table(engine: Engine, relation: Relation) -> pa.Table:
    if isinstance(relation, pa.Table):
        return relation
    with engine.instance([relation]).cursor() as connection:
        register(connection, "relation", relation)
        return connection.sql("SELECT * FROM relation").to_arrow_table()


def _record(
    engine: Engine, name: str, relations: Mapping[str, Relation], parameters: Mapping[str, Parameter] | None
) -> None:
    if name.startswith(FOLDERS) and not any(isinstance(each, pa.RecordBatchReader) for each in relations.values()):
        given = {key: _table(engine, relation) for key, relation in relations.items()}
        case = pickle.dumps((name, given, dict(parameters or {})))
        folder = Path(os.environ["TALLYBACK_RECORDED"]) / name.replace("/", ".")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(case).hexdigest()).write_bytes(case)


def _run(
    self: Engine,
    name: str,
    relations: Mapping[str, Relation],
    parameters: Mapping[str, Parameter] | None = None,
    *,
    is_ordered: bool = True,
) -> pa.Table:
    _record(self, name, relations, parameters)
    return _RUN(self, name, relations, parameters, is_ordered=is_ordered)


def _derive(
    self: Engine,
    name: str,
    relations: Mapping[str, Relation],
    parameters: Mapping[str, Parameter] | None = None,
) -> Relation:
    _record(self, name, relations, parameters)
    return _DERIVE(self, name, relations, parameters)


@pytest.hookimpl
def pytest_configure() -> None:
    """Record from now on."""
    # For the time of this process.
    patch.object(Engine, "run", _run).start()
    patch.object(Engine, "derive", _derive).start()
