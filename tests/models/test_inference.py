"""Making networks ready to run changes their speed, not their results."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from posewire_models.inference import batches, is_lost, pad_batch, prepare, select_device
from tests.models.small_networks import ARCHITECTURES, small_network
from tests.stand_in_gpu import break_down, stand_in_gpu

CPU = torch.device("cpu")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prepared_network_gives_the_same(architecture: str) -> None:
    network = small_network(architecture)
    channels = 6 if architecture == "flownet_s" else 3
    images = torch.randn(2, channels, *network.config.input_size)
    prepared = prepare(copy.deepcopy(network), CPU)
    with torch.inference_mode():
        expected, found = network(images), prepared(images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.modules())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class _WorkOnDevice(TorchDispatchMode):
    """Notes what the meta device, which stands in for a GPU, is asked to compute."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        source = args[0] if args else None
        if isinstance(source, torch.Tensor) and result.device.type == "meta" and str(func) != "aten.detach.default":
            # A copy that also changes the type or the order in memory ends with a kernel there.
            is_copied = (source.dtype, source.stride()) == (result.dtype, result.stride())
            if source.device.type == "meta" or not is_copied:
                self.done.append(str(func))
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nothing_is_left_to_compute_on_the_device(dtype: torch.dtype) -> None:
    """It would be put on a stream for which those that run the network do not wait."""
    network = small_network("pose_mobilenet")
    with _WorkOnDevice() as work:
        prepared = prepare(network, torch.device("meta"), dtype)
    assert {(weight.device.type, weight.dtype) for weight in prepared.parameters()} == {("meta", dtype)}
    assert any(weight.is_contiguous(memory_format=torch.channels_last) for weight in prepared.parameters())
    assert work.done == []


def test_batches_cover_everything_once() -> None:
    assert [list(range(70))[chunk] for chunk in batches(70)] == [
        list(range(32)),
        list(range(32, 64)),
        list(range(64, 70)),
    ]
    assert list(batches(0)) == []


def test_batches_are_filled_on_accelerators_alone() -> None:
    assert pad_batch(torch.zeros(3, 2)).shape == (3, 2)
    assert pad_batch(torch.zeros(3, 2, device="meta")).shape == (4, 2)
    assert pad_batch(torch.zeros(32, 2, device="meta")).shape == (32, 2)


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99", "cuda:200", "cuda:99999999999999999999"])
def test_devices_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="use auto"):
        select_device(name)


def test_why_there_is_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    why = "The NVIDIA driver on your system is too old (found version 12020)."

    def is_available() -> bool:
        warnings.warn(f"CUDA initialization: {why}", stacklevel=1)
        return False

    def init() -> None:
        raise RuntimeError(why)

    monkeypatch.setattr("torch.cuda.is_available", is_available)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.init", init)
    assert select_device("auto") == CPU
    assert why in caplog.text
    with pytest.raises(ValueError, match=r"'cuda' is not here \(The NVIDIA driver .* is too old .*\); use auto or cpu"):
        select_device("cuda")


def test_auto_takes_what_is_there() -> None:
    assert select_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert select_device("cpu") == CPU


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch that is built with CUDA")
def test_a_gpu_that_refuses_everything_is_lost() -> None:
    with stand_in_gpu() as device:
        assert not is_lost(device)
        with pytest.raises(RuntimeError, match="mixes tensors"):
            torch.ones(3, device=device) + torch.ones(3)
        assert not is_lost(device)  # an error of the program
        break_down()
        assert is_lost(device)
        assert not is_lost(torch.device("cpu"))
