"""What runs is what was asked for, and what was chosen is what is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from posewire_models.bundle import load_bundle
from posewire_models.choice import ByGap, Choice, Part, choose_networks
from posewire_models.detectors.letterboxed import LetterboxedDetector
from posewire_models.detectors.nobody import NoDetector
from posewire_models.detectors.onnx_runtime import OnnxDetector
from posewire_models.flow_estimators import DisFlow, FlowByGap, FlowNetFlow, StillFlow
from posewire_models.manifest import find_bundle
from posewire_models.onnx_export import export_detector_onnx
from posewire_models.published.errors import NotStoredError
from posewire_models.published.store import Store
from posewire_models.specs import Dis, FlowNetFile, Nothing, OnnxFile, TorchvisionFile

NANO = find_bundle("nano")
MODEL = "ssdlite320_mobilenet_v3_large"


def architecture(part: object) -> str:
    assert isinstance(part, Part)
    assert part.folder == NANO
    return part.component.architecture


def input_size(part: object) -> list[int]:
    assert architecture(part) == "yolox"
    assert isinstance(part, Part)
    return list(part.component.network["input_size"])


@pytest.mark.parametrize(
    ("flow", "stage"),
    [("auto", FlowByGap), ("bundle", FlowNetFlow), ("dis", DisFlow), ("dis:medium", DisFlow), ("none", StillFlow)],
)
def test_flow_on_a_cpu(flow: str, stage: type) -> None:
    choice = choose_networks("nano", device="cpu", flow=flow)
    match flow:
        case "auto":  # the network takes turns with what is faster
            assert isinstance(choice.flow, ByGap)
            assert (architecture(choice.flow.near), architecture(choice.flow.far)) == ("dis", "flownet_s")
        case "bundle":
            assert architecture(choice.flow) == "flownet_s"
        case "none":
            assert choice.flow == Nothing()
        case _:
            assert choice.flow == Dis("medium" if ":" in flow else "ultrafast")
    assert isinstance(load_bundle("nano", device="cpu", detector="none", flow=flow, runtime="torch").flow, stage)


def test_on_a_gpu_the_network_does_all_and_the_detector_sees_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    choice = choose_networks("nano", device="cuda", detector="auto", precision="float32")
    assert architecture(choice.flow) == "flownet_s"
    assert input_size(choice.detector) == [384, 640]


def test_on_a_cpu_the_detector_may_be_a_faster_one() -> None:
    assert input_size(choose_networks("nano", device="cpu", detector="auto").detector) == [288, 512]
    found = load_bundle("nano", device="cpu", detector="auto", flow="none", runtime="torch").detector
    assert isinstance(found, LetterboxedDetector)
    assert found._config.input_size == (288, 512)


def test_on_a_cpu_the_detector_that_does_not_run_need_not_be_fetched(tmp_path: Path) -> None:
    manifest = json.loads((NANO / "manifest.json").read_bytes())
    manifest["detector"] = {"published": ["torchvision-ssdlite320"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    store = Store(tmp_path / "store")
    choice = choose_networks(tmp_path, device="cpu", detector="auto", store=store)
    assert isinstance(choice.detector, Part)
    assert choice.detector.component == choice.manifest.cpu_detector
    with pytest.raises(NotStoredError, match="torchvision-ssdlite320"):
        choose_networks(tmp_path, device="cpu", detector="bundle", store=store)


class WholePicture(nn.Module):
    """A detector in torchvision's manner that takes every picture for a person."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        sure = 1 + 0 * images[0].mean().view(1)
        return [{"boxes": sure * torch.tensor([[0, 0, 96, 64]]), "scores": sure, "labels": sure.long()}]


def test_detectors(tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    export_detector_onnx(WholePicture(), path, (64, 96))
    for detector, stage in (("bundle", LetterboxedDetector), ("none", NoDetector), (f"onnx:{path}", OnnxDetector)):
        choice = choose_networks("nano", device="cpu", detector=detector)
        match detector:
            case "bundle":
                assert input_size(choice.detector) == [384, 640]
            case "none":
                assert choice.detector == Nothing()
            case _:
                assert choice.detector == OnnxFile(path)
        loaded = load_bundle("nano", device="cpu", detector=detector, flow="none", runtime="torch")
        assert isinstance(loaded.detector, stage)


def test_files_are_taken_as_they_are_named() -> None:
    choice = choose_networks("nano", device="cpu", detector=f"torchvision:{MODEL}:w.pth", flow="flownet2-s:f.pth")
    assert choice.detector == TorchvisionFile(MODEL, Path("w.pth"))
    assert choice.flow == FlowNetFile(Path("f.pth"))


def stored(store: Store, name: str) -> Path:
    return store.path(store.add(name, lambda file: file.write_text(name) and None, source="here", source_sha256=""))


def test_published_weights_are_those_of_the_store_that_is_given(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    weights = {name: stored(store, name) for name in ("torchvision-ssdlite320", "mmflow-flownets")}

    def chosen(detector: str) -> Choice:
        return choose_networks("nano", device="cpu", detector=detector, flow="published:mmflow-flownets", store=store)

    choice = chosen("published:torchvision-ssdlite320")
    for part, path in zip((choice.detector, choice.flow), weights.values(), strict=True):
        assert isinstance(part, Part)
        assert part.component.weights is not None
        assert part.folder / part.component.weights.file == path
    assert chosen(f"torchvision:{MODEL}").detector == TorchvisionFile(MODEL, weights["torchvision-ssdlite320"])


def test_the_store_that_is_given_is_the_one_that_is_looked_into(tmp_path: Path) -> None:
    with pytest.raises(NotStoredError, match=f"not in {tmp_path / 'weights'} "):
        load_bundle("paper-r50", device="cpu", store=Store(tmp_path))
