"""`posewire models`: listing, fetching, checking, converting, exporting; and servers without their weights."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire_models.manifest import find_bundle
from posewire_models.published.catalogue import published_file
from posewire_models.published.store import Store
from posewire_server.config import ServerConfig
from posewire_server.inference.networks import load_networks
from tests.models.published import published_names as names
from tests.models.published.web import Web, running_web

FLOW = published_file("mmflow-flownets")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSEWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def flow_checkpoint() -> bytes:
    buffer = io.BytesIO()
    state = names.filled(names.mmflow_flownets(), dtype=torch.float16)
    torch.save({"meta": {"epoch": np.int64(1)}, "state_dict": state}, buffer)
    return buffer.getvalue()


@pytest.fixture
def mirror(flow_checkpoint: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A mirror that only has MMFlow's file, which is published without a digest."""
    with running_web() as web:
        web.files[FLOW.address.removeprefix("https:/")] = flow_checkpoint
        monkeypatch.setenv("POSEWIRE_MIRROR", web.address(""))
        yield web


def run(*arguments: str) -> Any:
    return CliRunner(env={"TERM": "dumb"}).invoke(app, ["models", *arguments])


def row(name: str) -> str:
    """The line of `models list` that begins with `name`."""
    result = run("list")
    assert result.exit_code == 0
    (line,) = (line for line in result.stdout.splitlines() if line.split()[:1] == [name])
    return line


def test_pulled_weights_are_listed_verified_and_not_pulled_twice(mirror: Web) -> None:
    assert " no " in row("mmflow-flownets")
    assert "nothing is stored in " in run("verify").stderr
    result = run("pull", "mmflow-flownets")
    assert result.exit_code == 0, result.stderr
    assert "mmflow-flownets: " in result.stderr
    assert "published without a digest to check it by; the downloaded file has the SHA-256" in result.stderr
    assert " yes " in row("mmflow-flownets")
    assert "to fetch: 311 MB" in row("paper-r50")  # pose and detector; its flow is stored
    result = run("verify")
    assert (result.exit_code, result.stderr) == (0, f"mmflow-flownets: whole, from {mirror.address('')}{_path()}\n")
    result = run("pull", "--quiet", "mmflow-flownets")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert len(mirror.requests) == 1


def _path() -> str:
    return FLOW.address.removeprefix("https:/")


def test_damaged_weights_are_found(mirror: Web) -> None:
    run("pull", "mmflow-flownets", "--quiet")
    store = Store()
    record = store.find("mmflow-flownets")
    assert record is not None
    store.path(record).write_bytes(b"damaged")
    result = run("verify", "mmflow-flownets")
    assert result.exit_code == 1
    assert "mmflow-flownets: DAMAGED: SHA-256 is " in result.stderr
    assert "posewire models pull mmflow-flownets" in result.stderr


def test_a_bundle_is_verified_with_its_own_weights(tmp_path: Path) -> None:
    result = run("verify", "nano")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines == [f"nano: {stage}.safetensors: whole" for stage in ("detector", "flow", "pose")]
    shutil.copytree(find_bundle("nano"), tmp_path / "mine")
    with (tmp_path / "mine" / "flow.safetensors").open("ab") as weights:
        weights.write(b"x")
    result = run("verify", str(tmp_path / "mine"))
    assert result.exit_code == 1
    damaged, whole = str(tmp_path / "mine"), "nano: detector.safetensors: whole"
    assert re.search(r"flow.safetensors: DAMAGED: SHA-256 is \w+..., should be ", result.stderr)
    assert "1 damaged; take flow.safetensors from where" in result.stderr
    assert whole in run("verify", damaged, "nano", "nano").stderr  # the others are verified, too
    assert run("verify", "nano", "nano").stderr.count("flow") == 1


@pytest.mark.parametrize("stage", ["near_flow", "cpu_detector"])
def test_what_runs_on_a_cpu_alone_is_verified_too(stage: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(find_bundle("nano"), folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    flow = manifest["flow"]
    manifest[stage] = flow | {"weights": flow["weights"] | {"file": "another.safetensors"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "another.safetensors").write_bytes(b"damaged")
    result = run("verify", str(folder))
    assert result.exit_code == 1
    assert "another.safetensors: DAMAGED: SHA-256 is" in result.stderr


def test_weights_that_are_gone_are_found(mirror: Web) -> None:
    run("pull", "mmflow-flownets", "--quiet")
    store = Store()
    record = store.find("mmflow-flownets")
    assert record is not None
    store.path(record).unlink()
    for names_given in ((), ("mmflow-flownets",)):
        result = run("verify", *names_given)
        assert result.exit_code == 1
        assert "mmflow-flownets: DAMAGED: cannot be read: No such file or directory" in result.stderr
        assert "posewire models pull mmflow-flownets" in result.stderr
    assert run("pull", "mmflow-flownets", "--quiet").exit_code == 0
    assert run("verify", "mmflow-flownets").exit_code == 0


@pytest.mark.parametrize("content", ["{", '{"sha256": "abc"}'], ids=["cut short", "digest"])
def test_a_damaged_record_hides_no_other(content: str, mirror: Web) -> None:
    run("pull", "mmflow-flownets", "--quiet")
    weights = Store().weights
    record = json.loads((weights / "mmflow-flownets.json").read_text())
    damaged = content if content == "{" else json.dumps(record | json.loads(content))
    (weights / "torchvision-ssdlite320.json").write_text(damaged)
    assert "damaged: see verify" in row("torchvision-ssdlite320")
    assert " yes " in row("mmflow-flownets")
    assert row("nano")
    result = run("verify")
    assert result.exit_code == 1
    assert "torchvision-ssdlite320: DAMAGED: " in result.stderr
    assert "mmflow-flownets: whole" in result.stderr
    assert "1 damaged" in result.stderr


@pytest.mark.parametrize("command", [("pull",), ("export", "--onnx", "out")])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"version": ' + "9" * 5000 + "}"], ids=["deep", "long number"])
def test_a_manifest_that_makes_no_sense_is_told(
    command: tuple[str, ...], content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    result = run(command[0], str(tmp_path), *command[1:])
    assert result.exit_code == 1
    assert "manifest.json is no valid JSON: " in result.stderr
    assert result.stderr.count("\n") == 1


def test_each_file_that_a_bundle_lacks_is_tried_and_what_to_do_about_it_told(mirror: Web) -> None:
    mirror.files.clear()
    result = run("pull", "paper-r50")
    assert result.exit_code == 1
    files = [published_file(name) for name in ("torchvision-fasterrcnn-r50-v2", FLOW.name, "mmpose-r50-256x192")]
    for file, line in zip(files, result.stderr.splitlines(), strict=True):
        assert "the server refuses http" in line
        assert f"By hand: get {file.file}" in line
    result = run("pull", "nano")
    assert (result.exit_code, result.stderr) == (0, "nano: comes with posewire, nothing to fetch\n")
    result = run("pull", "nano", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")


def test_accuracy_and_licence_are_listed() -> None:
    line = row("mmpose-r152-384x288")
    assert "Apache-2.0" in line
    assert "keypoint AP 0.750" in line
    assert "come with posewire" in row("nano")
    assert "no: convert yours" in row("nvidia-flownet2-s")


def test_a_file_of_one_s_own_is_converted(flow_checkpoint: bytes, tmp_path: Path) -> None:
    path, out = tmp_path / "some.pth", tmp_path / "flow.safetensors"
    path.write_bytes(flow_checkpoint)
    result = run("convert", str(path), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert "the network of mmflow-flownets; SHA-256 for a manifest: " in result.stderr
    assert out.stat().st_size > 70_000_000
    result = run("convert", str(path))
    assert result.exit_code == 0
    assert Store().find("mmflow-flownets") is not None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("pull", "paper-r18"), 1, "unknown model 'paper-r18'; known bundles: nano, paper-r101"),
        (
            ("pull", "nvidia-flownet2-s"),
            1,
            "cannot be fetched by a program. By hand: get FlowNet2-S_checkpoint.pth.tar",
        ),
        (("verify", "mmflow-flownets"), 1, "is not here; fetch it: posewire models pull mmflow-flownets"),
        (("verify", "raft"), 1, "unknown model 'raft'; known bundles: nano, "),
        (
            ("verify", "paper-r50"),
            1,
            "paper-r50: its detector is not here; fetch it: posewire models pull paper-r50",
        ),
        (("convert", "absent.pth"), 1, "absent.pth cannot be read: No such file"),
        (("convert", "absent.pth", "--out", "w.pth"), 2, "must end in .safetensors"),
        (("export", "paper-r50", "--onnx", "out"), 1, "posewire models pull paper-r50"),
        (("export", "nowhere", "--onnx", "out"), 1, "unknown bundle 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    arguments: tuple[str, ...], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == status
    assert result.stderr.startswith("posewire: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_crafted_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00touch\x85R.")
    result = run("convert", str(tmp_path / "w.pth"))
    assert result.exit_code == 1
    assert "it wants to use posix.system, which tensors do not need; nothing was run" in result.stderr


def test_a_server_without_its_weights_says_which_command_fetches_them() -> None:
    # `posewire serve` prints this: it turns a ValueError at the start into one line.
    with pytest.raises(
        ValueError, match=r"bundle 'paper-r50' needs published weights .* posewire models pull paper-r50$"
    ):
        load_networks(ServerConfig(bundle="paper-r50"))
