"""The short texts by which a user names a detector or a flow estimator on the command line and in configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from posewire_models.detectors.torchvision_models import TORCHVISION_DETECTORS
from posewire_models.flow_estimators import DIS_PRESETS

__all__ = ["DETECTOR_SPECS", "FLOW_SPECS", "DetectorSpec", "FlowSpec", "parse_detector_spec", "parse_flow_spec"]

DETECTOR_SPECS = "bundle, onnx:PATH, torchvision:NAME[:WEIGHTS], published:NAME, none"
"""How a detector may be named."""
FLOW_SPECS = "auto, bundle, dis[:PRESET], flownet2-s:PATH, published:NAME, none"
"""How a flow estimator may be named."""


@dataclass(frozen=True)
class DetectorSpec:
    """Which detector.

    Attributes:
        kind: `bundle`, `onnx`, `torchvision`, `published` or `none`.
        path: model file (onnx) or weight file (torchvision, where it may be None).
        name: torchvision's name of the model, or that of published weights.
    """

    kind: str
    path: Path | None = None
    name: str = ""


@dataclass(frozen=True)
class FlowSpec:
    """Which flow estimator.

    Attributes:
        kind: `auto`, `bundle`, `dis`, `flownet2-s`, `published` or `none`.
        path: weight file of FlowNet2-S.
        preset: of DIS.
        name: of published weights.
    """

    kind: str
    path: Path | None = None
    preset: str = "ultrafast"
    name: str = ""


def parse_detector_spec(spec: str) -> DetectorSpec:
    """Parse `spec`; raises `ValueError` that lists what exists."""
    kind, _, rest = spec.partition(":")
    if kind in ("bundle", "none") and not rest:
        return DetectorSpec(kind)
    if kind == "onnx" and rest:
        return DetectorSpec(kind, path=Path(rest))
    if kind == "torchvision" and rest:
        name, _, weights = rest.partition(":")
        if name not in TORCHVISION_DETECTORS:
            raise ValueError(f"unknown torchvision detector {name!r}; known: {', '.join(TORCHVISION_DETECTORS)}")
        return DetectorSpec(kind, Path(weights) if weights else None, name)
    if kind == "published" and rest:
        return DetectorSpec(kind, name=rest)
    raise ValueError(f"unknown detector {spec!r}; use one of: {DETECTOR_SPECS}")


def parse_flow_spec(spec: str) -> FlowSpec:
    """Parse `spec`; raises `ValueError` that lists what exists."""
    kind, _, rest = spec.partition(":")
    if kind in ("auto", "bundle", "none") and not rest:
        return FlowSpec(kind)
    if kind == "dis":
        if rest and rest not in DIS_PRESETS:
            raise ValueError(f"unknown DIS preset {rest!r}; known presets: {', '.join(DIS_PRESETS)}")
        return FlowSpec(kind, preset=rest) if rest else FlowSpec(kind)
    if kind == "flownet2-s" and rest:
        return FlowSpec(kind, path=Path(rest))
    if kind == "published" and rest:
        return FlowSpec(kind, name=rest)
    raise ValueError(f"unknown flow estimator {spec!r}; use one of: {FLOW_SPECS}")
