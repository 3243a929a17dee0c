"""What the metrics need, asked in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import pytest

NETWORKS_AND_SERVICE = {"torch", "torchvision", "onnxruntime", "grpc", "posewire_models", "posewire_server"}


@pytest.mark.parametrize("module", ["posetrack_folders", "identity", "coco", "mot", "tables"])
def test_metrics_need_neither_networks_nor_service(module: str) -> None:
    script = f"import sys, posewire_evaluation.{module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & NETWORKS_AND_SERVICE


def test_files_are_read_without_the_libraries_of_the_metrics() -> None:
    # `run-dataset` needs the base install alone.
    script = "import sys, posewire_evaluation.sequence_videos, posewire_evaluation.posetrack_files; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {"motmetrics", "pandas", "scipy", "trackeval", "pycocotools"}
