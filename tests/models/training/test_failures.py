"""The programs of training, each given something that is not there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from posewire_models.training.failures import expected_failures

TEACHERS = "{there} --detector {absent} --poser {absent} --out {there}/out"


def exit_status(tool: str, flags: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a tool in this process."""
    monkeypatch.setattr(sys, "argv", [tool, *flags.split()])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"posewire_models.training.{tool}").main()
    return ended.value.code


@pytest.mark.parametrize(
    ("tool", "flags", "said"),
    [
        ("mean_weights", "{absent} --out {there}/out", "absent"),
        ("narrow_head", "{absent} 8 {there}/out", "absent"),
        ("pack", "split {absent} {there}/parts", "there are no files under"),
        ("pack", "join {absent} {there}/joined", "there is no part-*.tar in"),
        ("teachers", TEACHERS, "absent"),
        ("teachers", f"{TEACHERS} --boxes {{damaged}}", "damaged is not JSON"),
        ("teachers", TEACHERS.replace("--detector {absent}", "--detector {damaged}"), "damaged is not a model"),
        ("movenet_trunk", "{absent} {there}/out", "absent: No such file"),
        ("yolox_start", "{absent} {there}/out", "absent: No such file"),
        ("yolox_start", "{damaged} {there}/out", "damaged is no ONNX file"),
        ("second_opinion", "{absent} {there} --out {there}/out", "absent cannot be read"),
        ("evaluate", "nano --data-root {absent} --pose-config {absent}", "absent does not exist"),
    ],
)
def test_what_is_missing_is_told_in_one_line(
    tool: str,
    flags: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"<html>\n")
    status = exit_status(tool, flags.format(absent=tmp_path / "absent", damaged=damaged, there=tmp_path), monkeypatch)
    assert status == (2 if "config" in flags else 1)
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("posewire: ")
    assert said in errors
    assert errors.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["damaged"]


@pytest.mark.parametrize(
    ("tool", "flags", "said"),
    [
        ("pack", "split {there} {there}/parts --limit-mb inf", "--limit-mb inf must be a number above 0"),
        ("pack", "split {there} {there}/parts --limit-mb nan", "--limit-mb nan must be a number above 0"),
        ("teachers", f"{TEACHERS} --every 0", "--every 0 must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_told(
    tool: str,
    flags: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_status(tool, flags.format(absent=tmp_path / "absent", there=tmp_path), monkeypatch) == 2
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


def test_packages_of_single_tools_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), expected_failures():
        importlib.import_module("no_such_package")
    assert capsys.readouterr().err == "posewire: this needs the package no_such_package, which is not installed\n"


def test_faults_of_the_program_keep_their_traceback() -> None:
    with pytest.raises(TypeError), expected_failures():
        raise TypeError
