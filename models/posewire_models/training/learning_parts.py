"""Parts of a network that are not trained, or faster than others; named by the start of their names."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["freeze", "parameter_groups"]


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


def parameter_groups(network: nn.Module, factors: dict[str, float]) -> list[dict[str, Any]]:
    """Parameter groups of an optimiser, one for each factor of the learning rate, the factor 1 first.

    Where several of the names in `factors` begin a part's, the longest holds.

    Raises:
        ValueError: a part that is named does not exist.
    """
    groups: dict[float, list[tuple[str, nn.Parameter]]] = {1.0: []}
    for name, parameter in network.named_parameters():
        start = max((start for start in factors if name.startswith(f"{start}.")), key=len, default="")
        factor = factors.get(start, 1.0)
        groups.setdefault(factor, []).append((name, parameter))
    idle = [
        start for start in factors if not any(name.startswith(f"{start}.") for name, _ in network.named_parameters())
    ]
    if idle:
        raise ValueError(f"loop.lr_factors: no part of the network is called {idle[0]!r}")
    return [
        {"params": [one for _, one in named], "names": [name for name, _ in named], "factor": factor}
        for factor, named in groups.items()
    ]
