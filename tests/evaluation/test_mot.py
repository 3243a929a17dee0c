"""MOTChallenge files: the numbers are motmetrics' and TrackEval's, and can be worked out by hand."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import motmetrics
import numpy as np
import pytest
import trackeval

from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.mot import OVERALL, read_mot, score_mot

Row = tuple[float, ...]


def lines(rows: list[Row]) -> str:
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows)


def box(frame: int, identity: int, x: float, *, confidence: float = 1) -> Row:
    return (frame, identity, x, 20, 30, 60, confidence, 1, 1)


def walk(frames: int = 4, people: tuple[int, ...] = (1, 2)) -> list[Row]:
    return [box(t, each, 100 * each + 2 * t) for t in range(1, frames + 1) for each in people]


def files(folder: Path, truth: dict[str, list[Row]], predicted: dict[str, list[Row]]) -> tuple[Path, Path]:
    for name, sequences in (("gt", truth), ("dt", predicted)):
        (folder / name).mkdir()
        for sequence, rows in sequences.items():
            (folder / name / f"{sequence}.txt").write_text(lines(rows))
    return folder / "gt", folder / "dt"


def random_walk(seed: int) -> tuple[list[Row], list[Row]]:
    rng = np.random.default_rng(seed)
    truth, predicted = [], []
    for frame in range(1, 30):
        for each in range(1, 6):
            x = 35 * each + frame
            confidence = int(rng.random() < 0.95)
            if rng.random() < 0.9:
                truth.append(box(frame, each, x, confidence=confidence))
            if rng.random() < 0.85:
                name = each + (50 if frame > 12 and each < 3 else 0)
                moved = (frame, name, x + round(rng.normal(0, 6), 2), 20 + round(rng.normal(0, 6), 2), 31.5, 58.25)
                predicted.append((*moved, 0.75, -1, -1))
    return truth, predicted


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_those_of_motmetrics(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("A", "B")
    pairs = {name: random_walk(10 * seed + place) for place, name in enumerate(names)}
    gt, dt = files(tmp_path, {n: pairs[n][0] for n in names}, {n: pairs[n][1] for n in names})
    # What motmetrics' own reader and distances need with current numpy and pandas.
    monkeypatch.setattr(np, "asfarray", lambda values: np.asarray(values, np.float64), raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accumulators = [
            motmetrics.utils.compare_to_groundtruth(
                motmetrics.io.loadtxt(gt / f"{name}.txt", fmt="mot15-2D", min_confidence=1),
                motmetrics.io.loadtxt(dt / f"{name}.txt", fmt="mot15-2D"),
                "iou",
                distth=0.5,
            )
            for name in names
        ]
        wanted = motmetrics.metrics.motchallenge_metrics
        expected = motmetrics.metrics.create().compute_many(
            accumulators, names=list(names), metrics=wanted, generate_overall=True
        )
    scores = score_mot(gt, dt)
    assert list(scores.metrics) == ["A", "B", OVERALL]
    for name, values in scores.metrics.items():
        assert values == {key: float(value) for key, value in expected.loc[name].items()}
    assert scores.metrics[OVERALL]["num_switches"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_hota_is_that_of_trackeval(seed: int, tmp_path: Path) -> None:
    truth, predicted = random_walk(seed)
    gt, dt = files(tmp_path, {"A": truth}, {"A": predicted})
    config = {"GT_FOLDER": str(gt), "TRACKERS_FOLDER": str(tmp_path), "TRACKERS_TO_EVAL": ["dt"], "SEQ_INFO": {"A": 29}}
    config |= {"SKIP_SPLIT_FOL": True, "GT_LOC_FORMAT": "{gt_folder}/{seq}.txt", "TRACKER_SUB_FOLDER": ""}
    dataset = trackeval.datasets.MotChallenge2DBox(config | {"PRINT_CONFIG": False, "DO_PREPROC": False})
    data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("dt", "A"), "pedestrian")
    hota = trackeval.metrics.HOTA().eval_sequence(data)
    identity = trackeval.metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    for found in score_mot(gt, dt).identities.values():
        assert found.hota == 100 * np.mean(hota["HOTA"])
        assert (found.det_a, found.ass_a) == (100 * np.mean(hota["DetA"]), 100 * np.mean(hota["AssA"]))
        assert found.idf1 == 100 * identity["IDF1"]


WALK = walk()
SWAPPED = [(row[0], 3 - row[1], *row[2:]) if row[0] > 2 else row for row in WALK]


@pytest.mark.parametrize(
    ("predicted", "mota", "idf1", "counts"),
    [
        (WALK, 1.0, 1.0, (0, 0, 0)),
        (SWAPPED, 6 / 8, 0.5, (2, 0, 0)),  # a swap: both change once
        (WALK[:-1], 7 / 8, 14 / 15, (0, 1, 0)),  # a miss
        ([*WALK, box(2, 9, 900)], 7 / 8, 16 / 17, (0, 0, 1)),  # a false positive
        ([row for row in WALK if row[0] != 2], 6 / 8, 12 / 14, (0, 2, 0)),  # an empty frame
        ([*WALK, box(9, 1, 900)], 7 / 8, 16 / 17, (0, 0, 1)),  # a frame that the truth does not have
        ([(*row[:2], row[2] + 10, *row[3:]) for row in WALK], 1.0, 1.0, (0, 0, 0)),  # an overlap of 20 in 40: a half
    ],
)
def test_by_hand(predicted: list[Row], mota: float, idf1: float, counts: tuple[int, int, int], tmp_path: Path) -> None:
    found = score_mot(*files(tmp_path, {"A": WALK}, {"A": predicted})).metrics["A"]
    assert (found["mota"], found["idf1"]) == pytest.approx((mota, idf1))
    assert (found["num_switches"], found["num_misses"], found["num_false_positives"]) == counts


def test_nobody_is_predicted(tmp_path: Path) -> None:
    scores = score_mot(*files(tmp_path, {"A": WALK}, {"A": []}))
    assert scores.metrics["A"]["mota"] == 0
    assert scores.metrics["A"]["num_misses"] == 8
    assert scores.identities["A"].hota == 0
    assert scores.notes == (f"{tmp_path / 'dt' / 'A.txt'} has nobody in any frame",)


def test_predictions_without_truth_are_said(tmp_path: Path) -> None:
    scores = score_mot(*files(tmp_path, {"A": WALK}, {"A": WALK, "B": WALK, "C": WALK}))
    assert scores.notes == (f"{tmp_path / 'dt' / 'B.txt'} has no truth, nor have 1 more, so it is not scored",)


def test_hidden_files_are_no_sequences(tmp_path: Path) -> None:
    gt, dt = files(tmp_path, {"A": WALK}, {"A": WALK})
    for hidden in (gt / "._A.txt", gt / ".trash" / "gt" / "gt.txt", dt / "._A.txt"):
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_bytes(b"\0\5\26\7Mac OS X")
    scores = score_mot(gt, dt)
    assert list(scores.metrics) == ["A", OVERALL]
    assert scores.notes == ()


def test_no_sequence_takes_the_place_of_all(tmp_path: Path) -> None:
    gt, dt = files(tmp_path, {"A": WALK, OVERALL: WALK}, {"A": WALK[:-1], OVERALL: WALK})
    for pair in ((gt, dt), (gt / "OVERALL.txt", dt / "A.txt")):
        with pytest.raises(EvaluationError, match=r"OVERALL\.txt: no sequence can be called OVERALL"):
            score_mot(*pair)


@pytest.mark.parametrize("confidence", [0, 0.5])
def test_only_rows_with_a_one_are_scored(confidence: float, tmp_path: Path) -> None:
    truth = [*WALK, *(box(t, 3, 500, confidence=confidence) for t in range(1, 5))]
    assert score_mot(*files(tmp_path, {"A": truth}, {"A": WALK})).metrics["A"]["mota"] == 1


def test_the_layout_of_motchallenge(tmp_path: Path) -> None:
    _, dt = files(tmp_path, {}, {"A": WALK})
    truth = tmp_path / "train" / "A" / "gt" / "gt.txt"
    truth.parent.mkdir(parents=True)
    truth.write_text(lines(WALK))
    assert score_mot(tmp_path / "train", dt).metrics["A"]["mota"] == 1
    assert score_mot(truth, dt / "A.txt").metrics["gt"]["mota"] == 1


def test_two_truths_of_a_sequence_are_refused(tmp_path: Path) -> None:
    gt, dt = files(tmp_path, {"A": WALK}, {"A": WALK})
    (gt / "A" / "gt").mkdir(parents=True)
    (gt / "A" / "gt" / "gt.txt").write_text(lines(SWAPPED))
    with pytest.raises(EvaluationError, match=r"the sequence A has two truths, .*A\.txt and .*A/gt/gt\.txt"):
        score_mot(gt, dt)
    (gt / "A.TXT").write_text(lines(SWAPPED))
    with pytest.raises(EvaluationError, match=r"the sequence A has two truths, .*A\.TXT and .*A\.txt"):
        score_mot(gt, dt)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,1,5,5,10,10,1\n2,1,5,5\n", "line 2 has 4 values"),
        ("1,1,5,5,ten,10,1\n", "line 1: could not convert"),
        ("1,1,5,5,10,10,1\n3,4,nan,5,10,10,1\n", "frame 3: a value is NaN"),
        ("0,4,5,5,10,10,1\n", "frame 0, id 4: .* frames are counted from 1"),
        ("2,1.5,5,5,10,10,1\n", "frame 2, id 1.5: both must be whole numbers"),
        ("1,1,5,,10,10,1,1,1\n", "line 1: could not convert string to float: ''"),
        ("2,4,5,5,10,-10,1\n", "frame 2, id 4: width or height is below 0"),
        ("2,4,5,5,-10,10,1\n", "frame 2, id 4: width or height is below 0"),
        ("2,9007199254740993,5,5,10,10,1\n", r"frame 2, id 9007199254740992: numbers from 2\^53 on are not exact"),
        ("2,4,5,5,1e200,1e200,1\n", r"frame 2, id 4: numbers from 2\^53 on"),  # of areas without end there is no IoU
        ("2,4,5,5,10,10,1\n2,4,50,5,10,10,1\n", "frame 2: id 4 is given to 2 boxes"),
        # another id is given to more boxes
        ("2,4,5,5,10,10,1\n" * 2 + "2,9,5,5,10,10,1\n" * 3, "frame 2: id 4 is given to 2 boxes"),
        # all digits are told
        ("1234567,9007199254740991,5,5,-1,10,1\n", "frame 1234567, id 9007199254740991: width or height is below 0"),
    ],
)
def test_faulty_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(EvaluationError, match=rf"a\.txt: {said}"):
        read_mot(tmp_path / "a.txt")


def test_a_compressed_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"1,1,5,5,10,10,1\n"))
    with pytest.raises(EvaluationError, match=r"a\.txt cannot be read: it is compressed with gzip; unpack it first"):
        read_mot(tmp_path / "a.txt")


def test_spaces_separate_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3 4 5 6 1 1 1\n\n")
    assert read_mot(tmp_path / "a.txt").tolist() == [[1, 2, 3, 4, 5, 6, 1]]


def test_a_byte_order_mark_is_no_part_of_a_number(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1,2,3,4,5,6,1\n", encoding="utf-8-sig")
    assert read_mot(tmp_path / "a.txt").tolist() == [[1, 2, 3, 4, 5, 6, 1]]


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    gt, dt = files(tmp_path, {"A": WALK, "B": WALK, "C": [box(1, 1, 1, confidence=0)]}, {"A": WALK})
    with pytest.raises(EvaluationError, match=r"no prediction for B\.txt, C\.txt; each sequence of the truth needs"):
        score_mot(gt, dt)
    with pytest.raises(EvaluationError, match=r"C\.txt has no box to be scored"):
        score_mot(gt / "C.txt", dt / "A.txt")
    with pytest.raises(EvaluationError, match="is not a folder"):
        score_mot(gt, tmp_path / "nowhere")
    with pytest.raises(EvaluationError, match=r"neither NAME\.txt nor"):
        score_mot(tmp_path, dt)
