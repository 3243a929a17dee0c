"""Labels by third-party networks for unlabelled pictures: boxes from YOLOX, joints from MoveNet.

A development tool: `python -m posewire_models.training.teachers --help`. It reads the teachers' files (ONNX, TFLite)
and writes one JSON line per picture, for the reader `posewire_models.training.readers.teacher`. It needs the packages
`ai-edge-litert` and `onnxruntime`.

MoveNet runs twice for each person, the second time mirrored and in a wider crop. A joint on which the two results
disagree gets score 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from posewire.array_types import Float32s, Image
from posewire.joints import COCO17
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.yolox_boxes import boxes_of, nms
from posewire_models.letterbox import FILL
from posewire_models.one_line import in_one_line
from posewire_models.training.failures import expected_failures
from posewire_models.training.measures import box_overlaps
from posewire_models.training.pictures import cut_square
from posewire_models.training.readers.label_file import entry, load_json, numbers
from posewire_models.training.readers.teacher import teacher_lines

__all__ = ["MoveNet", "YoloxBoxes", "already_labelled", "label_picture", "main"]

_log = logging.getLogger(__name__)


AGREE_WITHIN = 0.06
"""Two results agree within this share of the longer side of the person's box."""


class YoloxBoxes:
    """Person boxes from a YOLOX network in ONNX (raw output, letterboxed BGR input 0..255)."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        file.open("rb").close()  # its error names the file
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base class
            raise ValueError(f"{file} is not a model that ONNX Runtime can open: {in_one_line(error)}") from None
        given = self._session.get_inputs()[0]
        self._name, self._side = given.name, int(given.shape[2])

    def __call__(self, picture: Image) -> Float32s:
        """Boxes `(n, 5)` x1, y1, x2, y2, score in pixels of `picture` (RGB), best first."""
        height, width = picture.shape[:2]
        scale = self._side / max(height, width)
        canvas = np.full((self._side, self._side, 3), FILL, np.uint8)
        small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
        canvas[: small.shape[0], : small.shape[1]] = small[:, :, ::-1]
        raw = torch.from_numpy(
            self._session.run(None, {self._name: canvas.transpose(2, 0, 1)[None].astype(np.float32)})[0]
        )
        boxes = boxes_of(raw, (self._side, self._side))[0] / scale
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        boxes, scores = nms(boxes, raw[0, :, 4] * raw[0, :, 5], DetectorSettings(score_threshold=0.1, nms_iou=0.6))
        found: Float32s = torch.cat((boxes, scores[:, None]), dim=1).numpy()
        return found


class MoveNet:
    """COCO's 17 joints of one person from a MoveNet single-pose network in TFLite."""

    def __init__(self, file: Path) -> None:
        file.open("rb").close()
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=str(file), num_threads=1)
        self._interpreter.allocate_tensors()
        self._entry = self._interpreter.get_input_details()[0]
        self._exit = self._interpreter.get_output_details()[0]["index"]
        self._side = int(self._entry["shape"][1])

    def __call__(self, picture: Image, box: Float32s) -> Float32s:
        """Joints `(17, 3)` x, y, score in pixels of `picture` (RGB) of the person in `box` (x1, y1, x2, y2)."""
        longer = float(max(box[2] - box[0], box[3] - box[1], 2.0))
        plain = self._see(picture, box, longer * 1.2, mirrored=False)
        mirrored = self._see(picture, box, longer * 1.4, mirrored=True)
        apart = np.linalg.norm(plain[:, :2] - mirrored[:, :2], axis=1)
        joints: Float32s = ((plain + mirrored) / 2).astype(np.float32)
        joints[apart > AGREE_WITHIN * longer, 2] = 0
        return joints

    def _see(self, picture: Image, box: Float32s, side: float, *, mirrored: bool) -> Float32s:
        scale = self._side / side
        center = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        shift = (self._side - 1) / 2 - scale * center
        crop = cut_square(picture, scale, shift, self._side)
        if mirrored:
            crop = np.ascontiguousarray(crop[:, ::-1])
        self._interpreter.set_tensor(self._entry["index"], crop[None].astype(self._entry["dtype"]))
        self._interpreter.invoke()
        out = np.array(self._interpreter.get_tensor(self._exit)[0, 0], np.float32)
        joints: Float32s = np.stack([out[:, 1] * self._side - 0.5, out[:, 0] * self._side - 0.5, out[:, 2]], axis=1)
        if mirrored:
            joints = joints[COCO17.mirror]
            joints[:, 0] = self._side - 1 - joints[:, 0]
        joints[:, :2] = (joints[:, :2] - shift) / scale
        return joints.astype(np.float32)


def label_picture(picture: Image, given: Float32s, detector: YoloxBoxes, poser: MoveNet) -> list[dict[str, Any]]:
    """Label one picture.

    Args:
        picture: RGB.
        given: boxes `(n, 4)` of people whose joints are wanted even if the detector misses them.
        detector: finds the others.
        poser: finds joints, in boxes with a score of at least 0.3.

    Returns:
        one record per person: `box` (x1, y1, x2, y2, score), `given` (its row in `given`, or -1) and `joints`, 17 times
        [x, y, score] (empty for boxes with lower scores). A detected box that overlaps a given one with an IoU above
        0.5 is recorded as its detection, in `detected`.
    """
    detections = detector(picture)
    records: list[dict[str, Any]] = []
    taken = np.zeros(len(detections), bool)
    for row, box in enumerate(given):
        overlaps = box_overlaps(box, detections[:, :4], of_own=False)
        overlaps[taken] = 0
        best = int(overlaps.argmax()) if len(detections) else -1
        detected: list[float] = []
        if best >= 0 and overlaps[best] > 0.5:
            taken[best] = True
            detected = detections[best].round(3).tolist()
        joints = poser(picture, box)
        records.append(
            {
                "given": row,
                "box": [*box.round(2).tolist(), 1.0],
                "detected": detected,
                "joints": joints.round(3).tolist(),
            }
        )
    for detection in detections[~taken]:
        joints = poser(picture, detection[:4]) if detection[4] >= 0.3 else np.zeros((0, 3), np.float32)
        records.append({"given": -1, "box": detection.round(3).tolist(), "joints": joints.round(3).tolist()})
    return records


def _pictures_of(sources: Iterable[Path], every: int, frames_to: Path | None) -> Iterator[tuple[str, Image]]:
    """Name and RGB pixels of every picture in the folders, and of every `every`-th frame of the videos in them."""
    for source in sources:
        for file in sorted(source.iterdir()):
            if file.suffix in (".mp4", ".avi", ".mkv"):
                yield from _frames(file, every, frames_to)
                continue
            pixels = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
            if pixels is None:
                _log.warning("%s cannot be read as a picture; skipped", file)
                continue
            yield file.name, np.asarray(pixels, np.uint8)


def _frames(file: Path, every: int, frames_to: Path | None) -> Iterator[tuple[str, Image]]:
    if frames_to is None:
        raise ValueError(f"{file} is a video: give --frames-to DIR, where the labelled frames are stored")
    capture = cv2.VideoCapture(str(file))
    if not capture.isOpened():
        _log.warning("%s cannot be read as a video; skipped", file)
    number = 0
    while True:
        ok, pixels = capture.read()
        if not ok:
            return
        if number % every == every // 2:
            name = f"{file.stem}_{number:05d}.webp"
            _, content = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 92])
            (frames_to / name).write_bytes(content.tobytes())  # `imwrite` raises nothing on a full disk
            yield name, np.ascontiguousarray(pixels[:, :, ::-1])
        number += 1


def already_labelled(file: Path) -> set[str]:
    """Names of the pictures in `file`, which may be missing; an incomplete last line is removed from it.

    Raises:
        LabelFileError: another line is faulty.
    """
    if not file.exists():
        return set()
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        _log.warning("%s: its last line is incomplete and taken out", file)
        os.truncate(file, whole)
    return {record["picture"] for record in teacher_lines(file)}


def main() -> None:
    """Label folders of pictures or videos: one JSON line per picture in the given file."""
    parser = argparse.ArgumentParser(prog="python -m posewire_models.training.teachers", description=main.__doc__)
    parser.add_argument("sources", nargs="+", type=Path, help="folders of pictures or videos")
    parser.add_argument("--detector", type=Path, required=True, help="YOLOX detector (ONNX)")
    parser.add_argument("--poser", type=Path, required=True, help="MoveNet single-pose network (TFLite)")
    parser.add_argument(
        "--out", type=Path, required=True, help="file for the labels (JSON lines); pictures already in it are skipped"
    )
    parser.add_argument("--boxes", type=Path, help="JSON file of known people: picture name -> list of x1, y1, x2, y2")
    parser.add_argument("--every", type=int, default=12, help="label every n-th frame of a video")
    parser.add_argument("--frames-to", type=Path, help="folder for the labelled video frames")
    arguments = parser.parse_args()
    if arguments.every < 1:
        parser.error(f"--every {arguments.every} must be at least 1")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    with expected_failures():
        _label(arguments)


def _label(arguments: argparse.Namespace) -> None:
    given = load_json(arguments.boxes) if arguments.boxes else {}
    done = already_labelled(arguments.out)
    if arguments.frames_to:
        arguments.frames_to.mkdir(parents=True, exist_ok=True)
    detector, poser = YoloxBoxes(arguments.detector), MoveNet(arguments.poser)
    with arguments.out.open("a") as out:
        for name, picture in _pictures_of(arguments.sources, arguments.every, arguments.frames_to):
            if name in done:
                continue
            with entry(f"{arguments.boxes}: {name}"):
                boxes = numbers(given.get(name, []), f"{arguments.boxes}: {name}").reshape(-1, 4)
            people = label_picture(picture, boxes, detector, poser)
            size = [picture.shape[1], picture.shape[0]]
            out.write(json.dumps({"picture": name, "size": size, "people": people}) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
