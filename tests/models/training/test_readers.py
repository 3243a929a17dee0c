from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posewire.joints import COCO17, NANO19, POSETRACK15
from posewire_models.training.people import Picture
from posewire_models.training.readers import read_coco, read_lsp_extended, read_posetrack, read_teacher
from posewire_models.training.readers.label_file import LabelFileError
from posewire_models.training.readers.teacher import with_teacher_faces, with_teacher_people
from posewire_models.training.sources import SourceConfig, held_out_pictures, read_source

LSP_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
)  # fmt: skip


def annolist(point: dict[str, Any]) -> dict[str, Any]:
    """PoseTrack 2017 with one person of one joint."""
    return {"annolist": [{"image": [{"name": "a.jpg"}], "annorect": [{"annopoints": [{"point": [point]}]}]}]}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coco(**changes: Any) -> dict[str, Any]:
    keypoints = [0.0] * 51
    keypoints[0:3] = [10.0, 11.0, 2]  # nose
    keypoints[15:18] = [20.0, 21.0, 1]  # left shoulder, hidden but labelled
    annotation = {"id": 7, "image_id": 4, "bbox": [5, 6, 30, 40], "area": 600.0, "keypoints": keypoints, "iscrowd": 0}
    return {
        "images": [{"id": 4, "file_name": "4.png"}, {"id": 5, "file_name": "5.png"}],
        "annotations": [annotation | changes],
    }


def categorised(*names: str, **changes: Any) -> dict[str, Any]:
    """A COCO file whose category names its keypoints."""
    return coco(**{"category_id": 1} | changes) | {"categories": [{"id": 1, "name": "person", "keypoints": names}]}


def without(content: dict[str, Any], entries: str, key: str) -> dict[str, Any]:
    """A label file whose first entry lacks something."""
    del content[entries][0][key]
    return content


def test_coco_people_are_placed_by_joint_name(tmp_path: Path) -> None:
    first, second = read_coco(write(tmp_path / "a.json", coco()), tmp_path, NANO19)
    (person,) = first.people
    assert person.box.tolist() == [5, 6, 35, 46]
    assert person.area == 600
    assert person.joints[NANO19.index("left_shoulder")].tolist() == [20, 21, 1]
    assert person.labelled == 2  # the neck is nobody's label, although COCO17.convert would derive it
    assert second.people == ()
    assert second.complete  # COCO boxes everybody


def test_only_people_of_coco_count(tmp_path: Path) -> None:
    content = coco(category_id=1)
    others = [content["annotations"][0] | {"id": 8, "category_id": 3, "iscrowd": crowd} for crowd in (0, 1)]
    content["annotations"] += others
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
    picture = read_coco(write(tmp_path / "a.json", content), tmp_path, COCO17)[0]
    assert (len(picture.people), len(picture.ignored)) == (1, 0)


def test_coco_joints_go_by_the_names_of_their_category(tmp_path: Path) -> None:
    names = ["Neck", *(name.replace("_", "-") for name in COCO17.names[::-1])]
    keypoints = [[10.0 * row, 5.0, 2] for row in range(18)]  # nested, as some programs write them
    content = categorised(*names, keypoints=keypoints)
    (person,) = read_coco(write(tmp_path / "a.json", content), tmp_path, NANO19)[0].people
    assert person.joints[NANO19.index("neck"), 0] == 0
    assert person.joints[[NANO19.index(name) for name in COCO17.names], 0].tolist() == list(range(170, 0, -10))


def test_paths_of_windows(tmp_path: Path) -> None:
    content = coco()
    content["images"] = [{"id": 4, "file_name": r"a\b\4.png"}]
    frame = {"image": [{"name": r"a\b\4.png"}], "annorect": []}
    readers = (
        (read_coco, content),
        (read_posetrack, posetrack([{"id": 4, "file_name": r"a\b\4.png", "is_labeled": True}])),
        (read_posetrack, {"annolist": [frame]}),
    )
    for read, labels in readers:
        (picture,) = read(write(tmp_path / "a.json", labels), tmp_path, COCO17)
        assert picture.path == tmp_path / "a" / "b" / "4.png"


def test_coco_sizes_are_read(tmp_path: Path) -> None:
    content = coco()
    content["images"][0] |= {"width": 64, "height": 48}
    assert [one.size for one in read_coco(write(tmp_path / "a.json", content), tmp_path, COCO17)] == [(64, 48), None]


def test_coco_split_by_picture_number(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", coco())
    assert [picture.key for picture in read_coco(file, tmp_path, COCO17, held_out=True)] == [5]
    assert [picture.key for picture in read_coco(file, tmp_path, COCO17, held_out=False)] == [4]


@pytest.mark.parametrize("number", [0, 4])  # 0 is divisible by everything
def test_without_a_split_everything_trains_and_can_be_held_out_as_a_whole(tmp_path: Path, number: int) -> None:
    content = coco(image_id=number)
    content["images"][0]["id"] = number
    write(tmp_path / "a.json", content)
    source = SourceConfig(format="coco", images=tmp_path, labels=tmp_path / "a.json")
    assert [picture.key for picture in read_source(source, tmp_path, COCO17, held_out=False)] == [number, 5]
    assert held_out_pictures([source], [], tmp_path, COCO17) == {}
    (whole,) = held_out_pictures([], [source], tmp_path, COCO17).values()
    assert [picture.key for picture in whole] == [number, 5]


def test_coco_crowds_are_ignored_and_flags_are_read(tmp_path: Path) -> None:
    content = coco(iscrowd=1)
    content["images"][0]["all_persons_boxed"] = False
    picture = read_coco(write(tmp_path / "a.json", content), tmp_path, COCO17)[0]
    assert picture.people == ()
    assert picture.ignored.tolist() == [[5, 6, 35, 46]]
    assert not picture.complete


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),  # cut off
        ("[" * 200_000, "not JSON: its lists and objects are nested too deeply"),
        ("[]", "not a JSON object"),
        ({"images": []}, "'images' is empty"),
        ({"images": [{"id": 1}]}, "no list 'annotations'"),
        (coco(keypoints=[1.0, 2.0, 2.0]), "annotation 7: 3 numbers of keypoints, 51 expected"),
        (coco(keypoints=[float("nan")] * 51), "annotation 7: keypoints: finite numbers are expected"),
        (coco(image_id=99), "names image 99, which is not listed"),
        (without(coco(), "annotations", "bbox"), "annotation number 0 has no 'bbox'"),
        (without(coco(iscrowd=1), "annotations", "bbox"), "annotation number 0 has no 'bbox'"),
        (without(coco(), "annotations", "image_id"), "annotation number 0 has no 'image_id'"),
        (without(coco(), "images", "file_name"), "image number 0 has no 'file_name'"),
        (coco() | {"images": [{"id": "4", "file_name": "4.png"}]}, "image number 0: its id '4' is no whole number"),
        (coco() | {"images": 2 * [{"id": 4, "file_name": "4.png"}]}, "image number 1: its id 4 .* of another image"),
        (coco() | {"annotations": [[]]}, "annotation number 0 is faulty"),  # no object
        (coco() | {"categories": [{"id": 3, "name": "car"}]}, "no category is called 'person'; it has car"),
        (coco() | {"categories": [{"id": 1}]}, "a category has no 'name'"),
        (coco() | {"categories": [{"id": 1, "name": "person"}]}, "annotation number 0 has no 'category_id'"),
        (coco(bbox=None), "annotation 7: bbox: finite numbers are expected, not None"),
        (coco(bbox=[1, 2, 3]), "annotation 7: bbox: four numbers are expected"),
        (coco(bbox=[1, 2, 3, float("inf")]), "annotation 7: bbox: finite numbers are expected"),
        (coco(bbox=[1, 2, 3, "wide"]), "annotation 7: bbox: numbers are expected"),
        (coco(bbox=[1, 2, 3, 1e300]), "annotation 7: bbox: finite numbers are expected"),
        (coco(area=float("nan")), "annotation 7: area: a finite number from 0 up is expected, not nan"),
        (coco(area=-1), "annotation 7: area: a finite number from 0 up is expected, not -1"),
        (coco(area=None), "annotation 7: area: a finite number from 0 up is expected, not None"),
        (coco(bbox=[0.1, 0.2, 0.5, 0.9]), r"a\.json: every bbox lies within 2 pixels .*: coordinates are in pixels"),
        (coco(keypoints=[0.5, 1.1, 2] * 17), r"a\.json: every keypoints lies within 2 pixels .* top left corner"),
        (coco(iscrowd="0"), "annotation 7: iscrowd is '0', 0 or 1 is expected"),
        (categorised(category_id=2), "annotation 7 names category 2, which is not listed"),
        (categorised(*POSETRACK15.names), "keypoints of category 1 lack left_eye, .* format 'posetrack'"),
    ],
)
def test_faulty_coco_files_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(LabelFileError, match=message):
        read_coco(write(tmp_path / "a.json", content), tmp_path, COCO17)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])  # as editors of other systems save them
def test_label_files_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps(coco()).encode(encoding))
    assert len(read_coco(tmp_path / "a.json", tmp_path, COCO17)) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",  # half of a letter in UTF-16
        b'{"images": "\xe9"}',  # Latin-1
        b"[" * 200_000,  # deeper than can be read
    ],
)
def test_label_files_that_cannot_be_parsed_are_named(tmp_path: Path, content: bytes) -> None:
    for name, read in (("a.json", read_coco), ("a.jsonl", read_teacher)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LabelFileError, match=rf"{name}.*not JSON"):
            read(tmp_path / name, tmp_path, COCO17)


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match=r"nowhere\.json cannot be read.*check the path"):
        read_coco(tmp_path / "nowhere.json", tmp_path, COCO17)


def write_lsp(folder: Path, joints: np.ndarray[Any, Any]) -> tuple[Path, Path]:
    images = folder / "images"
    images.mkdir()
    for number in range(1, len(joints) + 1):
        (images / f"im{number:05d}.webp").touch()
    np.savez(folder / "joints.npz", joints=joints, names=np.array(LSP_NAMES))
    return folder / "joints.npz", images


def test_lsp_extended(tmp_path: Path) -> None:
    joints = np.zeros((3, 14, 3), np.float32)
    joints[:, :, 0], joints[:, :, 1], joints[:, :, 2] = np.arange(14), 10 * np.arange(14), 1
    joints[1, :9, 2] = 0  # five labels are too few for a box
    file, images = write_lsp(tmp_path, joints)
    first, last = read_lsp_extended(file, images, NANO19)
    assert (first.key, last.key) == (1, 3)
    assert first.path.name == "im00001.webp"
    assert first.people[0].joints[NANO19.index("left_wrist")].tolist() == [11, 110, 1]
    assert first.people[0].joints[NANO19.index("nose"), 2] == 0
    assert first.people[0].box[1] < 0 < 130 < first.people[0].box[3]  # wider than the joints
    assert [picture.key for picture in read_lsp_extended(file, images, NANO19, held_out_from=3, held_out=True)] == [3]
    assert read_lsp_extended(file, images, NANO19, held_out_from=0, held_out=True) == []


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (np.zeros((2, 13, 3)), "14 names"),  # a joint short
        (np.zeros((2, 14)), "14 names"),  # no coordinates
    ],
)
def test_faulty_lsp_archives_are_named(tmp_path: Path, joints: np.ndarray[Any, Any], message: str) -> None:
    file, images = write_lsp(tmp_path, joints)
    with pytest.raises(LabelFileError, match=message):
        read_lsp_extended(file, images, NANO19)


@pytest.mark.parametrize("part", [0.0, 0.5])  # empty, and cut off
def test_unfinished_lsp_archives_are_named(tmp_path: Path, part: float) -> None:
    file, images = write_lsp(tmp_path, np.zeros((2, 14, 3)))
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    with pytest.raises(LabelFileError, match=r"joints\.npz cannot be read"):
        read_lsp_extended(file, images, NANO19)


POSETRACK17 = ("nose", "head_bottom", "head_top", "left_ear", "right_ear", *POSETRACK15.names[3:])
"""As the files of 2018 have them; the ears are never labelled."""


def posetrack(images: list[Any], annotations: list[Any] | None = None, names: Any = POSETRACK17) -> dict[str, Any]:
    """PoseTrack 2018."""
    categories = [{"id": 1, "name": "person", "keypoints": names}]
    return {"images": images, "annotations": annotations or [], "categories": categories}


def test_posetrack_2018(tmp_path: Path) -> None:
    keypoints = np.zeros((17, 3))
    keypoints[1] = [30, 20, 1]  # head_bottom
    keypoints[5] = [20, 40, 1]  # left_shoulder
    keypoints[16] = [40, 120, 1]  # right_ankle
    annotation = {"id": 1, "image_id": 10, "keypoints": keypoints.ravel().tolist(), "track_id": 0}
    image = {
        "id": 10,
        "file_name": "a/1.jpg",
        "is_labeled": True,
        "ignore_regions_x": [[1, 5]],
        "ignore_regions_y": [[2, 9]],
    }
    unlabelled = {"id": 11, "file_name": "a/2.jpg", "is_labeled": False}
    file = write(tmp_path / "a.json", posetrack([image, unlabelled], [annotation]))
    (picture,) = read_posetrack(file, tmp_path, POSETRACK15)
    (person,) = picture.people
    assert person.joints[POSETRACK15.index("head_bottom")].tolist() == [30, 20, 1]
    # 15 % in all: 7.5 % a side of the joints' 20 x 100 pixels
    np.testing.assert_allclose(person.box, [18.5, 12.5, 41.5, 127.5])
    assert picture.ignored.tolist() == [[1, 2, 5, 9]]
    # its "head bottom" is what NANO19 calls the neck
    (nano,) = read_posetrack(file, tmp_path, NANO19)[0].people
    assert nano.joints[NANO19.index("neck")].tolist() == [30, 20, 1]


@pytest.mark.parametrize(
    "names",
    [
        POSETRACK17,
        POSETRACK17[::-1],  # another program's order
        POSETRACK15.names,  # without the ears, as poseval takes them
    ],
)
def test_posetrack_2018_says_itself_which_joint_is_which(tmp_path: Path, names: tuple[str, ...]) -> None:
    keypoints = [[10.0 * POSETRACK17.index(name), 5.0, 1.0] for name in names]
    annotation = {"id": 1, "image_id": 1, "keypoints": np.ravel(keypoints).tolist()}
    file = write(tmp_path / "a.json", posetrack([{"id": 1, "file_name": "1.jpg"}], [annotation], names))
    ((person,),) = [picture.people for picture in read_posetrack(file, tmp_path, POSETRACK15)]
    assert person.joints[:, 0].tolist() == [10.0 * POSETRACK17.index(name) for name in POSETRACK15.names]


def test_posetrack_2017(tmp_path: Path) -> None:
    points = [{"id": [13], "x": [50], "y": [10]}, {"id": [0], "x": [40], "y": [110]}]
    entry = {"image": [{"name": "v/1.jpg"}], "annorect": [{"annopoints": [{"point": points}]}, {"annopoints": []}]}
    folder = tmp_path / "labels"
    folder.mkdir()
    write(folder / "v.JSON", {"annolist": [entry, {"image": [{"name": "v/2.jpg"}]}]})
    (folder / "._v.json").write_bytes(b"\0\5\26\7Mac OS X")  # beside each file on disks that macOS wrote to
    (picture,) = read_posetrack(folder, tmp_path, POSETRACK15)
    (person,) = picture.people  # the one without points is nobody
    assert person.joints[POSETRACK15.index("nose")].tolist() == [50, 10, 1]
    assert person.joints[POSETRACK15.index("right_ankle")].tolist() == [40, 110, 1]


def test_posetrack_2017_without_brackets(tmp_path: Path) -> None:
    region = {"point": [{"x": 1, "y": 2}, {"x": 5, "y": 9}]}
    rect = {"annopoints": {"point": {"id": 13, "x": 50, "y": 10}}}
    frame = {"image": {"name": "v/1.jpg"}, "annorect": rect, "ignore_regions": region}
    (picture,) = read_posetrack(write(tmp_path / "v.json", {"annolist": [frame]}), tmp_path, POSETRACK15)
    (person,) = picture.people
    assert picture.path == tmp_path / "v" / "1.jpg"
    assert person.joints[POSETRACK15.index("nose")].tolist() == [50, 10, 1]
    assert picture.ignored.tolist() == [[1, 2, 5, 9]]


def ignoring(xs: Any, ys: Any) -> dict[str, Any]:
    """A file with one picture, of which regions are ignored."""
    image = {"id": 1, "file_name": "1.jpg", "is_labeled": True, "ignore_regions_x": xs, "ignore_regions_y": ys}
    return posetrack([image])


def without_annotations() -> dict[str, Any]:
    content = ignoring(None, None)
    del content["annotations"]
    return content


def test_no_ignore_regions_may_be_null(tmp_path: Path) -> None:
    (picture,) = read_posetrack(write(tmp_path / "a.json", ignoring(None, None)), tmp_path, POSETRACK15)
    assert picture.ignored.shape == (0, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (posetrack([{"id": 1}], [{"id": 3, "image_id": 1, "keypoints": [1, 2, 3]}]), "annotation 3"),
        (posetrack([{"id": 1}], [{"id": 3, "keypoints": [0] * 51}]), "number 0 has no 'image_id'"),
        (posetrack([{"id": 1}], [{"id": 3, "image_id": 2}]), "names image 2, which is not listed"),
        (posetrack([{"id": 1, "is_labeled": "0"}]), "image 1: is_labeled is '0', true or false is expected"),
        (posetrack([{"id": 1, "is_labeled": True}]), r"a\.json has no 'file_name'"),
        (posetrack([{"id": 1}], names=POSETRACK15.names[1:]), "does not name the joints nose"),  # not all of them
        (posetrack([{"id": 1}], names=5), "categories is faulty"),
        (posetrack([{"id": 1}, {"id": 1}]), "two images have the id 1"),
        (without_annotations(), "has no 'annotations'"),  # those of the test set
        (ignoring([[1, 2]], []), "image 1: its ignore regions have not as many x as y"),
        (ignoring([[1, 2]], [[1]]), "image 1: its ignore regions have not as many x as y"),
        (ignoring([[1, None]], [[1, 2]]), "image 1: ignore regions: finite numbers are expected"),
        ({"images": [{"id": 1}]}, "does not name the joints nose, .* `categories` must be one"),
        ({"annolist": []}, "'annolist' is empty"),
        ({"annolist": [{"annorect": []}]}, "frame number 0 has no 'image'"),
        (annolist({"id": [15], "x": [1], "y": [1]}), "frame number 0: joint id 15"),
        (annolist({"id": [1.5], "x": [1], "y": [1]}), r"frame number 0: joint id 1\.5, 0\.\.14 expected"),
        (annolist({"id": [1], "x": [1]}), "frame number 0 has no 'y'"),
        (annolist({"id": [1], "x": [1], "y": [None]}), "frame number 0: joint 1: .* numbers are expected"),
    ],
)
def test_faulty_posetrack_files_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(LabelFileError, match=message):
        read_posetrack(write(tmp_path / "a.json", content), tmp_path, POSETRACK15)


def test_a_folder_without_posetrack_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match=r"no \*\.json"):
        read_posetrack(tmp_path, tmp_path, POSETRACK15)


def teacher_line(**changes: Any) -> dict[str, Any]:
    joints = [[float(10 * row), 5.0, 0.9] for row in range(17)]
    people = [
        {"given": 0, "box": [0, 0, 170, 50, 1.0], "detected": [1, 2, 168, 48, 0.8], "joints": joints},
        {"given": -1, "box": [200, 0, 260, 90, 0.7], "joints": joints},
        {"given": -1, "box": [300, 0, 310, 20, 0.2], "joints": []},
    ]
    return {"picture": "im00001.webp", "size": [400, 100], "people": people} | changes


def test_a_teachers_people_are_those_nobody_labelled(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", json.dumps(teacher_line()) + "\n")
    (picture,) = read_teacher(file, tmp_path, COCO17)
    (person,) = picture.people
    assert person.box.tolist() == [200, 0, 260, 90]
    assert set(person.joints[:, 2].tolist()) == {0.5}  # believed half
    assert picture.ignored.tolist() == [[300, 0, 310, 20]]  # doubtful: neither there nor not there


def test_a_teachers_held_out_pictures_are_left_out(tmp_path: Path) -> None:
    lines = [json.dumps(teacher_line(picture=f"im{number:05d}.webp")) for number in (4, 5, 6)]
    file = write(tmp_path / "t.jsonl", "\n".join(lines))
    assert [one.key for one in read_teacher(file, tmp_path, COCO17, held_out_every=5)] == [4, 6]
    assert [one.key for one in read_teacher(file, tmp_path, COCO17, held_out_from=5)] == [4]


@pytest.mark.parametrize(
    ("shift", "faces"),
    [
        (0.0, True),  # the teacher sees the same person
        (60.0, False),  # it sees somebody, or something, else
    ],
)
def test_a_teacher_adds_faces_only_where_it_agrees(tmp_path: Path, shift: float, faces: bool) -> None:
    labels = np.zeros((1, 14, 3), np.float32)
    for row, name in enumerate(LSP_NAMES[:12]):
        labels[0, row] = [10 * COCO17.index(name) + shift, 5, 1]
    file, images = write_lsp(tmp_path, labels)
    pictures = read_lsp_extended(file, images, NANO19)
    teacher = write(tmp_path / "t.jsonl", json.dumps(teacher_line()) + "\n")
    (person,) = with_teacher_faces(pictures, teacher, NANO19)[0].people
    assert (person.joints[NANO19.index("nose"), 2] > 0) == faces
    assert person.joints[NANO19.index("left_wrist"), 0] == 90 + shift  # labels are never overwritten


def test_a_teacher_completes_pictures_for_the_detector(tmp_path: Path) -> None:
    labels = np.zeros((1, 14, 3), np.float32)
    labels[..., 0], labels[..., 2] = np.arange(14) * 10, 1
    file, images = write_lsp(tmp_path, labels)
    teacher = write(tmp_path / "t.jsonl", json.dumps(teacher_line()) + "\n")
    (picture,) = with_teacher_people(read_lsp_extended(file, images, NANO19), teacher)
    assert picture.complete
    assert [person.box.tolist() for person in picture.people] == [[1, 2, 168, 48], [200, 0, 260, 90]]
    assert picture.ignored.tolist() == [[300, 0, 310, 20]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "line 2: not JSON"),
        ("[1]", "line 2 is faulty"),
        ('{"picture": "a.png"}', "line 2 has no 'people'"),
        ('{"picture": 1, "people": []}', "line 2: picture 1 is no text"),
        (
            '{"picture": "a.png", "people": [{"given": -1, "box": [1, 2, 3, 4], "joints": []}]}',
            r"line 2: box has \(4,\)",
        ),
        ('{"picture": "a.png", "people": [{"given": -1, "box": [1, 2, 3, 4, 5]}]}', "line 2 has no 'joints'"),
    ],
)
def test_faulty_teacher_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    file = write(tmp_path / "t.jsonl", json.dumps(teacher_line()) + f"\n{line}\n")
    with pytest.raises(LabelFileError, match=message):
        read_teacher(file, tmp_path, COCO17)


def test_a_teacher_of_other_labels_is_named(tmp_path: Path) -> None:
    teacher = write(tmp_path / "t.jsonl", json.dumps(teacher_line()) + "\n")
    with pytest.raises(LabelFileError, match=r"person 0 of im00001\.webp, whose labels have 0"):
        with_teacher_people([Picture(tmp_path / "im00001.webp", 1, ())], teacher)
    others = [Picture(tmp_path / "7.png", 7, ())]
    said = r"none of the 1 pictures .* names 'im00001\.webp', .* called '7\.png'"
    with pytest.raises(LabelFileError, match=said):
        with_teacher_people(others, teacher)
    with pytest.raises(LabelFileError, match=said):
        with_teacher_faces(others, teacher, NANO19)
