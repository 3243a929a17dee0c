"""Running frozen parts of a network as in inference: with folded batch norms, by OpenVINO.

On a CPU that is three to four times as fast as torch. If most of a network is frozen and only its head is trained, it
determines the number of samples per second.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from posewire_models.inference import runner
from posewire_models.openvino_runtime import openvino_is_installed

__all__ = ["speed_up_frozen"]


def speed_up_frozen(network: nn.Module, frozen: Sequence[str]) -> None:
    """Run the parts called `frozen` by OpenVINO, if it is installed. The network keeps its names and weights.

    Args:
        network: float32; the weights of the frozen parts must not change afterwards.
        frozen: names of modules, each a function of one picture or map. Consecutive ones in a list of modules, such as
            `features.0` and `features.1`, run as one.
    """
    if not openvino_is_installed():
        return
    modules = dict(network.named_modules())
    for names in _runs([name for name in frozen if name in modules]):
        chain = _Chain([modules[name] for name in names])
        for place, name in enumerate(names):
            modules[name].forward = chain.part(place)  # takes precedence over the class's own


def _runs(names: Sequence[str]) -> list[list[str]]:
    """The names in groups `parent.N`, `parent.N+1` and so on; every other name is a group of its own."""

    def run(numbered: tuple[int, str]) -> tuple[str, int]:
        place, name = numbered
        parent, _, last = name.rpartition(".")
        return (parent, int(last) - place) if last.isdecimal() else (name, 0)

    return [[name for _, name in group] for _, group in groupby(enumerate(names), run)]


class _Chain:
    """Parts that usually take the output of the part before; a call of the first one runs all of them."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        self._parts = parts
        self._plain = [part.forward for part in parts]
        self._copy = copy.deepcopy(parts[0] if len(parts) == 1 else _InTurn(parts))
        self._runners: dict[torch.Size, Callable[[Tensor], Any]] = {}
        self._maps: tuple[Any, ...] = ()  # inputs of all parts in the last run, then the output of the last part

    def part(self, place: int) -> Callable[[Tensor], Any]:
        """Replacement for that part's `forward`."""

        def forward(x: Tensor) -> Any:
            if place == 0:
                self._maps = (x, *self._run(x)) if self._may_run(x) else ()
            if self._maps and x is self._maps[place]:
                return self._maps[place + 1]
            return self._plain[place](x)

        return forward

    def _may_run(self, x: Tensor) -> bool:
        learns = any(part.training for part in self._parts) or (x.requires_grad and torch.is_grad_enabled())
        return not learns and x.dim() == 4 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")

    def _run(self, x: Tensor) -> tuple[Any, ...]:
        """The outputs of all parts."""
        channels, height, width = x.shape[1:]
        if x.shape[1:] not in self._runners:
            whole = copy.deepcopy(self._copy)
            self._runners[x.shape[1:]] = runner(whole, (channels, height, width), x.device, "openvino", "float32")
        outputs = self._runners[x.shape[1:]](x)
        return outputs if len(self._parts) > 1 else (outputs,)


class _InTurn(nn.Module):
    """Modules in sequence, with the outputs of all of them."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> tuple[Any, ...]:
        """The outputs of all modules for the first one's input."""
        outputs = []
        for part in self.parts:
            x = part(x)
            outputs.append(x)
        return tuple(outputs)
