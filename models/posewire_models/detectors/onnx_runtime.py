"""Any detector in ONNX, run by ONNX Runtime.

Two formats are recognised by their outputs:

- YOLOX raw (as its own export writes it): one output `(1, cells, 5 + classes)`; for each cell of strides 8, 16 and 32
  the box's centre and log size in cells, objectness and class scores. Input BGR 0-255, letterboxed top left with 114.
- End to end: `boxes` `(n, 4)` xyxy in input pixels, `scores` `(n,)` and `labels` `(n,)`, or each with a leading axis of
  one. Input RGB 0-1 (0-255 if the input is uint8), letterboxed top left with 114.

The model defines the input's size and type: float16, float32, float64 or uint8. Outputs may have any numeric type.
People have label 0, as in COCO's 80 classes; a model with other labels says so in the metadata entry `person_label`.

On a GPU, pictures of one batch go through the model together if its first axis has no fixed size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from posewire_models.detectors.onnx_session import OnnxDetectorError, OnnxSession
from posewire_models.detectors.selection import DetectorSettings, select_people
from posewire_models.detectors.yolox_boxes import cell_count, decode_yolox, decode_yolox_batch, nms
from posewire_models.device_transfer import to_host
from posewire_models.frames import Detections, Frame
from posewire_models.inference import MAX_BATCH, batches
from posewire_models.letterbox import letterbox
from posewire_models.one_line import in_one_line
from posewire_models.picture_net import MOST_SIDE

__all__ = ["OnnxDetector", "OnnxDetectorError"]

_PICTURE_KINDS = (torch.float16, torch.float32, torch.float64, torch.uint8)
# Labels are compared as float32, which represents all whole numbers up to here.
_MOST_LABELS = 2**24
_MOST_DIGITS = 20
"""Of a label: Python refuses to read a number of thousands."""


class _Format(NamedTuple):
    """Output format of a model.

    Attributes:
        is_yolox: whether it is YOLOX raw.
        outputs: names of the outputs to fetch.
        labels: number of possible labels.
    """

    is_yolox: bool
    outputs: list[str]
    labels: int


class OnnxDetector:
    """A `Detector` that runs an ONNX model.

    Args:
        path: the model.
        settings: thresholds.
        device: on a CUDA device, the model runs there if ONNX Runtime supports it.

    Raises:
        OnnxDetectorError: the file is missing, unreadable, of an unknown format, or fails on a black frame; the message
            says what was found.
    """

    def __init__(self, path: Path, settings: DetectorSettings, device: torch.device) -> None:
        self._settings = settings
        self._device = device
        self._session = OnnxSession(path, device)
        self._input_size, self._input_kind = _input_of(self._session, path)
        self._format = _format_of(self._session, self._input_size, path)
        self._person = _person_of(self._session, self._format.labels, path)
        self._try_out(path)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        return [found for chunk in batches(len(frames), self._most) for found in self._detect(frames[chunk])]

    @property
    def _most(self) -> int:
        """How many frames go through the model together."""
        together = self._session.takes_batches(self._format.outputs) and self._device.type != "cpu"
        return MAX_BATCH if together else 1

    def _try_out(self, path: Path) -> None:
        """Run it on one black frame and on the largest batch, since TensorRT builds an engine for a range of sizes."""
        black = Frame(np.zeros((*self._input_size, 3), np.uint8))
        try:
            for count in sorted({1, self._most}):
                self([black] * count)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base class
            raise OnnxDetectorError(
                f"{path} fails on a black frame: {in_one_line(error)}; export it so that {self._expected()}"
            ) from None

    def _expected(self) -> str:
        """Description of the required outputs."""
        height, width = self._input_size
        if self._format.is_yolox:
            gives = f"{self._format.outputs[0]} (1, cells, 5 + classes)"
        else:
            gives = "boxes (1, n, 4), scores (1, n) and labels (1, n): one score and one label per box"
        return f"for one picture (1, 3, {height}, {width}) it gives {gives}"

    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        fitted, scales = letterbox([frame.on(self._device) for frame in frames], self._input_size)
        # Some models output integers or float16, in which boxes in frame pixels do not fit.
        outputs = [output.float() for output in self._session.run(self._format.outputs, self._images(fitted))]
        found = self._yolox_people(outputs[0]) if self._format.is_yolox else self._listed_people(outputs, len(frames))
        # Box coordinates as in COCO, which such models are trained on, are used as frame pixels unchanged.
        return [
            select_people(boxes / boxes.new_tensor(scale * 2), scores, frame.size, self._settings)
            for (boxes, scores), scale, frame in zip(found, scales, frames, strict=True)
        ]

    def _images(self, fitted: Tensor) -> Tensor:
        images = fitted.flip(1) if self._format.is_yolox else fitted  # BGR
        if self._input_kind is torch.uint8:
            return images.round().to(torch.uint8)
        return (images if self._format.is_yolox else images / 255).to(self._input_kind)

    def _yolox_people(self, raw: Tensor) -> list[tuple[Tensor, Tensor]]:
        if raw.device.type == "cpu":
            candidates = [decode_yolox(each.unsqueeze(0), self._input_size, self._person) for each in raw]
        else:
            best = to_host(decode_yolox_batch(raw, self._input_size, self._person))
            candidates = [(each[:, :4], each[:, 4]) for each in best]
        return [nms(boxes, scores, self._settings) for boxes, scores in candidates]

    def _listed_people(self, outputs: Sequence[Tensor], count: int) -> list[tuple[Tensor, Tensor]]:
        boxes, scores, labels = (output.to("cpu") for output in outputs)
        for name, numbers, of_a_box in (("boxes", boxes, 4), ("scores", scores, 1), ("labels", labels, 1)):
            # With no detections, an output of any other shape could be reshaped too.
            if not numbers.numel() and math.prod(side for side in numbers.shape if side) != of_a_box * count:
                raise ValueError(f"it gives {name} {tuple(numbers.shape)}: not {of_a_box} per box")
        found = []
        for of_one in zip(
            boxes.reshape(count, -1, 4), scores.reshape(count, -1), labels.reshape(count, -1), strict=True
        ):
            mine = of_one[2] == self._person
            found.append((of_one[0][mine], of_one[1][mine]))
        return found


def _input_of(session: OnnxSession, path: Path) -> tuple[tuple[int, int], torch.dtype]:
    """(height, width) of the model's picture input, and the type of its values."""
    described = _described(session.inputs)
    if len(session.inputs) != 1:
        raise OnnxDetectorError(f"{path}: a detector takes one input (1, 3, height, width); got {described or 'none'}")
    ((name, shape),) = session.inputs.items()
    if len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
        raise OnnxDetectorError(
            f"{path}: a detector takes one input (1, 3, height, width) of fixed size; got {described}"
        )
    if not all(1 <= side <= MOST_SIDE for side in shape[2:]):
        raise OnnxDetectorError(
            f"{path}: input {described} has sides outside 1..{MOST_SIDE} pixels; export it for smaller pictures"
        )
    if not _is_one_or_free(shape[0]):
        raise OnnxDetectorError(
            f"{path}: input {described} is for {shape[0]} pictures per run; a detector takes 1 or any number: export "
            "it with a first axis of 1, or without a fixed one"
        )
    kind = session.kinds[name]
    if kind not in _PICTURE_KINDS:
        raise OnnxDetectorError(
            f"{path}: input {name} takes no picture by its type; export it with one of float16, float32, float64 (0-1, "
            "for YOLOX 0-255) or uint8 (0-255)"
        )
    return (shape[2], shape[3]), kind


def _format_of(session: OnnxSession, input_size: tuple[int, int], path: Path) -> _Format:
    outputs = session.outputs
    cells = cell_count(input_size)
    if len(outputs) == 1:
        ((name, shape),) = outputs.items()
        if len(shape) == 3 and shape[1] == cells and isinstance(shape[2], int) and shape[2] > 5:
            return _Format(True, [name], shape[2] - 5)
    if {"boxes", "scores", "labels"} <= outputs.keys():
        return _Format(False, ["boxes", "scores", "labels"], _MOST_LABELS)
    raise OnnxDetectorError(
        f"{path}: outputs {_described(outputs)} are of no known detector format; known are YOLOX raw (1, {cells}, "
        "5 + classes) and end to end (outputs named boxes, scores, labels)"
    )


def _person_of(session: OnnxSession, labels: int, path: Path) -> int:
    """The label of people."""
    label = session.metadata.get("person_label", "0").strip()
    if not label.isdecimal() or len(label) > _MOST_DIGITS or int(label) >= labels:
        raise OnnxDetectorError(
            f"{path}: its metadata entry person_label is {label[: 2 * _MOST_DIGITS]!r}; it must be a whole number in "
            f"0..{labels - 1}: set it to the label that the model gives people"
        )
    return int(label)


def _described(shapes: Mapping[str, Sequence[object]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _is_one_or_free(axis: object) -> bool:
    return not isinstance(axis, int) or axis == 1
