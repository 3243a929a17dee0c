"""Graphs of fixed batch sizes compute the same for any number of images. On a CPU, repeating stands in for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from posewire_models.crops import _colour_constants
from posewire_models.cuda_runtime import GraphedNetwork, Recorded, record_graph
from posewire_models.detectors.yolox_boxes import cells_of
from posewire_models.inference import runner
from posewire_models.network_outputs import map_tensors
from posewire_models.pose_mobilenet import PoseMobileNet
from tests.models.small_networks import small_network

CPU = torch.device("cpu")
SHAPE = (3, 4, 6)
SIZES = (1, 2, 4, 8)


class Outputs(NamedTuple):
    total: Tensor
    double: Tensor


def compute(images: Tensor) -> Outputs:
    return Outputs(images.sum(dim=(1, 2, 3)), images * 2)


def repeat(computation: Callable[[], Any]) -> Recorded:
    """Outputs that stay at their place and are overwritten, as those of a graph are."""
    outputs = map_tensors(computation(), torch.clone)

    def replay() -> None:
        for place, value in zip(outputs, computation(), strict=True):
            place.copy_(value)

    return replay, outputs


@pytest.mark.parametrize("count", [1, 2, 3, 8, 11, 17])  # exact sizes, sizes in between, more than the largest
def test_any_number_of_images(count: int) -> None:
    run = GraphedNetwork(compute, SHAPE, CPU, SIZES, repeat)
    run(torch.full((8, *SHAPE), 1e9))  # what it leaves behind is nobody's business
    images = torch.randn(count, *SHAPE)
    found = run(images)
    assert isinstance(found, Outputs)
    torch.testing.assert_close(found, compute(images))


def test_the_smallest_graph_that_fits_is_taken() -> None:
    ran: list[int] = []

    def noting(images: Tensor) -> Outputs:
        ran.append(len(images))
        return compute(images)

    run = GraphedNetwork(noting, SHAPE, CPU, SIZES, repeat)
    assert ran == [8, 4, 2, 1]  # the largest is recorded first
    ran.clear()
    for count in (1, 2, 3, 5, 9):
        run(torch.zeros(count, *SHAPE))
    assert ran == [1, 2, 4, 8, 8, 1]


def test_results_stay_what_they_were_when_the_network_runs_again() -> None:
    run = GraphedNetwork(compute, SHAPE, CPU, SIZES, repeat)
    first = run(torch.ones(3, *SHAPE))
    kept = map_tensors(first, torch.clone)
    run(torch.zeros(3, *SHAPE))
    torch.testing.assert_close(first, kept)


def test_without_graphs_it_computes_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: object) -> Recorded:
        raise RuntimeError("operation not permitted when stream is capturing")

    run = GraphedNetwork(compute, SHAPE, CPU, SIZES, refuse)
    images = torch.randn(5, *SHAPE)
    torch.testing.assert_close(run(images), compute(images))
    assert run.sizes == ()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "not permitted when stream is capturing" in record.getMessage()


def test_sizes_that_do_not_fit_into_memory_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    sizes = iter((8, 4, 2, 1))

    def record(computation: Callable[[], Any]) -> Recorded:
        if next(sizes) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return repeat(computation)

    run = GraphedNetwork(compute, SHAPE, CPU, SIZES, record)
    images = torch.randn(5, *SHAPE)
    torch.testing.assert_close(run(images), compute(images))
    assert run.sizes == (1, 2)
    assert len(caplog.records) == 2


def test_it_may_be_called_with_and_without_gradients() -> None:
    with torch.inference_mode():
        run = GraphedNetwork(compute, SHAPE, CPU, SIZES, repeat)
        run(torch.zeros(1, *SHAPE))
    run(torch.zeros(1, *SHAPE))


def test_constants_that_graphs_read_stay_where_they_are() -> None:
    """A graph goes on reading them wherever they were when it was recorded."""

    def constants(number: int) -> tuple[Tensor, ...]:
        return *_colour_constants((number,) * 3, (1.0,) * 3, CPU), *cells_of((32, 32 * number), CPU)

    first = constants(1)
    for number in range(2, 100):
        constants(number)
    assert all(one is other for one, other in zip(first, constants(1), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_graphs_compute_what_the_cpu_computes(precision: str, gpu: torch.device) -> None:
    network = small_network("pose_mobilenet")
    assert isinstance(network, PoseMobileNet)
    images = torch.randn(5, 3, *network.config.input_size)
    with torch.inference_mode():
        expected = network(images)
        run = runner(network, (3, *network.config.input_size), gpu, "cuda-graphs", precision)
        found = run(images.to(gpu)).cpu()
        alone = torch.cat([run(image.to(gpu).unsqueeze(0)).cpu() for image in images])
    assert isinstance(run, GraphedNetwork)
    assert run.sizes[:2] == (1, 2)
    allowed = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}[precision] * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=allowed)
    torch.testing.assert_close(alone, found, rtol=0, atol=allowed)


@pytest.mark.gpu
def test_a_failed_recording_leaves_the_device_usable(real_gpu: torch.device) -> None:
    def waits(images: Tensor) -> Outputs:
        images.sum().item()  # may not be recorded
        return compute(images)

    run = GraphedNetwork(waits, SHAPE, real_gpu, SIZES)
    assert run.sizes == ()
    images = torch.randn(3, *SHAPE, device=real_gpu)
    torch.testing.assert_close(run(images), compute(images))
    # Memory that other streams have used comes back all the same.
    other, reserved = torch.cuda.Stream(real_gpu), []
    for _ in range(50):
        block = torch.empty(2**24, dtype=torch.uint8, device=real_gpu)
        block.record_stream(other)
        del block
        torch.cuda.synchronize()
        reserved.append(torch.cuda.memory_reserved(real_gpu))
    assert reserved[-1] <= reserved[4]


@pytest.mark.gpu
def test_memory_stays_where_it_is(real_gpu: torch.device) -> None:
    run = GraphedNetwork(compute, SHAPE, real_gpu, SIZES, record_graph(real_gpu))
    for count in (1, 8, 3):
        run(torch.zeros(count, *SHAPE, device=real_gpu))
    torch.cuda.synchronize()
    before = torch.cuda.memory_reserved(real_gpu)
    for count in list(range(1, 12)) * 5:
        run(torch.zeros(count, *SHAPE, device=real_gpu))
    torch.cuda.synchronize()
    assert torch.cuda.memory_reserved(real_gpu) == before
