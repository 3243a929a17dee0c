"""Scores of tracked people against the ground truth of a synthetic scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s
from posewire.joints import AREA_OF_BOX, NANO19, JointSet
from posewire.synth.truth import FrameTruth

__all__ = ["Score", "Scorer"]


@dataclass(frozen=True)
class Score:
    """How well people were found and distinguished.

    Attributes:
        frames: number of scored frames.
        people: number of people to be found, summed over the frames.
        missed: how many of these were not found.
        false_people: number of found people who do not exist, summed over the frames.
        identity_switches: how often a person's id changed.
        switches_on_return: how many of these were of people who returned after more than `Scorer.longest_gap` frames
            out of sight, and could only be recognised by their appearance.
        identities: number of different people to be found.
        ids_used: number of different ids that were assigned.
        mean_error_px: mean error of the visible joints of found people; NaN without any.
        pck: share of these joints within half a head size (0.6 times the diagonal of the head box, as in PCKh).
        mean_oks: mean object keypoint similarity of the found people; NaN without any.
    """

    frames: int
    people: int
    missed: int
    false_people: int
    identity_switches: int
    switches_on_return: int
    identities: int
    ids_used: int
    mean_error_px: float
    pck: float
    mean_oks: float

    @property
    def accuracy(self) -> float:
        """Multiple object tracking accuracy: 1 - (missed + false + switches) / people; NaN without people."""
        errors = self.missed + self.false_people + self.identity_switches
        return 1.0 - errors / self.people if self.people else float("nan")


@dataclass
class Scorer:
    """Compares the results of a tracker with the ground truth, frame by frame.

        >>> scorer = Scorer(joint_set)
        >>> scorer.add(truth, ids, boxes, joints)
        >>> scorer.score().identity_switches

    A tracked person is matched with the true one with the most similar pose, one to one; existing pairs are kept while
    they are similar enough (as in the CLEAR MOT metrics). People who are hardly visible need not be found, and finding
    them is not an error.

    Args:
        joint_set: of the tracked joints.
        least_oks: lowest OKS at which two poses can be of the same person, 0..1.
        least_visible: people with a smaller visible fraction need not be found, 0..1.
        longest_gap: number of frames for which a tracker is expected to remember people out of sight: the length of its
            queue minus 1.

    Raises:
        ValueError: a threshold is outside 0..1.
    """

    joint_set: JointSet
    least_oks: float = 0.5
    least_visible: float = 0.25
    longest_gap: int = 14
    _frames: int = 0
    _people: int = 0
    _missed: int = 0
    _false: int = 0
    _switches: int = 0
    _switches_on_return: int = 0
    _used: set[int] = field(default_factory=set)
    _last: dict[int, int] = field(default_factory=dict)
    _last_seen: dict[int, int] = field(default_factory=dict)
    _returned: set[int] = field(default_factory=set)
    _errors_px: list[float] = field(default_factory=list)
    _relative_errors: list[float] = field(default_factory=list)
    _similarities: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("least_oks", "least_visible"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}; it must be in 0..1")

    def add(self, truth: FrameTruth, ids: npt.NDArray[np.int64], boxes: Float32s, joints: Float32s) -> None:
        """Score one frame.

        Args:
            truth: of the frame.
            ids: `(n,)` track ids.
            boxes: `(n, 4)` xyxy pixels.
            joints: `(n, k, 3)` x, y, score; the score is ignored.

        Raises:
            ValueError: the shapes do not match, or an id occurs twice.
        """
        expected = [(len(ids),), (len(ids), 4), (len(ids), len(self.joint_set), 3)]
        given = [ids.shape, boxes.shape, joints.shape]
        if given != expected:
            raise ValueError(f"ids, boxes and joints have shapes {given}; they must be {expected}")
        if len(np.unique(ids)) != len(ids):
            raise ValueError(f"frame {truth.index}: an id occurs twice in {ids.tolist()}")
        true_joints = NANO19.convert(truth.joints, to=self.joint_set)
        oks = self._oks(truth, true_joints, joints)
        wanted = truth.seen(self.least_visible)
        matches = dict(self._match(truth, ids, oks))
        self._frames += 1
        self._used.update(ids.tolist())
        self._people += int(wanted.sum())
        for row in np.nonzero(wanted)[0].tolist():
            self._note_seen(int(truth.ids[row]), truth.index)
            if row in matches:
                self._compare(truth, row, int(ids[matches[row]]), true_joints[row], joints[matches[row]])
                self._similarities.append(float(oks[row, matches[row]]))
            else:
                self._missed += 1
        unmatched = sorted(set(range(len(ids))) - set(matches.values()))
        excused = _iou(boxes[unmatched], truth.boxes[~wanted]).max(axis=1, initial=0.0) >= 0.5
        self._false += int((~excused).sum())

    def _note_seen(self, person: int, frame: int) -> None:
        """Record that a person is to be found in this frame."""
        if frame - self._last_seen.get(person, frame) > self.longest_gap + 1:
            self._returned.add(person)
        self._last_seen[person] = frame

    def _compare(self, truth: FrameTruth, row: int, track: int, true_joints: Float32s, joints: Float32s) -> None:
        person = int(truth.ids[row])
        if self._last.get(person, track) != track:
            self._switches += 1
            self._switches_on_return += person in self._returned
        self._returned.discard(person)
        self._last[person] = track
        visible = true_joints[:, 2] >= 2
        errors = np.linalg.norm(joints[visible, :2] - true_joints[visible, :2], axis=1)
        head = truth.head_boxes[row]
        self._errors_px += errors.tolist()
        self._relative_errors += (errors / (0.6 * np.hypot(head[2] - head[0], head[3] - head[1]))).tolist()

    def _oks(self, truth: FrameTruth, true_joints: Float32s, joints: Float32s) -> Float32s:
        """OKS `(true, tracked)` over the joints in the picture."""
        size = truth.full_boxes[:, 2:] - truth.full_boxes[:, :2]
        area = np.maximum(AREA_OF_BOX * size.prod(axis=1), 1.0)
        gap = ((true_joints[:, None, :, :2] - joints[None, :, :, :2]) ** 2).sum(axis=-1)
        kappa = (2.0 * np.array(self.joint_set.sigmas)) ** 2
        counted = true_joints[..., 2] > 0
        alike = np.exp(-gap / (2.0 * area[:, None, None] * kappa)) * counted[:, None]
        return np.asarray(alike.sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)[:, None], np.float32)

    def _match(self, truth: FrameTruth, ids: npt.NDArray[np.int64], oks: Float32s) -> Iterator[tuple[int, int]]:
        """One-to-one pairs (true row, tracked row): existing pairs first, then the most similar."""
        open_pairs = [
            (self._last.get(int(truth.ids[row])) != int(ids[column]), -float(oks[row, column]), row, column)
            for row, column in np.argwhere(oks >= self.least_oks).tolist()
        ]
        rows: set[int] = set()
        columns: set[int] = set()
        for _, _, row, column in sorted(open_pairs):
            if row not in rows and column not in columns:
                rows.add(row)
                columns.add(column)
                yield row, column

    def score(self) -> Score:
        """The score of the frames so far."""
        found = len(self._errors_px) > 0
        return Score(
            frames=self._frames,
            people=self._people,
            missed=self._missed,
            false_people=self._false,
            identity_switches=self._switches,
            switches_on_return=self._switches_on_return,
            identities=len(self._last_seen),
            ids_used=len(self._used),
            mean_error_px=float(np.mean(self._errors_px)) if found else float("nan"),
            pck=float(np.mean(np.array(self._relative_errors) <= 0.5)) if found else float("nan"),
            mean_oks=float(np.mean(self._similarities)) if self._similarities else float("nan"),
        )


def _iou(first: Float32s, second: Float32s) -> Float32s:
    """`(m, n)` intersection over union of xyxy boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.clip(high - low, 0.0, None).prod(axis=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (first, second)]
    return np.asarray(overlap / np.maximum(areas[0][:, None] + areas[1][None] - overlap, 1e-9), np.float32)
