"""Links between the pages, and the list of all pages in the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
_CODE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)


def _text(page: Path) -> str:
    """Without blocks of code, whose comments look like headings."""
    return _CODE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _text(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        assert not anchor or anchor in _anchors(target), f"{page.name}: {link} names no heading"


def test_the_readme_names_every_page() -> None:
    named = set(re.findall(r"\]\((docs/\w+\.md|CONTRIBUTING\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named == {str(page.relative_to(ROOT)) for page in PAGES} - {"README.md"}
