from __future__ import annotations

from pathlib import Path

import pytest

from posewire.synth import SceneConfig
from posewire_evaluation.benchmark_sets.scenes import DrawnScene, draw


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="session")
def scene(cache_dir: Path) -> DrawnScene:
    """Three people, each in their own territory, in a small picture."""
    return draw(small_scene(), cache_dir)


def small_scene(preset: str = "easy", frames: int = 30) -> SceneConfig:
    return SceneConfig.preset(preset, seed=5, frames=frames, width=256, height=192)
