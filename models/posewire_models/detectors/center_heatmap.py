"""The centre-heatmap detector as a stage: letterbox, `CenterDetector`, peaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from posewire_models.center_detector import CenterDetector, CenterMaps, decode_centers
from posewire_models.crops import normalise
from posewire_models.detectors.selection import DetectorSettings, people
from posewire_models.device_transfer import to_host
from posewire_models.frames import Detections, Frame
from posewire_models.inference import batches, runner
from posewire_models.letterbox import letterbox_many

__all__ = ["CenterHeatmapDetector"]


class CenterHeatmapDetector:
    """A `Detector` by `CenterDetector`; `network` is taken over and made ready for inference on `device`."""

    def __init__(
        self,
        network: CenterDetector,
        settings: DetectorSettings,
        device: torch.device,
        runtime: str = "auto",
        precision: str = "auto",
    ) -> None:
        self._config = network.config
        self._settings = settings
        self._device = device
        # Last: it may run right away.
        self._find = runner(network, (3, *network.config.input_size), device, runtime, precision, self._boxes_of)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        return [found for chunk in batches(len(frames)) for found in self._detect(frames[chunk])]

    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        pixels = [frame.on(self._device) for frame in frames]
        # Filled with the mean colour: zero after normalisation.
        images, scales = letterbox_many(pixels, self._config.input_size, sum(self._config.pixel_mean) / 3)
        found = to_host(self._find(images))  # (b, k, 5)
        per_frame_pixel = torch.tensor(scales).repeat(1, 2).unsqueeze(1)  # x, y, x, y
        # The network tells where edges lie, from the input's own edge on; frames count from the middle of a pixel.
        boxes, scores = found[..., :4] / per_frame_pixel - 0.5, found[..., 4]
        return [people(boxes[row], scores[row], frame.size, self._settings) for row, frame in enumerate(frames)]

    def _boxes_of(self, network: Callable[[Tensor], CenterMaps], images: Tensor) -> Tensor:
        """Boxes and scores `(b, k, 5)`, in input pixels, of letterboxed frames `(b, 3, h, w)` in 0..255."""
        maps = network(normalise(images, self._config.pixel_mean, self._config.pixel_std))
        boxes, scores = decode_centers(maps, self._config.stride, self._settings.max_people)
        return torch.cat((boxes, scores.unsqueeze(2)), dim=2)
