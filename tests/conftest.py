"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# How long an example takes says nothing about whether it is right.
hypothesis.settings.register_profile("posewire", deadline=None)
hypothesis.settings.load_profile("posewire")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures and clips beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real pictures and clips in ../shared/data, which are not distributed")
    return folder
