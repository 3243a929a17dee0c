from __future__ import annotations

import subprocess
import sys

import pytest

import posewire


def run_fresh(program: str) -> str:
    """Run a program in a fresh interpreter; what it prints."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_importing_costs_little() -> None:
    used = run_fresh("import time, posewire; print(time.process_time())")
    assert float(used) < 0.5


def test_the_sdk_never_needs_the_server_or_its_libraries() -> None:
    # Every public name is touched, so that every module of the SDK is loaded.
    program = """
import sys, posewire
for name in posewire.__all__:
    getattr(posewire, name)
heavy = {"torch", "torchvision", "onnxruntime", "onnx", "posewire_models", "posewire_server"}
print(sorted(heavy & {module.partition(".")[0] for module in sys.modules}))
"""
    assert run_fresh(program).strip() == "[]"


def test_importing_alone_loads_no_library() -> None:
    program = "import sys, posewire; print(sorted({'grpc', 'av', 'cv2', 'numpy', 'google'} & sys.modules.keys()))"
    assert run_fresh(program).strip() == "[]"


def test_every_public_name_is_there_and_listed() -> None:
    assert set(posewire.__all__) <= set(dir(posewire))
    for name in posewire.__all__:
        assert getattr(posewire, name) is not None


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"'Tracker'.*AsyncClient"):
        posewire.Tracker  # type: ignore[attr-defined]  # noqa: B018
