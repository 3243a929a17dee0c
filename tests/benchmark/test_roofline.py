from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from posewire_benchmark.random_bundle import described_bundle, write_random_bundle
from posewire_benchmark.roofline.measure import RooflineOptions, measure_roofline, roofline_point
from posewire_benchmark.roofline.networks import bundle_networks, torchvision_component
from posewire_benchmark.roofline.peaks import Peaks, Workload, measure_peaks
from posewire_benchmark.roofline.runtimes import RuntimeOptions, compare_runtimes
from posewire_benchmark.roofline.timing import times_s
from posewire_benchmark.tables import TABLES
from posewire_models import inference
from posewire_models.bundle import load_bundle
from posewire_models.frames import Frame
from posewire_models.network_cost import NetworkCost
from posewire_models.openvino_runtime import openvino_is_installed

TINY = Workload(matrix=32, images=1, channels=4, copied_bytes=2**16)


@pytest.mark.parametrize(
    ("peaks", "bound", "of_roof"),
    [
        # 2 * 1000 multiply-adds at 10^4 a second: 0.2 s of 0.5; 4 * (100 + 2 * 50) bytes at 10^4: 0.08 s
        (Peaks(1e-5, 0.5e-5, 1e-5), "compute", 0.4),
        # ... at 2000 bytes a second: 0.4 s
        (Peaks(1e-5, 0.5e-5, 2e-6), "memory", 0.8),
    ],
)
def test_a_point_says_what_bounds_it(peaks: Peaks, bound: str, of_roof: float) -> None:
    cost = NetworkCost(multiply_adds=1000, parameters=100, activations=50)
    point = roofline_point("net", cost, "torch", torch.float32, batch=2, seconds=0.5, peaks=peaks)
    assert (point.bound, point.share_of_roof) == (bound, pytest.approx(of_roof))
    assert point.share_of_peak == pytest.approx(0.4)
    assert point.gmacs == pytest.approx(4000e-9)
    assert point.gbs == pytest.approx(1600e-9)
    assert point.ms == 500


def test_peaks_are_measured() -> None:
    peaks = measure_peaks(torch.device("cpu"), torch.float32, 0.001, TINY)
    assert min(peaks.matmul_gmacs, peaks.convolution_gmacs, peaks.copy_gbs) > 0
    assert peaks.gmacs == max(peaks.matmul_gmacs, peaks.convolution_gmacs)


def test_a_gpu_that_is_not_the_first_has_the_marks_on_its_own_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    current, marked_on = ["cuda:0"], []

    class Event:
        def __init__(self, **_: object) -> None: ...

        def record(self) -> None:  # as torch's: on a stream of the current device
            marked_on.append(current[-1])

        def elapsed_time(self, _: Event) -> float:
            return 3.0

    @contextmanager
    def made_current(device: torch.device) -> Iterator[None]:
        current.append(str(device))
        yield
        current.pop()

    for name, stand_in in (("Event", Event), ("device", made_current), ("synchronize", lambda device: None)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    assert set(times_s(lambda: None, torch.device("cuda", 1), 0.001)) == {0.003}
    assert set(marked_on) == {"cuda:1"}


@pytest.fixture
def small_bundle(tmp_path: Path) -> str:
    """Architectures without weights."""
    pose = {
        "architecture": "pose_resnet",
        "network": {"depth": 18, "input_size": [64, 32], "deconv_filters": [8, 8, 8]},
    }
    manifest = {
        "name": "small",
        "version": 1,
        "description": "For tests.",
        "joint_set": "coco17",
        "pose": pose,
        "flow": {"architecture": "dis"},
        "near_flow": {"architecture": "dis", "settings": {"preset": "fast"}},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return str(tmp_path)


@pytest.fixture
def one_thread() -> Iterator[int]:
    before = torch.get_num_threads()
    yield 1
    torch.set_num_threads(before)


def test_the_roofline_of_a_bundle(small_bundle: str, one_thread: int) -> None:
    found = measure_roofline(
        RooflineOptions(
            bundle=small_bundle,
            device="cpu",
            batches=(1, 2),
            point_s=0.001,
            peak_s=0.001,
            workload=TINY,
            threads=one_thread,
        )
    )
    runtimes = ["torch", "openvino"] if openvino_is_installed() else ["torch"]
    assert [(point.runtime, point.batch) for point in found.points] == [
        (name, size) for name in runtimes for size in (1, 2)
    ]
    cost = found.costs["pose pose_resnet"]
    for point in found.points:
        assert point.gmacs == pytest.approx(point.batch * cost.multiply_adds / point.ms / 1e6)
        assert point.precision == "float32"
    assert found.remarks == (
        "flow: dis, which is no network",
        "pose pose_resnet: its weights are not here, so they are random",
    )
    assert f"pose pose_resnet: {cost.multiply_adds / 1e9:.3f} GMAC" in found.as_text()
    assert "Peak in float32" in TABLES["roofline"](json.loads(json.dumps(found.as_json())))


@pytest.mark.parametrize(
    ("precision", "runtimes"),
    [
        ("bfloat16", ["torch", "openvino"]),
        ("float16", ["torch"]),  # which OpenVINO does not compute in
    ],
)
def test_a_point_is_in_the_precision_that_was_asked_for(
    precision: str, runtimes: list[str], small_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "openvino_is_installed", lambda: True)
    monkeypatch.setattr(inference, "OpenVinoNetwork", lambda network, shape, precision: network)  # weights as they were
    options = RooflineOptions(
        bundle=small_bundle,
        device="cpu",
        precision=precision,
        batches=(1,),
        point_s=0.001,
        peak_s=0.001,
        workload=TINY,
    )
    found = measure_roofline(options)
    assert [(point.runtime, point.precision) for point in found.points] == [(name, precision) for name in runtimes]
    assert list(found.peaks) == [precision]
    cost = found.costs["pose pose_resnet"]
    for point in found.points:
        assert point.gbs == pytest.approx(cost.bytes_moved(1, item_bytes=2) / point.ms / 1e6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_detector_of_torchvision_has_its_place_too(small_bundle: str, one_thread: int, precision: str) -> None:
    path = Path(small_bundle) / "manifest.json"
    detector = {"architecture": "torchvision", "network": {"name": "ssdlite320_mobilenet_v3_large"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"detector": detector}))
    found = measure_roofline(
        RooflineOptions(
            bundle=small_bundle,
            device="cpu",
            runtimes=("torch",),
            precision=precision,
            batches=(1,),
            point_s=0.001,
            peak_s=0.001,
            workload=TINY,
            threads=one_thread,
        )
    )
    assert {point.precision for point in found.points} == {precision}
    cost = found.costs["detector ssdlite320_mobilenet_v3_large"]
    assert cost.parameters == pytest.approx(3.44e6, rel=0.01)  # as torchvision says
    assert cost.multiply_adds == pytest.approx(0.583e9, rel=0.1)
    assert any("one picture of 1280x720 at a time" in remark for remark in found.remarks)


def test_runtimes_are_compared_and_agree(small_bundle: str, one_thread: int) -> None:
    table = compare_runtimes(
        RuntimeOptions(bundle=small_bundle, batches=(1,), rounds=1, turn_s=0.001, threads=one_thread)
    )
    (row,) = table.times
    assert row.network == "pose pose_resnet"
    assert row.ms.keys() == {"torch", "onnxruntime"} | ({"openvino"} if openvino_is_installed() else set())
    assert row.ms[row.fastest] == min(row.ms.values())
    assert max(row.difference.values()) < 1e-3
    assert f"fastest: {row.fastest}" in table.as_text()
    assert f"| {row.fastest} |" in TABLES["runtimes"](json.loads(json.dumps(table.as_json())))


def test_a_bundle_of_random_weights_can_be_loaded(small_bundle: str, tmp_path: Path) -> None:
    folder = write_random_bundle(small_bundle, tmp_path / "random")
    loaded = load_bundle(folder, device="cpu", detector="none", runtime="torch")
    picture = Frame(np.zeros((48, 64, 3), np.uint8))
    (joints,) = loaded.pose([picture], [np.array([[5, 5, 40, 40]], np.float32)])
    assert joints.shape == (1, 17, 3)
    assert not loaded.manifest.pose.trained
    assert loaded.manifest.near_flow is not None
    assert loaded.manifest.near_flow.settings == {"preset": "fast"}


@pytest.mark.parametrize(("device", "size"), [("cpu", [288, 512]), ("cuda", [384, 640])])
def test_the_detector_is_the_one_for_the_device(device: str, size: list[int]) -> None:
    detector = next(each for each in bundle_networks("nano", torch.device(device))[0] if each.stage == "detector")
    assert list(detector.component.network["input_size"]) == size


def test_a_bundle_of_random_weights_has_its_detector_for_a_cpu(tmp_path: Path) -> None:
    manifest = json.loads((write_random_bundle("nano", tmp_path / "random") / "manifest.json").read_bytes())
    sizes = [manifest[stage]["network"]["input_size"] for stage in ("detector", "cpu_detector")]
    assert sizes == [[384, 640], [288, 512]]


def test_published_architectures_are_known_without_their_weights() -> None:
    manifest = described_bundle("paper-r50")
    assert manifest.detector is not None
    assert manifest.flow is not None
    assert (manifest.pose.architecture, manifest.flow.architecture) == ("pose_resnet", "flownet_s")
    assert torchvision_component("paper-r50") == manifest.detector


@pytest.mark.parametrize("setting", [{"batches": ()}, {"batches": (0,)}, {"batches": (64,)}, {"point_s": -1.0}])
def test_options_out_of_range(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give one or more|must lie in"):
        RooflineOptions(**setting)  # type: ignore[arg-type]
