"""Imports go in one direction. Checked in fresh interpreters, since this one has already imported everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "onnxruntime")


@pytest.mark.parametrize(
    ("imported", "forbidden"),
    [
        # the thin client runs where the extra is not installed
        ("posewire", (*HEAVY, "posewire_models", "posewire_server")),
        ("posewire.cli", (*HEAVY, "posewire_models", "posewire_server")),
        # joint sets are cheap to import
        ("posewire.joints", (*HEAVY, "grpc", "av", "cv2")),
        # the paper's algorithm is numpy only
        (
            "posewire_server.tracking",
            (*HEAVY, "grpc", "cv2", "av", "google.protobuf", "posewire_models", "posewire.v1"),
        ),
        # the networks do not depend on the service
        ("posewire_models", ("grpc", "posewire.v1", "posewire_server")),
    ],
)
def test_nothing_forbidden_is_imported(imported: str, forbidden: tuple[str, ...]) -> None:
    (loaded,) = _loaded_by(imported)
    assert imported in loaded
    assert not loaded & set(forbidden)


def test_nor_by_the_two_that_need_torch() -> None:
    """In one interpreter, which imports torch once; what the first has loaded counts for the second as well."""
    with_bundles, with_server = _loaded_by("posewire_models.bundle", "posewire_server.process")
    assert "posewire_models.bundle" in with_bundles
    assert not with_bundles & {"grpc", "posewire.v1", "posewire_server", "posewire_evaluation"}
    # nor does the service depend on what measures it
    assert "posewire_server.process" in with_server
    assert not with_server & {"posewire_evaluation", "posewire.cli", "typer"}


def _loaded_by(*imported: str) -> list[set[str]]:
    """The modules that are there after each import, in one interpreter."""
    script = "import sys\n" + "".join(f"import {name}; print(*sys.modules)\n" for name in imported)
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in run.stdout.splitlines()]


def test_the_public_names_of_the_sdk_need_no_extra_either() -> None:
    script = "import sys, posewire; [getattr(posewire, name) for name in posewire.__all__]; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {*HEAVY, "posewire_models", "posewire_server"}


def test_onnx_runtime_neither_reports_anything_nor_keeps_an_identifier(tmp_path: Path) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    script = "import posewire_models, onnxruntime"
    subprocess.run([sys.executable, "-c", script], env=surroundings | homes, check=True)
    assert list(tmp_path.iterdir()) == []
