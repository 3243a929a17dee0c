"""posewire's own networks as detectors: letterbox, network, boxes in frame pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from posewire_models.center_detector import CenterDetector
from posewire_models.crops import normalise
from posewire_models.detectors.selection import DetectorSettings, select_people
from posewire_models.device_transfer import to_host
from posewire_models.frames import Detections, Frame
from posewire_models.inference import batches, runner
from posewire_models.letterbox import LARGEST_SCALE, letterbox
from posewire_models.yolox_detector import YoloxDetector

__all__ = ["LetterboxedDetector"]


class LetterboxedDetector:
    """A `Detector` that runs a network on letterboxed frames.

    Args:
        network: prepared for inference on `device` in place.
        decode: from the network's output to boxes and scores `(b, k, 5)`, in input pixels; shapes must not depend on
            values.
        settings: what is reported.
        device, runtime, precision: see `runner`.
        distinct: reduces the boxes `(k, 4)` and scores `(k,)` of one frame to one per person; None if `decode` returns
            no duplicates.
    """

    def __init__(
        self,
        network: CenterDetector | YoloxDetector,
        decode: Callable[[Any], Tensor],
        settings: DetectorSettings,
        device: torch.device,
        runtime: str,
        precision: str,
        distinct: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self._config = network.config
        self._decode = decode
        self._distinct = distinct or (lambda boxes, scores: (boxes, scores))
        self._settings = settings
        self._device = device
        # Last, because it may call `_boxes_of` right away.
        self._find = runner(network, network.input_shape, device, runtime, precision, self._boxes_of)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        return [found for chunk in batches(len(frames)) for found in self._detect(frames[chunk])]

    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        pixels = [frame.on(self._device) for frame in frames]
        images, scales = letterbox(pixels, self._config.input_size, LARGEST_SCALE)
        found = to_host(self._find(images))  # (b, k, 5)
        per_frame_pixel = torch.tensor(scales).repeat(1, 2).unsqueeze(1)  # x, y, x, y
        # Edges count from the input's outer edge; frame coordinates have pixel centres at integers, hence - 0.5.
        boxes, scores = found[..., :4] / per_frame_pixel - 0.5, found[..., 4]
        return [
            select_people(*self._distinct(boxes[row], scores[row]), frame.size, self._settings)
            for row, frame in enumerate(frames)
        ]

    def _boxes_of(self, network: Callable[[Tensor], Any], images: Tensor) -> Tensor:
        """Boxes and scores `(b, k, 5)`, in input pixels, for letterboxed frames `(b, 3, h, w)` in 0..255."""
        return self._decode(network(normalise(images, self._config.pixel_mean, self._config.pixel_std)))
