"""Optical flow between consecutive frames: FlowNet2-S, OpenCV's DIS, or the assumption that nothing moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch

from posewire_models.flownet_s import FLOW_SCALE, FlowNetS, pair_input
from posewire_models.frames import FlowField, Frame
from posewire_models.inference import batches, pad_batch, runner
from posewire_models.letterbox import resize

__all__ = ["DIS_PRESETS", "DisFlow", "DisSettings", "FlowNetFlow", "StillFlow"]

DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
"""OpenCV's settings of DIS, from fast to exact."""


class FlowNetFlow:
    """A `FlowEstimator` by `FlowNetS`; `network` is taken over and made ready for inference on `device`.

    Frames are resized to the network's input size; the field comes at a quarter of that.
    """

    def __init__(self, network: FlowNetS, device: torch.device, runtime: str = "auto") -> None:
        self._network = runner(network, (6, *network.config.input_size), device, runtime)
        self._input_size = network.config.input_size
        self._subtract_mean = network.config.subtract_mean
        self._device = device

    @torch.inference_mode()
    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        """The field of each pair; raises `ValueError` where its frames differ in size."""
        _check_sizes(pairs)
        return [flow for chunk in batches(len(pairs)) for flow in self._flow(pairs[chunk])]

    def _flow(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        previous = torch.stack([self._resized(frame) for frame, _ in pairs])
        current = torch.stack([self._resized(frame) for _, frame in pairs])
        images = pair_input(previous, current, subtract_mean=self._subtract_mean)
        images = images.contiguous(memory_format=torch.channels_last)
        (flows,) = self._network(pad_batch(images))
        height, width = self._input_size
        per_input_pixel = torch.tensor(
            [(frame.size[1] / width, frame.size[0] / height) for frame, _ in pairs], device=self._device
        )
        grids = flows[: len(pairs)].float() * FLOW_SCALE * per_input_pixel[:, :, None, None]  # (b, 2, h/4, w/4)
        grids = grids.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [FlowField(grid, frame.size) for grid, (frame, _) in zip(grids, pairs, strict=True)]

    def _resized(self, frame: Frame) -> torch.Tensor:
        return frame.derived(
            ("flownet", self._device, self._input_size), lambda: resize(frame.on(self._device), self._input_size)
        )


@dataclass(frozen=True, kw_only=True)
class DisSettings:
    """How DIS works.

    Attributes:
        preset: `ultrafast`, `fast` or `medium`.
        width: frames that are wider are reduced to this many pixels.
    """

    preset: str = "ultrafast"
    width: int = 640

    def __post_init__(self) -> None:
        if self.preset not in DIS_PRESETS:
            raise ValueError(f"unknown DIS preset {self.preset!r}; known presets: {', '.join(DIS_PRESETS)}")
        if self.width < 64:
            raise ValueError(f"DIS width {self.width} must be at least 64 pixels")


class DisFlow:
    """A `FlowEstimator` by dense inverse search (Kroeger et al., ECCV 2016) of OpenCV, on the CPU, without weights."""

    _smallest_side = 32  # DIS matches patches over a pyramid and fails on less

    def __init__(self, settings: DisSettings) -> None:
        self._settings = settings
        self._dis = cv2.DISOpticalFlow.create(DIS_PRESETS[settings.preset])

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        """The field of each pair; raises `ValueError` where its frames differ in size."""
        _check_sizes(pairs)
        return [self._flow(previous, current) for previous, current in pairs]

    def _flow(self, previous: Frame, current: Frame) -> FlowField:
        # An output array, which OpenCV's type stubs demand, would be taken as a first guess.
        grid = self._dis.calc(self._gray(previous), self._gray(current), None)  # type: ignore[call-overload]
        height, width = previous.size
        rows, columns, _ = grid.shape
        return FlowField(grid * np.array((width / columns, height / rows), np.float32), previous.size)

    def _gray(self, frame: Frame) -> npt.NDArray[np.uint8]:
        def make() -> npt.NDArray[np.uint8]:
            height, width = frame.size
            ratio = min(1.0, self._settings.width / width)
            size = max(self._smallest_side, round(width * ratio)), max(self._smallest_side, round(height * ratio))
            # Reduced first: a third of the work of converting the whole frame.
            small = cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA)
            return cast("npt.NDArray[np.uint8]", cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))

        return frame.derived(("dis", self._settings.width), make)


class StillFlow:
    """A `FlowEstimator` that says nothing moves: flow switched off."""

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        """A field of zeros for each pair."""
        _check_sizes(pairs)
        return [FlowField(np.zeros((1, 1, 2), np.float32), previous.size) for previous, _ in pairs]


def _check_sizes(pairs: Sequence[tuple[Frame, Frame]]) -> None:
    for previous, current in pairs:
        if previous.size != current.size:
            raise ValueError(
                f"flow needs two frames of one size (height, width); got {previous.size} and {current.size}"
            )
