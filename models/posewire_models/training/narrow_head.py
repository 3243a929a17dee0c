"""Initial weights for a cheaper network: a trained pose network with fewer filters in its last transposed convolution.

At the finest resolution a filter costs most and contributes least. Those with the largest weights in the heatmaps are
kept; the contribution of the others is lost, which some training makes up for:

    python -m posewire_models.training.narrow_head WEIGHTS.safetensors 64 OUT.safetensors
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from posewire_models.training.checkpoint import save_weights
from posewire_models.training.failures import expected_failures
from posewire_models.weights import WeightsError, read_state

__all__ = ["main", "narrowed"]


def narrowed(state: Mapping[str, Tensor], filters: int) -> dict[str, Tensor]:
    """The state of a network with a deconvolution head, with only `filters` filters in its last transposed convolution.

    Raises:
        WeightsError: there is no such head, or it has no more than `filters` filters there.
    """
    steps = [int(found[1]) for name in state if (found := re.fullmatch(r"deconv_layers\.(\d+)\.running_var", name))]
    if not steps or "final_layer.weight" not in state:
        raise WeightsError("these weights have no deconvolution head: deconv_layers.* and final_layer.* are expected")
    norm = f"deconv_layers.{max(steps)}"
    deconv = f"deconv_layers.{max(steps) - 1}"
    has = len(state[f"{norm}.weight"])
    if not 0 < filters < has:
        raise WeightsError(f"the last transposed convolution has {has} filters; name a smaller number than that")
    # How much a filter can add to any heatmap: its scale after the batch norm, times its weight in the heatmaps.
    weighed = state["final_layer.weight"].float().flatten(1).norm(dim=0) * state[f"{norm}.weight"].float().abs()
    kept = weighed.topk(filters).indices.sort().values
    # Of (in, out, h, w) weights of a transposed convolution, of (joints, in, 1, 1) and of (out, in, 1, 1) ones.
    narrow = {f"{deconv}.weight": 1, "final_layer.weight": 1}
    narrow |= {f"{norm}.{part}": 0 for part in ("weight", "bias", "running_mean", "running_var")}
    lateral = _last_lateral(state, has)
    if lateral is not None:
        narrow |= {f"{lateral}.weight": 0, f"{lateral}.bias": 0}
    return {name: value.index_select(narrow[name], kept) if name in narrow else value for name, value in state.items()}


def _last_lateral(state: Mapping[str, Tensor], filters: int) -> str | None:
    """The lateral from the earliest block, which is the one added last."""
    blocks = [int(found[1]) for name in state if (found := re.fullmatch(r"laterals\.(\d+)\.weight", name))]
    return f"laterals.{min(blocks)}" if blocks and len(state[f"laterals.{min(blocks)}.bias"]) == filters else None


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m posewire_models.training.narrow_head")
    parser.add_argument("weights", type=Path, help="weights of a pose network (safetensors)")
    parser.add_argument("filters", type=int, help="number of filters to keep in the last transposed convolution")
    parser.add_argument("out", type=Path, help="file for the new weights (safetensors)")
    arguments = parser.parse_args()
    with expected_failures():
        save_weights(arguments.out, narrowed(read_state(arguments.weights), arguments.filters), {})


if __name__ == "__main__":
    main()
