"""A store and a web of one's own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from posewire_models.published.store import Store
from tests.models.published.web import Web, running_web


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSEWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("POSEWIRE_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def web() -> Iterator[Web]:
    with running_web() as served:
        yield served
