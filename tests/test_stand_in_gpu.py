"""What the stand-in for a GPU catches, and that it computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from posewire_models.crops import _colour_constants, _input_places
from posewire_models.cuda_runtime import GraphedNetwork
from posewire_models.detectors.yolox_boxes import cells_of
from posewire_models.device_transfer import Uploaded, to_device, to_host
from posewire_models.heatmaps import _gaussian_kernels
from posewire_models.nvjpeg import _stream
from tests.stand_in_gpu import HiddenWaitError, RaceError, stand_in_gpu

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch that is built with CUDA")


@pytest.fixture
def device() -> Iterator[torch.device]:
    with stand_in_gpu() as stand_in:
        yield stand_in


def test_it_computes(device: torch.device) -> None:
    there = to_device(torch.arange(6.0).view(2, 3), device)
    there[0, 1:] = 7
    assert there.device == device
    assert to_host((there @ there.T).round()).tolist() == [[98.0, 63.0], [63.0, 50.0]]


def test_tensors_of_both_sides_do_not_mix(device: torch.device) -> None:
    with pytest.raises(RuntimeError, match="mixes tensors"):
        torch.ones(3, device=device) + torch.ones(3)
    assert (torch.ones(3, device=device) + torch.tensor(1.0)).tolist() == [2.0] * 3  # numbers may


def test_a_stream_must_wait_for_what_it_reads(device: torch.device) -> None:
    here, there = torch.cuda.Stream(device), torch.cuda.Stream(device)
    with torch.cuda.stream(there):
        made = torch.ones(3, device=device) + 1
        ready = there.record_event()
        later = made + 1
    with torch.cuda.stream(here):
        with pytest.raises(RaceError, match="reads what another stream may still be writing"):
            made + 1
        here.wait_event(ready)
        assert to_host(made + 1).tolist() == [3.0] * 3
        with pytest.raises(RaceError, match="reads what"):
            later + 1
        there.synchronize()
        later + 1
    torch.cuda.synchronize()


def test_a_stream_must_wait_before_it_overwrites(device: torch.device) -> None:
    other, tensor = torch.cuda.Stream(device), torch.ones(3, device=device)
    other.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(other):
        tensor + 1
    with pytest.raises(RaceError, match="overwrites what another stream may still be reading"):
        tensor.add_(1)
    torch.cuda.current_stream().wait_stream(other)
    tensor.add_(1)
    torch.cuda.synchronize()


def test_streams_are_handed_out_again_but_not_the_one_that_jpegs_are_decoded_with(device: torch.device) -> None:
    streams = [torch.cuda.Stream(device) for _ in range(33)]
    assert streams[32] is streams[0]
    assert _stream.__wrapped__(device) not in streams


@pytest.mark.parametrize("recorded", [False, True])
def test_memory_in_use_must_not_be_freed(recorded: bool) -> None:
    def use() -> None:
        with stand_in_gpu() as device:
            tensor = torch.ones(3, device=device)
            ready = torch.cuda.current_stream().record_event()
            with torch.cuda.stream(torch.cuda.Stream(device)):
                _ = (Uploaded(tensor, ready).here() if recorded else _waited_for(tensor, ready)) + 1
            del tensor

    if recorded:
        use()
    else:
        with pytest.raises(RaceError, match="record_stream is missing"):
            use()


def _waited_for(tensor: Tensor, ready: torch.cuda.Event) -> Tensor:
    torch.cuda.current_stream().wait_event(ready)
    return tensor


def test_a_copy_that_nobody_waits_for_has_not_arrived(device: torch.device) -> None:
    host = torch.empty(3, pin_memory=True)
    host.copy_(torch.ones(3, device=device), non_blocking=True)
    assert host.tolist() != [1.0] * 3
    torch.cuda.current_stream().synchronize()
    assert host.tolist() == [1.0] * 3


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_hidden_waits_are_found(device: torch.device) -> None:
    tensor = torch.ones(3, device=device)
    torch.cuda.set_sync_debug_mode("error")
    for waits in (
        lambda: tensor.sum().item(),
        lambda: tensor[tensor > 0],
        lambda: tensor.nonzero(),
        lambda: tensor.cpu(),
        lambda: torch.ones(3).to(device),
        lambda: tensor[torch.tensor([0, 1])],
    ):
        with pytest.raises(HiddenWaitError):
            waits()
    assert to_host(tensor + to_device(torch.ones(3), device)).tolist() == [2.0] * 3
    torch.cuda.set_sync_debug_mode("default")


def test_graphs_repeat_what_was_recorded_and_nothing_else(device: torch.device) -> None:
    calls = 0

    def compute(images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return images.sum(dim=(1, 2, 3)) + calls

    run = GraphedNetwork(compute, (1, 1, 2), device, (1, 2))
    recorded = calls
    found = [to_host(run(to_device(torch.tensor([[[[1.0, n]]]]), device))).item() for n in (0.0, 10.0)]
    assert found == [1.0 + recorded, 11.0 + recorded]
    assert calls == recorded


def test_a_graph_that_would_wait_is_not_recorded(device: torch.device, caplog: pytest.LogCaptureFixture) -> None:
    run = GraphedNetwork(lambda images: images * images.sum().item(), (1, 1, 2), device, (1, 2))
    assert run.sizes == ()
    assert "waits while a graph is recorded" in caplog.text


def test_constants_may_be_used_by_any_stream(device: torch.device) -> None:
    """They are made by the stream that is the first to need them, and kept for all."""
    for make in (
        lambda: _colour_constants((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), device)[1],
        lambda: _input_places((11, 13), device)[0],
        lambda: _gaussian_kernels(17, device, torch.float32),
        lambda: cells_of((32, 64), device)[0],
    ):
        values = []
        for _ in range(2):
            with torch.cuda.stream(torch.cuda.Stream(device)):
                values.append(to_host(make() + 0).tolist())
        assert values[0] == values[1]
