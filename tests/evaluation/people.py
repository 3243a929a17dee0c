"""Small sequences whose scores can be worked out by hand, random ones, and both as files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posewire.array_types import Float64s
from posewire.joints import POSETRACK15
from posewire_evaluation.sequences import PoseFrame, PoseSequence

HEAD = 20.0
"""Head size of everybody: joints within 10 pixels are right."""

JOINTS = len(POSETRACK15)
NAMES_2018 = (*POSETRACK15.names[:3], "left_ear", "right_ear", *POSETRACK15.names[3:])
NAMES_2017 = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
)  # fmt: skip


def pose(x: float, y: float = 50.0, *, score: float = 0.9, only: Iterable[str] | None = None) -> Float64s:
    """A person with the nose at (x, y) and the other joints below, 30 pixels apart, so that none is near another's."""
    joints = np.zeros((JOINTS, 3))
    for row, name in enumerate(POSETRACK15.names):
        if only is None or name in only:
            joints[row] = x, y + 30 * row, score
    return joints


def frame(number: int, people: Mapping[int, Float64s], **more: Any) -> PoseFrame:
    ids = list(people)
    joints = np.array([people[each] for each in ids]).reshape(-1, JOINTS, 3)
    return PoseFrame.of(number, ids, joints, head_sizes=np.full(len(ids), HEAD), **more)


def sequence(*frames: PoseFrame, name: str = "000001_walk", source: str = "") -> PoseSequence:
    return PoseSequence(name, POSETRACK15, frames, source)


def walk(frames: int = 5, people: Sequence[int] = (1, 2), **more: Any) -> PoseSequence:
    """People 200 pixels apart who walk a little."""
    return sequence(
        *(frame(t, {each: pose(200 * each + 3 * t) for each in people}, **more) for t in range(frames)),
        name="000001_walk",
    )


def changed(original: PoseSequence, at: Mapping[int, Mapping[int, Float64s]]) -> PoseSequence:
    """The sequence with other people in some frames."""
    frames = (frame(each.number, at[each.number]) if each.number in at else each for each in original.frames)
    return PoseSequence(original.name, POSETRACK15, tuple(frames))


def renamed(original: PoseSequence, ids: Mapping[int, int], first: int = 0) -> PoseSequence:
    """The sequence with other ids from a frame on."""
    frames = []
    for each in original.frames:
        names = [ids.get(one, one) if each.number >= first else one for one in each.ids.tolist()]
        frames.append(PoseFrame(each.number, each.labelled, np.array(names, np.int64), *_rest(each)))
    return PoseSequence(original.name, original.joint_set, tuple(frames))


def shuffled(original: PoseSequence, rng: np.random.Generator) -> PoseSequence:
    """The sequence with the people of each frame in another order."""
    frames = tuple(each.keep(rng.permutation(len(each))) for each in original.frames)
    return PoseSequence(original.name, original.joint_set, frames)


def _rest(each: PoseFrame) -> tuple[Any, ...]:
    return each.joints, each.present, each.scores, each.head_sizes, each.boxes, each.ignore_regions


def random_pair(seed: int, name: str = "000001_walk") -> tuple[PoseSequence, PoseSequence]:
    """A crowd with everything in it: joints and people that are missing, false ones, swaps, ignore regions."""
    rng = np.random.default_rng(seed)
    people, length = int(rng.integers(1, 6)), int(rng.integers(2, 12))
    shapes, places = rng.uniform(-60, 60, (people, JOINTS, 2)), rng.uniform(50, 300, (people, 2))
    ids = np.arange(1, people + 1)
    true_frames, frames = [], []
    for number in range(length):
        places += rng.normal(0, 4, (people, 2))
        if rng.random() < 0.2:
            ids = rng.permutation(ids)
        xy = shapes + places[:, None]
        truth = np.concatenate([xy, (rng.random((people, JOINTS, 1)) < 0.85).astype(float)], axis=2)
        seen = rng.random(people) < (0.9 if rng.random() < 0.9 else 0.0)
        there = rng.random(people) < (0.9 if rng.random() < 0.9 else 0.0)
        regions = [rng.uniform(0, 350, (4, 2))] if rng.random() < 0.3 else []
        heads = rng.uniform(10, 30, int(seen.sum()))
        true_ids = np.arange(people)[seen]
        true_frames.append(PoseFrame.of(number, true_ids, truth[seen], head_sizes=heads, ignore_regions=regions))
        guess = np.concatenate([xy + rng.normal(0, 5, xy.shape), rng.random((people, JOINTS, 1))], axis=2)
        strangers = int(rng.integers(0, 2))
        extra = np.concatenate(
            [rng.uniform(0, 350, (strangers, JOINTS, 2)), rng.random((strangers, JOINTS, 1))], axis=2
        )
        present = rng.random((people + strangers, JOINTS)) < 0.9
        keep = np.concatenate([there, np.ones(strangers, bool)])
        everybody, names = np.concatenate([guess, extra]), np.concatenate([ids, 100 + number + np.arange(strangers)])
        frames.append(PoseFrame.of(number, names[keep], everybody[keep], present=present[keep]))
    return sequence(*true_frames, name=name), sequence(*frames, name=name)


def as_2018(content: PoseSequence, *, predictions: bool = False) -> dict[str, Any]:
    """A PoseTrack 2018 file."""
    images, annotations = [], []
    for each in content.frames:
        image: dict[str, Any] = {"id": 10_000_010_000 + each.number}
        image |= {"file_name": f"images/{content.name}/{each.number:06d}.jpg", "is_labeled": each.labelled}
        image["ignore_regions_x"] = [region[:, 0].tolist() for region in each.ignore_regions]
        image["ignore_regions_y"] = [region[:, 1].tolist() for region in each.ignore_regions]
        images.append(image)
        for row, identity in enumerate(each.ids.tolist()):
            keypoints, scores = np.zeros((17, 3)), np.zeros(17)
            for joint, name in enumerate(POSETRACK15.names):
                if each.present[row, joint]:
                    x, y, score = each.joints[row, joint].tolist()
                    keypoints[NAMES_2018.index(name)] = x, y, 1
                    scores[NAMES_2018.index(name)] = score
            annotation = {"id": len(annotations), "image_id": image["id"], "track_id": identity, "category_id": 1}
            annotation |= {"keypoints": keypoints.ravel().tolist(), "scores": scores.tolist() if predictions else []}
            if not predictions:
                annotation["bbox_head"] = _head_box(each.head_sizes[row])
            annotations.append(annotation)
    category = {"id": 1, "name": "person", "keypoints": list(NAMES_2018)}
    return {"images": images, "annotations": annotations, "categories": [category]}


def as_2017(content: PoseSequence, *, predictions: bool = False) -> dict[str, Any]:
    """A PoseTrack 2017 file."""
    entries = []
    for each in content.frames:
        rects = []
        for row, identity in enumerate(each.ids.tolist()):
            points = []
            for number, name in enumerate(NAMES_2017):
                joint = POSETRACK15.index(name)
                if each.present[row, joint]:
                    x, y, score = each.joints[row, joint].tolist()
                    point = {"id": [number], "x": [x], "y": [y]}
                    points.append(point | ({"score": [score]} if predictions else {"is_visible": ["1"]}))
            rect = {"track_id": [identity], "annopoints": [{"point": points}]}
            if not predictions:
                x1, y1, width, height = _head_box(each.head_sizes[row])
                rect |= {"x1": [x1], "y1": [y1], "x2": [x1 + width], "y2": [y1 + height]}
            rects.append(rect)
        entry: dict[str, Any] = {"image": [{"name": f"images/bonn/{content.name}/{each.number:08d}.jpg"}]}
        if each.ignore_regions:
            entry["ignore_regions"] = [
                {"point": [{"x": [x], "y": [y]} for x, y in region.tolist()]} for region in each.ignore_regions
            ]
        entries.append(entry | {"annorect": rects})
    return {"annolist": entries}


def _head_box(size: float) -> list[float]:
    """A box whose diagonal, times 0.6, is the size: its sides are as 3 to 4."""
    return [50.0, 30.0, size, size / 0.75]


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
