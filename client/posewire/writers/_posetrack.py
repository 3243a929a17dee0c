"""PoseTrack 2018 annotations: what poseval and the PoseTrack 2018 tools read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posewire.array_types import Float32s
from posewire.errors import MisuseError, OutputError
from posewire.joints import POSETRACK15, JointSet
from posewire.output_files import AtomicPath, ResultWriter, write_json
from posewire.posetrack_format import CATEGORY_ID, category, image_id, in_keypoint_order
from posewire.results import FrameResult, Person

__all__ = ["PoseTrackWriter"]

SEQUENCE_NAME = re.compile(r"([0-9]{5,6})_[A-Za-z0-9_]+")
"""What PoseTrack calls a sequence; its number is the first group."""


@dataclass(frozen=True)
class _Frame:
    """A frame whose number, and with it its ids, is not settled before all frames are known."""

    name: str
    image: dict[str, Any]
    annotations: list[dict[str, Any]]


class PoseTrackWriter(ResultWriter):
    """Results as a PoseTrack 2018 file: `images`, `annotations` with ids and scores, `categories`.

    Every frame has its entry in `images`, as poseval wants one for each frame of the ground truth. A frame without a
    result has no annotations, and carries `posewire_status` and `posewire_message`, which other programs pass over.
    Annotations have the data set's ids, two digits after that of their frame; more in a file with a larger crowd.

        with client.track("walk.mp4") as stream:
            with PoseTrackWriter("000001_walk_test.json", stream.info.joint_set, sequence="000001_walk_test") as writer:
                for result in stream:
                    writer.write(result)

    Args:
        path: of the file, which appears when the writer is closed.
        joint_set: of the results.
        sequence: name of the sequence, a number of five or six digits and a name, as poseval takes them apart. It gives
            the names of the frames, `images/SEQUENCE/000000.jpg`, and their ids. Pictures of a folder keep their names
            if all of these are different numbers.
        joint_score_threshold: joints with a lower score are left out, and people who have none left: whatever is in the
            file is scored, and the paper drops joints below 0.4.

    Raises:
        OutputError: the file cannot be written, or the name of the sequence has another form.
    """

    def __init__(
        self,
        path: str | Path,
        joint_set: JointSet,
        *,
        sequence: str = "000001_posewire_test",
        joint_score_threshold: float = 0.0,
    ):
        super().__init__()
        match = SEQUENCE_NAME.fullmatch(sequence)
        if match is None:
            raise OutputError(
                f"the sequence {sequence!r} is not of the form NUMBER_NAME with five or six digits,"
                " e.g. 000342_mpii_test"
            )
        self._path = Path(path)
        # Find out now, not after hours of work, that the folder cannot be written to.
        AtomicPath(self._path).discard()
        self._joint_set = joint_set
        self._sequence = sequence
        self._video_id = match[1]
        self._joint_score_threshold = joint_score_threshold
        self._frames: dict[int, _Frame] = {}
        self._ids_before = self._largest_id = 0

    def write(self, result: FrameResult) -> None:
        """Add one frame.

        Raises:
            MisuseError: a frame of that number was written already.
        """
        self._check_open()
        if result.frame in self._frames:
            raise MisuseError(f"frame {result.frame} was written already; write each frame of a stream once")
        image = {"vid_id": self._video_id, "is_labeled": result.tracked, "has_no_densepose": True}
        if not result.tracked:
            image |= {"posewire_status": str(result.status), "posewire_message": result.message}
        if result.reconnected is not None and not result.reconnected.resumed:
            self._ids_before = self._largest_id  # ids begin with 1 again: in the file they stay different
        annotations: list[dict[str, Any]] = []
        for person in result.people:
            joints = self._joint_set.convert(person.joints[None], POSETRACK15)[0]
            joints[joints[:, 2] < self._joint_score_threshold] = 0
            if joints[:, 2].any() or self._joint_score_threshold <= 0:
                annotations.append(self._annotation(person, joints, len(annotations)))
        self._frames[result.frame] = _Frame(result.name, image, annotations)

    def _annotation(self, person: Person, joints: Float32s, place: int) -> dict[str, Any]:
        """One person; `id` is the place in the frame until the frame has its own."""
        track_id = self._ids_before + person.id
        self._largest_id = max(self._largest_id, track_id)
        keypoints: list[float] = []
        scores: list[float] = []
        for x, y, score in in_keypoint_order(joints).tolist():
            keypoints += [round(x, 3), round(y, 3), int(score > 0)]
            scores.append(round(score, 5))
        return {
            "id": place,
            "track_id": track_id,
            "category_id": CATEGORY_ID,
            "bbox": [round(value, 3) for value in person.box.tolist()],
            "score": round(person.score, 5),
            "keypoints": keypoints,
            "scores": scores,
        }

    def _finish(self) -> None:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        # Readers such as pycocotools look annotations up by their ids, and would take one for another.
        most = max((len(frame.annotations) for frame in self._frames.values()), default=0)
        places = 10 ** max(2, len(str(most - 1)))
        for frame, (number, name) in zip(self._frames.values(), _numbered(self._frames), strict=True):
            frame_id = image_id(int(self._video_id), number)
            named = {"id": frame_id, "frame_id": frame_id, "file_name": f"images/{self._sequence}/{name}"}
            images.append(named | frame.image | {"nframes": len(self._frames)})
            annotations += [
                person | {"id": frame_id * places + person["id"], "image_id": frame_id} for person in frame.annotations
            ]
        write_json(self._path, {"images": images, "annotations": annotations, "categories": [category()]})

    def _give_up(self) -> None:
        self._frames.clear()


def _numbered(frames: Mapping[int, _Frame]) -> list[tuple[int, str]]:
    """Number and name of every frame: its picture's own if all are different numbers, else by its place in the stream.

    With some of each, two frames could have one number, and with it one id.
    """
    stems = [Path(frame.name).stem for frame in frames.values()]
    if all(stem.isascii() and stem.isdecimal() for stem in stems) and len(set(map(int, stems))) == len(stems):
        return [(int(stem), frame.name) for stem, frame in zip(stems, frames.values(), strict=True)]
    return [(index, f"{index:06d}.jpg") for index in frames]
