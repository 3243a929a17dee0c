"""Parts of a network that are frozen or trained at another rate, given by prefixes of their names."""

from __future__ import annotations

from typing import Any

from torch import nn

from posewire_models.training.config import ConfigError

__all__ = ["freeze", "parameter_groups"]


def freeze(network: nn.Module, starts: tuple[str, ...]) -> list[nn.Module]:
    """Disable gradients for the parts whose names start with one of `starts`, for example `features.0`.

    Returns:
        the modules of those parts, which must stay in evaluation mode, or their batch norm statistics would change.

    Raises:
        ConfigError: there is no such part.
    """
    dotted = tuple(f"{start}." for start in starts)
    parts = {f"{name}.": module for name, module in network.named_modules() if name}
    for start, prefix in zip(starts, dotted, strict=True):
        if prefix not in parts:
            known = ", ".join(name for name, _ in network.named_modules() if name.count(".") == 1)
            raise ConfigError(f"loop.frozen: no part of the network is called {start!r}; its parts are {known[:300]}")
    frozen = [module for name, module in parts.items() if name.startswith(dotted)]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def parameter_groups(network: nn.Module, factors: dict[str, float]) -> list[dict[str, Any]]:
    """Parameter groups of an optimiser, one per factor of the learning rate, factor 1 first.

    If several names in `factors` are prefixes of a part's name, the longest one is used.

    Raises:
        ConfigError: a named part does not exist.
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
        raise ConfigError(f"loop.lr_factors: no part of the network is called {idle[0]!r}")
    return [
        {"params": [one for _, one in named], "names": [name for name, _ in named], "factor": factor}
        for factor, named in groups.items()
    ]
