from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posewire_models.detectors.letterboxed import LetterboxedDetector
from posewire_models.frames import Frame
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.inference.networks import load_networks


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bundle": "colossal"}, "unknown bundle 'colossal'"),
        ({"device": "cpu", "runtime": "cuda-graphs"}, "use device cuda, or runtime auto"),
    ],
)
def test_what_does_not_exist(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_networks(ServerConfig(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory.\n Tried to allocate"),
        MemoryError(),
        RuntimeError("Exception from src/inference/src/cpp/core.cpp"),
    ],
)
def test_a_runtime_that_fails_is_no_fault_of_the_server(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("posewire_server.inference.networks.load_bundle", fail)
    why = " ".join(str(error).split()) or "MemoryError"
    with pytest.raises(ValueError, match=re.escape(f"the networks cannot be loaded ({why}); if memory is short")):
        load_networks(ServerConfig())


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libopenvino.so: cannot open"),
        RuntimeError("operator torchvision::nms does not exist"),  # beside a torch of another build
    ],
)
def test_a_library_that_cannot_be_imported(error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is imported when the first network needs it."""
    (tmp_path / "broken_library.py").write_text(f"raise {error!r}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        "posewire_server.inference.networks.load_bundle", lambda *_, **__: importlib.import_module("broken_library")
    )
    with pytest.raises(ValueError, match=re.escape(f"the networks cannot be loaded ({error}); install the library")):
        load_networks(ServerConfig())


def test_the_default_bundle() -> None:
    networks = load_networks(ServerConfig(device="cpu", detector="none"))
    assert networks.detector is None
    assert networks.names.bundle == "nano"
    assert networks.names.detector == ""
    assert networks.names.flow == "dis+flownet_s"
    assert networks.device.startswith("cpu (")
    assert networks.device.endswith(", float32)")
    assert networks.torch_device.type == "cpu"
    frame = Frame(np.zeros((48, 64, 3), np.uint8))
    (joints,) = networks.pose([frame], [np.array([[10, 10, 30, 40]], np.float32)])
    assert joints.shape == (1, len(networks.joint_set), 3)


def test_the_detector_finds_as_many_people_as_the_limits_allow() -> None:
    networks = load_networks(
        ServerConfig(device="cpu", flow="none", runtime="torch", limits=LimitsConfig(max_people=300))
    )
    assert isinstance(networks.detector, LetterboxedDetector)
    assert networks.detector._settings.max_people == 300


@pytest.mark.parametrize(("detector", "name"), [("auto", "yolox for CPUs"), ("bundle", "yolox")])
def test_the_detector_for_cpus_has_a_name_of_its_own(detector: str, name: str) -> None:
    """A stream that was recorded with the other one finds other people."""
    config = ServerConfig(device="cpu", detector=detector, flow="none", runtime="torch")
    assert load_networks(config).names.detector == name


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("asked", "usable", "threads"), [(0, 1, 1), (0, 9, 2), (3, 1, 3)])
def test_threads_are_no_more_than_usable_cores_unless_asked_for(
    asked: int, usable: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posewire_server.inference.networks.usable_cores", lambda: usable)
    load_networks(ServerConfig(device="cpu", runtime="torch", detector="none", flow="none", threads=asked))
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (threads, threads)


def test_the_flow_network_alone() -> None:
    networks = load_networks(ServerConfig(device="cpu", detector="none", flow="bundle"))
    assert networks.names.flow == "flownet_s"
    frames = [Frame(np.full((48, 64, 3), grey, np.uint8)) for grey in (90, 100)]
    (field,) = networks.flow([(frames[0], frames[1])])
    assert field.frame_size == (48, 64)


@pytest.mark.parametrize(("asked", "there"), [(None, False), (False, False), (True, True)])
def test_the_flip_test(asked: bool | None, there: bool) -> None:
    networks = load_networks(ServerConfig(device="cpu", detector="none", flow="none", flip_test=asked))
    assert networks.names.flip_test is there


def test_without_flow() -> None:
    networks = load_networks(ServerConfig(device="cpu", detector="none", flow="none"))
    assert networks.names.flow == "none"
