"""Measures how long scoring a data set takes: `python -m posewire_evaluation.speed`."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from posewire.joints import POSETRACK15
from posewire.posetrack_format import CATEGORY_ID, category, image_id, in_keypoint_order
from posewire_evaluation.posetrack_folders import score_posetrack_files

__all__ = ["app", "write_crowd"]

app = typer.Typer(add_completion=False)

_HEAD_BOX = (0.0, 0.0, 24.0, 32.0)


@app.command()
def measure(
    sequences: Annotated[int, typer.Option(min=1, help="Number of sequences.")] = 50,
    frames: Annotated[int, typer.Option(min=1, help="Number of frames in each sequence.")] = 100,
    people: Annotated[int, typer.Option(min=1, help="Number of people in each frame.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
) -> None:
    """Make a random data set, score it, and print the time and memory used."""
    with tempfile.TemporaryDirectory() as folder:
        truth, predictions = Path(folder) / "gt", Path(folder) / "dt"
        for seed in range(sequences):
            write_crowd(truth, predictions, seed, frames, people)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.json"))
        start_s, start_cpu_s = time.perf_counter(), _processor_s()
        report = score_posetrack_files(truth, predictions, workers=workers)
        seconds, cpu_s = time.perf_counter() - start_s, _processor_s() - start_cpu_s
    memory_kib = max(usage.ru_maxrss for usage in _usages())
    scores, identities = report.scores, report.identities
    print(f"{sequences} sequences of {frames} frames with {people} people, {size / 2**20:.0f} MiB of JSON")
    print(f"{seconds:.1f} s with {workers} processes, {cpu_s:.1f} s of processor time together")
    print(f"at most {memory_kib / 2**10:.0f} MiB in one process")
    print(f"mAP {scores.ap.total:.1f}, MOTA {scores.mota.total:.1f}, HOTA {identities.hota:.1f}")


def _usages() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def _processor_s() -> float:
    """Processor time of this process and of its child processes that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in _usages())


def write_crowd(truth: Path, predictions: Path, seed: int, frames: int, people: int) -> None:
    """Write one sequence of people who walk through each other, and predictions with every kind of fault.

    Args:
        truth: folder for the truth; created if missing.
        predictions: folder for the predictions, likewise.
        seed: random seed, and the sequence's number.
        frames: number of frames in the sequence.
        people: number of people per frame.
    """
    rng = np.random.default_rng(seed)
    joints = len(POSETRACK15)
    shapes, places = rng.uniform(-60, 60, (people, joints, 2)), rng.uniform(0, 1000, (people, 2))
    speeds = rng.normal(0, 4, (people, 2))
    ids = np.arange(people)
    documents: tuple[dict[str, Any], ...] = tuple(
        {"images": [], "annotations": [], "categories": [category()]} for _ in range(2)
    )
    for frame in range(frames):
        places += speeds
        if rng.random() < 0.1:
            ids = rng.permutation(ids)
        xy = shapes + places[:, None]
        guess = xy + rng.normal(0, 5, xy.shape)
        image: dict[str, Any] = {"id": image_id(seed, frame), "file_name": f"images/{seed:06d}_crowd/{frame:06d}.jpg"}
        for document in documents:
            document["images"].append(image)
        for person in range(people):
            _annotate(documents[0], image["id"], person, xy[person], {"bbox_head": _HEAD_BOX})
            if rng.random() < 0.9:
                scores = in_keypoint_order(rng.random(joints)).tolist()
                _annotate(documents[1], image["id"], int(ids[person]), guess[person], {"scores": scores})
    for folder, document in zip((truth, predictions), documents, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{seed:06d}_crowd.json").write_text(json.dumps(document))


def _annotate(
    document: dict[str, Any], image: int, identity: int, xy: np.ndarray[Any, Any], more: dict[str, Any]
) -> None:
    keypoints = in_keypoint_order(np.column_stack([xy, np.ones(len(xy))])).round(2).ravel().tolist()
    number = len(document["annotations"])
    document["annotations"].append(
        {
            "id": number,
            "image_id": image,
            "track_id": identity,
            "category_id": CATEGORY_ID,
            "keypoints": keypoints,
            **more,
        }
    )


if __name__ == "__main__":
    app()
