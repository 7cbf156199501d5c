"""The engine that tests run SQL on: their tables have a few rows, so a second thread is only waited for."""

from __future__ import annotations

from dataclasses import replace

from etl.core.engine import Engine

ENGINE = Engine(memory_limit="500MB", threads=1)
A_FEW_AT_ONCE = replace(ENGINE, sales_at_once=2)
"""One that has stages go through sales two at a time."""
