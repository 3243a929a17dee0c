"""Why each pose of a frame has its id: every candidate match, and why it won or lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posewire_server.tracking import FOUNDING_JOINTS, BoxSource, Observation, TrackerConfig

__all__ = ["Candidate", "PoseVerdict", "verdicts"]


@dataclass(frozen=True)
class Candidate:
    """A track that might have been the same person as a pose.

    Attributes:
        track: its id.
        frames_ago: when it was last seen.
        similarity: of pose and track, 0..1.
        won: whether they were matched.
        why: the reason, as text.
    """

    track: int
    frames_ago: int
    similarity: float
    won: bool
    why: str


@dataclass(frozen=True)
class PoseVerdict:
    """A pose and its outcome.

    Attributes:
        pose: its number among the poses of the frame.
        box: left, top, right, bottom in pixels.
        source: where the box came from: `detector`, `flow`, `caller`.
        score: of the person.
        id: its id; 0 if it was dropped.
        why: it has this id, or was dropped, as text.
        candidates: by descending similarity.
    """

    pose: int
    box: tuple[float, float, float, float]
    source: str
    score: float
    id: int
    why: str
    candidates: tuple[Candidate, ...] = ()


def verdicts(seen: Observation, config: TrackerConfig) -> list[PoseVerdict]:
    """The verdict on each pose that the tracker's observer saw, in the order of the poses."""
    place = {int(row): index for index, row in enumerate(seen.rows)}
    return [
        _judged(seen, config, pose, place[pose]) if pose in place else _left_out(seen, config, pose)
        for pose in range(len(seen.given))
    ]


def _left_out(seen: Observation, config: TrackerConfig, pose: int) -> PoseVerdict:
    """A pose that took no part in the matching."""
    joints = float(seen.given.joints[pose, :, 2].mean())
    from_flow = seen.given.boxes.sources[pose] == BoxSource.FLOW
    if from_flow and joints < config.propagation_threshold:
        why = (
            f"no person in this flow box: the joints' mean score {joints:.2f} is below propagation_threshold"
            f" ({config.propagation_threshold:g})"
        )
    else:
        why = f"pose NMS: its OKS with another pose is above pose_nms_oks ({config.pose_nms_oks:g})"
    return _verdict(seen, pose, 0, why)


def _judged(seen: Observation, config: TrackerConfig, pose: int, index: int) -> PoseVerdict:
    identity = int(seen.ids[index])
    order = np.argsort(-seen.similarities[index], kind="stable")
    candidates = tuple(_candidate(seen, config, index, int(column)) for column in order)
    if identity in seen.track_ids:
        why = f"continues id {identity}"
    elif identity:
        why = f"new id {identity}: no open track is similar enough" if len(seen.track_ids) else f"new id {identity}"
    elif seen.given.boxes.sources[pose] == BoxSource.FLOW:
        why = "unmatched flow box: its own track went to another pose, or is not similar enough"
    else:
        joints = int((seen.given.joints[pose, :, 2] >= config.joint_score_threshold).sum())
        why = (
            f"no new id: {joints} of the {FOUNDING_JOINTS} joints that a new id needs reach joint_score_threshold"
            f" ({config.joint_score_threshold:g})"
        )
    return _verdict(seen, pose, identity, why, candidates)


def _candidate(seen: Observation, config: TrackerConfig, index: int, column: int) -> Candidate:
    track, similarity = int(seen.track_ids[column]), float(seen.similarities[index, column])
    newest = int(seen.queue.frames[seen.queue.ids == track].max())
    won = int(seen.ids[index]) == track
    why = "highest similarity of all open pairs" if won else _why_lost(seen, config, index, column)
    return Candidate(track, seen.queue.frame + 1 - newest, similarity, won, why)


def _why_lost(seen: Observation, config: TrackerConfig, index: int, column: int) -> str:
    """In greedy matching, a pair loses if its pose or its track is already taken when its turn comes.

    The turn of flow boxes comes last, so they take no track from others.
    """
    similarity, track = float(seen.similarities[index, column]), int(seen.track_ids[column])
    if similarity < config.match_threshold:
        return f"below match_threshold ({config.match_threshold:g})"
    boxes = seen.given.boxes[seen.rows]
    from_flow = boxes.sources == BoxSource.FLOW
    if from_flow[index] and int(boxes.track_ids[index]) != track:
        return f"a flow box can only continue its own track, id {int(boxes.track_ids[index])}"
    rivals = ((seen.ids == track) & ~from_flow).nonzero()[0]
    own = (seen.track_ids == seen.ids[index]).nonzero()[0]
    rival = float(seen.similarities[rivals[0], column]) if len(rivals) else -1.0
    better = float(seen.similarities[index, own[0]]) if len(own) else -1.0
    if rival >= better:
        return f"the track went to pose {int(seen.rows[rivals[0]])}, similarity {rival:.3f}"
    return f"the pose went to id {int(seen.ids[index])}, similarity {better:.3f}"


def _verdict(
    seen: Observation, pose: int, identity: int, why: str, candidates: tuple[Candidate, ...] = ()
) -> PoseVerdict:
    given = seen.given
    left, top, right, bottom = (float(value) for value in given.boxes.xyxy[pose])
    return PoseVerdict(
        pose,
        (left, top, right, bottom),
        BoxSource(int(given.boxes.sources[pose])).name.lower(),
        float(given.scores[pose]),
        identity,
        why,
        candidates,
    )
