"""The number types that networks compute in. Their outputs are always decoded in float32."""

from __future__ import annotations

import torch

from posewire_models.specs import PRECISIONS

__all__ = ["precision_name", "select_precision"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def select_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of a network's weights and activations on `device`.

    Of the two half precisions `auto` takes float16: it has 10 bits of mantissa where bfloat16 has 7, and joints depend
    on small differences between neighbouring heatmap cells. The wide range of bfloat16 is not needed here: with folded
    batch norms, activations stay below some hundreds. docs/design.md has the figures.

    Raises:
        ValueError: unknown name.
    """
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision {name!r}; use {', '.join(PRECISIONS)}")
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    return _DTYPES[name]


def precision_name(dtype: torch.dtype) -> str:
    """One of `PRECISIONS`."""
    return next(name for name, known in _DTYPES.items() if known is dtype)
