"""Optical flow between consecutive frames: FlowNet2-S, OpenCV's DIS, a choice of the two by time, or no motion."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from posewire.array_types import Float32s, Image
from posewire_models.device_transfer import to_host
from posewire_models.flownet_s import FLOW_SCALE, FlowNetS, pair_input
from posewire_models.frames import FlowField, Frame
from posewire_models.inference import batches, runner
from posewire_models.picture_net import MOST_SIDE
from posewire_models.resizing import halve, halve_planes, resize
from posewire_models.specs import DIS_PRESETS
from posewire_models.stages import FlowEstimator

__all__ = ["FAR_S", "DisFlow", "DisSettings", "FlowByGap", "FlowNetFlow", "StillFlow"]

FAR_S = 0.3
"""Frames this many seconds apart, or more, are far from each other: their camera gives three per second, or frames
between them were lost."""


class FlowNetFlow:
    """A `FlowEstimator` that runs `FlowNetS`; `network` is prepared for inference on `device` in place.

    Frames are resized to the network's input size; the field has a quarter of that resolution.
    """

    def __init__(self, network: FlowNetS, device: torch.device, runtime: str = "auto", precision: str = "auto") -> None:
        self._input_size = network.config.input_size
        self._subtract_mean = network.config.subtract_mean
        self._device = device
        # Last, because it may call `_grids_of` right away.
        self._find = runner(network, network.input_shape, device, runtime, precision, self._grids_of)

    @torch.inference_mode()
    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        """The field of each pair; raises `ValueError` where its frames differ in size."""
        _check_sizes(pairs)
        return [flow for chunk in batches(len(pairs)) for flow in self._flow(pairs[chunk])]

    def _flow(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        images = torch.stack([torch.cat((self._resized(before), self._resized(after))) for before, after in pairs])
        grids = to_host(self._find(images)).numpy()
        height, width = self._input_size
        return [
            FlowField(grid * np.array((frame.size[1] / width, frame.size[0] / height), np.float32), frame.size)
            for grid, (frame, _) in zip(grids, pairs, strict=True)
        ]

    def _grids_of(self, network: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor) -> Tensor:
        """Displacements `(b, h/4, w/4, 2)` in input pixels for pairs of pictures `(b, 6, h, w)` in 0..255."""
        (flows,) = network(pair_input(images[:, :3], images[:, 3:], subtract_mean=self._subtract_mean))
        return (flows * FLOW_SCALE).permute(0, 2, 3, 1).contiguous()

    def _resized(self, frame: Frame) -> Tensor:
        return frame.derived(
            ("flownet", self._device, self._input_size), lambda: resize(frame.on(self._device), self._input_size)
        )


@dataclass(frozen=True, kw_only=True)
class DisSettings:
    """Settings of DIS.

    Attributes:
        preset: one of `DIS_PRESETS`.
        width: largest width in pixels, and half of the largest height; larger frames are reduced to fit.
    """

    preset: str = "ultrafast"
    width: int = 640

    def __post_init__(self) -> None:
        if self.preset not in DIS_PRESETS:
            raise ValueError(f"unknown DIS preset {self.preset!r}; known presets: {', '.join(DIS_PRESETS)}")
        if not 96 <= self.width <= MOST_SIDE:
            raise ValueError(f"DIS width {self.width} must be in 96..{MOST_SIDE} pixels")


class DisFlow:
    """A `FlowEstimator` by OpenCV's dense inverse search (Kroeger et al., ECCV 2016), on the CPU, without weights.

    Args:
        settings: of DIS.
        workers: threads that share a batch; more than one only if the CPU has nothing else to do.
    """

    # (least shorter side, least longer side). DIS matches patches of 8 pixels over a pyramid. OpenCV fails on pictures
    # with a shorter side below the first number. If the longer side is below the second, it changes its settings and
    # keeps them, so that frames of one camera would affect those of all others.
    _least_sides = (32, 96)

    def __init__(self, settings: DisSettings, workers: int = 1) -> None:
        self._settings = settings
        self._key = ("dis", settings.width)
        self._of_thread = threading.local()  # OpenCV's object keeps its buffers between calls
        self._pool = ThreadPoolExecutor(workers, "posewire-dis") if workers > 1 else None

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        """The field of each pair; raises `ValueError` where its frames differ in size."""
        _check_sizes(pairs)
        self._fetch(frame for pair in pairs for frame in pair)
        greys = [(self._gray(previous), self._gray(current)) for previous, current in pairs]
        run = map if self._pool is None or len(pairs) == 1 else self._pool.map
        return [
            FlowField(self._in_frame_pixels(grid, frame.size), frame.size)
            for grid, (frame, _) in zip(run(self._displacements, greys), pairs, strict=True)
        ]

    def _displacements(self, pair: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> Float32s:
        if not hasattr(self._of_thread, "dis"):
            self._of_thread.dis = cv2.DISOpticalFlow.create(_preset_number(self._settings.preset))
        # No output array, which OpenCV's type stubs demand: it would be taken as an initial estimate.
        return cast("Float32s", self._of_thread.dis.calc(*pair, None))

    @staticmethod
    def _in_frame_pixels(grid: Float32s, size: tuple[int, int]) -> Float32s:
        rows, columns, _ = grid.shape
        return grid * np.array((size[1] / columns, size[0] / rows), np.float32)

    def _fetch(self, frames: Iterable[Frame]) -> None:
        """Reduce frames that were decoded on an accelerator there, and fetch the results in one copy."""
        missing = {id(frame): frame for frame in frames if frame.home.type != "cpu" and not frame.has(self._key)}
        if missing:
            chosen = list(missing.values())
            greys = _reduced_greys(
                [frame.on(frame.home) for frame in chosen], [self._reduced_size(frame.size) for frame in chosen]
            )
            for frame, grey in zip(chosen, greys, strict=True):
                frame.derived(self._key, lambda grey=grey: grey)  # type: ignore[misc]

    def _gray(self, frame: Frame) -> npt.NDArray[np.uint8]:
        def make() -> npt.NDArray[np.uint8]:
            # Reduced before conversion to grey: a third of the work of converting the whole frame.
            small = _reduced(frame.pixels, self._reduced_size(frame.size))
            return cast("npt.NDArray[np.uint8]", cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))

        return frame.derived(self._key, make)

    def _reduced_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that a frame of this size is reduced to."""
        height, width = size
        shorter, longer = self._least_sides
        ratio = min(1.0, self._settings.width / width, 2 * self._settings.width / height)
        ratio = max(ratio, longer / max(size))
        return max(shorter, round(height * ratio)), max(shorter, round(width * ratio))


def _preset_number(preset: str) -> int:
    """OpenCV's number of a preset."""
    return cast("int", getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))


def _reduced(pixels: Image, size: tuple[int, int]) -> Image:
    """A frame reduced to `size` (height, width): halved while possible, the rest bilinearly.

    The flow is as exact as with `INTER_AREA`, which takes longer than DIS unless it halves.
    """
    height, width = size
    halved = halve(pixels, size)
    return cast("Image", cv2.resize(halved, (width, height), interpolation=cv2.INTER_LINEAR))


def _reduced_greys(frames: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[npt.NDArray[np.uint8]]:
    """Frames `(h, w, 3)`, each reduced to its size (height, width) and to grey on its device; fetched in one copy."""
    greys = []
    for pixels, size in zip(frames, sizes, strict=True):
        planes = halve_planes(pixels, size)
        red, green, blue = functional.interpolate(planes, size, mode="bilinear")[0].round()
        greys.append((red * 0.299 + green * 0.587 + blue * 0.114).round().to(torch.uint8))
    fetched = torch.split(to_host(torch.cat([grey.flatten() for grey in greys])), [grey.numel() for grey in greys])
    # Copies, so that keeping one frame does not keep the memory of the others.
    return [flat.numpy().reshape(size).copy() for flat, size in zip(fetched, sizes, strict=True)]


class FlowByGap:
    """A `FlowEstimator` that chooses between two estimators by the time between the frames.

    With most cameras little moves between frames, and a fast estimator that follows small motion is good enough. Where
    frames were lost, people have moved by their own width.

    Args:
        near: for frames less than `FAR_S` apart, and frames whose times are unknown.
        far: for all others.
    """

    def __init__(self, near: FlowEstimator, far: FlowEstimator) -> None:
        self.near, self.far = near, far

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        """The field of each pair; raises `ValueError` where its frames differ in size."""
        far = [_seconds_between(*pair) >= FAR_S for pair in pairs]
        fields = {
            chosen: iter(estimator([pair for pair, is_far in zip(pairs, far, strict=True) if is_far is chosen]))
            for chosen, estimator in ((False, self.near), (True, self.far))
            if chosen in far
        }
        return [next(fields[is_far]) for is_far in far]


def _seconds_between(before: Frame, after: Frame) -> float:
    if before.taken_s is None or after.taken_s is None:
        return 0.0
    return after.taken_s - before.taken_s


class StillFlow:
    """A `FlowEstimator` without motion: flow switched off."""

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
