"""Scenes as files: video or pictures, PoseTrack-2018 annotations, flow."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np

from posewire.array_types import Float32s, Image
from posewire.joints import NANO19, POSETRACK15
from posewire.posetrack_format import CATEGORY_ID, category, image_id, in_keypoint_order
from posewire.synth.config import SceneConfig
from posewire.synth.scene import Scene
from posewire.synth.truth import FrameTruth

__all__ = ["FramesAs", "SceneFiles", "write_scene"]


LEAST_VISIBLE = 0.1
"""People with a smaller visible fraction are not annotated."""


class FramesAs(StrEnum):
    """How frames are stored."""

    MP4 = "mp4"
    PNG = "png"


@dataclass(frozen=True)
class SceneFiles:
    """What `write_scene` wrote.

    Attributes:
        manifest: JSON with the settings of the scene and the paths of all files.
        annotations: JSON in PoseTrack 2018 format.
        frames: the video, or the folder of the pictures.
        flow: the folder of the flow fields, if requested.
    """

    manifest: Path
    annotations: Path
    frames: Path
    flow: Path | None


def write_scene(
    scene: Scene,
    out_dir: Path,
    *,
    frames_as: FramesAs = FramesAs.MP4,
    flow: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> SceneFiles:
    """Write a scene and its ground truth.

    Writes `manifest.json`, `annotations/NAME.json`, `NAME.mp4` or `images/NAME/000000.png` ..., and, if requested,
    `flow/NAME/000001.npz` ... with `flow` (h, w, 2) float32 from the previous frame and `valid` (h, w). NAME is made
    from the seed in the form of PoseTrack's sequence names. Hidden joints are annotated with visibility 0; joints
    outside the picture, and people with less than a tenth visible, are not annotated.

    The files appear together when all are written; if that fails, those of an earlier scene stay.

    Args:
        scene: the scene to write.
        out_dir: created if missing; files of an earlier scene with the same NAME are removed, so that its frames do not
            mix with the new ones.
        frames_as: video (lossy, H.264) or pictures (exact).
        flow: write the flow too; about a megabyte per frame.
        progress: called with the number of frames written so far.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    name = f"{scene.config.seed % 1_000_000:06d}_synth"
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".posewire-", dir=out_dir) as folder:
        _write_files(scene, _files(Path(folder), name, frames_as, flow), frames_as, progress)
        _remove_scene(out_dir, name)
        _move(Path(folder), out_dir)
    return _files(out_dir, name, frames_as, flow)


def _files(folder: Path, name: str, frames_as: FramesAs, flow: bool) -> SceneFiles:
    return SceneFiles(
        manifest=folder / "manifest.json",
        annotations=folder / "annotations" / f"{name}.json",
        frames=folder / f"{name}.mp4" if frames_as is FramesAs.MP4 else folder / "images" / name,
        flow=folder / "flow" / name if flow else None,
    )


def _write_files(scene: Scene, files: SceneFiles, frames_as: FramesAs, progress: Callable[[int], None]) -> None:
    files.annotations.parent.mkdir()
    if files.flow is not None:
        files.flow.mkdir(parents=True)
    annotations = _PoseTrackJson(files.annotations.stem, len(scene))
    store = _Mp4(files.frames, scene.config) if frames_as is FramesAs.MP4 else _Pictures(files.frames)
    with store:
        for frame in scene:
            truth = frame.truth
            store.write(frame.image)
            annotations.add(truth)
            if files.flow is not None and truth.index > 0:
                np.savez_compressed(files.flow / f"{truth.index:06d}.npz", flow=truth.flow, valid=truth.flow_valid)
            progress(truth.index + 1)
    files.annotations.write_text(json.dumps(annotations.document()))
    files.manifest.write_text(json.dumps(_manifest(scene, files), indent=2) + "\n")


def _remove_scene(out_dir: Path, name: str) -> None:
    """Remove the files that `write_scene` writes for a name, and no others."""
    for file in (out_dir / f"{name}.mp4", out_dir / "annotations" / f"{name}.json"):
        file.unlink(missing_ok=True)
    for folder, suffix in ((out_dir / "images" / name, "png"), (out_dir / "flow" / name, "npz")):
        for file in folder.glob(f"{'[0-9]' * 6}.{suffix}"):
            file.unlink()
        with contextlib.suppress(OSError):  # it does not exist, or contains other files
            folder.rmdir()


def _move(folder: Path, out_dir: Path) -> None:
    """Move the files of a folder to the same places in another, the manifest last."""
    for path in sorted(folder.rglob("*")):
        place = out_dir / path.relative_to(folder)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            path.replace(place)


def _manifest(scene: Scene, files: SceneFiles) -> dict[str, Any]:
    folder = files.manifest.parent
    return {
        "scene": asdict(scene.config),
        "frames": len(scene),
        "fps": scene.config.fps,
        "size": [scene.config.width, scene.config.height],
        "pictures": str(files.frames.relative_to(folder)),
        "annotations": str(files.annotations.relative_to(folder)),
        "flow": str(files.flow.relative_to(folder)) if files.flow else None,
    }


class _PoseTrackJson:
    """Annotations in the format of PoseTrack 2018."""

    def __init__(self, name: str, frames: int) -> None:
        self._name, self._video_id, self._frames = name, name.partition("_")[0], frames
        self._images: list[dict[str, Any]] = []
        self._people: list[dict[str, Any]] = []

    def add(self, truth: FrameTruth) -> None:
        frame_id = image_id(int(self._video_id), truth.index)
        self._images.append(
            {
                "file_name": f"images/{self._name}/{truth.index:06d}.png",
                "id": frame_id,
                "frame_id": frame_id,
                "vid_id": self._video_id,
                "nframes": self._frames,
                "is_labeled": True,
                "ignore_regions_x": [],
                "ignore_regions_y": [],
            }
        )
        joints = NANO19.convert(truth.joints, to=POSETRACK15)
        for row in np.nonzero(truth.visible_fraction >= LEAST_VISIBLE)[0].tolist():
            keypoints = in_keypoint_order(joints[row].astype(np.float64))
            keypoints[keypoints[:, 2] == 0] = 0.0
            keypoints[:, 2] = keypoints[:, 2] == 2
            self._people.append(
                {
                    "id": frame_id * 100 + row,
                    "image_id": frame_id,
                    "track_id": int(truth.ids[row]),
                    "person_id": int(truth.ids[row]),
                    "category_id": CATEGORY_ID,
                    "bbox": _xywh(truth.boxes[row]),
                    "bbox_head": _xywh(truth.head_boxes[row]),
                    "keypoints": [round(value, 3) for value in keypoints.ravel().tolist()],
                    "scores": [],
                }
            )

    def document(self) -> dict[str, Any]:
        return {"images": self._images, "annotations": self._people, "categories": [category()]}


def _xywh(box: Float32s) -> list[float]:
    x0, y0, x1, y1 = box.tolist()
    return [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)]


class _Pictures:
    """Frames as numbered PNG files."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        folder.mkdir(parents=True)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, image: Image) -> None:
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        (self._folder / f"{self._count:06d}.png").write_bytes(png.tobytes())
        self._count += 1


class _Mp4:
    """Frames as H.264 in MP4. Odd sizes are padded by a pixel at the right and bottom, since H.264 needs even ones."""

    def __init__(self, path: Path, config: SceneConfig) -> None:
        self._padding = ((0, config.height % 2), (0, config.width % 2), (0, 0))
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=Fraction(config.fps).limit_denominator(1001))
        self._stream.width, self._stream.height = config.width + config.width % 2, config.height + config.height % 2
        self._stream.options = {"crf": "17", "preset": "veryfast"}
        self._stream.pix_fmt = "yuv420p"

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, image: Image) -> None:
        padded = np.ascontiguousarray(np.pad(image, self._padding, mode="edge"))
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(padded, "rgb24")))
