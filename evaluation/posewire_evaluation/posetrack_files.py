"""Reads PoseTrack JSON of 2017 and 2018, ground truth and predictions.

Formats: poseval's `README.md` (2017) and `convert.py` (2018). What counts as annotated is decided as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from posewire.array_types import Float64s
from posewire.joints import POSETRACK15, POSETRACK2017_ORDER
from posewire.json_files import path_in_file, read_json
from posewire.os_errors import reason_of
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.frame_numbers import RULE, frame_numbers
from posewire_evaluation.sequence_files import check_folders, listed, paired_files, truth_files
from posewire_evaluation.sequences import NO_SCORE, PoseFrame, PoseSequence

__all__ = ["file_pairs", "read_posetrack"]

_ROWS_2017 = [POSETRACK15.index(name) for name in POSETRACK2017_ORDER]
_HEAD_SIZE_OF_DIAGONAL = 0.6
_JOINT_COUNT = len(POSETRACK15)
_NO_BOX = (np.nan,) * 4
_TOO_LARGE = 2**63
"""Integers from here on do not fit numpy's usual type."""


@dataclass
class _People:
    """The people of one frame while it is being read."""

    number: int
    picture: PurePosixPath
    labelled: bool = False
    ids: list[int] = field(default_factory=list)
    joints: list[Float64s] = field(default_factory=list)
    present: list[Any] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    heads: list[Sequence[float]] = field(default_factory=list)
    boxes: list[Sequence[float]] = field(default_factory=list)
    regions: list[Float64s] = field(default_factory=list)
    default_score: float | None = None
    """Score of a joint that has none in the file; None: its visibility."""

    def frame(self) -> PoseFrame:
        heads = np.array(self.heads, np.float64).reshape(-1, 4)
        width, height = heads[:, 2] - heads[:, 0], heads[:, 3] - heads[:, 1]
        with np.errstate(over="ignore"):  # `PoseSequence` rejects infinite values
            sizes = _HEAD_SIZE_OF_DIAGONAL * np.sqrt(width * width + height * height)
        return PoseFrame(
            number=self.number,
            labelled=self.labelled,
            ids=np.array(self.ids, np.int64),
            joints=np.array(self.joints, np.float64).reshape(-1, _JOINT_COUNT, 3),
            present=np.array(self.present, np.bool_).reshape(-1, _JOINT_COUNT),
            scores=np.array(self.scores, np.float64),
            head_sizes=sizes,
            boxes=np.array(self.boxes, np.float64).reshape(-1, 4),
            ignore_regions=tuple(self.regions),
        )


def read_posetrack(path: Path, *, predictions: bool = False) -> PoseSequence:
    """Read one sequence from a PoseTrack file of either year, with 15 joints and frames in the order of their numbers.

    A joint in the 2018 format is given unless its x, y and visibility are all 0. A frame is `labelled` if it lists
    people: as in poseval, flags are ignored.

    Args:
        path: JSON in the format of 2018 (`images`, `annotations`, `categories`) or 2017 (`annolist`).
        predictions: joints without a score get `NO_SCORE`, as in poseval, instead of their visibility.

    Raises:
        EvaluationError: the file cannot be read, has neither format, or holds something that cannot be scored; the
            message names file and frame.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {reason_of(error)}") from error
    default_score = NO_SCORE if predictions else None
    with _naming(str(path)):
        if isinstance(content, dict) and isinstance(content.get("annolist"), list):
            people, pictures = _read_2017(content["annolist"], path, default_score)
        elif isinstance(content, dict) and isinstance(content.get("images"), list):
            people, pictures = _read_2018(content, path, default_score)
        else:
            raise EvaluationError(f"{path} is not a PoseTrack file: it has no `images` (2018) or `annolist` (2017)")
    frames = []
    people.sort(key=lambda frame: frame.number)
    for one, other in pairwise(people):
        if one.number == other.number:
            raise EvaluationError(f"{path}: {one.picture} and {other.picture} are both frame {one.number}: {RULE}")
    for each in people:
        with _naming(f"{path}: frame {each.number}"):
            frames.append(each.frame())
    return PoseSequence(path.stem, POSETRACK15, tuple(frames), str(path), pictures)


def file_pairs(truth: Path, predictions: Path) -> list[tuple[Path, Path]]:
    """Pairs of ground truth and prediction files with the same name; or the two files, if both are files.

    Raises:
        EvaluationError: there is no truth, or a file of the truth has no prediction.
    """
    if truth.is_file() and predictions.is_file():
        return [(truth, predictions)]
    check_folders(truth, predictions)
    return paired_files({file.name: file for file in truth_files(truth)}, predictions)


def _read_2018(content: Mapping[str, Any], path: Path, default_score: float | None) -> tuple[list[_People], str]:
    names = _joint_names(content, path)
    places = [names.index(name) for name in POSETRACK15.names]
    frames: dict[Any, _People] = {}
    for image in content["images"]:
        if not image.get("file_name"):
            raise EvaluationError(f"{path}: image {image.get('id')} has no `file_name`, which says what frame it is")
    pictures = [path_in_file(str(image["file_name"])) for image in content["images"]]
    for image, picture, number in zip(content["images"], pictures, _numbers(pictures), strict=True):
        frame = _People(number, picture, default_score=default_score)
        if image.get("id") in frames:
            raise EvaluationError(f"{path}: frame {frame.number}: two images have the id {image.get('id')}")
        xs, ys = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
        with _naming(f"{path}: frame {frame.number}: its list of ignore regions"):
            if [len(x) for x in xs] != [len(y) for y in ys]:
                raise ValueError("there are not as many x as y")
            frame.regions = [np.array([x, y], np.float64).T for x, y in zip(xs, ys, strict=True) if len(x)]
        frames[image.get("id")] = frame
    # Without the list the file is truncated or not PoseTrack's; if there are no people, the list is empty.
    if not isinstance(content.get("annotations"), list):
        raise EvaluationError(f"{path} has no list `annotations`; it must be there, empty if nobody was found")
    for annotation in content["annotations"]:
        frame_of = frames.get(annotation.get("image_id"))
        if frame_of is None:
            raise EvaluationError(
                f"{path}: annotation {annotation.get('id')} belongs to image {annotation.get('image_id')!r}, which is"
                " not in the file"
            )
        frame_of.labelled = True
        with _naming(f"{path}: frame {frame_of.number}: annotation {annotation.get('id')}"):
            _add_2018(annotation, frame_of, len(names), places)
    return list(frames.values()), _one_folder(pictures, path)


def _joint_names(content: Mapping[str, Any], path: Path) -> list[str]:
    """Names of the keypoints, in the file's order."""
    categories = content.get("categories") or [{}]
    names = list(categories[0].get("keypoints") or []) if len(categories) == 1 else []
    missing = [name for name in POSETRACK15.names if name not in names]
    if missing:
        raise EvaluationError(
            f"{path} does not name the joints {listed(missing)}: `categories` must be one, with the names of all"
            " keypoints in their order"
        )
    return names


def _add_2018(annotation: Mapping[str, Any], frame: _People, joints: int, places: list[int]) -> None:
    keypoints = np.array(annotation["keypoints"], np.float64)
    if keypoints.shape not in ((joints * 3,), (joints, 3)):
        raise ValueError(f"{keypoints.size} numbers of keypoints, {joints} times x, y and visibility expected")
    keypoints = keypoints.reshape(joints, 3)
    present = (keypoints != 0).any(axis=1)
    scores = annotation.get("scores")
    if scores:
        if len(scores) != joints:
            raise ValueError(f"{len(scores)} scores for {joints} keypoints")
        keypoints[:, 2] = scores
    elif frame.default_score is not None:
        keypoints[:, 2] = frame.default_score
    box, head = annotation.get("bbox"), annotation.get("bbox_head")
    frame.ids.append(_whole(annotation.get("track_id"), "track id"))
    frame.joints.append(keypoints[places])
    frame.present.append(present[places])
    frame.scores.append(_score(annotation.get("score")))
    frame.boxes.append(_corners(box, "bbox") if box else _NO_BOX)
    frame.heads.append(_corners(head, "bbox_head") if head else _NO_BOX)


def _corners(box: Sequence[float], what: str) -> tuple[float, float, float, float]:
    x, y, width, height = (float(side) for side in box)
    if not math.isfinite(x + y + width + height):
        raise ValueError(f"`{what}` is {list(box)}; four numbers are needed, neither NaN nor infinite")
    return x, y, x + width, y + height


def _read_2017(
    annolist: Sequence[Mapping[str, Any]], path: Path, default_score: float | None
) -> tuple[list[_People], str]:
    pictures = []
    for position, entry in enumerate(annolist):
        with _naming(f"{path}: frame {position}: its entry"):
            image = _first(entry["image"])
            pictures.append(path_in_file(str(image["name"] if isinstance(image, dict) else image)))
    frames = []
    for entry, picture, number in zip(annolist, pictures, _numbers(pictures), strict=True):
        frame = _People(number, picture, default_score=default_score)
        rects = _listed_2017(entry.get("annorect"))
        frame.labelled = len(rects) > 0
        with _naming(f"{path}: frame {frame.number}: its list of ignore regions"):
            regions = [_listed_2017(region.get("point")) for region in _listed_2017(entry.get("ignore_regions"))]
            frame.regions = [
                np.array([(_first(point["x"]), _first(point["y"])) for point in region], np.float64)
                for region in regions
                if region
            ]
        for place, rect in enumerate(rects):
            with _naming(f"{path}: frame {frame.number}: person {place}"):
                _add_2017(rect, frame)
        frames.append(frame)
    return frames, _one_folder(pictures, path)


def _add_2017(rect: Mapping[str, Any], frame: _People) -> None:
    holder = _first(rect.get("annopoints"))
    if not holder or "point" not in holder:
        return  # in the 2017 format, a person without joints does not count
    joints = np.zeros((_JOINT_COUNT, 3))
    present = np.zeros(_JOINT_COUNT, np.bool_)
    for point in _listed_2017(holder["point"]):
        number = _whole(_first(point["id"]), "joint id")
        if not 0 <= number < _JOINT_COUNT:
            raise ValueError(f"joint id {number}, 0..{_JOINT_COUNT - 1} expected")
        row = _ROWS_2017[number]
        if not present[row]:  # if a joint occurs twice, poseval takes the first
            present[row] = True
            visible = float(_first(point.get("is_visible", 1)) in (1, "1"))
            score = point.get("score", visible if frame.default_score is None else frame.default_score)
            joints[row] = _first(point["x"]), _first(point["y"]), _first(score)
    corners = [_first(rect.get(key)) for key in ("x1", "y1", "x2", "y2")]
    frame.ids.append(_whole(_first(rect.get("track_id")), "track id"))
    frame.joints.append(joints)
    frame.present.append(present)
    frame.scores.append(_score(_first(rect.get("score"))))
    frame.heads.append(_NO_BOX if None in corners else [float(corner) for corner in corners])
    frame.boxes.append(_NO_BOX)


def _listed_2017(value: Any) -> list[Any]:
    """A list of structures; the Matlab export of 2017 omits the brackets around a single one."""
    return [value] if isinstance(value, dict) else list(value or [])


def _first(value: Any) -> Any:
    """A value of the 2017 format, usually in brackets; the Matlab export has empty brackets for a missing value."""
    return next(iter(value), None) if isinstance(value, list) else value


def _score(value: Any) -> float:
    """A person's score; 1 if it is missing or empty."""
    return 1.0 if value is None else float(value)


def _one_folder(pictures: Sequence[PurePosixPath], path: Path) -> str:
    folders = {picture.parent for picture in pictures}
    if len(folders) > 1:
        raise EvaluationError(f"{path} holds {len(folders)} videos; give each sequence a file of its own")
    return str(folders.pop()) if folders else ""


def _numbers(pictures: Sequence[PurePosixPath]) -> list[int]:
    """Frame numbers from the names of the pictures, or positions in the file where a name has no number."""
    numbers = frame_numbers([picture.name.split(".")[0] for picture in pictures])
    return [position if number is None else number for position, number in enumerate(numbers)]


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValueError(f"the {what} is {value!r}; it must be a whole number")
    if abs(value) >= _TOO_LARGE:
        raise ValueError(f"the {what} is {value!r:.40}; it must be below 2^63")
    return int(value)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Turn errors in a part of a file into an `EvaluationError` that says where it is."""
    try:
        yield
    except EvaluationError:
        raise
    except KeyError as error:
        raise EvaluationError(f"{where} has no {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise EvaluationError(f"{where} is faulty: {error}") from error
