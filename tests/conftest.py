"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says nothing about whether it is right. The examples are the same in every run, so that a
# change is judged by itself; HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("posewire", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "posewire"))

# Processes that test side by side share the cores. With more threads than cores, those of a calculation wait for each
# other, and do so by spinning. Read by OpenMP (torch) and OpenCV when they are imported; OpenVINO does as torch.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    for _variable in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(_variable, str(_threads))

# As `posewire_models` does; some tests import ONNX Runtime before it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A shell that runs the tests in the background has them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_state_outside_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server keeps its resume key in the user's state directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures and clips beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real pictures and clips in ../shared/data, which are not distributed")
    return folder


@pytest.fixture
def no_cycle_collector() -> Iterator[None]:
    """What refers to itself stays: Python's cycle collector, which would find it some time, is off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def gpu() -> Iterator[object]:
    """A CUDA device, or its stand-in where there is none."""
    pytest.importorskip("torch", reason="needs torch")
    from tests.stand_in_gpu import gpu_or_stand_in

    with gpu_or_stand_in() as device:
        yield device


@pytest.fixture(scope="session")
def real_gpu() -> object:
    """A CUDA device, for what its stand-in cannot do; tests skip where there is none."""
    torch = pytest.importorskip("torch", reason="needs torch")
    # Not `is_available`, which is true while a stand-in is in use.
    if not torch.backends.cuda.is_built() or not torch._C._cuda_getDeviceCount():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", 0)
