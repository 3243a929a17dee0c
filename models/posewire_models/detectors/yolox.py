"""`YoloxDetector` as a stage: letterbox, network, NMS."""

from __future__ import annotations

import torch
from torch import Tensor

from posewire_models.detectors.letterboxed import LetterboxedDetector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.yolox_boxes import decode_logits, nms
from posewire_models.yolox_detector import YoloxDetector

__all__ = ["YoloxPersonDetector"]


class YoloxPersonDetector(LetterboxedDetector):
    """A `Detector` by `YoloxDetector`; `network` is taken over and made ready for inference on `device`."""

    def __init__(
        self,
        network: YoloxDetector,
        settings: DetectorSettings,
        device: torch.device,
        runtime: str = "auto",
        precision: str = "auto",
    ) -> None:
        super().__init__(network, network.config, settings, device, runtime, precision)

    def _decoded(self, predictions: Tensor) -> Tensor:
        return decode_logits(predictions, self._config.input_size)

    def _distinct(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        return nms(boxes, scores, self._settings)
