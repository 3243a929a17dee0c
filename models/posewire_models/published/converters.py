"""From the names and conventions of published checkpoints to posewire's own networks.

posewire's networks use the tensor names of the checkpoints that they come from (see `pose_resnet`, `flownet_s`), so a
converter removes prefixes, renames tensors of projects with other names, and reorders a first layer that expects B, G,
R to R, G, B.

Sources of the names: MMPose (`TopdownPoseEstimator` with `HeatmapHead`, and `TopDown` with `TopdownHeatmapSimpleHead`
before 1.0), microsoft/human-pose-estimation.pytorch (`lib/models/pose_resnet.py`), NVIDIA/flownet2-pytorch
(`networks/FlowNetS.py`), MMFlow (`FlowNetEncoder`, `FlowNetSDecoder`), torchvision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from posewire_models.architectures import TORCHVISION, untrained_network
from posewire_models.detectors.torchvision_models import current_names, detection_network
from posewire_models.published.catalogue import PublishedFile, catalogue, published_file
from posewire_models.published.errors import UnknownCheckpointError
from posewire_models.weights import WeightsError, check_state, not_finite

__all__ = ["CONVERTERS", "convert_state", "network_of", "recognise"]

State = Mapping[str, Tensor]


def convert_state(state: State, file: PublishedFile, source: str) -> dict[str, Tensor]:
    """The weights of `file`'s network, converted from the state in `file`.

    Args:
        state: with the names in the file.
        file: which published file it is.
        source: what to call it in errors.

    Raises:
        UnknownCheckpointError: the state is not that of `file`, or has values that are not finite.
    """
    with torch.device("meta"):
        network = network_of(file)
    try:
        converted = CONVERTERS[file.family](_unwrapped(state), file)
        check_state(network, converted, source)
    except (UnknownCheckpointError, WeightsError) as error:
        raise UnknownCheckpointError(f"{source} is not {file.name}: {error}") from None
    if key := not_finite(converted):
        raise UnknownCheckpointError(f"{source} holds numbers that are not finite, in {key}")
    return _apart(converted)


def _apart(state: State) -> dict[str, Tensor]:
    """Each tensor with its own memory, as safetensors requires: tied weights are stored once per name."""
    taken = set()
    result = {}
    for key, value in state.items():
        result[key] = value.contiguous()
        if result[key].untyped_storage().data_ptr() in taken:
            result[key] = value.clone(memory_format=torch.contiguous_format)
        taken.add(result[key].untyped_storage().data_ptr())
    return result


def network_of(file: PublishedFile) -> nn.Module:
    """The network that `file`'s weights fit, with random weights."""
    if file.architecture == TORCHVISION:
        return detection_network(file.network["name"])
    return untrained_network(file.architecture, file.network, file.name)


def recognise(path: Path, state: State) -> PublishedFile:
    """Which published file a local file is: by its name, else by its tensors.

    Raises:
        UnknownCheckpointError: none, or it may be one of several; the message names them.
    """
    for file in catalogue().values():
        if file.file == path.name:
            return file
    fitting = [file.name for file in catalogue().values() if _fits(state, file)]
    if len(fitting) == 1:
        return published_file(fitting[0])
    if fitting:
        raise UnknownCheckpointError(
            f"{path} has the tensors of {', '.join(fitting)}, and its name does not tell which; say it: --as NAME"
        )
    raise UnknownCheckpointError(
        f"{path} is not one of the checkpoints that posewire can convert ({len(state)} tensors, the first is "
        f"{next(iter(state), 'none')!r}); `posewire models list` has them"
    )


def _fits(state: State, file: PublishedFile) -> bool:
    try:
        # Without values: only names and shapes are compared.
        bare = {key: torch.empty(value.shape, device="meta") for key, value in _unwrapped(state).items()}
        converted = CONVERTERS[file.family](bare, file)
        with torch.device("meta"):
            check_state(network_of(file), converted, file.name)
    except (WeightsError, UnknownCheckpointError):
        return False
    return True


def _unwrapped(state: State) -> dict[str, Tensor]:
    """Without the prefix added by `DataParallel`, and without batch norm counters, which only training uses."""
    return {
        key.removeprefix("module."): value for key, value in state.items() if not key.endswith("num_batches_tracked")
    }


def _mmpose(state: State, file: PublishedFile) -> dict[str, Tensor]:
    converted = {}
    for key, value in state.items():
        part, _, name = key.partition(".")
        if part == "data_preprocessor":
            continue  # mean and deviation, which are in the catalogue
        if part not in ("backbone", "head", "keypoint_head"):
            raise UnknownCheckpointError(f"{key!r} is no name of MMPose's top-down networks")
        converted[name] = value
    if file.channels:
        for key in ("final_layer.weight", "final_layer.bias"):
            if key not in converted or len(converted[key]) <= max(file.channels):
                raise UnknownCheckpointError(f"{file.name} has more than {max(file.channels)} heatmaps, this has fewer")
            converted[key] = converted[key][list(file.channels)]
    return converted


def _simple_baselines(state: State, file: PublishedFile) -> dict[str, Tensor]:
    return _first_layer_to_rgb(state, "conv1.weight")


def _torchvision(state: State, file: PublishedFile) -> dict[str, Tensor]:
    return current_names(state)


def _flownet2_pytorch(state: State, file: PublishedFile) -> dict[str, Tensor]:
    return dict(state)


# Encoder: level, index in the level -> our convolution. MMFlow counts levels from 0 here.
_FLOW_ENCODER = {
    ("0", "0"): "conv1", ("1", "0"): "conv2",
    ("2", "0"): "conv3", ("2", "1"): "conv3_1",
    ("3", "0"): "conv4", ("3", "1"): "conv4_1",
    ("4", "0"): "conv5", ("4", "1"): "conv5_1",
    ("5", "0"): "conv6", ("5", "1"): "conv6_1",
}  # fmt: skip
_FLOW_ENCODER_NAME = re.compile(r"encoder\.layers\.(\d)\.layers\.(\d)\.conv\.(weight|bias)")
_FLOW_DECODER_NAME = re.compile(
    r"decoder\.decoders\.level([2-6])\.(pred_out|deconv_out\.deconvs\.0|upsample_pred\.deconvs\.0)\.(weight|bias)"
)


def _mmflow_flownets(state: State, file: PublishedFile) -> dict[str, Tensor]:
    return _first_layer_to_rgb({_mmflow_name(key): value for key, value in state.items()}, "conv1.0.weight")


def _mmflow_name(key: str) -> str:
    """Our name for a tensor of MMFlow's FlowNetS."""
    if (found := _FLOW_ENCODER_NAME.fullmatch(key)) and (found[1], found[2]) in _FLOW_ENCODER:
        return f"{_FLOW_ENCODER[found[1], found[2]]}.0.{found[3]}"
    if found := _FLOW_DECODER_NAME.fullmatch(key):
        level = int(found[1])
        match found[2].partition(".")[0]:
            case "pred_out":
                return f"predict_flow{level}.{found[3]}"
            case "deconv_out":
                return f"deconv{level - 1}.0.{found[3]}"
            case _:
                return f"upsampled_flow{level}_to_{level - 1}.{found[3]}"
    raise UnknownCheckpointError(f"{key!r} is no name of MMFlow's FlowNetS")


def _first_layer_to_rgb(state: State, key: str) -> dict[str, Tensor]:
    """Reorder a first layer that expects B, G, R to R, G, B, for both pictures of a pair."""
    if key not in state or state[key].ndim != 4 or state[key].shape[1] % 3:
        raise UnknownCheckpointError(f"it has no first layer {key!r} on colours")
    reversed_colours = [first + colour for first in range(0, state[key].shape[1], 3) for colour in (2, 1, 0)]
    return {**state, key: state[key][:, reversed_colours]}


CONVERTERS: dict[str, Callable[[State, PublishedFile], dict[str, Tensor]]] = {
    "mmpose": _mmpose,
    "simple-baselines": _simple_baselines,
    "torchvision": _torchvision,
    "flownet2-pytorch": _flownet2_pytorch,
    "mmflow-flownets": _mmflow_flownets,
}
"""Naming scheme -> converter from such a state (without prefixes and counters) to ours."""
