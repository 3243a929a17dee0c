from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_state_outside_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server keeps its resume key in the user's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
