"""How detectors and flow estimators are called that a user named; needs no torch, unlike `specs`."""

from __future__ import annotations

import os

__all__ = ["spec_name"]


def spec_name(spec: str) -> str:
    """`onnx:yolox_nano.onnx` for a specification (see `specs`), without the folder of its file."""
    kind, _, path = spec.partition(":")
    return f"{kind}:{os.path.basename(path)}" if path else kind
