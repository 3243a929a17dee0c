from __future__ import annotations

import json
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
    ("arguments", "says"),
    [
        (["--only", "spline"], "unknown section spline; there are machine, agreement"),
        (["--device", "cuda:77"], "not here"),
    ],
)
def test_what_there_is_not(arguments: list[str], says: str) -> None:
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 2
    assert says in ran.output
