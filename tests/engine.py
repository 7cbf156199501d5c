"""The engine that tests run SQL on: their tables have a few rows, so a second thread is only waited for."""

from __future__ import annotations

from etl.core.engine import Engine

ENGINE = Engine(memory_limit="500MB", threads=1)
