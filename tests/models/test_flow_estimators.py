"""Flow estimators: real motion found, units right, pairs independent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch

from posewire_models.flow_estimators import (
    FAR_S,
    DisFlow,
    DisSettings,
    FlowByGap,
    FlowNetFlow,
    StillFlow,
    _reduced_greys,
)
from posewire_models.flownet_s import FlowNetS
from posewire_models.frames import FlowField, Frame
from posewire_models.specs import DIS_PRESETS
from posewire_models.stages import FlowEstimator
from tests.models.small_networks import small_network

CPU = torch.device("cpu")


def _flownet() -> FlowNetFlow:
    network = small_network("flownet_s")
    assert isinstance(network, FlowNetS)
    return FlowNetFlow(network, CPU)


def _moved(shift: tuple[float, float], size: tuple[int, int] = (240, 480), seed: int = 0) -> tuple[Frame, Frame]:
    """A textured picture, and the same moved by `shift` pixels."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    texture = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    affine = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return Frame(texture), Frame(cv2.warpAffine(texture, affine, size[::-1], borderMode=cv2.BORDER_REFLECT))


@pytest.mark.parametrize("preset", DIS_PRESETS)
@pytest.mark.parametrize("width", [240, 480, 1000])  # reduced by two, as it is, and never enlarged
def test_dis_finds_a_known_motion(preset: str, width: int) -> None:
    (flow,) = DisFlow(DisSettings(preset=preset, width=width))([_moved((6.0, -3.0))])
    assert flow.grid.shape[1] == min(width, 480)
    inner = np.stack(np.meshgrid(np.arange(60, 420), np.arange(60, 180)), axis=2, dtype=np.float32)
    assert flow.at(inner.reshape(-1, 2)).mean(axis=0).tolist() == pytest.approx([6.0, -3.0], abs=0.4)


def test_flownet_gives_frame_pixels() -> None:
    """The same pictures at twice the width look alike to the network; its field is twice as long in x."""
    pair = _moved((4.0, 2.0), (64, 128))
    wide = tuple(Frame(frame.pixels.repeat(2, axis=1)) for frame in pair)
    (flow,), (wide_flow,) = _flownet()([pair]), _flownet()([(wide[0], wide[1])])
    assert flow.grid.shape == (16, 32, 2)
    assert wide_flow.frame_size == (64, 256)
    scale = np.abs(flow.grid).max()
    np.testing.assert_allclose(wide_flow.grid[..., 0], 2 * flow.grid[..., 0], atol=0.05 * scale)
    np.testing.assert_allclose(wide_flow.grid[..., 1], flow.grid[..., 1], atol=0.05 * scale)


@pytest.mark.parametrize("estimator", [_flownet(), DisFlow(DisSettings()), StillFlow()])
def test_pairs_do_not_depend_on_each_other(estimator: FlowEstimator) -> None:
    pairs = [_moved((3, 1), (128, 192), 1), _moved((-5, 0), (240, 120), 2), _moved((0, 4), (128, 192), 3)]
    for pair, together in zip(pairs, estimator(pairs), strict=True):
        (alone,) = estimator([pair])
        assert alone.frame_size == together.frame_size == pair[0].size
        np.testing.assert_allclose(together.grid, alone.grid, atol=1e-3)


@pytest.mark.parametrize("estimator", [_flownet(), DisFlow(DisSettings()), StillFlow()])
def test_frames_of_two_sizes_are_refused(estimator: FlowEstimator) -> None:
    with pytest.raises(ValueError, match="one size"):
        estimator([(_moved((0, 0), (64, 64))[0], _moved((0, 0), (64, 96))[0])])
    assert estimator([]) == []


def test_tiny_frames_do_not_break_dis() -> None:
    (flow,) = DisFlow(DisSettings())([_moved((0, 0), (8, 16))])
    assert flow.frame_size == (8, 16)


@pytest.mark.parametrize("preset", DIS_PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (48, 64), (68, 90), (90, 32), (1, 5000), (5000, 1)])
def test_tiny_frames_of_one_camera_leave_the_flow_of_others_as_it_is(preset: str, size: tuple[int, int]) -> None:
    """OpenCV's object changes its own settings for pictures that are too small for them, and keeps the new ones."""
    settings = DisSettings(preset=preset)
    used = DisFlow(settings)
    used([_moved((0.0, 0.0), (8, 8)), (Frame(np.zeros((*size, 3), np.uint8)), Frame(np.zeros((*size, 3), np.uint8)))])
    pair = _moved((6.0, -3.0))
    (flow,), (as_alone,) = used([pair]), DisFlow(settings)([pair])
    np.testing.assert_array_equal(flow.grid, as_alone.grid)


def test_dis_looks_at_tall_and_narrow_frames_in_parts_of_their_pixels() -> None:
    tall = Frame(np.zeros((1_000_000, 1, 3), np.uint8))
    (flow,) = DisFlow(DisSettings(width=320))([(tall, tall)])
    assert flow.grid.shape == (640, 32, 2)


def test_nothing_moves_without_flow() -> None:
    (flow,) = StillFlow()([_moved((4, 4))])
    assert not flow.at(np.array([[3, 3], [100, 50]], np.float32)).any()


def test_frames_of_a_device_become_the_same_grey() -> None:
    frames = [_moved((6.0, -3.0))[0], _moved((6.0, -3.0), (128, 192))[0]]  # reduced by two, and as it is
    dis = DisFlow(DisSettings(width=240))
    expected = [dis._gray(frame) for frame in frames]
    found = _reduced_greys([torch.from_numpy(frame.pixels) for frame in frames], [grey.shape for grey in expected])
    assert [grey.shape for grey in found] == [(120, 240), (128, 192)]
    for there, here in zip(found, expected, strict=True):
        assert np.abs(there.astype(int) - here).max() <= 1


@pytest.mark.parametrize("reduction", [3, 5])
def test_patterns_finer_than_the_reduced_pixels_vanish(reduction: int) -> None:
    """A grid of single pixels would else become waves, which move in their own way."""
    rows, columns = np.indices((96 * reduction, 192 * reduction))
    grid = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    grey = DisFlow(DisSettings(width=192))._gray(Frame(grid))
    assert grey.shape == (96, 192)
    assert np.abs(grey.astype(int) - 127).max() <= 1


@pytest.mark.gpu
def test_dis_sees_frames_of_a_gpu_as_it_sees_others(gpu: torch.device) -> None:
    pairs = [_moved((6.0, -3.0), seed=seed) for seed in range(3)]
    there = [tuple(Frame(torch.from_numpy(frame.pixels).to(gpu)) for frame in pair) for pair in pairs]
    dis = DisFlow(DisSettings())
    for one, other in zip(dis(pairs), dis(there), strict=True):  # type: ignore[arg-type]
        assert np.abs(one.grid - other.grid).mean() < 0.2


def test_dis_on_several_threads_finds_the_same() -> None:
    pairs = [_moved((step, -step), seed=step) for step in range(5)]
    alone, shared = DisFlow(DisSettings())(pairs), DisFlow(DisSettings(), workers=3)(pairs)
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one.grid, other.grid)


class Constant:
    """Everything moves by `length` pixels; counts the pairs of each call."""

    def __init__(self, length: float) -> None:
        self.length = length
        self.calls: list[int] = []

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        self.calls.append(len(pairs))
        return [FlowField(np.full((1, 1, 2), self.length + len(pairs), np.float32), one.size) for one, _ in pairs]


def _taken(*moments: float | None) -> list[Frame]:
    return [Frame(np.zeros((8, 8, 3), np.uint8), moment) for moment in moments]


def test_the_gap_between_frames_decides_who_estimates() -> None:
    near, far = Constant(10), Constant(20)
    at = _taken(5.0, 5.04, 5.041 + FAR_S, 6.0, None, 6.04)
    fields = FlowByGap(near, far)(list(itertools.pairwise(at)))
    # near, far, far, and two that nobody can tell; each estimator gets its pairs at once
    assert [float(field.grid[0, 0, 0]) for field in fields] == [13, 22, 22, 13, 13]
    assert (near.calls, far.calls) == ([3], [2])


def test_nobody_is_asked_for_nothing() -> None:
    near, far = Constant(10), Constant(20)
    estimator = FlowByGap(near, far)
    assert estimator([]) == []
    before, after = _taken(0.0, 1.0)
    estimator([(before, after)])
    assert (near.calls, far.calls) == ([], [1])
