"""Bundles: the one that ships works; one's own is a folder with a manifest; faults are told with their place."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import Tensor, nn

from posewire.joints import NANO19
from posewire_models.architectures import NETWORKS
from posewire_models.bundle import bundle_names, find_bundle, load_bundle
from posewire_models.bundle_export import export_bundle
from posewire_models.deconv_head import HeatmapNetwork, PoseNetConfig
from posewire_models.flow_estimators import DisFlow, FlowByGap, FlowNetFlow, StillFlow
from posewire_models.frames import Frame
from posewire_models.manifest import BundleError, read_manifest
from posewire_models.weights import WeightsError
from tests.models.small_networks import small_network

_HEAD = {"deconv_filters": [16, 16, 16]}
_NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "pose_resnet": ("pose_resnet", {"depth": 18, "width": 0.25, "input_size": [64, 32], **_HEAD}),
    "pose_mobilenet": ("pose_mobilenet", {"width": 0.35, "input_size": [64, 32], **_HEAD}),
    "center_resnet": (
        "center_detector",
        {"trunk": "resnet18", "width": 0.25, "input_size": [64, 96], "head_channels": 8, **_HEAD},
    ),
    "flownet_s": ("flownet_s", {"width": 0.125, "input_size": [64, 128]}),
}

# OpenVINO takes seconds to prepare networks. The first tests leave the runtime to `load_bundle`, the others take torch.
_load = functools.partial(load_bundle, device="cpu", runtime="torch")

_DEEP: list[Any] = []
for _ in range(200):
    _DEEP = [_DEEP]


def _component(folder: Path, network: str) -> dict[str, Any]:
    """Write the network's weights to the folder; its entry in the manifest."""
    return _entry(folder, network, *_NETWORKS[network], small_network(network))


def _entry(folder: Path, name: str, architecture: str, config: dict[str, Any], network: nn.Module) -> dict[str, Any]:
    path = folder / f"{name}.safetensors"
    save_file(network.state_dict(), path)
    weights = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {"architecture": architecture, "network": config, "weights": weights}


def _write(folder: Path, **changes: Any) -> dict[str, Any]:
    """A bundle in `folder`, its manifest changed by `changes`."""
    manifest = {
        "name": "mine",
        "version": 1,
        "description": "A test.",
        "joint_set": "coco17",
        "pose": _component(folder, "pose_resnet"),
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def test_nano_starts_without_torchvision_and_keeps_its_weights_once() -> None:
    # The import of torchvision alone would take as long as everything else together. OpenVINO has weights of its own.
    script = """
import gc, sys
from posewire_models.bundle import load_bundle
from posewire_models.network import Network
bundle = load_bundle("nano", device="cpu")
gc.collect()
networks = [type(each).__name__ for each in gc.get_objects() if issubclass(type(each), Network)]
print(bundle.runtime, "torchvision" in sys.modules, *networks)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "openvino False\n"


def test_nano_ships_and_finds_joints() -> None:
    assert "nano" in bundle_names()
    bundle = load_bundle("nano", device="cpu", detector="none")
    assert bundle.joint_set is NANO19
    frame = Frame(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8))
    box = np.array([[40, 10, 90, 110]], np.float32)
    (poses,) = bundle.pose([frame], [box])
    assert poses.shape == (1, 19, 3)
    assert ((poses[..., 2] >= 0) & (poses[..., 2] <= 1)).all()
    assert len(bundle.detector([frame])[0]) == 0
    assert bundle.flow([(frame, frame)])[0].frame_size == (120, 160)


def test_every_bundle_that_ships_its_weights_is_whole_and_has_a_model_card() -> None:
    for name in bundle_names():
        folder = find_bundle(name)
        manifest = read_manifest(folder)
        if manifest.pose.published:
            continue  # their weights are the user's to fetch: tests/models/published
        _load(name, detector="bundle" if manifest.detector else "none")
        card = (folder / "README.md").read_text()
        for component in (manifest.pose, manifest.detector, manifest.flow):
            if component and component.weights:
                assert component.licence
                assert component.source
                assert component.weights.file in card


@pytest.mark.parametrize("pose", ["pose_resnet", "pose_mobilenet"])
def test_new_weights_are_a_change_of_data(pose: str, tmp_path: Path) -> None:
    _write(
        tmp_path,
        pose=_component(tmp_path, pose),
        detector=_component(tmp_path, "center_resnet") | {"trained": False, "settings": {"score_threshold": 0.0}},
        flow=_component(tmp_path, "flownet_s"),
    )
    bundle = load_bundle(tmp_path, device="cpu")
    frame = Frame(np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    (found,) = bundle.detector([frame])
    assert len(found) > 0
    assert bundle.pose([frame], [found.boxes])[0].shape == (len(found), 17, 3)
    assert isinstance(bundle.flow, FlowNetFlow)
    assert bundle.manifest.detector is not None
    assert not bundle.manifest.detector.trained


def test_a_network_in_the_place_of_another_is_told(tmp_path: Path) -> None:
    _write(tmp_path, pose=_component(tmp_path, "flownet_s"), flow={"architecture": "dis"})
    with pytest.raises(BundleError, match="'flownet_s' is no pose network; use pose_resnet or pose_mobilenet"):
        _load(tmp_path, detector="none")


def test_a_new_pose_network_enters_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blobs(HeatmapNetwork):
        def __init__(self, config: PoseNetConfig) -> None:
            super().__init__()
            self.config = config
            self.final_layer = nn.Conv2d(3, config.joints, config.stride, config.stride)

        def forward(self, images: Tensor) -> Tensor:
            heatmaps: Tensor = self.final_layer(images)
            return heatmaps

    monkeypatch.setitem(NETWORKS, "blobs", (PoseNetConfig, Blobs))
    network = Blobs(PoseNetConfig(input_size=(64, 32)))
    entry = _entry(tmp_path, "blobs", "blobs", {"input_size": [64, 32]}, network)
    _write(tmp_path, pose=entry, flow={"architecture": "dis"})
    frame = Frame(np.zeros((96, 128, 3), np.uint8))
    (poses,) = _load(tmp_path, detector="none").pose([frame], [np.array([[0, 0, 50, 90]], "f4")])
    assert poses.shape == (1, 17, 3)
    (written,) = export_bundle(tmp_path, tmp_path / "onnx")
    assert written.stage == "pose"


@pytest.mark.parametrize("settings", [{}, {"flip_test": False}, {"flip_test": True}])
def test_the_flip_test_is_the_bundles_unless_it_is_asked_for(settings: dict[str, bool], tmp_path: Path) -> None:
    _write(tmp_path, pose=_component(tmp_path, "pose_resnet") | {"settings": settings}, flow={"architecture": "dis"})
    frame = Frame(np.random.default_rng(2).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    found = {}
    for asked in (None, False, True):
        bundle = _load(tmp_path, detector="none", flip_test=asked)
        assert bundle.flip_test is (settings.get("flip_test", False) if asked is None else asked)
        (found[asked],) = bundle.pose([frame], [np.array([[20, 5, 70, 90]], "f4")])
    assert not np.allclose(found[True], found[False])
    np.testing.assert_array_equal(found[None], found[settings.get("flip_test", False)])


def test_a_detector_has_room_for_as_many_people_as_are_asked_for(tmp_path: Path) -> None:
    detector = _component(tmp_path, "center_resnet") | {"settings": {"score_threshold": 0.0, "max_people": 20}}
    _write(tmp_path, detector=detector, flow={"architecture": "dis"})
    frame = Frame(np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    counts = [len(_load(tmp_path, people=people).detector([frame])[0]) for people in (10, 300)]
    assert counts[0] == 20
    assert counts[1] > 100


def test_a_bundle_without_detector_says_what_to_do(tmp_path: Path) -> None:
    _write(tmp_path, flow={"architecture": "dis"})
    with pytest.raises(BundleError, match=r"give the boxes yourself.*--detector onnx:PATH"):
        _load(tmp_path)


def test_flow_is_chosen_by_its_spec(tmp_path: Path) -> None:
    _write(tmp_path)
    with pytest.raises(BundleError, match=r"no flow estimator.*--flow dis"):
        _load(tmp_path, detector="none")
    for spec, kind in (("dis:fast", DisFlow), ("none", StillFlow)):
        assert isinstance(_load(tmp_path, detector="none", flow=spec).flow, kind)
    with pytest.raises(WeightsError, match="no weight file"):
        _load(tmp_path, detector="none", flow="flownet2-s:absent.pth")


def test_a_cpu_may_have_a_flow_estimator_for_frames_close_together(tmp_path: Path) -> None:
    """It takes turns with the network, unless the network is asked for."""
    network = _component(tmp_path, "flownet_s")
    _write(tmp_path, flow=network, near_flow={"architecture": "dis", "settings": {"preset": "fast"}})
    flow = _load(tmp_path, detector="none").flow
    assert isinstance(flow, FlowByGap)
    assert isinstance(flow.near, DisFlow)
    assert isinstance(flow.far, FlowNetFlow)
    assert isinstance(_load(tmp_path, detector="none", flow="bundle").flow, FlowNetFlow)
    assert isinstance(_load(tmp_path, detector="none", flow="dis").flow, DisFlow)
    _write(tmp_path, flow=network)
    assert isinstance(_load(tmp_path, detector="none").flow, FlowNetFlow)


def test_an_unknown_bundle_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BundleError, match=r"unknown bundle 'huge'; known bundles: .*nano"):
        load_bundle("huge")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown field colour; known fields: name, version"),
        ({"version": "one"}, "version: expected .*int.*, got 'one'"),
        ({"version": -5}, r"version -5 must be in 0\.\.4294967295"),
        ({"name": " "}, "name ' ' must be one line of text, and not empty"),
        ({"name": "a\nb"}, r"name 'a\\nb' must be one line"),
        ({"description": _DEEP}, r"description: expected .*str.*, got \[+\.\.\.\]+$"),
        ({"joint_set": "hands"}, "unknown joint set 'hands'"),
        ({"joint_set": "nano19"}, "17 heatmaps, but joint set 'nano19' has 19 joints"),
        ({"detector": {"architecture": "x", "metrics": _DEEP}}, r"detector: metrics: expected .*Mapping.*, got \[\["),
        ({"pose": {"network": {}}}, "pose: missing field architecture"),
        ({"pose": {"architecture": "vit"}}, "unknown architecture 'vit'; known: pose_resnet"),
        ({"pose": {"architecture": "pose_resnet"}}, "needs weights"),
        ({"pose": {"architecture": "pose_resnet", "network": {"depth": 19}}}, "depth 19 must be one of"),
        ({"pose": {"architecture": "pose_resnet", "network": {"input_size": [64]}}}, "expected 2 values"),
        ({"pose": {"architecture": "pose_resnet", "network": {"input_size": 64}}}, "input_size: expected tuple"),
        ({"pose": {"architecture": "pose_resnet", "network": {"width": 10**400}}}, "width: expected a finite number"),
        ({"pose": {"architecture": "pose_resnet", "network": {"joints": 10**9}}}, "pose: network: joints 1000000000"),
        ({"pose": {"architecture": "pose_resnet", "settings": {"flip_test": 1}}}, "flip_test: expected .*bool"),
        (
            {"pose": {"architecture": "x", "weights": {"file": "../x", "sha256": "0" * 64}}},
            "must be a plain name",
        ),
        ({"pose": {"architecture": "x", "weights": {"file": "a\0b", "sha256": "0" * 64}}}, "must be a plain name"),
        ({"pose": {"architecture": "x", "weights": {"file": "x", "sha256": "12"}}}, "64 hexadecimal digits"),
        (
            {"near_flow": {"architecture": "dis", "settings": {"width": 10**400}}},
            r"settings: DIS width 10+ must be in 96",
        ),
        ({"near_flow": {"published": ["mmflow-flownets"]}}, "near_flow: published weights are for .* and flow alone"),
        ({"cpu_detector": {"architecture": "yolox"}}, "cpu_detector replaces detector, and there is none"),
        (
            {"detector": {"architecture": "yolox"}, "cpu_detector": {"published": ["torchvision-ssdlite320"]}},
            "cpu_detector: published weights are for",
        ),
    ],
)
def test_faults_of_a_manifest_are_told_with_their_place(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    _write(tmp_path, flow={"architecture": "dis"}, **change)
    with pytest.raises(BundleError, match=message):
        _load(tmp_path, detector="none")


def test_what_a_flow_estimator_does_not_have_is_not_passed_over(tmp_path: Path) -> None:
    _write(tmp_path, flow=_component(tmp_path, "flownet_s") | {"settings": {"preset": "fast"}})
    with pytest.raises(BundleError, match="flow: settings: unknown field preset; flownet_s has none"):
        _load(tmp_path, detector="none")
    _write(tmp_path, flow={"architecture": "dis", "network": {"preset": "fast"}})
    with pytest.raises(BundleError, match="flow: dis has neither network nor weights; preset and width are settings"):
        _load(tmp_path, detector="none")


def test_stages_take_networks_of_their_kind_only(tmp_path: Path) -> None:
    manifest = _write(tmp_path)
    _write(tmp_path, detector=manifest["pose"], flow=manifest["pose"])
    with pytest.raises(BundleError, match="is no detector"):
        _load(tmp_path, flow="none")
    with pytest.raises(BundleError, match="is no flow estimator"):
        _load(tmp_path, detector="none")


def test_damaged_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    manifest = _write(tmp_path, flow={"architecture": "dis"})
    wider = manifest["pose"] | {"network": manifest["pose"]["network"] | {"joints": 5}}
    _write(tmp_path, flow={"architecture": "dis"}, pose=wider)
    with pytest.raises(WeightsError, match=r"final_layer.weight \(17, 16, 1, 1\) instead of \(5, 16, 1, 1\)"):
        _load(tmp_path, detector="none")
    _write(tmp_path, flow={"architecture": "dis"})
    (tmp_path / "pose_resnet.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged or another file"):
        _load(tmp_path, detector="none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "no valid JSON: (maximum recursion depth|Stack overflow)"),
        ('{"version": ' + "9" * 5000 + "}", "no valid JSON: Exceeds the limit"),
        ('{"pose": {"network": {"pixel_mean": [NaN, 0, 0]}}}', "no valid JSON: NaN is not a JSON number"),
        ('{"pose": {"network": {"pixel_std": [-Infinity, 1, 1]}}}', "no valid JSON: -Infinity is not a JSON number"),
    ],
    ids=["cut short", "deep", "long number", "not a number", "infinite"],
)
def test_a_manifest_that_is_no_json_is_told(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path)


def test_a_manifest_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    _write(tmp_path)
    content = (tmp_path / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").write_bytes(b"\xef\xbb\xbf" + content)
    assert read_manifest(tmp_path).name == "mine"


def test_numbers_that_are_too_large_for_a_float_are_told(tmp_path: Path) -> None:
    manifest = _write(tmp_path, flow={"architecture": "dis"})
    manifest["pose"]["network"]["pixel_mean"] = [0, 0, 12345]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest).replace("12345", "1e999"))
    with pytest.raises(BundleError, match="pixel_mean: expected a finite number, got inf"):
        _load(tmp_path, detector="none")
