"""The pose stage: crop, network, heatmap decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from posewire.joints import JointSet
from posewire_models.crops import BOX_SCALE, crop_to_frame, normalise, sample_crops
from posewire_models.frames import Frame
from posewire_models.heatmaps import decode_heatmaps, flip_average, joints_in_frame
from posewire_models.inference import batches, pad_batch, runner
from posewire_models.pose_mobilenet import PoseMobileNet
from posewire_models.pose_resnet import PoseResNet

__all__ = ["HeatmapPoseEstimator", "PoseSettings"]


@dataclass(frozen=True, kw_only=True)
class PoseSettings:
    """How poses are estimated.

    Attributes:
        flip_test: average with the heatmaps of the mirrored crop, as the paper's figures do; doubles the cost.
        box_scale: enlargement of the (extended) person box.
    """

    flip_test: bool = False
    box_scale: float = BOX_SCALE

    def __post_init__(self) -> None:
        if not 0.5 <= self.box_scale <= 3:
            raise ValueError(f"box_scale {self.box_scale} must be in 0.5..3; the published code uses {BOX_SCALE}")


class HeatmapPoseEstimator:
    """A `PoseEstimator` of a network that gives heatmaps.

    Args:
        network: taken over: it is made ready for inference on `device` in place.
        joint_set: what the heatmaps mean.
        device: where to run.
        runtime: what runs the network on a CPU, see `posewire_models.inference.RUNTIMES`.

    Raises:
        ValueError: the joint set has another number of joints than the network.
    """

    def __init__(
        self,
        network: PoseResNet | PoseMobileNet,
        joint_set: JointSet,
        settings: PoseSettings,
        device: torch.device,
        runtime: str = "auto",
    ) -> None:
        if network.config.joints != len(joint_set):
            raise ValueError(
                f"the pose network gives {network.config.joints} heatmaps, but joint set {joint_set.name!r} has "
                f"{len(joint_set)} joints"
            )
        self._config = network.config
        self._network = runner(network, (3, *network.config.input_size), device, runtime)
        self._settings = settings
        self._joints = len(joint_set)
        self._mirror = torch.from_numpy(joint_set.mirror).to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(
        self, frames: Sequence[Frame], boxes: Sequence[npt.NDArray[np.float32]]
    ) -> list[npt.NDArray[np.float32]]:
        """Joints of the people in `boxes`, see `PoseEstimator`.

        Raises:
            ValueError: not one `(n, 4)` array of finite boxes per frame.
        """
        counts = _checked_counts(frames, boxes)
        if not sum(counts):
            return [np.zeros((0, self._joints, 3), np.float32) for _ in frames]
        all_boxes = torch.from_numpy(np.concatenate(boxes).astype(np.float32, copy=False))
        to_frame = crop_to_frame(all_boxes, self._config.input_size, self._settings.box_scale)
        owners = torch.repeat_interleave(torch.tensor(counts))
        chunks = [
            self._poses(self._crops(frames, owners[chunk], to_frame[chunk]), to_frame[chunk])
            for chunk in batches(sum(counts))
        ]
        joints = torch.cat(chunks).cpu().numpy()
        ends = np.cumsum(counts)
        return [joints[end - count : end] for end, count in zip(ends, counts, strict=True)]

    def _crops(self, frames: Sequence[Frame], owners: Tensor, to_frame: Tensor) -> Tensor:
        """The chunk's crops, one call of `sample_crops` for each frame that has people in it."""
        places, counts = torch.unique_consecutive(owners, return_counts=True)
        parts = [
            sample_crops(frames[frame].on(self._device), affine.to(self._device), self._config.input_size)
            for frame, affine in zip(places.tolist(), torch.split(to_frame, counts.tolist()), strict=True)
        ]
        return normalise(torch.cat(parts), self._config.pixel_mean, self._config.pixel_std)

    def _poses(self, crops: Tensor, to_frame: Tensor) -> Tensor:
        batch = pad_batch(crops)
        heatmaps = self._network(batch)
        if self._settings.flip_test:
            heatmaps = flip_average(heatmaps, self._network(batch.flip(3)), self._mirror)
        joints = decode_heatmaps(heatmaps[: len(crops)].float())
        return joints_in_frame(joints, self._config.stride, to_frame.to(self._device))


def _checked_counts(frames: Sequence[Frame], boxes: Sequence[npt.NDArray[np.float32]]) -> list[int]:
    if len(frames) != len(boxes):
        raise ValueError(f"{len(frames)} frames but boxes for {len(boxes)}; give one array of boxes a frame")
    for of_frame in boxes:
        if of_frame.ndim != 2 or of_frame.shape[1] != 4 or not np.isfinite(of_frame).all():
            raise ValueError(f"boxes are finite (n, 4) xyxy in frame pixels; got shape {of_frame.shape}")
    return [len(of_frame) for of_frame in boxes]
