"""Frames, detections and flow fields."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posewire_models.device_transfer import Uploaded
from posewire_models.frames import Detections, FlowField, Frame

CPU = torch.device("cpu")


def test_a_frame_is_uploaded_once() -> None:
    frame = Frame(np.zeros((4, 6, 3), np.uint8))
    assert frame.size == (4, 6)
    assert frame.on(torch.device("cpu")) is frame.on(torch.device("cpu"))


@pytest.mark.parametrize("what", ["read-only", "flipped"])
def test_any_memory_is_taken(what: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    if what == "read-only":
        pixels.setflags(write=False)
    else:
        pixels = pixels[:, :, ::-1]
    assert np.array_equal(Frame(pixels).on(torch.device("cpu")).numpy(), pixels)


def test_a_frame_of_a_device_is_fetched_when_somebody_asks() -> None:
    planes = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8)
    frame = Frame(planes.permute(1, 2, 0))  # as a GPU decodes it
    assert frame.size == (4, 6)
    assert frame.home == planes.device
    assert frame.on(CPU).data_ptr() == planes.data_ptr()
    assert frame.pixels.flags.c_contiguous
    assert np.array_equal(frame.pixels, planes.permute(1, 2, 0).numpy())
    assert frame.pixels is frame.pixels


def test_threads_that_ask_at_once_share_one_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that is none: what goes there is only noted."""
    uploads: list[torch.device] = []
    begun = threading.Barrier(4)

    def note(pixels: np.ndarray, device: torch.device) -> Uploaded:
        uploads.append(device)
        return Uploaded(torch.from_numpy(pixels))

    monkeypatch.setattr("posewire_models.frames.upload", note)
    frame, gpu = Frame(np.zeros((4, 6, 3), np.uint8)), torch.device("cuda", 0)
    tensors: list[torch.Tensor] = []

    def ask() -> None:
        begun.wait()
        tensors.append(frame.on(gpu))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert uploads == [gpu]
    assert all(tensor is tensors[0] for tensor in tensors)


@pytest.mark.gpu
def test_streams_see_the_whole_upload(gpu: torch.device) -> None:
    """Uploads while the copy engine is busy; each stream has to wait for its own frame, and for no other."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8) for _ in range(8)]
    streams = [torch.cuda.Stream(gpu) for _ in range(2)]
    for _ in range(5):
        frames = [Frame(picture) for picture in pictures]
        sums = []
        for frame in frames:
            for stream in streams:
                with torch.cuda.stream(stream):
                    sums.append(frame.on(gpu).sum(dtype=torch.int64))
        torch.cuda.synchronize()
        assert [int(total) for total in sums] == [int(p.sum()) for p in pictures for _ in streams]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 6), np.uint8),  # grey
        np.zeros((4, 6, 4), np.uint8),  # with alpha
        np.zeros((4, 6, 3), np.float32),
        np.zeros((0, 6, 3), np.uint8),
        torch.zeros(4, 6, 3),
    ],
)
def test_other_arrays_are_no_frames(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a frame is uint8"):
        Frame(pixels)


def test_detections_have_a_score_a_box() -> None:
    assert len(Detections.none()) == 0
    with pytest.raises(ValueError, match="boxes"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(3, np.float32))


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 1000),
)
def test_samples_equal_the_dense_field(rows_columns: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    grid = np.random.default_rng(seed).normal(size=(*rows_columns, 2)).astype(np.float32)
    flow = FlowField(grid, size)
    y, x = np.mgrid[: size[0], : size[1]]
    points = np.stack((x.ravel(), y.ravel()), axis=1).astype(np.float32)
    dense = cv2.resize(grid, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(flow.at(points).reshape(*size, 2), dense, atol=1e-4)


def test_a_linear_field_is_sampled_exactly() -> None:
    """Cells of 4 by 2 pixels have their middles at x = 1.5, 5.5 ... and y = 0.5, 2.5 ..."""
    x, y = np.meshgrid(np.arange(8) * 4 + 1.5, np.arange(5) * 2 + 0.5)
    flow = FlowField(np.stack((0.5 * x - y, 3 + y), axis=2).astype(np.float32), (10, 32))
    points = np.array([[7.25, 3.5], [2.0, 8.0]], np.float32)
    expected = np.stack((0.5 * points[:, 0] - points[:, 1], 3 + points[:, 1]), axis=1)
    np.testing.assert_allclose(flow.at(points), expected, atol=1e-5)


def test_points_outside_take_the_border() -> None:
    flow = FlowField(np.arange(8, dtype=np.float32).reshape(2, 2, 2), (20, 20))
    outside = np.array([[-100, -100], [500, 500]], np.float32)
    assert flow.at(outside).tolist() == [[0, 1], [6, 7]]
    assert flow.at(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_values_that_are_not_finite_are_refused() -> None:
    flow = FlowField(np.zeros((2, 2, 2), np.float32), (20, 20))
    with pytest.raises(ValueError, match="points"):
        flow.at(np.array([[1, np.nan]], np.float32))
    with pytest.raises(ValueError, match="flow grid"):
        FlowField(np.full((2, 2, 2), np.inf, np.float32), (20, 20))
