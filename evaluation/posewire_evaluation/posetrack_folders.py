"""Scores a whole PoseTrack data set from its files, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from posewire.usable_cores import usable_cores
from posewire_evaluation.identity import IdentityScores, IdentityTally, combine_identities, tally_identities
from posewire_evaluation.posetrack import PoseTrackScores, SequenceTally, combine, tally
from posewire_evaluation.posetrack_files import file_pairs, read_posetrack
from posewire_evaluation.sequence_files import notes_on_unscored
from posewire_evaluation.sequences import NO_SCORE, PoseSequence
from posewire_evaluation.worker_processes import worker_processes

__all__ = ["PoseTrackReport", "score_posetrack_files"]

# Fewer are scored sooner than other processes could start.
_FEWEST_TO_SHARE = 4


@dataclass(frozen=True, eq=False)
class PoseTrackReport:
    """All scores of a data set.

    Attributes:
        scores: poseval's.
        identities: HOTA and IDF1.
        notes: warnings about files that are unusual but can be scored, one sentence each.
    """

    scores: PoseTrackScores
    identities: IdentityScores
    notes: tuple[str, ...]


def score_posetrack_files(
    truth: Path,
    predictions: Path,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PoseTrackReport:
    """Score a folder of predictions against a folder of ground truth, or one file against one file.

    Args:
        truth: folder of PoseTrack JSON, one file per sequence.
        predictions: folder of files with the same names.
        workers: number of processes; by default one per processor. A script that calls this with more than one must be
            importable, as for `multiprocessing`.
        progress: called with the number of sequences done and the total.

    Raises:
        EvaluationError: something is missing or faulty; the message names file and frame.
    """
    files = file_pairs(truth, predictions)
    tallies, identities = [], []
    notes = notes_on_unscored(predictions, [predicted for _, predicted in files])
    for done, sequence in enumerate(_tallied(files, workers or usable_cores()), start=1):
        tallies.append(sequence.scores)
        identities.append(sequence.identities)
        notes += sequence.notes
        progress(done, len(files))
    return PoseTrackReport(combine(tallies), combine_identities(identities), tuple(notes))


@dataclass(frozen=True, eq=False)
class _Sequence:
    """What one sequence adds to the report."""

    scores: SequenceTally
    identities: IdentityTally
    notes: tuple[str, ...]


def _tallied(files: Sequence[tuple[Path, Path]], workers: int) -> Iterator[_Sequence]:
    if workers < 2 or len(files) < _FEWEST_TO_SHARE:
        yield from map(_tally_files, files)
        return
    with worker_processes(min(workers, len(files))) as mapped:
        yield from mapped(_tally_files, files)


def _tally_files(files: tuple[Path, Path]) -> _Sequence:
    truth, predicted = read_posetrack(files[0]), read_posetrack(files[1], predictions=True)
    return _Sequence(tally(truth, predicted), tally_identities(truth, predicted), tuple(_notes(truth, predicted)))


def _notes(truth: PoseSequence, predicted: PoseSequence) -> Iterator[str]:
    if not any(frame.labelled for frame in truth.frames):
        yield f"{truth.source} lists nobody in any frame, so nothing of it is scored"
    flat = [frame.number for frame in truth.frames if (frame.head_sizes == 0).any()]
    if flat:
        yield f"{truth.source}: frame {flat[0]}: somebody's head box has no extent, so no joint of theirs can be right"
    if not any(len(frame) for frame in predicted.frames):
        yield f"{predicted.source} has nobody in any of its {len(predicted)} frames"
    elif any((frame.joints[frame.present][:, 2] == NO_SCORE).any() for frame in predicted.frames):
        yield f"{predicted.source} has joints without a score; AP then depends on the order of people and files"
