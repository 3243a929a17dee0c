from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from posewire.array_types import Float32s
from posewire_benchmark.gpu_check import agreement as comparison
from posewire_benchmark.gpu_check import sections
from posewire_benchmark.gpu_check.__main__ import app
from posewire_benchmark.gpu_check.agreement import Agreement, disagreements
from posewire_benchmark.gpu_check.sections import SECTIONS, Bench, run_sections
from posewire_models import crops, resizing
from posewire_models.bundle import LoadedBundle, load_bundle


def test_a_section_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(bench: Bench, say: object) -> dict[str, object]:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(sections.SECTIONS, "jpeg", fails)
    said: list[str] = []
    report = run_sections(Bench(torch.device("cpu")), ["jpeg", "machine"], said.append)
    assert report["jpeg"]["error"] == "RuntimeError: no such kernel"
    assert report["machine"]["torch"] == torch.__version__
    assert "FAILED: RuntimeError: no such kernel" in said


def _pixels(*values: float, count: int = 100) -> Float32s:
    """As many of each, in equal shares."""
    return np.repeat(np.array(values, np.float32), count // max(1, len(values)))


WELL = Agreement(joints=_pixels(0.05), boxes=_pixels(0.05), people=20, lost=1)


@pytest.mark.parametrize(
    ("precision", "moved"),
    [
        ("float32", WELL),
        # a joint of two hundred that jumps from one peak to another
        ("float16", WELL._replace(joints=np.append(_pixels(0.3, count=199), 40).astype(np.float32))),
        ("bfloat16", WELL._replace(joints=_pixels(6.6), boxes=_pixels(1.2))),
        # of five people, one at the threshold
        ("float16", WELL._replace(people=5, lost=1)),
    ],
)
def test_results_that_agree(precision: str, moved: Agreement) -> None:
    assert not disagreements(moved, precision)


@pytest.mark.parametrize(
    ("precision", "moved", "says"),
    [
        ("float32", WELL._replace(joints=_pixels(0.6)), "95 % of the joints stay within 0.60 px only, not within 0.1"),
        # one of ten
        ("float16", WELL._replace(joints=_pixels(*[0.1] * 9, 40)), "95 % of the joints stay within 40.00 px only"),
        ("bfloat16", WELL._replace(joints=_pixels(*[1] * 9, 431)), "95 % of the joints stay within 431.00 px only"),
        # computed, but no numbers
        ("float16", WELL._replace(joints=_pixels(float("nan"))), "joints stay within nan px only"),
        ("float16", WELL._replace(boxes=_pixels(300)), "50 % of the boxes stay within 300.00 px only, not within 0.5"),
        ("bfloat16", WELL._replace(people=10, lost=9), "9 of 10 people are lost"),
        # everybody, so that no box is left
        ("float32", WELL._replace(boxes=_pixels(), lost=20), "20 of 20 people are lost"),
        ("float32", Agreement(_pixels(), _pixels(), people=0, lost=0), "the CPU finds nobody to compare with"),
    ],
)
def test_results_that_do_not_agree(precision: str, moved: Agreement, says: str) -> None:
    (found,) = disagreements(moved, precision)
    assert says in found


class _CutAsOnAGpu:
    """A bundle on the CPU whose stages cut and resize frames in the way of a GPU."""

    def __init__(self, bundle: LoadedBundle) -> None:
        self._bundle = bundle

    def pose(self, *given: Any) -> Any:
        return self._in_that_way(self._bundle.pose, *given)

    def detector(self, *given: Any) -> Any:
        return self._in_that_way(self._bundle.detector, *given)

    def _in_that_way(self, stage: Any, *given: Any) -> Any:
        with pytest.MonkeyPatch.context() as patched:
            for module in (crops, resizing):
                patched.setattr(module, "is_on_cpu", lambda _: False)
            return stage(*given)


@pytest.fixture(scope="module")
def exact() -> LoadedBundle:
    return load_bundle("nano", device="cpu", flow="none", runtime="torch", precision="float32")


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_bounds_leave_room_for_a_gpus_way_of_cutting_frames(precision: str, exact: LoadedBundle) -> None:
    other = exact
    if precision != "float32":
        other = load_bundle("nano", device="cpu", flow="none", runtime="torch", precision=precision)
    moved = comparison.agreement(exact, _CutAsOnAGpu(other), comparison.drawn_people(4))  # type: ignore[arg-type]
    assert disagreements(moved, precision) == []
    assert moved.joints.max() > 0  # it is another way


def test_wrong_results_fail_their_section_and_keep_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(exact: str, other: str, shown: object) -> Agreement:
        changes = {"float16": {"boxes": _pixels(), "lost": 20}, "bfloat16": {"joints": _pixels(float("nan"))}}
        return WELL._replace(**changes.get(other, {}))

    monkeypatch.setattr(comparison, "load_bundle", lambda *_, precision, **__: precision)
    monkeypatch.setattr(comparison, "agreement", compared)
    said: list[str] = []
    report = run_sections(Bench(torch.device("cpu")), ["agreement"], said.append)["agreement"]
    assert report["error"].startswith("torch float16: 20 of 20 people are lost; torch bfloat16: 95 % of the joints")
    assert f"FAILED: {report['error']}" in said
    assert report["torch float16"] == {"joints": [0.05] * 4, "boxes": [], "people": 20, "lost": 20}
    assert report["torch bfloat16"] == {"joints": [None] * 4, "boxes": [0.05] * 2, "people": 20, "lost": 1}


def test_it_runs_on_a_cpu_in_a_small_way(tmp_path: Path) -> None:
    """Everything but what takes long there; the rest of the sections say that they need a GPU."""
    names = [name for name in SECTIONS if name not in ("streams", "jpeg")]
    arguments = [part for name in names for part in ("--only", name)]
    ran = CliRunner().invoke(app, ["--device", "cpu", "--json", str(tmp_path / "r.json"), *arguments])
    assert ran.exit_code == 0, ran.output
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert list(report) == names
    assert report["agreement"]["torch float32"]["lost"] == 0
    assert {point["batch"] for point in report["networks"]["points"]} == {1, 2}


def test_it_needs_no_pyav(tmp_path: Path) -> None:
    """Which may be missing where a GPU is."""
    script = (
        "import sys; sys.modules['av'] = None\n"
        "from posewire_benchmark.gpu_check.__main__ import app\n"
        "import posewire_benchmark.gpu_check.agreement, posewire_benchmark.gpu_check.stream_speed\n"
        "app(sys.argv[1:])"
    )
    arguments = ["--device", "cpu", "--only", "machine", "--json", str(tmp_path / "r.json")]
    ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "torch" in json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["machine"]


@pytest.mark.parametrize(
    ("seen", "given_on"),
    [
        ({}, "1"),  # all are seen
        ({"CUDA_VISIBLE_DEVICES": "3,GPU-5f"}, "GPU-5f"),  # numbers count within what is seen
    ],
)
def test_tests_run_on_the_gpu_that_was_asked_for(
    seen: dict[str, str], given_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in seen.items():
        monkeypatch.setenv(name, value)
    environments: list[dict[str, str]] = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        environments.append(env)
        return subprocess.CompletedProcess(command, 0, stdout="3 passed", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    assert SECTIONS["tests"](Bench(torch.device("cuda", 1)), print) == {"summary": "3 passed"}
    assert environments[0]["CUDA_VISIBLE_DEVICES"] == given_on


def test_tests_that_hang_say_how_far_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 240, b"test_a PASSED\ntest_b ", b"Thread 0x1:\n  in replay")

    monkeypatch.setattr(subprocess, "run", run)
    said: list[str] = []
    with pytest.raises(RuntimeError, match="have not ended after 240 s"):
        SECTIONS["tests"](Bench(torch.device("cuda", 0)), said.append)
    assert said == ["test_a PASSED", "test_b ", "Thread 0x1:", "  in replay"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--only", "spline"], 2, "unknown section spline; there are machine, agreement"),
        (["--device", "cuda:77"], 2, "not here"),
        (["--device", "cpu", "--json", "/not/here/r.json"], 1, "the folder /not/here does not exist; make it first"),
        (["--device", "cpu", "--json", "/"], 1, "/ cannot be written: it is a folder"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(
    arguments: list[str], status: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "run_sections", lambda *_: pytest.fail("it runs"))
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == status
    assert says in ran.output
    assert ran.output.count("\n") == 1


@pytest.mark.parametrize("before", [None, '{"machine": {}}\n'])
def test_a_run_that_is_broken_off_leaves_the_report_as_it_was(
    before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen = tmp_path / "r.json", list[str | None]()
    if before is not None:
        file.write_text(before, encoding="utf-8")

    def breaks_off(*_: object) -> None:
        seen.append(file.read_text(encoding="utf-8") if file.exists() else None)  # what is left if it is killed
        raise KeyboardInterrupt

    monkeypatch.setattr(sections, "run_sections", breaks_off)
    ran = CliRunner().invoke(app, ["--device", "cpu", "--json", str(file)])
    assert ran.exit_code == 130
    assert seen == [before]
    assert (file.read_text(encoding="utf-8") if file.exists() else None) == before
