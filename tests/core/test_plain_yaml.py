"""Promises of reading YAML: the fast reader says what the plain one says, and a mistake is shown where it is."""

from pathlib import Path

import pytest
import yaml

from etl.core.plain_yaml import read_yaml

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "config").rglob("*.yaml"), *(ROOT / "expectations").rglob("*.yaml")])


def test_every_file_of_ours_is_read_as_the_plain_reader_reads_it() -> None:
    assert len(FILES) > 10
    for path in FILES:
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8")), path


def test_a_mistake_is_shown_with_its_line_and_place(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: awin\nzone: a: b\n", encoding="utf-8")
    with pytest.raises(yaml.YAMLError, match=r"line 2, column 8:\n    zone: a: b\n           \^"):
        read_yaml(path)
