"""The centre-heatmap detector as a stage: letterbox, `CenterDetector`, peaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from posewire_models.center_detector import CenterDetector, CenterMaps, decode_centers
from posewire_models.crops import normalise
from posewire_models.detectors.selection import DetectorSettings, people
from posewire_models.frames import Detections, Frame
from posewire_models.inference import batches, pad_batch, runner
from posewire_models.letterbox import letterbox

__all__ = ["CenterHeatmapDetector"]


class CenterHeatmapDetector:
    """A `Detector` by `CenterDetector`; `network` is taken over and made ready for inference on `device`."""

    def __init__(
        self, network: CenterDetector, settings: DetectorSettings, device: torch.device, runtime: str = "auto"
    ) -> None:
        self._config = network.config
        self._network = runner(network, (3, *network.config.input_size), device, runtime)
        self._settings = settings
        self._device = device

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        return [found for chunk in batches(len(frames)) for found in self._detect(frames[chunk])]

    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        mean, std = self._config.pixel_mean, self._config.pixel_std
        # Filled with the mean colour: zero after normalisation.
        fitted = [letterbox(frame.on(self._device), self._config.input_size, sum(mean) / 3) for frame in frames]
        images = normalise(torch.stack([image.pixels for image in fitted]), mean, std)
        maps: CenterMaps = self._network(pad_batch(images.contiguous(memory_format=torch.channels_last)))
        boxes, scores = decode_centers(maps, self._config.stride, self._settings.max_people)
        scales = torch.tensor([image.scale * 2 for image in fitted], device=self._device)  # x, y, x, y
        boxes = (boxes[: len(frames)] + 0.5) / scales.unsqueeze(1) - 0.5
        return [people(boxes[row], scores[row], frame.size, self._settings) for row, frame in enumerate(frames)]
