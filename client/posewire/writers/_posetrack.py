"""PoseTrack 2018 annotations, as read by poseval and the PoseTrack 2018 tools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posewire._inputs import check_finite, check_joints
from posewire.array_types import Float32s
from posewire.errors import MisuseError, OutputError
from posewire.joints import POSETRACK15, JointSet
from posewire.output_files import AtomicPath, ResultWriter, write_json
from posewire.posetrack_format import CATEGORY_ID, category, image_id, in_keypoint_order
from posewire.results import FrameResult, Person

__all__ = ["PoseTrackWriter"]

SEQUENCE_NAME = re.compile(r"([0-9]{5,6})_[A-Za-z0-9_]+")
"""The form of PoseTrack's sequence names; the first group is the number."""


@dataclass(frozen=True)
class _Frame:
    """A frame whose number, and so its ids, are not final until all frames are known."""

    name: str
    image: dict[str, Any]
    annotations: list[dict[str, Any]]


class PoseTrackWriter(ResultWriter):
    """Results as a PoseTrack 2018 file: `images`, `annotations` with ids and scores, `categories`.

    Every frame has an entry in `images`, since poseval needs one for each frame of the ground truth. A frame without a
    result has no annotations, but `posewire_status` and `posewire_message`, which other programs ignore. Annotation ids
    are as in the data set: the frame's id and two more digits; more digits if a frame has more than 100 people.

        with client.track("walk.mp4") as stream:
            with PoseTrackWriter("000001_walk_test.json", stream.info.joint_set, sequence="000001_walk_test") as writer:
                for result in stream:
                    writer.write(result)

    Args:
        path: the file, which appears when the writer is closed.
        joint_set: of the results; `stream.info.joint_set`.
        sequence: name of the sequence: a number of five or six digits, `_` and a name, as parsed by poseval. It defines
            the names of the frames, `images/SEQUENCE/000000.jpg`, and their ids. Pictures of a folder keep their names
            if these are all different numbers.
        joint_score_threshold: joints with a lower score are left out, and so are people with no joints left: everything
            in the file is scored, and the paper drops joints below 0.4.

    Raises:
        OutputError: the file cannot be written, or the sequence name has another form.
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
            InvalidSettings: people have another number of joints than `joint_set`, or values that are not finite.
            MisuseError: a frame with this number was written already.
        """
        self._check_open()
        check_joints(result.people, self._joint_set)
        check_finite(result.people)
        if result.frame in self._frames:
            raise MisuseError(f"frame {result.frame} was written already; write each frame of a stream once")
        image = {"vid_id": self._video_id, "is_labeled": result.tracked, "has_no_densepose": True}
        if not result.tracked:
            image |= {"posewire_status": str(result.status), "posewire_message": result.message}
        if result.reconnected is not None and not result.reconnected.resumed:
            self._ids_before = self._largest_id  # ids start at 1 again; in the file they stay unique
        annotations: list[dict[str, Any]] = []
        for person in result.people:
            joints = self._joint_set.convert(person.joints[None], POSETRACK15)[0]
            joints[joints[:, 2] < self._joint_score_threshold] = 0
            if joints[:, 2].any() or self._joint_score_threshold <= 0:
                annotations.append(self._annotation(person, joints, len(annotations)))
        self._frames[result.frame] = _Frame(result.name, image, annotations)

    def _annotation(self, person: Person, joints: Float32s, place: int) -> dict[str, Any]:
        """One person; `id` is the index in the frame until the frame's own id is final."""
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
        # Ids must be unique: readers such as pycocotools look annotations up by id.
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
    """Number and name of every frame: from its picture's name if all are different numbers, else the frame number.

    A mixture of both could give two frames the same number, and so the same id.
    """
    stems = [Path(frame.name).stem for frame in frames.values()]
    if all(stem.isascii() and stem.isdecimal() for stem in stems) and len(set(map(int, stems))) == len(stems):
        return [(int(stem), frame.name) for stem, frame in zip(stems, frames.values(), strict=True)]
    return [(index, f"{index:06d}.jpg") for index in frames]
