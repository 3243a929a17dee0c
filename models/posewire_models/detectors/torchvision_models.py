"""torchvision's detectors with their published COCO weights, read from a local file; nothing is downloaded.

torchvision is imported only when a detector is made, because that takes three seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from posewire_models.detectors.selection import DetectorSettings, select_people
from posewire_models.device_transfer import to_host
from posewire_models.frames import Detections, Frame
from posewire_models.manifest import BundleError
from posewire_models.precision import select_precision
from posewire_models.published.catalogue import catalogue
from posewire_models.published.store import Store
from posewire_models.specs import TORCHVISION_DETECTORS
from posewire_models.weights import WeightsError, check_digest, load_strict, read_state

__all__ = ["TorchvisionDetector", "compute_in", "current_names", "default_weights", "detection_network"]

# Name -> epsilon of the frozen batch norms that the published weights were trained with; the others have ordinary ones.
# torchvision freezes them only when it downloads the weights itself, so it is done here.
_FROZEN_EPSILON = {
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
}

_NAMES_SINCE_0_13 = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
)

# Frames that go through a network together on a GPU; these networks need hundreds of megabytes for each.
_MOST_FRAMES = 8
_PERSON = 1  # COCO's own number; 0 is the background


class TorchvisionDetector:
    """A `Detector` that runs a model of torchvision.

    Args:
        name: one of `TORCHVISION_DETECTORS`.
        weights: its state file, for example `default_weights`.
        settings: thresholds. The models have their own NMS, and report at most 100 boxes (SSDLite 300) of all classes
            together, or `max_people` if that is more.
        device: where to run.
        precision: of the convolutions and the fully connected layers, see `posewire_models.specs.PRECISIONS`; boxes
            are computed in float32.

    Raises:
        BundleError: unknown name.
        WeightsError: the weight file is missing, or made for another model.
    """

    def __init__(
        self, name: str, weights: Path, settings: DetectorSettings, device: torch.device, precision: str = "auto"
    ) -> None:
        network = detection_network(name)
        load_strict(network, current_names(read_state(weights)), str(weights))
        _make_room(network, settings.max_people)
        network.eval().requires_grad_(False)
        compute_in(network, select_precision(precision, device))
        self._network = network.to(device)
        self._settings = settings
        self._device = device
        self._longest = _longest(network)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        # The models pad a batch to its largest frame, on which results would then depend. On a CPU, batches of one size
        # gain nothing either.
        most = 1 if self._device.type == "cpu" else _MOST_FRAMES
        found: list[Detections | None] = [None] * len(frames)
        for rows in _of_one_size(frames, most):
            for row, people in zip(rows, self._detect([frames[row] for row in rows]), strict=True):
                found[row] = people
        return [each for each in found if each is not None]

    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of frames of one size."""
        if max(frames[0].size) >= self._longest * min(frames[0].size):
            return [Detections.none() for _ in frames]
        found = self._network([frame.on(self._device).permute(2, 0, 1).float() / 255 for frame in frames])
        columns = [
            torch.cat((each["boxes"], each["scores"][:, None], each["labels"][:, None]), dim=1) for each in found
        ]
        tables = torch.split(to_host(torch.cat(columns)), [len(each) for each in columns])
        mine = [table[table[:, 5] == _PERSON] for table in tables]
        return [
            select_people(table[:, :4], table[:, 4], frame.size, self._settings)
            for table, frame in zip(mine, frames, strict=True)
        ]


class _InPrecision(nn.Module):
    """A part of a network that computes in another type, with float32 inputs and outputs."""

    def __init__(self, part: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        _standardise_batch_norms(part)
        self.part = part.to(dtype)
        self._dtype = dtype

    def forward(self, *inputs: Any) -> Any:
        """The part's outputs."""
        return _cast(self.part(*_cast(inputs, self._dtype)), torch.float32)


def compute_in(network: nn.Module, dtype: torch.dtype) -> None:
    """Make the layers of `network` compute in `dtype`; the code between them works on boxes, in float32."""
    if dtype is torch.float32:
        return
    for holder, name in (
        (network, "backbone"),
        (network, "head"),
        (getattr(network, "rpn", None), "head"),
        (getattr(network, "roi_heads", None), "box_head"),
        (getattr(network, "roi_heads", None), "box_predictor"),
    ):
        part = getattr(holder, name, None)
        if isinstance(part, nn.Module):
            setattr(holder, name, _InPrecision(part, dtype))


@torch.no_grad()
def _standardise_batch_norms(network: nn.Module) -> None:
    """Rewrite batch norms, in evaluation mode, to mean 0 and variance 1.

    In float16, variances of filters that hardly respond would be 0, which without an epsilon becomes a factor of
    infinity; and those of filters that respond strongly would be infinite.
    """
    from torchvision.ops import FrozenBatchNorm2d

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d)]
    norm: Any
    for norm in norms:
        norm.weight.mul_((norm.running_var + norm.eps).rsqrt())
        norm.bias.sub_(norm.running_mean * norm.weight)
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.eps = 0.0


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """`values` with floating-point tensors, also inside lists and dictionaries, converted to `dtype`."""
    if isinstance(values, Tensor):
        return values.to(dtype) if values.is_floating_point() else values
    if isinstance(values, dict):
        return type(values)((key, _cast(value, dtype)) for key, value in values.items())
    if isinstance(values, list | tuple):
        return type(values)(_cast(value, dtype) for value in values)
    return values


def _make_room(network: nn.Module, people: int) -> None:
    """Make `network` report at least `people` boxes."""
    heads = getattr(network, "roi_heads", network)
    for most in ("detections_per_img", "topk_candidates"):
        if hasattr(heads, most):
            setattr(heads, most, max(getattr(heads, most), people))


def _longest(network: nn.Module) -> float:
    """Pixels that a frame's long side is reduced to; also the aspect ratio at which its short side would vanish."""
    transform: Any = network.transform
    return math.inf if transform.fixed_size is not None else transform.max_size


def _of_one_size(frames: Sequence[Frame], most: int) -> list[list[int]]:
    """Indices of frames in groups of equal size, with at most `most` frames each."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, frame in enumerate(frames):
        groups.setdefault(frame.size, []).append(row)
    return [rows[start : start + most] for rows in groups.values() for start in range(0, len(rows), most)]


def detection_network(name: str) -> nn.Module:
    """The network that the published weights fit, with random weights; raises `BundleError` for unknown names."""
    if name not in TORCHVISION_DETECTORS:
        raise BundleError(f"unknown torchvision detector {name!r}; known: {', '.join(TORCHVISION_DETECTORS)}")
    from torchvision.models import get_model

    network: nn.Module = get_model(name, weights=None, weights_backbone=None)
    if name in _FROZEN_EPSILON:
        _freeze_batch_norms(network, _FROZEN_EPSILON[name])
    return network


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state with the names of torchvision's modules since 0.13; older files have others."""
    renamed = {}
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):  # frozen batch norms have none
            for pattern, name in _NAMES_SINCE_0_13:
                key = pattern.sub(name, key)
            renamed[key] = value
    return renamed


def default_weights(name: str, store: Store) -> Path:
    """The file of torchvision's default weights, in posewire's store or else in the cache of torch.hub.

    Raises:
        WeightsError: neither has it, or it is damaged.
    """
    files = [file for file in catalogue().values() if file.architecture == "torchvision"]
    file = next((file for file in files if file.network["name"] == name), None)
    if file and (record := store.find(file.name)):
        check_digest(store.path(record), record.sha256)
        return store.path(record)
    from torchvision.models import get_model_weights

    published = Path(urlparse(get_model_weights(name).DEFAULT.url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / published
    if not path.is_file():
        fetching = f"fetch them with `posewire models pull {file.name}`, " if file else ""
        raise WeightsError(
            f"torchvision:{name} needs its published weights: {fetching}give the file as torchvision:{name}:PATH, or "
            f"put {published} into {path.parent}"
        )
    return path


def _freeze_batch_norms(network: nn.Module, epsilon: float) -> None:
    from torchvision.ops import FrozenBatchNorm2d

    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=epsilon))
