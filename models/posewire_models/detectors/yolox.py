"""`YoloxDetector` as a stage: letterbox, network, NMS."""

from __future__ import annotations

import torch
from torch import Tensor

from posewire_models.detectors.letterboxed import LetterboxedDetector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.yolox_boxes import decode_logits, nms
from posewire_models.yolox_detector import YoloxDetector

__all__ = ["yolox_person_detector"]


def yolox_person_detector(
    network: YoloxDetector,
    settings: DetectorSettings,
    device: torch.device,
    runtime: str = "auto",
    precision: str = "auto",
) -> LetterboxedDetector:
    """A `Detector` that runs `YoloxDetector`; `network` is prepared for inference on `device` in place."""
    input_size = network.config.input_size  # `decode` must not keep the network, which OpenVINO does not need

    def decode(predictions: Tensor) -> Tensor:
        return decode_logits(predictions, input_size)

    def distinct(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        return nms(boxes, scores, settings)

    return LetterboxedDetector(network, decode, settings, device, runtime, precision, distinct)
