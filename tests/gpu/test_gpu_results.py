"""On a GPU the stages find what they find on a CPU in float32, and wait for nothing but their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from posewire_benchmark.gpu_check.agreement import Shown, agreement, drawn_people
from posewire_models.bundle import LoadedBundle, load_bundle
from posewire_models.device_transfer import own_stream
from posewire_models.flow_estimators import FlowNetFlow
from posewire_models.flownet_s import FlowNetS
from posewire_models.frames import Frame
from tests.models.small_networks import small_network

pytestmark = pytest.mark.gpu

# A joint whose heatmap has two peaks of almost the same height may jump from one to the other, in any precision.
_JUMPS = 5.0


@pytest.fixture(scope="module")
def exact() -> LoadedBundle:
    return load_bundle("nano", device="cpu", flow="none", runtime="torch")


@pytest.fixture(scope="module", params=["float32", "float16"])
def on_gpu(request: pytest.FixtureRequest, gpu: torch.device) -> LoadedBundle:
    return load_bundle("nano", device=str(gpu), flow="none", precision=request.param)


def test_drawn_people_stay_within_half_a_pixel(exact: LoadedBundle, on_gpu: LoadedBundle) -> None:
    moved = agreement(exact, on_gpu, drawn_people())
    assert len(moved.joints) > 200
    assert np.percentile(moved.joints, 100 - _JUMPS) <= 0.5
    assert np.median(moved.boxes) <= 0.5
    assert moved.lost <= 0.02 * moved.people


def test_people_of_real_clips_stay_within_half_a_pixel(
    exact: LoadedBundle, on_gpu: LoadedBundle, shared_data: Path
) -> None:
    shown = []
    for clip in sorted((shared_data / "video").glob("*.mp4"))[:4]:
        for pixels in _every(clip, frames=10, count=6):
            (found,) = exact.detector([Frame(pixels)])
            shown.append(Shown(pixels, found.boxes[found.scores > 0.5]))
    moved = agreement(exact, on_gpu, shown)
    assert len(moved.joints) > 50
    assert np.percentile(moved.joints, 100 - _JUMPS) <= 0.5
    assert moved.lost <= max(1, 0.05 * moved.people)


def test_results_do_not_depend_on_batch_mates(on_gpu: LoadedBundle) -> None:
    shown = drawn_people(5)
    frames, boxes = [Frame(each.pixels) for each in shown], [each.boxes for each in shown]
    together = on_gpu.pose(frames, boxes)
    for frame, of_frame, found in zip(frames, boxes, together, strict=True):
        (alone,) = on_gpu.pose([frame], [of_frame])
        moved = np.abs(alone - found)[..., :2].max(axis=2)
        assert np.percentile(moved[found[..., 2] > 0.3], 95) <= 0.5


def test_fields_of_the_flow_network_agree(gpu: torch.device) -> None:
    rng = np.random.default_rng(0)
    pairs = [tuple(Frame(rng.integers(0, 256, (120, 200, 3), dtype=np.uint8)) for _ in range(2)) for _ in range(5)]
    networks = [small_network("flownet_s") for _ in range(2)]
    assert all(isinstance(network, FlowNetS) for network in networks)
    expected = FlowNetFlow(networks[0], torch.device("cpu"), "torch")(pairs)  # type: ignore[arg-type]
    found = FlowNetFlow(networks[1], gpu)(pairs)  # type: ignore[arg-type]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.grid, one.grid, atol=0.02 * float(np.abs(one.grid).max()))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_nothing_waits_but_for_results(on_gpu: LoadedBundle, gpu: torch.device) -> None:
    """Any other wait is an error here: of uploads, tables, shapes that depend on values, constants made anew."""
    shown = drawn_people(3)
    boxes = [each.boxes for each in shown]
    flow = FlowNetFlow(small_network("flownet_s"), gpu)  # type: ignore[arg-type]

    def run() -> None:
        frames = [Frame(each.pixels) for each in shown]
        on_gpu.detector(frames)
        on_gpu.pose(frames, boxes)
        flow([(frames[0], frames[1]), (frames[1], frames[2])])

    with own_stream(gpu)():
        run()
        with _waiting_is_an_error():
            run()


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _every(clip: Path, frames: int, count: int) -> list[np.ndarray]:
    av = pytest.importorskip("av")
    with av.open(str(clip)) as video:
        chosen = (image for number, image in enumerate(video.decode(video=0)) if number % frames == 0)
        return [image.to_ndarray(format="rgb24") for image, _ in zip(chosen, range(count), strict=False)]
