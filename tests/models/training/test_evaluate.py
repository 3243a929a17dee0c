from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from posewire.joints import COCO17
from posewire_models.frames import Detections, Frame
from posewire_models.training import evaluate
from posewire_models.training.config import ConfigError
from posewire_models.training.detector_task import DetectorTrainConfig
from posewire_models.training.evaluate import best_threshold, detector_figures, flow_figures, main, pose_figures
from posewire_models.training.flow_scenes import HELD_OUT_SEEDS, FlowScenes, render_pairs
from posewire_models.training.pose_task import PoseTrainConfig
from posewire_models.training.readers import read_coco
from posewire_models.training.sources import SourceConfig, held_out_pictures
from tests.models.small_networks import write_small_bundle
from tests.models.training.figures import write_coco

Floats = npt.NDArray[np.float32]


class Oracle:
    """Stages that know the labels, and miss them by `error_px`."""

    def __init__(self, root: Path, error_px: float) -> None:
        pictures = read_coco(root / "labels.json", root / "images", COCO17, held_out_every=2, held_out=True)
        self._people = iter([picture.people for picture in pictures])  # each picture is asked for once
        self._error = error_px

    def pose(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        assert len(frames) == len(boxes) == 1
        joints = np.stack([person.joints for person in next(self._people)])
        return [joints + np.array([self._error, 0, 0], np.float32)]

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        boxes = np.stack([person.box for person in next(self._people)]) + np.float32(self._error)
        # and somebody who is not there, of whom the detector is less sure
        boxes = np.concatenate([boxes, [[0, 0, 20, 20]]]).astype(np.float32)
        return [Detections(boxes, np.array([0.7, 0.3], np.float32))]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path / "data", 12)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_small_bundle(tmp_path_factory.mktemp("bundle")))


SOURCES = [SourceConfig(format="coco", images=Path("images"), labels=Path("labels.json"), held_out_every=2)]


@pytest.mark.parametrize(
    ("error_px", "ap", "pck"),
    [
        (0.0, 1.0, 1.0),  # perfect
        (60.0, 0.0, 0.0),  # joints on somebody else
    ],
)
def test_pose_figures(root: Path, error_px: float, ap: float, pck: float) -> None:
    figures = pose_figures(Oracle(root, error_px).pose, COCO17, SOURCES, root)
    assert figures["coco keypoint ap"] == pytest.approx(ap)
    assert figures["coco pck"] == pytest.approx(pck)


def test_detector_figures(root: Path) -> None:
    figures = detector_figures(Oracle(root, 0.0).detect, SOURCES, root)
    assert (figures["pictures"], figures["people"]) == (6, 6)
    assert figures["ap50"] == pytest.approx(1)
    assert figures["at threshold"] == pytest.approx(0.7)
    assert detector_figures(Oracle(root, 60.0).detect, SOURCES, root)["ap50"] == 0


def test_what_is_only_trained_on_need_not_be_there(root: Path) -> None:
    absent = [
        SourceConfig(format="teacher", images=Path("absent"), labels=Path("absent.jsonl"), held_out_every=2),
        SourceConfig(format="posetrack", images=Path("absent"), labels=Path("absent")),
        SourceConfig(format="scenes", images=Path("absent")),
    ]
    assert list(held_out_pictures([*SOURCES, *absent], [], root, COCO17)) == ["coco"]


def test_what_is_held_out_as_a_whole_is_measured_too(root: Path) -> None:
    labels = SourceConfig(format="coco", images=Path("images"), labels=Path("labels.json"), held_out_every=2)
    whole = held_out_pictures([labels], [labels], root, COCO17)
    assert {name: len(pictures) for name, pictures in whole.items()} == {"coco": 6, "coco_2": 12}


@pytest.mark.parametrize("figures", [pose_figures, detector_figures])
def test_measuring_nothing_is_an_error(root: Path, figures: Callable[..., dict[str, float]]) -> None:
    split = SourceConfig(format="coco", images=Path("images"), labels=Path("labels.json"))  # all is trained on
    stage = [Oracle(root, 0.0).pose, COCO17] if figures is pose_figures else [Oracle(root, 0.0).detect]
    with pytest.raises(ValueError, match=r"give one held_out_every .* \[\[held_out\]\] entry"):
        figures(*stage, [split], root)


@pytest.mark.parametrize(("flag", "row"), [("--pose-config", 0), ("--detector-config", 2)])
def test_packaged_configs_are_found_by_name(
    root: Path, bundle: str, flag: str, row: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[dict[str, Any]] = []

    def figures(*stage: object, **held_out: Any) -> dict[str, float]:
        measured.append(held_out)
        return {"any": 1.0}

    for name in ("pose_figures", "detector_figures", "flow_figures"):
        monkeypatch.setattr(evaluate, name, figures)
    monkeypatch.setattr(evaluate, "render_pairs", lambda *size, **settings: None)
    main([bundle, "--data-root", str(root), "--device", "cpu", "--flow", "none", flag, "paper-coco"])
    assert '"any": 1.0' in capsys.readouterr().out
    assert [source.images for source in measured[row]["whole"]] == [Path("coco/val2017")]


CONFIG = """
[loop]
out = "run"
schedule = { batch_size = 1, lr = 1e-3, samples = 1 }
[[sources]]
format = "coco"
images = "train"
labels = "labels.json"
held_out_every = 5
[[held_out]]
format = "coco"
images = "val"
labels = "labels.json"
"""


@pytest.mark.parametrize("kind", [PoseTrainConfig, DetectorTrainConfig])
def test_what_is_held_out_is_what_training_measures_on(
    kind: type[PoseTrainConfig] | type[DetectorTrainConfig], tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text(CONFIG)
    held_out = evaluate._held_out(tmp_path / "a.toml", kind, tmp_path)
    assert [(source.images, source.held_out_every) for source in held_out["sources"]] == [(Path("train"), 5)]
    assert [source.images for source in held_out["whole"]] == [Path("val")]
    (tmp_path / "a.toml").write_text(CONFIG.replace("[[sources]]", "[[sorces]]"))
    with pytest.raises(ConfigError, match=r"a\.toml: unknown setting 'sorces'"):
        evaluate._held_out(tmp_path / "a.toml", kind, tmp_path)


@pytest.mark.parametrize(
    ("missed_px", "epe"),
    [
        ((0.0, 0.0), 0.0),  # perfect
        ((3.0, -4.0), 5.0),  # each joint is missed by the same vector
    ],
)
def test_flow_figures(missed_px: tuple[float, float], epe: float) -> None:
    scenes = render_pairs((96, 128), scenes=2, pairs_a_scene=2, first_seed=HELD_OUT_SEEDS, workers=1)

    class Truth:
        rows = iter(range(4))

        def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[KnownFlow]:
            return [KnownFlow(scenes, next(self.rows), missed_px) for _ in pairs]

    figures = flow_figures(Truth(), scenes)  # type: ignore[arg-type]
    assert figures["joint epe px"] == pytest.approx(epe, abs=1e-4)
    assert 0 < figures["joint epe px of dis medium"] < 3 * figures["joint displacement px"]


class KnownFlow:
    """The true displacements of the joints, all missed by one vector."""

    def __init__(self, scenes: FlowScenes, row: int, missed_px: tuple[float, float]) -> None:
        self._scenes, self._row, self._missed = scenes, row, np.array(missed_px, np.float32)

    def at(self, points: Floats) -> Floats:
        known = self._scenes.joints[self._row].isfinite().all(dim=1)
        assert np.array_equal(points, self._scenes.joints[self._row][known])
        return np.asarray(self._scenes.joint_flow[self._row][known].numpy() + self._missed, np.float32)


def test_the_best_threshold_leaves_false_alarms_out() -> None:
    known = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    found = np.array(
        [[0, 0, 10, 10, 0.9], [20, 0, 30, 10, 0.6], [50, 0, 60, 10, 0.5], [70, 0, 80, 10, 0.4]], np.float32
    )
    assert best_threshold([found], [(known, known[:0])]) == (pytest.approx(0.6), 1.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "nope"),  # no labels there
        ("nosuch", "nosuch"),
    ],
)
def test_faults_of_the_input_are_one_line(
    bundle: str, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name or bundle, "--data-root", "nope", "--device", "cpu", "--flow", "none"])
    assert ended.value.code == 1
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("posewire: ")
    assert said in errors
    assert errors.count("\n") == 1
