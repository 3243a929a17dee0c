"""The catalogue: complete, right by what can be checked here, and faithful to its publishers' names."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import torch
from torchvision.models import get_model_weights

from posewire.joints import COCO17, POSETRACK15, joint_set
from posewire_models.manifest import bundle_names, find_bundle, read_manifest
from posewire_models.picture_net import IMAGENET_MEAN, IMAGENET_STD
from posewire_models.published.catalogue import PublishedFile, catalogue, published_file
from posewire_models.published.converters import CONVERTERS, network_of
from posewire_models.published.errors import UnknownFileError
from posewire_models.published.resolution import files_of

FILES = list(catalogue().values())
IDS = [file.name for file in FILES]
PAPER = ["paper-r101", "paper-r152", "paper-r152-384", "paper-r50", "paper-r50-384", "paper-r50-posetrack"]

# MMPose's `posetrack18` data set, as its configuration has it.
MMPOSE_POSETRACK18 = ["nose", "head_bottom", "head_top", "left_ear", "right_ear", *COCO17.names[5:]]


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_every_file_says_what_one_must_know(file: PublishedFile) -> None:
    assert file.licence
    assert file.source
    assert file.input
    assert file.family in CONVERTERS
    if file.address:
        assert urlsplit(file.address).scheme == "https"
        assert file.address.endswith("/" + file.file)
    if file.architecture == "pose_resnet":
        assert len(joint_set(file.joint_set)) == file.network["joints"]
        assert {"depth", "input_size", "pixel_mean", "pixel_std"} <= file.network.keys()
        assert file.figures


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_digests_are_those_in_the_names(file: PublishedFile) -> None:
    found = re.search(r"-([0-9a-f]{8})(_\d{8})?\.pth$", file.file)
    assert file.sha256_prefix == (found[1] if found else "")


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_sizes_are_those_of_the_networks(file: PublishedFile) -> None:
    with torch.device("meta"):
        network = network_of(file)
    values = sum(value.numel() for value in network.state_dict().values())
    assert 4 * values / 1e6 == pytest.approx(file.megabytes, rel=0.02, abs=1)


@pytest.mark.parametrize("file", [file for file in FILES if file.family == "torchvision"], ids=lambda file: file.name)
def test_torchvision_says_the_same(file: PublishedFile) -> None:
    weights = get_model_weights(file.network["name"]).DEFAULT
    assert file.address == weights.url
    (figure,) = file.figures.values()
    assert figure == pytest.approx(weights.meta["_metrics"]["COCO-val2017"]["box_map"] / 100)


def test_posetrack_is_mapped_by_name() -> None:
    file = published_file("mmpose-r50-posetrack18")
    assert [MMPOSE_POSETRACK18[channel] for channel in file.channels] == list(POSETRACK15.names)


@pytest.mark.parametrize(
    ("family", "mean", "std"),
    [
        ("mmpose", IMAGENET_MEAN, IMAGENET_STD),
        # the authors take the constants of R, G, B for B, G, R
        ("simple-baselines", IMAGENET_MEAN[::-1], IMAGENET_STD[::-1]),
    ],
)
def test_pictures_are_normalised_as_in_training(family: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    for file in FILES:
        if file.family == family:
            assert tuple(file.network["pixel_mean"]) == mean
            assert tuple(file.network["pixel_std"]) == std


def test_the_paper_s_bundles_name_what_exists() -> None:
    assert [name for name in bundle_names() if name.startswith("paper")] == PAPER
    for name in PAPER:
        manifest = read_manifest(find_bundle(name))
        named = files_of(manifest)
        assert set(named) == {"detector", "flow", "pose"}
        poses = [published_file(file) for file in named["pose"]]
        depth, size = int(name.split("-")[1][1:]), [384, 288] if "384" in name else [256, 192]
        assert all(file.network["depth"] == depth and file.network["input_size"] == size for file in poses)
        assert {file.joint_set for file in poses} == {manifest.joint_set}
        assert manifest.pose.settings == {"flip_test": True}
        # each stage has a file that a program can fetch
        assert all(any(published_file(file).address for file in files) for files in named.values())


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(UnknownFileError, match=r"'resnet'; known files: mmpose-r50-256x192"):
        published_file("resnet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../w.pth"}, "plain names"),
        ({"address": "ftp://host/w"}, "must begin with https"),
        ({"by_hand": "somewhere"}, "either an address or"),
        ({"address": ""}, "either an address or"),
        ({"sha256_prefix": "XY"}, "hexadecimal"),
        ({"joint_set": "hands"}, "unknown joint set"),
    ],
)
def test_faulty_entries_are_refused(change: dict[str, str], message: str) -> None:
    good = {
        "name": "n", "file": "w.pth", "address": "https://host/w.pth", "family": "mmpose", "input": "a",
        "architecture": "pose_resnet", "licence": "b", "source": "c",
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        PublishedFile(**(good | change), network={}, megabytes=1)  # type: ignore[arg-type]
