"""Finds the frames of a sequence, in a video file or a folder of pictures, and their numbers in the ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from posewire.sources import FolderSource
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.frame_numbers import RULE, frame_numbers, shared_first_number
from posewire_evaluation.posetrack_files import read_posetrack
from posewire_evaluation.sequence_files import check_folders, truth_files
from posewire_evaluation.sequences import PoseSequence

__all__ = ["SequenceVideo", "find_video", "labelled_videos", "note_on_counting"]

_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")


@dataclass(frozen=True)
class SequenceVideo:
    """The frames of a sequence.

    Attributes:
        path: a video file, or a folder of pictures.
        numbers: of the pictures, in the order in which the folder is read; None for a video file.
        first: number of a video's first frame.
        assumed: whether `first` is a guess, since the truth lists only some frames.
    """

    path: Path
    numbers: tuple[int, ...] | None
    first: int = 0
    assumed: bool = False

    def number(self, index: int) -> int:
        """The number, in the truth, of the frame at `index` in reading order, from 0."""
        return self.numbers[index] if self.numbers is not None else self.first + index


def labelled_videos(videos: Path, truth: Path) -> Iterator[tuple[Path, PoseSequence, SequenceVideo]]:
    """All sequences of a data set in PoseTrack format, sorted by name: file, truth and frames.

    Args:
        videos: folder with a video file or a folder of pictures per sequence, see `find_video`.
        truth: folder of PoseTrack JSON of 2017 or 2018, one file per sequence.

    Raises:
        EvaluationError: something is missing or faulty; the message names file and frame.
    """
    check_folders(videos, truth)
    for file in truth_files(truth):
        sequence = read_posetrack(file)
        yield file, sequence, find_video(videos, sequence)


def find_video(folder: Path, truth: PoseSequence) -> SequenceVideo:
    """The frames of a sequence: the folder NAME, `NAME.mp4` (or .mkv, ...), or the folder that the truth names.

    If the latter is inside of the folder NAME, it comes first.

    Pictures are identified by the number in their names, as in the truth. The frames of a video are counted from 0, or
    from 1 if the truth does.

    Args:
        folder: of all videos; for PoseTrack's own layout, the folder that contains `images`.
        truth: gives the name, and the frames that must exist.

    Raises:
        EvaluationError: there is no such video, or a picture is missing or has no number.
    """
    suffixes = (*_SUFFIXES, *map(str.upper, _SUFFIXES))  # cameras write `NAME.MP4`
    candidates = [folder / truth.name, *(folder / f"{truth.name}{suffix}" for suffix in suffixes)]
    named = truth.pictures not in ("", ".")
    if named:
        candidates.append(folder / truth.pictures)
        if candidates[0] in candidates[-1].parents:  # `NAME/img1`, as in MOTChallenge
            candidates.insert(0, candidates[-1])
    for path in candidates:
        if path.is_dir():
            return _pictures(path, truth)
        if path.is_file():
            return _counted(path, truth)
    looked_for = f"a folder {truth.name!r}, {truth.name}.mp4 ({', '.join(_SUFFIXES[1:])})"
    nor = f" nor {truth.pictures!r}" if named else ""
    raise EvaluationError(f"{folder} has no video of the sequence {truth.name!r}: neither {looked_for}{nor}")


def note_on_counting(found: Iterable[SequenceVideo]) -> str | None:
    """A note on videos whose frame numbers may be off by one, since the truth lists only some frames; None: none."""
    assumed = [video for video in found if video.assumed]
    if not assumed:
        return None
    more = f", those of {len(assumed) - 1} more from 0 or 1" if len(assumed) > 1 else ""
    return (
        f"the frames of {assumed[0].path} are counted from {assumed[0].first}{more}: the truth lists only some and does"
        " not say; if it counts otherwise, give a folder of pictures that have their numbers in their names"
    )


def _counted(path: Path, truth: PoseSequence) -> SequenceVideo:
    numbers = [frame.number for frame in truth.frames]
    first = 1 if numbers[:1] == [1] else 0
    whole = numbers == list(range(first, first + len(numbers)))
    return SequenceVideo(path, None, first, assumed=0 not in numbers and not whole)


def _pictures(path: Path, truth: PoseSequence) -> SequenceVideo:
    pictures = FolderSource(path).paths
    stems = [picture.stem for picture in pictures]
    shared = shared_first_number(stems)
    if shared is not None and [frame.number for frame in truth.frames] == [shared]:
        raise EvaluationError(
            f"{truth.source} lists a single picture, and {path} has several whose names all begin with {shared}:"
            " it is unclear which of these is meant; list two, or remove that number from the names"
        )
    there: dict[int, Path] = {}
    for picture, number in zip(pictures, frame_numbers(stems), strict=True):
        if number is None:
            raise EvaluationError(f"{picture}: its name has no number, which would tell which frame it is")
        if (other := there.setdefault(number, picture)) is not picture:
            raise EvaluationError(
                f"{path} has two pictures of frame {number}, {other.name} and {picture.name}; it must hold one"
                f" sequence, and {RULE}"
            )
    for frame in truth.frames:
        if frame.number not in there:
            raise EvaluationError(f"{path} has no picture of frame {frame.number}, which {truth.source} lists; {RULE}")
    return SequenceVideo(path, tuple(there))
