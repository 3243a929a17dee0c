"""How users name detectors and flow estimators."""

from __future__ import annotations

from pathlib import Path

import pytest

from posewire_models.specs import (
    Auto,
    DetectorSpec,
    Dis,
    FlowNetFile,
    FlowSpec,
    Nothing,
    OnnxFile,
    Own,
    Published,
    TorchvisionFile,
    TorchvisionModel,
    parse_detector_spec,
    parse_flow_spec,
)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("auto", Auto()),
        ("bundle", Own()),
        ("none", Nothing()),
        ("onnx:/a/b.onnx", OnnxFile(Path("/a/b.onnx"))),
        ("torchvision:fasterrcnn_resnet50_fpn", TorchvisionModel("fasterrcnn_resnet50_fpn")),
        (
            "torchvision:ssdlite320_mobilenet_v3_large:w.pth",
            TorchvisionFile("ssdlite320_mobilenet_v3_large", Path("w.pth")),
        ),
        ("published:torchvision-ssdlite320", Published("torchvision-ssdlite320")),
    ],
)
def test_detectors(text: str, spec: DetectorSpec) -> None:
    assert parse_detector_spec(text) == spec


@pytest.mark.parametrize(
    "text", ["", "onnx", "onnx:", "published:", "yolo", "bundle:x", "torchvision", "none:1", "ONNX:a"]
)
def test_bad_detectors_are_answered_with_what_exists(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"use one of: auto, bundle, onnx:PATH, torchvision:NAME\[:WEIGHTS\], published:NAME, none"
    ):
        parse_detector_spec(text)


def test_unknown_torchvision_model_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match="known: fasterrcnn_resnet50_fpn"):
        parse_detector_spec("torchvision:resnet50")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("bundle", Own()),
        ("none", Nothing()),
        ("dis", Dis("ultrafast")),
        ("dis:medium", Dis("medium")),
        ("auto", Auto()),
        ("flownet2-s:w.pth", FlowNetFile(Path("w.pth"))),
        ("published:mmflow-flownets", Published("mmflow-flownets")),
    ],
)
def test_flows(text: str, spec: FlowSpec) -> None:
    assert parse_flow_spec(text) == spec


@pytest.mark.parametrize("text", ["", "raft", "flownet2-s", "bundle:x", "auto:x"])
def test_bad_flows_are_answered_with_what_exists(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"use one of: auto, bundle, dis\[:PRESET\], flownet2-s:PATH, published:NAME, none"
    ):
        parse_flow_spec(text)


def test_unknown_preset_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match="ultrafast, fast, medium"):
        parse_flow_spec("dis:slow")
