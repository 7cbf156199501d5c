"""The page of promises has all eleven, and the tests it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_the_eleven_promises_stand_in_their_order() -> None:
    assert [int(section.partition(".")[0]) for section in SECTIONS] == list(range(1, 12))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition(".")[0])
def test_each_promise_names_tests_that_exist(section: str) -> None:
    named = NAMED.findall(section)
    assert len(named) >= 3
    assert section.count("\n- ") == len(named), "a line names something that is no test"
    missing = [f"{file}::{test}" for file, test in named if test not in functions(file)]
    assert missing == []


def functions(file: str) -> set[str]:
    """Return the names of the functions of a test file, none if there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
