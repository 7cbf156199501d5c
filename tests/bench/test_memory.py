"""The benchmark of memory lands, parses and matches what it says, beside a tenth of each, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import memory


def test_each_kind_is_measured_beside_a_tenth_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As many rows of each, so that one in a thousand of the smallest is a reject.
    monkeypatch.setattr(memory, "SOAP_SHARE", 1)
    monkeypatch.setattr(memory, "CLICKS_EACH_ROW", 10)
    tmp_path.chmod(0o711)
    said: list[str] = []
    result = memory.run(tmp_path, 20_000, 1, said.append)
    assert result.ours.rows == 20_000 + 20_000 + 200_000 // memory.CLICKS_EACH
    assert result.floor.rows == result.ours.rows // memory.SMALLER
    for what in ("csv", "soap", "clicks"):
        assert {f"{what}_mb", f"{what}_seconds", f"{what}_peak_mb", f"{what}_peak_mb_of_a_tenth"} <= result.notes.keys()
    assert any("200,000 clicks" in line for line in said)
    assert list(tmp_path.iterdir()) == []
