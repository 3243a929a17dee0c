"""What networks return: one tensor, a tuple of tensors or a named tuple of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from torch import Tensor

__all__ = ["form_of", "map_tensors", "tensors_of"]


def tensors_of(outputs: Any) -> list[Tensor]:
    """The tensors of `outputs`, in order."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def form_of(outputs: Any) -> Callable[[Sequence[Tensor]], Any]:
    """What puts tensors into the form of `outputs`, without keeping those in `outputs` alive."""
    if isinstance(outputs, Tensor):
        return itemgetter(0)
    form: Callable[[Sequence[Tensor]], Any] = getattr(type(outputs), "_make", type(outputs))
    return form


def map_tensors(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`outputs` with `change` applied to each tensor."""
    return form_of(outputs)([change(output) for output in tensors_of(outputs)])
