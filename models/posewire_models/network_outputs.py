"""What networks return: one tensor, a tuple of tensors or a named tuple of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

__all__ = ["map_tensors", "rebuilt", "tensors_of"]


def tensors_of(outputs: Any) -> list[Tensor]:
    """The tensors of `outputs`, in order."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def rebuilt(example: Any, tensors: Sequence[Tensor]) -> Any:
    """`tensors` in the form of the outputs `example`."""
    if isinstance(example, Tensor):
        return tensors[0]
    make: Callable[[Sequence[Tensor]], Any] = getattr(type(example), "_make", type(example))
    return make(tensors)


def map_tensors(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`outputs` with `change` applied to each tensor."""
    return rebuilt(outputs, [change(output) for output in tensors_of(outputs)])
