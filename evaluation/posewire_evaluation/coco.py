"""Average precision and recall of the COCO challenge, for keypoints and boxes, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posewire.json_files import read_json
from posewire.os_errors import reason_of
from posewire_evaluation.coco_truth import WHAT_IDS_ARE, check_truth, fault_of_shape, ids_of, is_id, is_number
from posewire_evaluation.errors import EvaluationError

__all__ = ["BOX_METRICS", "KEYPOINT_METRICS", "CocoScores", "score_coco"]

KEYPOINT_METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""pycocotools' `stats` for keypoints, in its order: OKS 0.50:0.05:0.95, 0.50, 0.75; medium and large people."""

BOX_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""pycocotools' `stats` for boxes, in its order; AR1, AR10 and AR100 are recall with 1, 10 and 100 boxes per picture."""

# Needed in every result.
_NEEDED = ("image_id", "category_id", "score")


@dataclass(frozen=True)
class CocoScores:
    """Scores as pycocotools returns them: in 0..1, and -1 where there is nothing to score.

    Attributes:
        keypoints: by the names in `KEYPOINT_METRICS`; None if the results have no keypoints.
        boxes: by the names in `BOX_METRICS`; None if the results have no boxes.
        notes: warnings about files that are unusual but can be scored, one sentence each.
    """

    keypoints: dict[str, float] | None
    boxes: dict[str, float] | None
    notes: tuple[str, ...] = ()


def score_coco(truth: Path, results: Path) -> CocoScores:
    """Score COCO results against a ground truth.

    Args:
        truth: COCO's `person_keypoints_*.json`, or an `instances_*.json` for boxes only.
        results: a JSON list of objects with `image_id`, `category_id`, `score`, and `keypoints`, `bbox` or both.

    Raises:
        EvaluationError: a file cannot be read, or holds something that cannot be scored; the message names the picture.
    """
    annotated = _load(truth, dict, "an object with `images`, `annotations` and `categories`")
    found = _load(results, list, "a list of results")
    kinds = _kinds(found)
    _check_results(found, kinds, annotated, results, truth)
    check_truth(annotated, kinds, truth)
    # pycocotools prints its progress to standard output, which is for our results.
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = annotated
        gt.createIndex()
        stats = {kind: _stats(gt, found, kind) for kind in kinds}
    return CocoScores(
        keypoints=dict(zip(KEYPOINT_METRICS, stats["keypoints"], strict=True)) if "keypoints" in stats else None,
        boxes=dict(zip(BOX_METRICS, stats["bbox"], strict=True)) if "bbox" in stats else None,
        notes=tuple(_notes(annotated, found, kinds, truth)),
    )


def _stats(gt: COCO, found: Sequence[dict[str, Any]], kind: str) -> list[float]:
    """Score results reduced to the entries of this kind, as in files of the challenges.

    From other entries pycocotools would infer the kind and size of the results: for keypoints with a `bbox`, the box
    would decide which people are medium and large.
    """
    dt = gt.loadRes([{key: result[key] for key in (*_NEEDED, kind)} for result in found])
    evaluation = COCOeval(gt, dt, kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def _notes(
    annotated: dict[str, Any], found: Sequence[dict[str, Any]], kinds: Sequence[str], truth: Path
) -> Iterator[str]:
    """Scored against a truth with all of COCO's 80 categories, people alone get an 80th of their AP."""
    asked = {
        each["category_id"]
        for each in annotated["annotations"]
        if not each["iscrowd"] and ("bbox" in kinds or each["num_keypoints"])
    }
    if unfound := asked.difference(each["category_id"] for each in found):
        more = f", nor for {len(unfound) - 1} more" if len(unfound) > 1 else ""
        yield (
            f"{truth} has annotations of the category {min(unfound)!r}, for which there is no result{more}; as in"
            " pycocotools, all categories count equally, so these lower the means"
        )


def _load(path: Path, kind: type, what: str) -> Any:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {reason_of(error)}") from error
    if not isinstance(content, kind):
        raise EvaluationError(f"{path} does not hold COCO data: {what} is expected")
    return content


def _kinds(found: Sequence[Any]) -> list[str]:
    """The kinds in the results. If one result has a kind, all must: pycocotools looks only at the first."""
    there = {kind for result in found if isinstance(result, dict) for kind in result}
    return [kind for kind in ("keypoints", "bbox") if kind in there]


def _check_results(
    found: Sequence[Any], kinds: Sequence[str], annotated: dict[str, Any], path: Path, truth: Path
) -> None:
    if not found:
        raise EvaluationError(f"{path} holds no results, so there is nothing to score")
    images, categories = ids_of(annotated, "images", truth), ids_of(annotated, "categories", truth)
    if not kinds:
        raise EvaluationError(f"{path}: the results have neither `keypoints` nor `bbox`")
    for place, result in enumerate(found):
        fault = _fault(result, kinds)
        if fault is None and result["image_id"] not in images:
            fault = f"{truth} has no image with that id; one that it has is {next(iter(images), None)!r}"
        elif fault is None and result["category_id"] not in categories:
            fault = f"{truth} has no category {result['category_id']!r}"
        if fault is not None:
            image = result.get("image_id") if isinstance(result, dict) else None
            raise EvaluationError(f"{path}: result {place} (image {image!r}): {fault}")


def _fault(result: Any, kinds: Sequence[str]) -> str | None:
    if not isinstance(result, dict):
        return "it is not an object"
    missing = {*_NEEDED, *kinds} - result.keys()
    if missing:
        return f"it has no `{min(missing)}`" + (", as other results have" if missing.intersection(kinds) else "")
    if not all(is_id(result[key]) for key in ("image_id", "category_id")):
        return f"its `image_id` or `category_id` is not a valid id; {WHAT_IDS_ARE}"
    if not is_number(result["score"]):
        return f"the score is {result['score']!r:.40}; one finite number is needed"
    return next((fault for kind in sorted(kinds) if (fault := fault_of_shape(kind, result[kind]))), None)
