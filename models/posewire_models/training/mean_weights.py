"""The mean of the weights of several runs, each started from the result of another.

Such networks lie in one valley of the loss, and their mean is often better than each of them (Wortsman et al., "Model
soups", ICML 2022). It keeps what an earlier run learned and a later one, on other data, has begun to forget. A file
that is named twice counts twice:

    python -m posewire_models.training.mean_weights FIRST.safetensors SECOND.safetensors --out OUT.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from posewire_models.training.checkpoint import save_weights
from posewire_models.training.failures import expected_failures
from posewire_models.weights import WeightsError, read_state

__all__ = ["main", "mean_weights"]


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor, in its own precision; integer counters are those of the last state.

    Raises:
        WeightsError: there are no states, or they are of different networks.
    """
    if not states:
        raise WeightsError("no weights are given; name one file or more")
    first = {name: value.shape for name, value in states[0].items()}
    for state in states[1:]:
        shapes = {name: value.shape for name, value in state.items()}
        different = sorted(name for name in first.keys() | shapes.keys() if first.get(name) != shapes.get(name))
        if different:
            name = different[0]
            raise WeightsError(
                f"the weights are of different networks: {name} is {_in_words(first.get(name))} in the first and "
                f"{_in_words(shapes.get(name))} in another ({len(different)} such tensors)"
            )
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    }


def _in_words(shape: torch.Size | None) -> str:
    return "missing" if shape is None else f"{tuple(shape)}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m posewire_models.training.mean_weights")
    parser.add_argument("weights", type=Path, nargs="+", help="weights of networks of the same kind (safetensors)")
    parser.add_argument("--out", type=Path, required=True, help="file for the mean weights (safetensors)")
    arguments = parser.parse_args()
    with expected_failures():
        save_weights(arguments.out, mean_weights([read_state(file) for file in arguments.weights]), {})


if __name__ == "__main__":
    main()
