from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from posewire_server.gpu_check import sections
from posewire_server.gpu_check.__main__ import app
from posewire_server.gpu_check.sections import SECTIONS, Bench, run_sections


def test_a_section_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(bench: Bench, say: object) -> dict[str, object]:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(sections.SECTIONS, "jpeg", fails)
    said: list[str] = []
    report = run_sections(Bench(torch.device("cpu")), ["jpeg", "machine"], said.append)
    assert report["jpeg"]["error"] == "RuntimeError: no such kernel"
    assert report["machine"]["torch"] == torch.__version__
    assert "FAILED: RuntimeError: no such kernel" in said


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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "spline"], "unknown section spline; there are machine, agreement"),
        (["--device", "cuda:77"], "not here"),
        (["--device", "cpu", "--json", "/not/here/r.json"], "cannot write /not/here/r.json: No such file or directory"),
        (["--device", "cpu", "--json", "/"], "cannot write /: Is a directory"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "run_sections", lambda *_: pytest.fail("it runs"))
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 2
    assert says in ran.output
    assert ran.output.count("\n") == 1
