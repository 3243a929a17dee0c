"""Synthetic scenes: people who walk in front of a moving background, with exact ground truth for every frame.

numpy and OpenCV only. Start with `Scene(SceneConfig.preset("crossing", seed=1))`; `posewire.synth.export` writes scenes
to files, `Scorer` compares tracked people with the ground truth.
"""

from posewire.synth.config import PRESETS, Choreography, SceneConfig
from posewire.synth.scene import Scene
from posewire.synth.scoring import Score, Scorer
from posewire.synth.truth import FrameTruth, SceneFrame, TrueFlow

__all__ = [
    "PRESETS",
    "Choreography",
    "FrameTruth",
    "Scene",
    "SceneConfig",
    "SceneFrame",
    "Score",
    "Scorer",
    "TrueFlow",
]
