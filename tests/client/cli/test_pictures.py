"""Image ids and boxes for single pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posewire.cli.failures import CommandError
from posewire.cli.pictures import annotated_pictures, note_on_ids, numbered_pictures


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000139.jpg", "000000000285.jpg"], [139, 285]),
        (["a.jpg", "7.jpg"], [1, 2]),  # not all are numbers
        (["7.jpg", "07.png"], [1, 2]),  # the same number twice
        ([], []),
    ],
)
def test_ids_are_the_numbers_in_names_or_running_ones(names: list[str], ids: list[int]) -> None:
    assert [picture.image_id for picture in numbered_pictures([Path(name) for name in names])] == ids


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["000139.png", "000285.png"], None),
        (["000139.png", "000285.png", "cover.png"], "not the numbers in the pictures' names: cover.png is none"),
        (["7.jpg", "07.png"], "7.jpg and 07.png have the same"),
        (["7.jpg", "a.png"], None),  # no more than half are numbers
        (["a.jpg", "b.jpg"], None),
        ([], None),
    ],
)
def test_running_ids_are_noted_where_names_are_numbers(names: list[str], said: str | None) -> None:
    note = note_on_ids([Path(name) for name in names])
    assert note is None if said is None else said in (note or "")


def ground_truth(tmp_path: Path, **changes: Any) -> Path:
    annotations = [
        {"image_id": 5, "bbox": [10, 20, 30, 40], "num_keypoints": 3},
        {"image_id": 5, "bbox": [1, 2, 3, 4]},
        {"image_id": 5, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"image_id": 5, "bbox": [0, 0, 9, 9], "num_keypoints": 0},
        {"image_id": 5, "bbox": [0, 0, 9, 9], "category_id": 18},
        {"image_id": 5, "bbox": [0, 0, 0, 9]},
    ]
    images = [{"id": 5, "file_name": "val/five.jpg"}, {"id": 6, "file_name": "six.jpg"}]
    path = tmp_path / "gt.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, **changes}))
    return path


def test_ids_and_boxes_come_from_the_ground_truth(tmp_path: Path) -> None:
    paths = [Path("x/five.jpg"), Path("x/six.webp"), Path("x/stranger.jpg")]
    (five, six), _ = annotated_pictures(paths, ground_truth(tmp_path))
    assert (five.path, five.image_id, six.path, six.image_id) == (paths[0], 5, paths[1], 6)
    assert five.boxes is not None
    assert five.boxes.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert six.boxes is not None
    assert six.boxes.shape == (0, 4)


IMAGES = [
    {"id": 1, "file_name": "seq1/000001.jpg"},
    {"id": 2, "file_name": "seq2\\000001.jpg"},  # from Windows
    {"id": 3, "file_name": "a.jpg"},
    {"id": 4, "file_name": "a.png"},
    {"id": 5, "file_name": "b.jpg"},
]


@pytest.mark.parametrize(
    ("path", "image_id"),
    [
        ("seq2/000001.jpg", 2),
        ("/data/seq1/000001.jpg", 1),
        ("seq1/000001.png", 1),  # converted
        ("x/a.png", 4),
        ("x/b.png", 5),
    ],
)
def test_folders_tell_images_of_one_name_apart(path: str, image_id: int, tmp_path: Path) -> None:
    (found,), _ = annotated_pictures([Path(path)], ground_truth(tmp_path, images=IMAGES))
    assert found.image_id == image_id


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (
            ["x/000001.jpg"],
            r"is image 1 \(seq1/000001\.jpg\) or image 2 \(seq2/000001\.jpg\) of .*gt\.json",
        ),
        (["a.webp"], r"a\.webp is image 3 \(a\.jpg\) or image 4 \(a\.png\)"),
        (["x/b.jpg", "x/b.png"], r"x/b\.jpg and x/b\.png are both image 5 of .*gt\.json; take one of them away"),
    ],
)
def test_a_picture_is_one_image_and_no_other(paths: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=said):
        annotated_pictures([Path(path) for path in paths], ground_truth(tmp_path, images=IMAGES))


def test_people_are_the_category_of_that_name(tmp_path: Path) -> None:
    annotations = [
        {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": 5, "category_id": 7, "bbox": [10, 20, 30, 40]},
    ]
    categories = [{"id": 1, "name": "bicycle"}, {"id": 7, "name": "person"}]
    truth = ground_truth(tmp_path, annotations=annotations, categories=categories)
    (found,), _ = annotated_pictures([Path("five.jpg")], truth)
    assert found.category_id == 7
    assert found.boxes is not None
    assert found.boxes.tolist() == [[10, 20, 40, 60]]


def test_a_ground_truth_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    truth = ground_truth(tmp_path)
    truth.write_bytes(b"\xef\xbb\xbf" + truth.read_bytes())
    (found,), _ = annotated_pictures([Path("five.jpg")], truth)
    assert found.image_id == 5


def test_lists_in_lists_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_text("[" * 200_000)
    with pytest.raises(CommandError, match=r"gt\.json is not a COCO ground truth: .*too deeply"):
        annotated_pictures([Path("five.jpg")], tmp_path / "gt.json")


@pytest.mark.parametrize(
    "categories",
    [
        [{"id": 1}],
        [],
        [{"id": 1, "name": "human"}],
        [{"id": 2, "name": "dog"}, {"id": 1, "name": "Person"}, {"id": 3, "name": "person"}],
    ],
)
def test_the_category_of_people_is_found(categories: list[dict[str, Any]], tmp_path: Path) -> None:
    truth = ground_truth(
        tmp_path,
        categories=categories,
        annotations=[{"image_id": 5, "bbox": [1, 2, 3, 4], "category_id": category} for category in (1, 2)],
    )
    (found,), _ = annotated_pictures([Path("five.jpg")], truth)
    assert found.category_id == 1
    assert found.boxes is not None
    assert len(found.boxes) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": [{"id": 1}]}, "file_name"),
        ({"annotations": [{"image_id": 5}]}, "bbox"),
        ({"annotations": [{"image_id": 5, "bbox": [1, 2, 3]}]}, "bbox"),
        (
            {"annotations": [{"id": 2, "image_id": 5, "bbox": [1, 2, float("nan"), 4]}]},
            "2: `bbox` is .*nan",
        ),
        (
            {"annotations": [{"id": 2, "image_id": 5, "bbox": [1, 2, 1e300, 4]}]},
            "2: `bbox` is .*1e.300",
        ),
        ({"annotations": [{"id": 2, "image_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": "0"}]}, "`iscrowd` is '0', 0 or 1"),
        ({"images": 3}, "images"),
        ({"categories": 3}, "not a COCO ground truth"),
        ({"categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]}, "'person', .*, but 'dog', 'cat'; call"),
        ({"images": [{"id": float("inf"), "file_name": "five.jpg"}]}, "OverflowError"),
        ({"annotations": []}, r"no box of a person with labelled joints \(category 1\)"),
        ({"annotations": [{"image_id": 5, "bbox": [1, 2, 3, 4], "category_id": 3}]}, "no box of a person"),
        ({"images": []}, "lists none of these pictures by"),
    ],
)
def test_other_files_are_refused_by_name(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        annotated_pictures([Path("five.jpg")], ground_truth(tmp_path, **changes))
    assert "gt.json" in str(refused.value)
