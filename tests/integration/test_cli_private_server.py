"""`track` with a private server: the real program, the real nano bundle, a detector in ONNX."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from posewire.synth import Scene, SceneConfig
from posewire.synth.export import write_scene


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SceneConfig.preset("easy", width=160, height=120, people=2, frames=5)
    return write_scene(Scene(config), tmp_path_factory.mktemp("scene")).frames


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A detector that finds one person in the middle of every picture."""
    found = {
        "boxes": np.array([[30, 10, 60, 110]], np.float32),
        "scores": np.array([0.9], np.float32),
        "labels": np.array([0], np.int64),
    }
    nodes, outputs = [], []
    for name, value in found.items():
        tensor = onnx.numpy_helper.from_array(value, name)
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        outputs.append(helper.make_tensor_value_info(name, tensor.data_type, value.shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 120, 160))
    graph = helper.make_graph(nodes, "constant", [image], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    path = tmp_path_factory.mktemp("detector") / "middle.onnx"
    onnx.save(model, path)
    return f"onnx:{path}"


def posewire(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "posewire", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_track_starts_a_server_of_its_own(clip: Path, detector: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    finished = posewire("track", str(clip), "--detector", detector, "--out", str(out))
    assert finished.returncode == 0, finished.stderr
    header, *frames = map(json.loads, out.read_text().splitlines())
    assert header["models"]["bundle"] == "nano"
    assert len(frames) == 5
    assert "5 frames tracked" in finished.stderr


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--bundle", "nosuch"], 1, "unknown bundle 'nosuch'"),
        (["--flow", "nosuch"], 2, "unknown flow estimator 'nosuch'"),
    ],
)
def test_what_the_private_server_says_is_shown(flags: list[str], status: int, said: str, clip: Path) -> None:
    finished = posewire("track", str(clip), *flags)
    assert finished.returncode == status
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr
