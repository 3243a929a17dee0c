"""PoseTrack files of both years, and what is wrong with faulty ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posewire import FrameResult, Person
from posewire.joints import NANO19, POSETRACK15
from posewire.synth import PRESETS, Scene
from posewire.synth.export import FramesAs, write_scene
from posewire.writers import PoseTrackWriter
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.posetrack_files import file_pairs, read_posetrack
from posewire_evaluation.sequence_files import sequence_files
from posewire_evaluation.sequences import NO_SCORE, PoseSequence
from tests.evaluation.people import as_2017, as_2018, frame, pose, random_pair, sequence, walk, written

TWO = sequence(
    frame(0, {1: pose(100), 2: pose(200, only=["nose", "left_knee"])}, ignore_regions=[[[0, 0], [9, 0], [9, 9]]]),
    frame(1, {}),
    frame(2, {2: pose(210)}),
)


def same(a: PoseSequence, b: PoseSequence) -> None:
    assert [each.number for each in a.frames] == [each.number for each in b.frames]
    for one, other in zip(a.frames, b.frames, strict=True):
        assert one.labelled == other.labelled
        assert one.ids.tolist() == other.ids.tolist()
        assert (one.present == other.present).all()
        assert (one.joints[one.present] == other.joints[other.present]).all()
        assert one.head_sizes == pytest.approx(other.head_sizes, nan_ok=True)
        assert [region.tolist() for region in one.ignore_regions] == [r.tolist() for r in other.ignore_regions]


@pytest.mark.parametrize("as_file", [as_2018, as_2017])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_both_years_are_read(as_file: Callable[..., Any], seed: int | None, tmp_path: Path) -> None:
    truth, predicted = (TWO, TWO) if seed is None else random_pair(seed)
    read = read_posetrack(written(tmp_path / "000007_x.json", as_file(predicted, predictions=True)), predictions=True)
    assert (read.name, read.joint_set) == ("000007_x", POSETRACK15)
    assert read.pictures in ("images/000001_walk", "images/bonn/000001_walk")
    for one, other in zip(read.frames, predicted.frames, strict=True):
        assert (one.joints[one.present] == other.joints[other.present]).all()
        assert one.ids.tolist() == other.ids.tolist()
    truth_read = read_posetrack(written(tmp_path / "gt.json", as_file(truth)))
    for each in truth.frames:
        each.joints[each.present, 2] = 1  # visible, which is all that truth says of a joint
    same(truth_read, truth)


def test_a_joint_of_2018_may_be_hidden_or_not_there(tmp_path: Path) -> None:
    content = as_2018(walk(1))
    keypoints = content["annotations"][0]["keypoints"]
    keypoints[:6] = [30.0, 40.0, 0, 0, 0, 0]  # the nose is hidden, the head bottom not annotated
    read = read_posetrack(written(tmp_path / "a.json", content)).frames[0]
    assert read.present[0, :3].tolist() == [True, False, True]
    assert read.joints[0, 0].tolist() == [30.0, 40.0, 0.0]


def test_keypoints_may_be_nested_and_paths_those_of_windows(tmp_path: Path) -> None:
    content = as_2018(walk(1))
    expected = read_posetrack(written(tmp_path / "b.json", content))
    for annotation in content["annotations"]:
        annotation |= {"keypoints": np.reshape(annotation["keypoints"], (17, 3)).tolist(), "score": None}
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\")
    found = read_posetrack(written(tmp_path / "a.json", content))
    same(found, expected)
    assert found.pictures == expected.pictures


def test_joints_go_by_their_names(tmp_path: Path) -> None:
    content = as_2018(walk(1))
    content["categories"][0]["keypoints"].reverse()
    for annotation in content["annotations"]:
        annotation["keypoints"] = np.reshape(annotation["keypoints"], (17, 3))[::-1].ravel().tolist()
    same(
        read_posetrack(written(tmp_path / "a.json", content)),
        read_posetrack(written(tmp_path / "b.json", as_2018(walk(1)))),
    )


@pytest.mark.parametrize("as_file", [as_2018, as_2017])
def test_predictions_without_scores_are_marked(as_file: Callable[..., Any], tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", as_file(walk(1)))
    assert (read_posetrack(file, predictions=True).frames[0].joints[..., 2] == NO_SCORE).all()
    assert (read_posetrack(file).frames[0].joints[..., 2] == 1).all()


def test_people_without_joints(tmp_path: Path) -> None:
    # poseval drops them in files of 2017, but the frame counts as labelled.
    content = as_2017(sequence(frame(0, {1: pose(100)})))
    content["annolist"][0]["annorect"][0]["annopoints"] = []
    read = read_posetrack(written(tmp_path / "a.json", content)).frames[0]
    assert (len(read), read.labelled) == (0, True)


def test_values_of_2017_may_be_empty_brackets(tmp_path: Path) -> None:
    """The Matlab export writes them for whatever was not filled in."""
    content = as_2017(sequence(frame(0, {1: pose(100), 2: pose(200)})))
    first, second = content["annolist"][0]["annorect"]
    first["annopoints"][0]["point"][0]["is_visible"] = []
    first["x1"] = []
    first["score"] = []
    second["annopoints"] = [[]]
    read = read_posetrack(written(tmp_path / "a.json", content)).frames[0]
    assert read.ids.tolist() == [1]
    assert read.present.all()
    assert np.isnan(read.head_sizes).all()


def test_single_values_of_2017_may_be_without_brackets(tmp_path: Path) -> None:
    region = [[0, 0], [9, 0], [9, 9]]
    people = sequence(frame(0, {1: pose(100, only=["nose"])}, ignore_regions=[region]))
    content = as_2017(people)
    (entry,) = content["annolist"]
    (entry["image"],), (rect,), (entry["ignore_regions"],) = entry["image"], entry["annorect"], entry["ignore_regions"]
    (rect["annopoints"],) = rect["annopoints"]
    (rect["annopoints"]["point"],) = rect["annopoints"]["point"]
    entry["annorect"] = {key: value[0] if isinstance(value, list) else value for key, value in rect.items()}
    people.frames[0].joints[:, :, 2] = 1
    same(read_posetrack(written(tmp_path / "a.json", content)), people)


def test_of_a_joint_of_2017_that_occurs_twice_the_first_counts(tmp_path: Path) -> None:
    people = sequence(frame(0, {1: pose(100)}))
    content = as_2017(people)
    points = content["annolist"][0]["annorect"][0]["annopoints"][0]["point"]
    points.append(points[0] | {"x": [5.0]})
    people.frames[0].joints[:, :, 2] = 1
    same(read_posetrack(written(tmp_path / "a.json", content)), people)


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    content = as_2018(walk(3))
    content["images"].reverse()
    assert [each.number for each in read_posetrack(written(tmp_path / "a.json", content)).frames] == [0, 1, 2]


@pytest.mark.parametrize("name", ["{:06d}", "{:08d}_crop", "cam2_{:04d}", "frame{:d}", "2024_{:06d}"])
def test_frames_are_known_by_the_numbers_in_their_names(name: str, tmp_path: Path) -> None:
    content = as_2018(walk())
    for place, image in enumerate(content["images"]):
        image["file_name"] = f"images/000001_walk/{name.format(place + 7)}.jpg"
    content["images"].reverse()
    read = read_posetrack(written(tmp_path / "a.json", content))
    assert [each.number for each in read.frames] == [7, 8, 9, 10, 11]
    assert read.frames[0].joints[0, 0, 0] == walk().frames[0].joints[0, 0, 0]


def test_frames_without_a_number_are_known_by_their_place(tmp_path: Path) -> None:
    content = as_2018(walk(3))
    for image, name in zip(content["images"], "cab", strict=True):
        image["file_name"] = f"images/walk/{name}.jpg"
    assert [each.number for each in read_posetrack(written(tmp_path / "a.json", content)).frames] == [0, 1, 2]


def test_what_the_writer_writes(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).uniform(1, 90, (19, 3)).astype(np.float32)
    joints[:, 2] /= 100
    joints[7] = 0
    with PoseTrackWriter(tmp_path / "000001_a.json", NANO19, sequence="000001_a") as writer:
        for number in range(3):
            people = (Person(5, 0.75, np.array([1, 2, 30, 40], np.float32), joints, "detector"),)
            writer.write(FrameResult(number, 0.0, people=people if number == 1 else ()))
    read = read_posetrack(tmp_path / "000001_a.json", predictions=True)
    assert [each.ids.tolist() for each in read.frames] == [[], [5], []]
    expected = NANO19.convert(joints[None], POSETRACK15)
    assert read.frames[1].joints == pytest.approx(expected, abs=1e-3)
    assert (read.frames[1].present == (expected[..., 2] > 0)).all()
    assert read.frames[1].boxes.tolist() == [[1, 2, 31, 42]]
    assert read.frames[1].scores.tolist() == [0.75]


def test_what_a_scene_says_of_itself(tmp_path: Path) -> None:
    from dataclasses import replace

    scene = Scene(replace(PRESETS["crossing"], frames=3, people=2, width=160, height=120, seed=5))
    files = write_scene(scene, tmp_path, frames_as=FramesAs.PNG)
    read = read_posetrack(files.annotations)
    assert len(read) == 3
    assert read.name == "000005_synth"
    assert read.pictures == "images/000005_synth"
    for each, shown in zip(read.frames, scene, strict=True):
        assert set(each.ids.tolist()) <= set(shown.truth.ids.tolist())
        assert (each.head_sizes > 0).all()


def _set(path: str, value: object) -> Callable[[Any], None]:
    """A change of a document: `annotations.0.track_id` and a new value."""

    def change(document: Any) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            document = document[part]
        if value is KeyError:
            del document[last]
        else:
            document[last] = value

    return change


def _square(side: float, corner: float) -> Callable[[Any], None]:
    """An ignore region in the first frame, with one corner that may be anywhere."""

    def change(document: Any) -> None:
        document["images"][0] |= {"ignore_regions_x": [[0, side, corner, 0]], "ignore_regions_y": [[0, 0, side, side]]}

    return change


def _backslashes(document: Any) -> None:
    """Pictures of two videos with paths of Windows."""
    for place, image in enumerate(document["images"]):
        image["file_name"] = rf"images\{place // 2}\{place:06d}.jpg"


BAD_2018 = [
    # annotation 2 is that of frame 2
    (_set("annotations.2.keypoints", [1.0] * 45), "frame 2: annotation 2 is faulty: 45 numbers of keypoints, 17 times"),
    (_set("annotations.2.keypoints", [[1.0] * 17] * 3), "annotation 2 is faulty: 51 numbers of keypoints, 17 times"),
    (_set("annotations.2.keypoints.4", float("nan")), "frame 2: head_bottom of the person with id 2 is NaN"),
    (_set("annotations.2.keypoints.4", 1e200), "frame 2: head_bottom of the person with id 2 is .* beyond 2"),
    (_set("annotations.2.bbox_head", [0, 0, 1e200, 1]), "frame 2: the box or head of .* id 2 is .* beyond 2"),
    (_set("annotations.2.keypoints.4", None), "frame 2: head_bottom of the person with id 2 is NaN"),
    (_set("annotations.2.keypoints.4", "far"), "frame 2: annotation 2 is faulty: could not convert"),
    (_set("annotations.2.keypoints", KeyError), "frame 2: annotation 2 has no 'keypoints'"),
    (_set("annotations.2.scores", [0.5] * 15), "frame 2: annotation 2 is faulty: 15 scores for 17 keypoints"),
    (_set("annotations.2.track_id", KeyError), "frame 2: annotation 2 is faulty: the track id is None"),
    (_set("annotations.2.track_id", float("nan")), "annotation 2 is faulty: the track id is nan; it must be a whole"),
    (_set("annotations.2.track_id", 1.5), "frame 2: annotation 2 is faulty: the track id is 1.5"),
    (_set("annotations.1.track_id", 1), "frame 0: id 1 is given to 2 people"),
    (_set("annotations.2.image_id", 77), "annotation 2 belongs to image 77, which is not in the file"),
    (_set("annotations.2.bbox_head", [1, 2, 3]), "frame 2: annotation 2 is faulty: not enough values"),
    (_set("images.2.id", 10_000_010_000), "frame 2: two images have the id 10000010000"),
    (_set("images.2.file_name", "images/000001_walk/1.jpg"), r"/000001\.jpg and \S*/1\.jpg are both frame 1: a"),
    (_set("images.2.file_name", "images/000002_run/000002.jpg"), "holds 2 videos"),
    (_backslashes, "holds 2 videos"),
    (_set("images.0.ignore_regions_x", []), "frame 0: its list of ignore regions is faulty"),
    (_set("images.0.ignore_regions_x", [[0.0, 9.0]]), "frame 0: its list .* is faulty: there are not as many x as y"),
    (_square(9.0, float("nan")), "frame 0: a corner of an ignore region is NaN"),
    (_square(9.0, 1e300), "frame 0: a corner of an ignore region is .* beyond 2"),
    (_set("images.2.file_name", KeyError), "image 10000010002 has no `file_name`"),
    (_set("annotations.2.bbox_head", list("abcd")), "frame 2: annotation 2 is faulty: could not convert"),
    (
        _set("annotations.2.bbox_head", [0, 0, float("inf"), 9]),
        r"annotation 2 is faulty: `bbox_head` is \[0, 0, inf, 9\]",
    ),
    (_set("annotations.2.bbox", [0, 0, float("nan"), 9]), r"annotation 2 is faulty: `bbox` is \[0, 0, nan, 9\]"),
    (
        _set("annotations.2.bbox", [0, 0, 9, -9]),
        "frame 2: the box of the person with id 2 has a width or height below 0",
    ),
    (_set("annotations.2.track_id", 2**70), "frame 2: annotation 2 is faulty: the track id is 1180591620717411303424;"),
    (_set("annotations.2", 17), "is faulty: 'int' object has no attribute"),
    (_set("annotations", None), "has no list `annotations`"),
    (_set("annotations", KeyError), "has no list `annotations`"),
    (_set("images.2", "000002.jpg"), "is faulty: 'str' object has no attribute"),
    (_set("images.2.id", []), "is faulty: (unhashable|cannot use)"),
    (_set("categories", []), "does not name the joints nose, head_bottom, head_top and 12 more"),
    (_set("categories.0.keypoints.5", "left_wing"), "does not name the joints left_shoulder"),
    (_set("images", KeyError), "is not a PoseTrack file"),
]
BAD_2017 = [
    (_set("annolist.2.annorect.0.annopoints.0.point.3.id", [1.5]), "frame 2: person 0 is faulty: the joint id is 1.5"),
    (_set("annolist.2.annorect.0.annopoints.0.point.3.id", [15]), "frame 2: person 0 is faulty: joint id 15, 0..14"),
    (
        _set("annolist.2.annorect.0.annopoints.0.point.3.x", [float("nan")]),
        "frame 2: left_hip of the person with id 2 is NaN",
    ),
    (_set("annolist.2.annorect.0.annopoints.0.point.3.y", KeyError), "frame 2: person 0 has no 'y'"),
    (_set("annolist.2.annorect.0.x2", [float("inf")]), "frame 2: the box or head of the person with id 2 is infinite"),
    (_set("annolist.2.annorect.0.track_id", KeyError), "frame 2: person 0 is faulty: the track id is None"),
    (_set("annolist.2.annorect.0.track_id", []), "frame 2: person 0 is faulty: the track id is None"),
    (_set("annolist.0.annorect.1.track_id", [1]), "frame 0: id 1 is given to 2 people"),
    (_set("annolist.2", None), "frame 2: its entry is faulty"),
    (_set("annolist.2.annorect", 4), "is faulty: 'int' object is not iterable"),
    (_set("annolist.2.image", KeyError), "frame 2: its entry has no 'image'"),
]


@pytest.mark.parametrize(
    ("as_file", "change", "said"),
    [(as_2018, *row) for row in BAD_2018] + [(as_2017, *row) for row in BAD_2017],
)
def test_faulty_files_are_refused(
    as_file: Callable[..., Any], change: Callable[[Any], None], said: str, tmp_path: Path
) -> None:
    content = copy.deepcopy(as_file(TWO))
    change(content)
    file = written(tmp_path / "a.json", content)
    with pytest.raises(EvaluationError, match=said) as raised:
        read_posetrack(file)
    assert str(raised.value).startswith(str(file))


@pytest.mark.parametrize("text", ["", "{", "[]", "17", '{"images": 3}', "\xff", "[" * 200_000])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(EvaluationError, match=r"a\.json (cannot be read|is not a PoseTrack file)"):
        read_posetrack(file)


def test_files_go_together_by_name(tmp_path: Path) -> None:
    truth, predictions = tmp_path / "gt", tmp_path / "dt"
    for folder, names in ((truth, "ab"), (predictions, "abc")):
        for name in names:
            written(folder / f"{name}.json", {})
    assert [one.name for one, _ in file_pairs(truth, predictions)] == ["a.json", "b.json"]
    assert file_pairs(truth / "a.json", predictions / "c.json") == [(truth / "a.json", predictions / "c.json")]
    with pytest.raises(
        EvaluationError,
        match=r"gt has no prediction for c\.json; each sequence of the truth needs",
    ):
        file_pairs(predictions, truth)
    (predictions / "b.json").unlink()
    with pytest.raises(EvaluationError, match=r"no prediction for b\.json; it has c\.json without a truth"):
        file_pairs(truth, predictions)


def test_hidden_files_are_no_sequences(tmp_path: Path) -> None:
    for name in ("gt/b.JSON", "gt/a.json", "gt/._a.json", "dt/a.json", "dt/b.JSON", "dt/._b.json"):
        written(tmp_path / name, {})
    truth, predictions = tmp_path / "gt", tmp_path / "dt"
    assert [file.name for file in sequence_files(truth)] == ["a.json", "b.JSON"]
    assert [one.name for one, _ in file_pairs(truth, predictions)] == ["a.json", "b.JSON"]


def test_folders_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"nowhere is not a folder"):
        file_pairs(tmp_path / "nowhere", tmp_path)
    with pytest.raises(EvaluationError, match=r"empty holds no \*\.json"):
        file_pairs(tmp_path / "empty", tmp_path)
