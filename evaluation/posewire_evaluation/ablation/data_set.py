"""Combines a folder of videos and a folder of ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from posewire_evaluation.ablation.videos import Video
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.joint_matching import check_head_sizes
from posewire_evaluation.sequence_videos import SequenceVideo, labelled_videos
from posewire_evaluation.sequences import PoseSequence

__all__ = ["LabelledVideo", "read_data_set"]


@dataclass(frozen=True, eq=False)
class LabelledVideo:
    """A video and its truth.

    Attributes:
        truth: the people in each frame.
        found: the video, and the numbers of its frames.
    """

    truth: PoseSequence
    found: SequenceVideo

    @cached_property
    def video(self) -> Video:
        """The frames. Cached, so that their digest is computed only once."""
        return Video(self.truth.name, self.found.path)


def read_data_set(
    videos: Path, truth: Path, *, progress: Callable[[int], None] = lambda done: None
) -> list[LabelledVideo]:
    """All sequences of a data set in PoseTrack format, sorted by name.

    Args:
        videos: folder with a video file or a folder of pictures per sequence, see `find_video`.
        truth: folder of PoseTrack JSON of 2017 or 2018, one file per sequence.
        progress: called with the number of files read.

    Raises:
        EvaluationError: something is missing or faulty, which would otherwise be found when the networks have run; the
            message names file and frame.
    """
    data_set = []
    for done, (_, sequence, video) in enumerate(labelled_videos(videos, truth), start=1):
        check_head_sizes(sequence)
        data_set.append(LabelledVideo(sequence, video))
        progress(done)
    if not any(frame.labelled for each in data_set for frame in each.truth.frames):
        raise EvaluationError(f"{truth} has no frame with people, so there is nothing to score")
    return data_set
