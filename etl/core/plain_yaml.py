"""YAML files as plain values: mappings, lists, texts, numbers and truth values."""

from __future__ import annotations

from pathlib import Path

import yaml


def read_yaml(path: Path) -> object:
    """Return what a YAML file says. Raises OSError, UnicodeDecodeError, or yaml.YAMLError with the line and its place.

    Every command reads the whole configuration. libyaml is nine times as fast as what PyYAML does in Python, but does
    not show the line that is wrong: that is read once more.
    """
    text = path.read_text(encoding="utf-8")
    if not yaml.__with_libyaml__:
        return yaml.safe_load(text)
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return yaml.safe_load(text)
