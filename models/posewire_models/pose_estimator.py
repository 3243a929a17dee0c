"""The pose stage: crop, network, heatmap decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from posewire.array_types import Float32s
from posewire.joints import JointSet
from posewire_models.crops import BOX_SCALE, check_box_scale, crop_to_frame, normalise, sample_crops
from posewire_models.deconv_head import HeatmapNetwork
from posewire_models.device_transfer import to_host
from posewire_models.frames import Frame
from posewire_models.heatmaps import DECODINGS, decode_heatmaps, flip_average, joints_in_frame
from posewire_models.inference import batches, runner
from posewire_models.manifest import BundleError

__all__ = ["HeatmapPoseEstimator", "PoseSettings"]


@dataclass(frozen=True, kw_only=True)
class PoseSettings:
    """How poses are estimated.

    Attributes:
        flip_test: average with the heatmaps of the mirrored crop, as the paper's figures do; doubles the cost.
        box_scale: enlargement of the (extended) person box.
        antialias: whether large people are reduced by averaging pixels, see `crops.sample_crops`; for networks
            that were trained on such crops.
        decoding: how joints are placed between heatmap cells, one of `posewire_models.heatmaps.DECODINGS`.
    """

    flip_test: bool = False
    box_scale: float = BOX_SCALE
    antialias: bool = False
    decoding: str = "quarter"

    def __post_init__(self) -> None:
        if self.decoding not in DECODINGS:
            raise ValueError(f"decoding {self.decoding!r} must be one of {', '.join(DECODINGS)}")
        check_box_scale(self.box_scale)


class HeatmapPoseEstimator:
    """A `PoseEstimator` that runs a heatmap network.

    Args:
        network: prepared for inference on `device` in place; not to be used elsewhere afterwards.
        joint_set: the joints that the heatmaps stand for.
        device: where to run.
        runtime: what runs the network, see `posewire_models.specs.RUNTIMES`.
        precision: what it computes in, see `posewire_models.specs.PRECISIONS`.

    Raises:
        BundleError: the joint set has another number of joints than the network.
    """

    def __init__(
        self,
        network: HeatmapNetwork,
        joint_set: JointSet,
        settings: PoseSettings,
        device: torch.device,
        runtime: str = "auto",
        precision: str = "auto",
    ) -> None:
        if network.config.joints != len(joint_set):
            raise BundleError(
                f"the pose network gives {network.config.joints} heatmaps, but joint set {joint_set.name!r} has "
                f"{len(joint_set)} joints"
            )
        self._config = network.config
        self._settings = settings
        self._joints = len(joint_set)
        self._mirror = torch.from_numpy(joint_set.mirror).to(device)
        self._device = device
        # Last, because it may call `_joints_of` right away.
        self._find = runner(network, network.input_shape, device, runtime, precision, self._joints_of)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Float32s]) -> list[Float32s]:
        """Joints of the people in `boxes`, see `PoseEstimator`.

        Raises:
            ValueError: `boxes` is not one `(n, 4)` array of finite boxes per frame.
        """
        counts = _checked_counts(frames, boxes)
        if not sum(counts):
            return [np.zeros((0, self._joints, 3), np.float32) for _ in frames]
        all_boxes = torch.from_numpy(np.concatenate(boxes).astype(np.float32, copy=False))
        to_frame = crop_to_frame(all_boxes, self._config.input_size, self._settings.box_scale)
        owners = torch.repeat_interleave(torch.tensor(counts))
        found = [self._find(self._crops(frames, owners[chunk], to_frame[chunk])) for chunk in batches(sum(counts))]
        joints = joints_in_frame(to_host(torch.cat(found)), self._config.stride, to_frame).numpy()
        ends = np.cumsum(counts)
        return [joints[end - count : end] for end, count in zip(ends, counts, strict=True)]

    def _crops(self, frames: Sequence[Frame], owners: Tensor, to_frame: Tensor) -> Tensor:
        """Crops, in the order of `owners`."""
        shown, owners = torch.unique_consecutive(owners, return_inverse=True)
        pixels = [frames[frame].on(self._device) for frame in shown.tolist()]
        return sample_crops(pixels, owners, to_frame, self._config.input_size, antialias=self._settings.antialias)

    def _joints_of(self, network: Callable[[Tensor], Tensor], crops: Tensor) -> Tensor:
        """Joints `(n, k, 3)` in heatmap cells, found in crops `(n, 3, h, w)` in 0..255."""
        images = normalise(crops, self._config.pixel_mean, self._config.pixel_std)
        heatmaps = network(images)
        if self._settings.flip_test:
            shift = 1 - 1 / self._config.stride if self._settings.decoding == "gaussian" else 1.0
            heatmaps = flip_average(heatmaps, network(images.flip(3)), self._mirror, shift)
        return decode_heatmaps(heatmaps, self._settings.decoding)


def _checked_counts(frames: Sequence[Frame], boxes: Sequence[Float32s]) -> list[int]:
    if len(frames) != len(boxes):
        raise ValueError(f"{len(frames)} frames but boxes for {len(boxes)}; give one array of boxes per frame")
    for of_frame in boxes:
        if of_frame.ndim != 2 or of_frame.shape[1] != 4 or not np.isfinite(of_frame).all():
            raise ValueError(f"boxes are finite (n, 4) xyxy in frame pixels; got shape {of_frame.shape}")
    return [len(of_frame) for of_frame in boxes]
