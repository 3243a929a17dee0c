"""Parts of a network that are not trained."""

from __future__ import annotations

from torch import nn

__all__ = ["freeze"]


def freeze(network: nn.Module, starts: tuple[str, ...]) -> list[nn.Module]:
    """Take the gradients from the parts whose names start with one of `starts`, for example `features.0`.

    Returns:
        the modules of those parts: they have to stay in evaluation mode, or their batch norms go on learning.

    Raises:
        ValueError: no part is called so.
    """
    dotted = tuple(f"{start}." for start in starts)
    frozen = [module for name, module in network.named_modules() if f"{name}.".startswith(dotted)] if starts else []
    if starts and not frozen:
        parts = ", ".join(name for name, _ in network.named_modules() if name.count(".") == 1)
        raise ValueError(f"loop.frozen {starts} names no part of the network; its parts are {parts[:300]}")
    for module in frozen:
        module.requires_grad_(False)
    return frozen
