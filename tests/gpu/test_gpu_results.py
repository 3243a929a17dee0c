"""On a GPU the stages find what they find on a CPU in float32, and wait for nothing but their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from posewire.joints import COCO17
from posewire_benchmark.gpu_check.agreement import Shown, agreement, drawn_people
from posewire_models.bundle import LoadedBundle, load_bundle
from posewire_models.detectors.center_heatmap import center_heatmap_detector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import TorchvisionDetector, detection_network
from posewire_models.device_transfer import own_stream
from posewire_models.flow_estimators import FlowNetFlow
from posewire_models.flownet_s import FlowNetS
from posewire_models.frames import Frame
from posewire_models.pose_estimator import HeatmapPoseEstimator, PoseSettings
from tests.models.detectors.onnx_models import yolox_of_pools
from tests.models.small_networks import small_network
from tests.stand_in_gpu import is_stand_in

pytestmark = pytest.mark.gpu

# A joint whose heatmap has two peaks of almost the same height may jump from one to the other, in any precision.
_JUMPS = 5.0


@pytest.fixture(scope="module")
def exact() -> LoadedBundle:
    return load_bundle("nano", device="cpu", flow="none", runtime="torch")


@pytest.fixture(scope="module", params=["float32", "float16"])
def on_gpu(request: pytest.FixtureRequest, gpu: torch.device) -> LoadedBundle:
    return load_bundle("nano", device=str(gpu), flow="none", precision=request.param)


def test_drawn_people_stay_within_half_a_pixel(exact: LoadedBundle, on_gpu: LoadedBundle, gpu: torch.device) -> None:
    moved = agreement(exact, on_gpu, drawn_people(4 if is_stand_in(gpu) else 8))
    assert len(moved.joints) > 200
    assert np.percentile(moved.joints, 100 - _JUMPS) <= 0.5
    assert np.median(moved.boxes) <= 0.5
    assert moved.lost <= 0.02 * moved.people


@pytest.fixture(scope="module")
def real_people(exact: LoadedBundle, shared_data: Path) -> list[Shown]:
    shown = []
    for clip in sorted((shared_data / "video").glob("*.mp4"))[:4]:
        for pixels in _every(clip, frames=20, count=3):
            (found,) = exact.detector([Frame(pixels)])
            shown.append(Shown(pixels, found.boxes[found.scores > 0.5]))
    return shown


def test_people_of_real_clips_stay_within_half_a_pixel(
    exact: LoadedBundle, on_gpu: LoadedBundle, real_people: list[Shown]
) -> None:
    moved = agreement(exact, on_gpu, real_people)
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


@pytest.mark.parametrize("runtime", ["torch", "cuda-graphs"])
def test_what_nano_does_not_use_agrees_too(runtime: str, gpu: torch.device) -> None:
    """The centre-heatmap detector; the flip test, crops of halved frames and joints between cells."""
    rng = np.random.default_rng(0)
    # At the detector's input size, so that resizing, which rounds on a CPU, is left out.
    frames = [Frame(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)) for _ in range(3)]
    boxes = [np.array([[5, 3, 50, 60], [0, 0, 95, 63]], np.float32), np.zeros((0, 4), np.float32)]
    boxes.append(np.array([[30, 10, 60, 55]], np.float32))
    large = [Frame(rng.integers(0, 256, (600, 500, 3), dtype=np.uint8)) for _ in range(3)]
    found = []
    for device, how in ((torch.device("cpu"), "torch"), (gpu, runtime)):
        detector = center_heatmap_detector(
            small_network("center_mobilenet"),  # type: ignore[arg-type]
            DetectorSettings(score_threshold=0.0, max_people=8),
            device,
            how,
            "float32",
        )
        settings = PoseSettings(flip_test=True, antialias=True, decoding="gaussian")
        pose = HeatmapPoseEstimator(
            small_network("pose_mobilenet"),  # type: ignore[arg-type]
            COCO17,
            settings,
            device,
            how,
            "float32",
        )
        people = detector(frames)
        assert [len(each) for each in people] == [8] * 3
        found.append((people, pose(frames, boxes), pose(large, [8 * each for each in boxes])))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-3)
        assert np.percentile(np.abs(other.boxes - one.boxes).max(axis=1), 75) <= 0.1  # two may change places
    for places in (1, 2):
        joints = [np.concatenate(each[places])[..., :2] for each in found]
        assert np.percentile(np.linalg.norm(joints[0] - joints[1], axis=2), 90) <= 0.5 * (1 if places == 1 else 8)


@pytest.mark.parametrize("count", [1, 5])
def test_an_onnx_detector_agrees(count: int, real_gpu: torch.device, tmp_path: Path) -> None:
    """Run by ONNX Runtime on the GPU, on torch's memory and in turn with torch's streams."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has no CUDA")
    from posewire_models.detectors.onnx_runtime import OnnxDetector

    path = tmp_path / "people.onnx"
    onnx.save(yolox_of_pools(), path)
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)) for _ in range(count)]
    settings = DetectorSettings(score_threshold=0.0, nms_iou=1.0)
    expected = OnnxDetector(path, settings, torch.device("cpu"))(frames)
    detector = OnnxDetector(path, settings, real_gpu)
    assert detector._session._binds
    with own_stream(real_gpu)():
        for _ in range(3):  # results of a run that is not over would be those of the run before, or nothing
            found = detector([Frame(frame.pixels) for frame in frames])
            for one, other in zip(expected, found, strict=True):
                assert len(one) == len(other) > 20
                np.testing.assert_allclose(other.scores, one.scores, atol=0.01)
                apart = np.abs(one.boxes[:, None] - other.boxes).max(axis=2).min(axis=1)
                assert np.percentile(apart, 90) <= 0.5


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_resnet50_fpn"])
def test_detectors_of_torchvision_run(name: str, gpu: torch.device, tmp_path: Path) -> None:
    if name.startswith("fasterrcnn") and is_stand_in(gpu):
        pytest.skip("takes minutes on a stand-in for a GPU")
    torch.manual_seed(0)
    save_file(detection_network(name).state_dict(), tmp_path / "w.safetensors")
    frames = [Frame(each.pixels) for each in drawn_people(3)]
    frames.append(Frame(np.zeros((300, 200, 3), np.uint8)))
    best = []
    for device, precision in ((torch.device("cpu"), "float32"), (gpu, "float32"), (gpu, "float16")):
        detector = TorchvisionDetector(
            name, tmp_path / "w.safetensors", DetectorSettings(score_threshold=0.0), device, precision
        )
        getattr(detector._network, "roi_heads", detector._network).score_thresh = 0.0  # random weights are never sure
        with torch.inference_mode():
            (seen,) = detector._network([frames[0].on(device).permute(2, 0, 1).float() / 255])
        assert seen["boxes"].isfinite().all()
        best.append(float(seen["scores"].max()))
        assert len(detector(frames)) == len(frames)
    np.testing.assert_allclose(best, best[0], atol=0.02)


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
