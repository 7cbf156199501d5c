"""The checklist "How to add a partner" is held to its word by the partners there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.partners import PARTNERS
from sandbox.model import AWIN, RAKUTEN, TRADETRACKER

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to-add-a-partner.md"
ITEM = re.compile(r"^- \[ \] `([^`]+)`: \S", re.MULTILINE)


def listed(heading: str) -> list[str]:
    """Return the paths of the checklist under a heading."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = ITEM.findall(section)
    assert len(found) == section.count("- [ ]") > 0, f"an item under {heading!r} is not of the form `path`: what for"
    return found


OWN = listed("Files of the partner")
SHARED = listed("Files that name it")
LIVED = listed("To live in the sandbox's world")
IN_WORLD = (AWIN, RAKUTEN, TRADETRACKER)


def test_the_list_and_the_partners_were_found() -> None:
    assert len(OWN) >= 5
    assert len(SHARED) >= 6
    assert len(PARTNERS) >= 4
    assert len(LIVED) >= 5
    assert PAGE.read_text(encoding="utf-8").count("- [ ]") == len(OWN) + len(SHARED) + len(LIVED)


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("path", OWN)
def test_every_partner_has_every_file_of_its_own(path: str, partner: str) -> None:
    assert "{partner}" in path
    file = ROOT / path.format(partner=partner)
    assert file.is_file()
    assert file.stat().st_size > 0


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("path", SHARED)
def test_every_file_that_should_name_a_partner_names_it(path: str, partner: str) -> None:
    assert partner in (ROOT / path).read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("partner", IN_WORLD)
@pytest.mark.parametrize("path", LIVED)
def test_every_partner_of_the_sandbox_lives_in_it(path: str, partner: str) -> None:
    file = ROOT / path.format(partner=partner)
    assert partner in file.read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("folder", ["connectors/partners", "sql/parse", "docs/partners"])
def test_a_partner_has_one_name_across_folders(folder: str) -> None:
    """A file of a partner that `PARTNERS` does not know would be a second name of one, or one that cannot run."""
    shared = {
        "__init__",
        "account_settings",
        "csv_rows",
        "json_blocks",
        "json_elements",
        "json_shapes",
        "xml_rows",
        "rows",
        "text_source",
        "written_parts",
        "macros",
    }
    names = {path.stem for path in (ROOT / folder).glob("*.*") if path.suffix in {".py", ".sql", ".md"}} - shared
    assert names == set(PARTNERS)
