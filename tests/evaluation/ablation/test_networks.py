"""What is kept of networks is kept for these networks alone."""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path
from unittest.mock import ANY

import pytest

from posewire_evaluation.ablation.cache import digest_of
from posewire_evaluation.ablation.networks import BundleNetworks
from posewire_models.choice import choose_networks
from posewire_models.manifest import BundleError
from posewire_models.published.store import Store

MODEL = "ssdlite320_mobilenet_v3_large"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that may be named, all of one content, and published weights in the store."""
    for name in ("a.onnx", "w.pth"):
        (tmp_path / name).write_text("the same")
    monkeypatch.setenv("POSEWIRE_CACHE", str(tmp_path / "cache"))
    publish("torchvision-ssdlite320", "1")
    publish("mmflow-flownets", "2")
    return tmp_path


def publish(name: str, content: str) -> None:
    Store().add(name, lambda file: file.write_text(content) and None, source="here", source_sha256="0" * 64)


DETECTORS = [
    "bundle",
    "none",
    "onnx:{}/a.onnx",
    "torchvision:" + MODEL,
    "torchvision:" + MODEL + ":{}/w.pth",
    "torchvision:fasterrcnn_resnet50_fpn:{}/w.pth",
    "published:torchvision-ssdlite320",
]
FLOWS = ["auto", "bundle", "none", "dis", "dis:medium", "flownet2-s:{}/w.pth", "published:mmflow-flownets"]


@pytest.mark.parametrize(("stage", "texts"), [("detector", DETECTORS), ("flow", FLOWS)])
def test_other_choices_are_other_networks(stage: str, texts: list[str], files: Path) -> None:
    named = [{stage: text.format(files)} for text in texts]
    chosen = [getattr(choose_networks("nano", device="cpu", **each), stage) for each in named]
    identities = [BundleNetworks("nano", device="cpu", **each).identities for each in named]
    for (one, of_one), (other, of_other) in combinations(zip(chosen, identities, strict=True), 2):
        assert one != other
        assert digest_of(of_one[stage]) != digest_of(of_other[stage])
        rest = {"detector", "flow", "pose"} - {stage}
        assert all(of_one[each] == of_other[each] for each in rest)


def test_an_identity_stays_what_it_was(files: Path) -> None:
    """Else all that users keep would be made anew."""
    content = hashlib.sha256(b"the same").hexdigest()
    networks = BundleNetworks("nano", f"onnx:{files}/a.onnx", "dis", device="cpu").identities
    rest = {"device": "cpu", "runtime": ANY, "precision": "float32"}
    rest |= {"score_threshold": 0.1, "nms_iou": 0.45, "max_people": 100}
    assert networks["detector"] == {"kind": "onnx", "path": content, "name": ""} | rest
    assert networks["flow"] == {"kind": "dis", "path": None, "preset": "ultrafast", "name": ""} | rest


def test_weights_that_the_name_of_a_model_stands_for_are_known_by_their_content(files: Path) -> None:
    before = BundleNetworks("nano", f"torchvision:{MODEL}", device="cpu").identities["detector"]
    publish("torchvision-ssdlite320", "others")
    assert BundleNetworks("nano", f"torchvision:{MODEL}", device="cpu").identities["detector"] != before


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for named in ({"detector": f"onnx:{tmp_path}/a.onnx"}, {"flow": f"flownet2-s:{tmp_path}/a.pth"}):
        with pytest.raises(ValueError, match=r"a\.\w+ does not exist; give the file of the network"):
            _ = BundleNetworks("nano", device="cpu", **named).identities


def test_a_stage_that_the_bundle_lacks_is_told_as_on_loading(tmp_path: Path) -> None:
    manifest = '{"name": "a", "version": 1, "description": "", "joint_set": "coco17", "pose": {"architecture": "x"}}'
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(BundleError, match="'a' has no detector"):
        _ = BundleNetworks(str(tmp_path), device="cpu").identities
