"""Any detector in ONNX, run by ONNX Runtime.

Two formats are recognised by their outputs:

- YOLOX raw (as its own export writes it): one output `(1, cells, 5 + classes)`; for each cell of strides 8, 16 and 32
  the box's centre and log size in cells, objectness and class scores. Input BGR 0-255, letterboxed top left with 114.
- End to end: `boxes` `(n, 4)` xyxy in input pixels, `scores` `(n,)` and `labels` `(n,)`, or each with a leading axis of
  one. Input RGB 0-1 (0-255 where the input is uint8), letterboxed top left with 114.

The input's size is the model's own. People have label 0, as in COCO's 80 classes; a model of another numbering says so
by the metadata entry `person_label`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torchvision.ops import nms

from posewire_models.detectors.selection import DetectorSettings, people
from posewire_models.frames import Detections, Frame
from posewire_models.letterbox import Letterbox, letterbox

__all__ = ["OnnxDetector", "OnnxDetectorError", "decode_yolox"]

_FILL = 114.0
_YOLOX_STRIDES = (8, 16, 32)
_ERRORS_ONLY = 3


class OnnxDetectorError(ValueError):
    """The file is no ONNX model, or not one of a known detector format."""


class OnnxDetector:
    """A `Detector` by an ONNX model, one frame after the other.

    Args:
        path: the model.
        settings: thresholds.
        device: a CUDA device runs the model there if ONNX Runtime can.

    Raises:
        OnnxDetectorError: the file is missing, unreadable, or of an unknown format; the message says what was found.
    """

    def __init__(self, path: Path, settings: DetectorSettings, device: torch.device) -> None:
        self._settings = settings
        self._session = _open(path, device)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._person = int(metadata.get("person_label", 0))
        self._input, self._input_size, self._takes_bytes = _input_of(self._session, path)
        self._yolox, self._outputs = _format_of(self._session, self._input_size, path)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Frame) -> Detections:
        fitted = letterbox(frame.on(torch.device("cpu")), self._input_size, _FILL)
        outputs = self._session.run(self._outputs, {self._input: self._image(fitted)})
        if self._yolox:
            boxes, scores = decode_yolox(torch.from_numpy(outputs[0]), self._input_size, self._person)
            kept = scores >= self._settings.score_threshold
            boxes, scores = boxes[kept], scores[kept]
            best = nms(boxes, scores, self._settings.nms_iou)
            boxes, scores = boxes[best], scores[best]
        else:
            boxes, scores, labels = (torch.from_numpy(np.asarray(output)) for output in outputs)
            mine = labels.reshape(-1) == self._person
            boxes, scores = boxes.reshape(-1, 4)[mine], scores.reshape(-1)[mine]
        # Coordinates of COCO's boxes, which such models are trained on, are taken for frame pixels as they are.
        return people(boxes / boxes.new_tensor(fitted.scale * 2), scores, frame.size, self._settings)

    def _image(self, fitted: Letterbox) -> np.ndarray:
        if self._yolox:
            return fitted.pixels.flip(0).unsqueeze(0).numpy()  # BGR
        pixels = fitted.pixels.unsqueeze(0)
        return pixels.round().to(torch.uint8).numpy() if self._takes_bytes else (pixels / 255).numpy()


def decode_yolox(raw: Tensor, input_size: tuple[int, int], label: int) -> tuple[Tensor, Tensor]:
    """Boxes and scores of the cells whose best class is `label`, before NMS.

    Args:
        raw: `(1, cells, 5 + classes)`.
        input_size: (height, width) of the model's input.
        label: the class wanted.

    Returns:
        boxes `(n, 4)` xyxy in input pixels and scores `(n,)`, objectness times class score.
    """
    center, log_size, objectness, classes = raw[0, :, :2], raw[0, :, 2:4], raw[0, :, 4], raw[0, :, 5:]
    mine = classes.argmax(dim=1) == label
    cells, strides = _yolox_cells(input_size)
    half = log_size[mine].exp() * strides[mine] / 2
    middle = (center[mine] + cells[mine]) * strides[mine]
    return torch.cat((middle - half, middle + half), dim=1), objectness[mine] * classes[mine, label]


def _yolox_cells(input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Column and row `(cells, 2)` and stride `(cells, 1)` of every cell, in the order of the output."""
    cells, strides = [], []
    for stride in _YOLOX_STRIDES:
        rows, columns = (torch.arange(side // stride) for side in input_size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        cells.append(torch.stack((x, y), dim=2).view(-1, 2))
        strides.append(torch.full((y.numel(), 1), stride))
    return torch.cat(cells).float(), torch.cat(strides).float()


def _open(path: Path, device: torch.device) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise OnnxDetectorError(f"no ONNX model at {path}")
    # Named explicitly: left to itself, the GPU build tries every accelerator and complains of each it does not find.
    providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base class
        raise OnnxDetectorError(f"{path} is not a model that ONNX Runtime can open: {error}") from None


def _input_of(session: onnxruntime.InferenceSession, path: Path) -> tuple[str, tuple[int, int], bool]:
    """Name and (height, width) of the model's picture input, and whether it takes bytes."""
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
        described = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise OnnxDetectorError(
            f"{path}: a detector takes one input (1, 3, height, width) of fixed size; got {described}"
        )
    return inputs[0].name, (shape[2], shape[3]), inputs[0].type == "tensor(uint8)"


def _format_of(
    session: onnxruntime.InferenceSession, input_size: tuple[int, int], path: Path
) -> tuple[bool, list[str]]:
    """Whether the model's outputs are raw YOLOX, and the names of the outputs to ask for."""
    outputs = {output.name: output.shape for output in session.get_outputs()}
    cells = sum((input_size[0] // stride) * (input_size[1] // stride) for stride in _YOLOX_STRIDES)
    if len(outputs) == 1:
        ((name, shape),) = outputs.items()
        if len(shape) == 3 and shape[1] == cells and isinstance(shape[2], int) and shape[2] > 5:
            return True, [name]
    if {"boxes", "scores", "labels"} <= outputs.keys():
        return False, ["boxes", "scores", "labels"]
    described = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
    raise OnnxDetectorError(
        f"{path}: outputs {described} are of no known detector format; known are YOLOX raw (1, {cells}, 5 + classes) "
        "and end to end (outputs named boxes, scores, labels)"
    )
