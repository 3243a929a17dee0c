"""COCO numbers are pycocotools', and faulty files are refused."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posewire.joints import COCO17
from posewire_evaluation.coco import BOX_METRICS, KEYPOINT_METRICS, score_coco
from posewire_evaluation.errors import EvaluationError
from tests.evaluation.people import written


def people(seed: int, images: int = 12) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A ground truth with people of all sizes, crowds and unlabelled joints, and results that resemble it."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        for _ in range(int(rng.integers(0, 5))):
            width, height = (float(side) for side in rng.uniform(15, 200, 2))
            x, y = (float(place) for place in rng.uniform(-30, 400, 2))
            xy = rng.uniform((x, y), (x + width, y + height), (17, 2))
            seen = rng.integers(0, 3, 17) if rng.random() < 0.8 else np.zeros(17, int)
            annotation = {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "area": 0.5 * width * height}
            annotation |= {
                "bbox": [x, y, width, height],
                "iscrowd": int(rng.random() < 0.1),
                "num_keypoints": int((seen > 0).sum()),
            }
            # Whole numbers, as in COCO's own files.
            keypoints = np.column_stack([xy * (seen > 0)[:, None], seen])
            annotation["keypoints"] = np.rint(keypoints).astype(int).ravel().tolist()
            annotations.append(annotation)
            if rng.random() < 0.85:
                moved = xy + rng.normal(0, 0.04 * np.sqrt(width * height), (17, 2))
                box = (np.array([x, y, width, height]) + rng.normal(0, 6, 4)).tolist()
                results.append(result(image, np.column_stack([moved, np.ones(17)]), box, float(rng.random())))
        if rng.random() < 0.5:
            stray = np.column_stack([rng.uniform(0, 400, (17, 2)), np.ones(17)])
            results.append(result(image, stray, [5.0, 5.0, 90.0, 90.0], float(rng.random())))
    truth = {
        "images": [{"id": image, "width": 640, "height": 640} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    return truth, results


def result(image: int, keypoints: np.ndarray, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "bbox": box, "score": score}


def of_kinds(results: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Without the others: COCO's challenges are on files of one kind."""
    others = {"keypoints", "bbox"} - set(kinds)
    return [{key: value for key, value in each.items() if key not in others} for each in results]


def by_pycocotools(truth: Path, results: Path, kind: str) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(truth))
        evaluation = COCOeval(gt, gt.loadRes(str(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kinds", [("keypoints", "bbox"), ("keypoints",), ("bbox",)])
def test_numbers_are_those_of_pycocotools(seed: int, kinds: tuple[str, ...], tmp_path: Path) -> None:
    truth, results = people(seed)
    gt, dt = written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", of_kinds(results, kinds))
    scores = score_coco(gt, dt)
    assert (scores.keypoints is not None, scores.boxes is not None) == ("keypoints" in kinds, "bbox" in kinds)
    if scores.keypoints is not None:
        alone = written(tmp_path / "keypoints.json", of_kinds(results, ["keypoints"]))
        assert list(scores.keypoints.values()) == by_pycocotools(gt, alone, "keypoints")
        assert tuple(scores.keypoints) == KEYPOINT_METRICS
        assert 0 < scores.keypoints["AP"] < 1
    if scores.boxes is not None:
        alone = written(tmp_path / "boxes.json", of_kinds(results, ["bbox"]))
        assert list(scores.boxes.values()) == by_pycocotools(gt, alone, "bbox")
        assert tuple(scores.boxes) == BOX_METRICS


def test_the_truth_itself_is_perfect(tmp_path: Path) -> None:
    truth, _ = people(1)
    truth["annotations"] = [each for each in truth["annotations"] if each["num_keypoints"] and not each["iscrowd"]]
    copies = [each | {"score": 0.5 + 0.001 * place} for place, each in enumerate(copy.deepcopy(truth["annotations"]))]
    scores = score_coco(written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", copies))
    assert scores.keypoints is not None
    assert scores.keypoints["AP"] == pytest.approx(1)
    assert scores.boxes is not None
    assert scores.boxes["AR100"] == pytest.approx(1)


def test_a_miss_and_a_false_positive(tmp_path: Path) -> None:
    """Two people, one of them found, with something better scored beside them."""
    xy = np.column_stack([np.arange(17) * 6.0, np.arange(17) * 6.0, np.full(17, 2)])
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "area": 9216.0, "bbox": [x, 0.0, 96.0, 96.0], "iscrowd": 0}
        | {"num_keypoints": 17, "keypoints": (xy + [x, 0, 0]).ravel().tolist()}
        for n, x in ((1, 10.0), (2, 500.0))
    ]
    truth = {"images": [{"id": 1}], "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    found = [
        result(1, xy + [10, 0, 0], [10.0, 0.0, 96.0, 96.0], 0.5),
        result(1, xy + [250, 0, 0], [250.0, 0.0, 96.0, 96.0], 0.9),
    ]
    scores = score_coco(written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", found))
    # Recall reaches a half at precision a half: 51 of COCO's 101 points of recall.
    for values in (scores.keypoints, scores.boxes):
        assert values is not None
        assert values["AP"] == pytest.approx(0.5 * 51 / 101)
    assert scores.keypoints is not None
    assert scores.keypoints["AR"] == pytest.approx(0.5)


def _set(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda entry: entry.pop(key) if value is KeyError else entry.__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("image_id", 99), r"dt\.json: result 1 \(image 99\): .*has no image with that id; one that it has is 1$"),
        (_set("image_id", KeyError), r"result 1 \(image None\): it has no `image_id`"),
        (_set("category_id", 7), r"has no category 7"),
        (_set("category_id", [1]), r"its `image_id` or `category_id` is not a valid id"),
        (_set("image_id", 1.0), r"image 1\.0\): .* is not a valid id; ids are whole numbers below"),
        (_set("score", [0.5] * 17), r"the score is \[0\.5, 0\.5, [0-9., ]+; one finite number is needed"),
        (_set("score", KeyError), r"it has no `score`"),
        (_set("score", float("nan")), r"the score is nan"),
        (_set("score", 10**400), r"the score is 1000"),
        (_set("keypoints", KeyError), r"it has no `keypoints`, as other results have"),
        (_set("keypoints", [1.0] * 45), r"`keypoints` is not a list of 51 numbers"),
        (_set("keypoints", [float("nan")] * 51), r"`keypoints` holds something that is not a number, or NaN"),
        (_set("bbox", [1.0, 2.0, 3.0]), r"`bbox` is not a list of 4 numbers"),
        (_set("bbox", [1.0, 2.0, 3.0, None]), r"`bbox` holds something that is not a number"),
        (_set("bbox", [1.0, 2.0, -3.0, 4.0]), r"width and height cannot be below 0"),
        (_set("image_id", True), r"is not a valid id"),
        (_set("keypoints", [-(2**32), 1, 2] * 17), r"`keypoints` holds -4294967296: .* at most 2\^30 pixels"),
    ],
)
def test_faulty_results_are_refused(change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path) -> None:
    truth, results = people(0)
    change(results[1])
    with pytest.raises(EvaluationError, match=said):
        score_coco(written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("num_keypoints", KeyError), r"gt\.json: annotation 2 \(image \d+\): it has no `num_keypoints`"),
        (_set("image_id", KeyError), r"annotation 2 \(image None\): it has no `image_id`"),
        (_set("area", KeyError), r"has no `area`"),
        (_set("keypoints", [0.0] * 45), r"annotation 2 .*: `keypoints` is not a list of 51 numbers"),
        # With each of the following pycocotools gives other numbers, or breaks off.
        (_set("id", 0), r"annotation 0 .*: ids of annotations must be whole numbers from 1 to"),
        (_set("id", 10**400), r"one of `annotations` has the id 10+; ids are whole numbers below 2\^63"),
        (_set("id", 1), r"gt\.json: two of `annotations` have the id 1"),
        (_set("image_id", 77), r"annotation 2 \(image 77\): the image is not in `images`"),
        (_set("category_id", 9), r"annotation 2 .*: the category 9 is not in `categories`"),
        (_set("area", float("nan")), r"the area is nan"),
        (_set("area", -1.0), r"the area is -1\.0"),
        (_set("bbox", None), r"`bbox` is not a list of 4 numbers"),
        (_set("bbox", [1.0, 2.0, float("nan"), 4.0]), r"`bbox` holds something that is not a number, or NaN"),
        (_set("keypoints", [1.0, float("nan"), 2.0] * 17), r"`keypoints` holds something that is not a number, or NaN"),
        (_set("iscrowd", "0"), r"`iscrowd` is '0', a whole number is needed"),
        (_set("iscrowd", 300), r"`iscrowd` is 300, 0 or 1 is needed"),
        (_set("area", 10**400), r"the area is 1000"),  # no float, and no integer of numpy's
        (_set("bbox", [1.0, 2.0, 10**30, 4.0]), r"`bbox` holds something that is not a number"),
        (_set("keypoints", [2**31, 1, 2] * 17), r"`keypoints` holds 2147483648: .* at most 2\^30 pixels"),
        (_set("keypoints", [0.0] * 51), r"`num_keypoints` is \d+, but 0 of the `keypoints` are labelled"),
    ],
)
def test_faulty_truth_is_refused(change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path) -> None:
    truth, results = people(0)
    change(truth["annotations"][1])
    with pytest.raises(EvaluationError, match=said):
        score_coco(written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (COCO17.names, None),
        ([name.replace("_", " ").title() for name in COCO17.names], None),  # spelled otherwise
        ([], None),
        (COCO17.names[::-1], r"keypoint 0 is 'right_ankle', 'nose' expected"),
        (["nose", "head_bottom", "head_top", *COCO17.names[3:]], r"keypoint 1 is 'head_bottom', 'left_eye' expected"),
        (COCO17.names[:-1], r"keypoint 16 is missing, 'right_ankle' expected"),
        ([*COCO17.names, "neck"], r"keypoint 17 is 'neck', nothing more expected"),
    ],
)
def test_named_joints_must_be_in_the_order_of_coco(names: Sequence[str], said: str | None, tmp_path: Path) -> None:
    truth, results = people(0)
    truth["categories"][0]["keypoints"] = list(names)
    files = written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results)
    if said is None:
        assert score_coco(*files).keypoints is not None
        return
    with pytest.raises(EvaluationError, match=said):
        score_coco(*files)
    for found in results:
        del found["keypoints"]  # boxes do not go by them
    assert score_coco(files[0], written(tmp_path / "boxes.json", results)).boxes is not None


def test_all_results_have_what_one_has(tmp_path: Path) -> None:
    truth, results = people(0)
    del results[0]["keypoints"]
    with pytest.raises(EvaluationError, match=r"result 0 .*: it has no `keypoints`, as other results have"):
        score_coco(written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results))


@pytest.mark.parametrize("first", [{"caption": "a person"}, {"segmentation": []}, {"area": None, "iscrowd": 7}])
@pytest.mark.parametrize("kinds", [("keypoints", "bbox"), ("keypoints",), ("bbox",)])
def test_what_is_not_scored_changes_nothing(first: dict[str, Any], kinds: Sequence[str], tmp_path: Path) -> None:
    truth, results = people(0)
    needed = ("image_id", "category_id", "score", *kinds)
    results = [{key: each[key] for key in needed} for each in results]
    gt, dt = written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results)
    results[0] |= first
    assert score_coco(gt, written(tmp_path / "more.json", results)) == score_coco(gt, dt)


@pytest.mark.parametrize("part", ["images", "categories"])
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("seven", "some ids of `{part}` are text, as 'seven', and some are numbers"),
        (None, "one of `{part}` has the id None"),
        (7.5, "one of `{part}` has the id 7.5"),
        (2**63, "one of `{part}` has the id 9223372036854775808; ids are whole numbers below 2.63"),
    ],
)
def test_ids_are_of_one_kind(part: str, odd: object, said: str, tmp_path: Path) -> None:
    truth, results = people(0)
    truth[part].append({"id": odd, "name": "x"})
    with pytest.raises(EvaluationError, match=said.format(part=part)):
        score_coco(written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results))


def test_ids_of_images_may_be_text(tmp_path: Path) -> None:
    truth, results = people(0)
    gt, dt = written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results)
    for each in truth["images"]:
        each["id"] = f"{each['id']:03d}"
    for each in (*truth["annotations"], *results):
        each["image_id"] = f"{each['image_id']:03d}"
    named = written(tmp_path / "named_gt.json", truth), written(tmp_path / "named_dt.json", results)
    assert score_coco(*named) == score_coco(gt, dt)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, [3], [{"name": "x"}]])
def test_truth_must_have_its_parts(part: str, value: object, tmp_path: Path) -> None:
    truth, results = people(0)
    truth[part] = value
    with pytest.raises(EvaluationError, match=rf"gt\.json: `{part}` is not a list of objects with an `id`"):
        score_coco(written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results))


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "holds no results"),
        ({}, "a list of results is expected"),
        ([{"image_id": 1}], "neither `keypoints` nor `bbox`"),
        ([3], "neither `keypoints` nor `bbox`"),
    ],
)
def test_what_is_no_result_list_is_refused(results: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=said):
        score_coco(written(tmp_path / "gt.json", people(0)[0]), written(tmp_path / "dt.json", results))
    with pytest.raises(EvaluationError, match=r"nothing\.json cannot be read: No such file"):
        score_coco(tmp_path / "gt.json", tmp_path / "nothing.json")


def test_lists_in_lists_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_text("[" * 200_000)
    with pytest.raises(EvaluationError, match=r"gt\.json cannot be read"):
        score_coco(tmp_path / "gt.json", written(tmp_path / "dt.json", people(0)[1]))


def test_categories_that_nobody_looked_for_are_said(tmp_path: Path) -> None:
    """Of a truth with 80 categories, results of people alone have an 80th of their AP."""
    truth, results = people(0)
    for each in results:
        del each["keypoints"]
    found = written(tmp_path / "dt.json", results)
    alone = score_coco(written(tmp_path / "gt.json", truth), found)
    # The last of these is a crowd, which is never to be found.
    changes = [{"id": 1000 + place, "category_id": 2 + place, "iscrowd": place == 3} for place in range(4)]
    truth["annotations"] += [truth["annotations"][0] | change for change in changes]
    truth["categories"] += [{"id": 2 + place, "name": "thing"} for place in range(4)]
    beside = score_coco(written(tmp_path / "gt.json", truth), found)
    assert alone.boxes is not None
    assert beside.boxes is not None
    assert beside.boxes["AR100"] == pytest.approx(alone.boxes["AR100"] / 4)
    assert alone.notes == ()
    (note,) = beside.notes
    assert "gt.json has annotations of the category 2, for which there is no result, nor for 2 more" in note
