"""A folder of videos and a folder of truth, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from posewire_evaluation.ablation.videos import Video
from posewire_evaluation.sequence_videos import SequenceVideo, labelled_videos
from posewire_evaluation.sequences import PoseSequence

__all__ = ["LabelledVideo", "read_data_set"]


@dataclass(frozen=True, eq=False)
class LabelledVideo:
    """A video and its truth.

    Attributes:
        truth: who is where.
        found: the video, and the numbers of its frames.
    """

    truth: PoseSequence
    found: SequenceVideo

    @cached_property
    def video(self) -> Video:
        """The frames; kept, since their digest is."""
        return Video(self.truth.name, self.found.path)


def read_data_set(
    videos: Path, truth: Path, *, progress: Callable[[int], None] = lambda done: None
) -> list[LabelledVideo]:
    """All sequences of a data set in PoseTrack format, in the order of their names.

    Args:
        videos: a video file or a folder of pictures for each sequence, see `find_video`.
        truth: PoseTrack JSON of 2017 or 2018, one file a sequence.
        progress: called with how many files are read.

    Raises:
        EvaluationError: something is missing or faulty; the message names file and frame.
    """
    data_set = []
    for done, (_, sequence, video) in enumerate(labelled_videos(videos, truth), start=1):
        data_set.append(LabelledVideo(sequence, video))
        progress(done)
    return data_set
