from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.sequence_videos import SequenceVideo, find_video, note_on_counting
from posewire_evaluation.sequences import PoseSequence
from tests.evaluation.people import frame, pose, sequence


def pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"")


def truth(*numbers: int) -> PoseSequence:
    return sequence(*(frame(number, {1: pose(100)}) for number in numbers), name="s")


def test_pictures_are_known_by_the_number_that_tells_them_apart(tmp_path: Path) -> None:
    pictures(tmp_path / "s", "2024_000001.png", "2024_000002.png")
    assert find_video(tmp_path, truth(1, 2)).numbers == (1, 2)


def test_pictures_may_be_inside_of_the_folder_with_the_name(tmp_path: Path) -> None:
    pictures(tmp_path / "s" / "img1", "000001.png", "000002.png")
    assert find_video(tmp_path, replace(truth(1, 2), pictures="s/img1")).path == tmp_path / "s" / "img1"


def test_a_single_picture_of_a_truth_is_not_taken_for_another_one(tmp_path: Path) -> None:
    """Its name alone, `1_000002`, says frame 1; those of the folder say that this is no frame's number."""
    pictures(tmp_path / "s", "1_000001.png", "1_000002.png")
    with pytest.raises(EvaluationError, match="names all begin with 1: it is unclear which of these is meant"):
        find_video(tmp_path, truth(1))


def test_the_rule_is_told_where_a_picture_is_missing(tmp_path: Path) -> None:
    pictures(tmp_path / "s", "7_1.png", "8_2.png")
    with pytest.raises(EvaluationError, match=r"no picture of frame 2, which .*; a frame's number is the one before"):
        find_video(tmp_path, truth(2, 7))


@pytest.mark.parametrize("name", ["s.mp4", "s.mkv", "s.MP4"])
def test_a_video_is_found_by_the_name_of_its_sequence(name: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no video of the sequence 's': neither a folder 's', s.mp4 \(.mkv, "):
        find_video(tmp_path, truth(0, 1))
    (tmp_path / name).touch()
    assert find_video(tmp_path, truth(0, 1)) == SequenceVideo(tmp_path / name, None)


def test_the_note_on_counting_names_one_video_and_how_many_more() -> None:
    videos = [SequenceVideo(Path("a.mp4"), None, 1, True), SequenceVideo(Path("b.mp4"), None, 0, True)]
    assert "a.mp4 are counted from 1, those of 1 more from 0 or 1: the truth" in (note_on_counting(videos) or "")
    assert note_on_counting([SequenceVideo(Path("c.mp4"), None, 0, False)]) is None
