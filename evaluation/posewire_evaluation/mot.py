"""MOTChallenge text files: CLEAR MOT and identity metrics from motmetrics, HOTA from TrackEval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import motmetrics
import numpy as np

from posewire.array_types import Float64s
from posewire.json_files import fault_of_text
from posewire.os_errors import reason_of
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.identity import IdentityScores, IdentityTally, TrackedFrames, combine_identities, tally_frames
from posewire_evaluation.sequence_files import check_folders, notes_on_unscored, paired_files, sequence_files
from posewire_evaluation.sequences import LARGEST

__all__ = ["OVERALL", "MotScores", "read_mot", "score_mot"]

OVERALL = "OVERALL"
"""Name of the row with the scores over all sequences, as in motmetrics."""

_COLUMNS = ("FrameId", "Id", "X", "Y", "Width", "Height", "Confidence")
_FARTHEST = 0.5
"""Distance 1 - IoU above which boxes do not match."""
# In MOTChallenge's ground truth, rows with a lower confidence are not scored.
_SCORED_CONFIDENCE = 1.0


@dataclass(frozen=True)
class MotScores:
    """Scores by sequence, `OVERALL` last.

    Attributes:
        metrics: motmetrics' `motchallenge_metrics` under its own names (`mota`, `motp`, `idf1`, `num_switches`, ...):
            shares are in 0..1, and `motp` is the mean of 1 - IoU.
        identities: TrackEval's HOTA and its components, in percent, with IoU as the similarity.
        notes: warnings about files that are unusual but can be scored, one sentence each.
    """

    metrics: dict[str, dict[str, float]]
    identities: dict[str, IdentityScores]
    notes: tuple[str, ...] = ()


def score_mot(truth: Path, predictions: Path) -> MotScores:
    """Score MOTChallenge text files at IoU 0.5.

    Args:
        truth: folder of NAME.txt or NAME/gt/gt.txt files, as in MOTChallenge; or one file.
        predictions: folder of NAME.txt files; or one file.

    Raises:
        EvaluationError: something is missing or faulty; the message names file and line or frame.
    """
    accumulators, tallies = {}, {}
    pairs = _file_pairs(truth, predictions)
    if OVERALL in pairs:
        raise EvaluationError(
            f"{pairs[OVERALL][0]}: no sequence can be called {OVERALL}, which stands for all of them; give its files"
            " another name"
        )
    notes = notes_on_unscored(predictions, [predicted for _, predicted in pairs.values()], "*.txt")
    for name, (true_file, predicted_file) in pairs.items():
        true, predicted = read_mot(true_file), read_mot(predicted_file)
        true = true[true[:, 6] >= _SCORED_CONFIDENCE]
        if not len(true):
            raise EvaluationError(
                f"{true_file} has no box to be scored: a row of truth is scored if its 7th value is 1"
            )
        if not len(predicted):
            notes.append(f"{predicted_file} has nobody in any frame")
        accumulators[name], tallies[name] = _count(true, predicted)
    metrics = motmetrics.metrics.create().compute_many(
        list(accumulators.values()),
        names=list(accumulators),
        metrics=list(motmetrics.metrics.motchallenge_metrics),
        generate_overall=True,
    )
    table = {str(name): {key: float(value) for key, value in row.items()} for name, row in metrics.iterrows()}
    identities = {name: combine_identities([each]) for name, each in tallies.items()}
    return MotScores(table, identities | {OVERALL: combine_identities(list(tallies.values()))}, tuple(notes))


def read_mot(path: Path) -> Float64s:
    """Boxes `(n, 7)` of a MOTChallenge file: frame, id, x, y, width, height, confidence.

    Raises:
        EvaluationError: the file cannot be read; a line has fewer values or one that is not a number; a value is NaN or
            infinite, or too large to be exact; a frame number is below 1; a frame number or id is not whole; a box has
            a negative size; or an id occurs twice in a frame.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} cannot be read: {fault_of_text(error)}") from error
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {reason_of(error)}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values = line.split(",") if "," in line else line.split()
        try:
            rows.append([float(value) for value in values[: len(_COLUMNS)]])
        except ValueError as error:
            raise EvaluationError(f"{path}: line {number}: {error}") from error
        if len(rows[-1]) < len(_COLUMNS):
            raise EvaluationError(
                f"{path}: line {number} has {len(values)} values; frame, id, x, y, width, height and confidence are"
                " expected"
            )
    boxes = np.array(rows, np.float64).reshape(-1, len(_COLUMNS))
    _check_boxes(boxes, path)
    return boxes


def _check_boxes(boxes: Float64s, path: Path) -> None:
    faulty = ~np.isfinite(boxes).all(axis=1)
    if faulty.any():
        raise EvaluationError(f"{path}: frame {_in_words(boxes[faulty][0, 0])}: a value is NaN or infinite")
    large = (np.abs(boxes[:, :6]) >= LARGEST).any(axis=1)  # 2^53 + 1 is read as 2^53
    odd = (boxes[:, :2] != np.round(boxes[:, :2])).any(axis=1) | (boxes[:, 0] < 1)
    for faulty, fault in (
        ((boxes[:, 4:6] < 0).any(axis=1), "width or height is below 0"),
        (large, "numbers from 2^53 on are not exact"),
        (odd, "both must be whole numbers, and frames are counted from 1"),
    ):
        if faulty.any():
            frame, identity = map(_in_words, boxes[faulty][0, :2])
            raise EvaluationError(f"{path}: frame {frame}, id {identity}: {fault}")
    pairs, counts = np.unique(boxes[:, :2], axis=0, return_counts=True)
    if (counts > 1).any():
        frame, identity = map(_in_words, pairs[counts > 1][0])
        raise EvaluationError(f"{path}: frame {frame}: id {identity} is given to {counts[counts > 1][0]} boxes")


def _in_words(number: float) -> str:
    """With all digits of whole numbers below 2^53."""
    return f"{number:.16g}"


def _file_pairs(truth: Path, predictions: Path) -> Mapping[str, tuple[Path, Path]]:
    if truth.is_file() and predictions.is_file():
        return {truth.stem: (truth, predictions)}
    check_folders(truth, predictions)
    known: dict[str, Path] = {}
    for file in (*sequence_files(truth, "*.txt"), *sequence_files(truth, "*/gt/gt.txt")):
        name = file.stem if file.parent == truth else file.parent.parent.name
        if name in known:
            raise EvaluationError(f"the sequence {name} has two truths, {known[name]} and {file}; remove one of them")
        known[name] = file
    if not known:
        raise EvaluationError(f"{truth} holds neither NAME.txt nor NAME/gt/gt.txt; give the folder of the truth")
    pairs = paired_files({f"{name}.txt": file for name, file in known.items()}, predictions)
    return dict(zip(known, pairs, strict=True))


def _count(true: Float64s, predicted: Float64s) -> tuple[motmetrics.MOTAccumulator, IdentityTally]:
    """Count frame by frame with both libraries."""
    accumulator, frames = motmetrics.MOTAccumulator(), TrackedFrames()
    true_frames, predicted_frames, nobody = _by_frame(true), _by_frame(predicted), true[:0]
    for number in sorted(true_frames.keys() | predicted_frames.keys()):
        objects, hypotheses = true_frames.get(number, nobody), predicted_frames.get(number, nobody)
        ids, predicted_ids = objects[:, 1].astype(np.int64), hypotheses[:, 1].astype(np.int64)
        frames.add(ids, predicted_ids, _iou(objects[:, 2:6], hypotheses[:, 2:6]))
        # motmetrics' reader counts pixels from 0, TrackEval's from 1. We do the same, to match them to the last digit.
        distances = 1 - _iou(objects[:, 2:6] - (1, 1, 0, 0), hypotheses[:, 2:6] - (1, 1, 0, 0))
        distances[distances > _FARTHEST] = np.nan
        accumulator.update(ids, predicted_ids, distances, frameid=int(number))
    return accumulator, tally_frames(frames)


def _by_frame(boxes: Float64s) -> dict[float, Float64s]:
    """The boxes of each frame that has any, in their original order."""
    ordered = boxes[np.argsort(boxes[:, 0], kind="stable")]
    numbers, starts = np.unique(ordered[:, 0], return_index=True)
    return dict(zip(numbers.tolist(), np.split(ordered, starts)[1:], strict=True))


def _iou(a: Float64s, b: Float64s) -> Float64s:
    """Intersection over union `(n, m)` of boxes x, y, width, height."""
    # Not `iou_matrix`, which calls a function that NumPy 2 removed.
    return np.asarray(motmetrics.distances.boxiou(a[:, None], b[None]), np.float64)
