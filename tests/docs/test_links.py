"""Every relative link of every page leads somewhere, and every page can be reached from the index."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!\\)\[[^\]\n]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
OUTSIDE = ("http://", "https://", "mailto:")


def tracked_pages() -> list[Path]:
    """Return the Markdown files of the project, those of the environment and the world left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [ROOT / name for name in sorted(listed.stdout.split("\n")) if name and (ROOT / name).is_file()]


def links(page: Path) -> list[str]:
    """Return the relative links of a page; what stands in code is no link."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in LINK.findall(text) if not link.startswith(OUTSIDE)]


def anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page have."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = tracked_pages()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_pages_and_links_were_found() -> None:
    assert len(PAGES) > 10
    assert sum(len(links(page)) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{name_of(page)}: {link} leads out of the project"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {link}: there is no such heading"


def test_every_page_of_the_documentation_can_be_reached() -> None:
    reached, waiting = set(), [ROOT / "README.md", ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [
            target
            for link in links(page)
            if (target := (page.parent / unquote(link.partition("#")[0])).resolve()).is_file()
        ]
    unreached = [name_of(page) for page in PAGES if page.is_relative_to(ROOT / "docs") and page not in reached]
    assert unreached == []
