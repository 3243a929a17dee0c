"""Every published layout becomes a network of ours: through the web into the store, and out of a bundle."""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from posewire_models.bundle import LoadedBundle, load_bundle
from posewire_models.detectors.torchvision_models import TorchvisionDetector, default_weights
from posewire_models.flow_estimators import FlowNetFlow
from posewire_models.frames import Frame
from posewire_models.published import converters
from posewire_models.published.catalogue import PublishedFile, catalogue, published_file
from posewire_models.published.converters import CONVERTERS, convert_state, network_of, recognise
from posewire_models.published.download import FetchSettings
from posewire_models.published.errors import (
    DownloadError,
    NotStoredError,
    StoreError,
    UnknownCheckpointError,
    UnknownFileError,
    UnreadableError,
)
from posewire_models.published.pulling import convert_file, convert_to, pull
from posewire_models.published.store import Store, StoredFile
from posewire_models.weights import check_state, read_state
from tests.models.published import published_names as names
from tests.models.published.web import Web

ONCE = FetchSettings(attempts=1)

PUBLISHED: dict[str, Callable[[], names.Shapes]] = {
    "mmpose-r50-256x192": lambda: names.mmpose_resnet(50),
    "mmpose-r50-384x288": lambda: names.mmpose_resnet(50),
    "mmpose-r101-256x192": lambda: names.mmpose_resnet(101),
    "mmpose-r152-256x192": lambda: names.mmpose_resnet(152),
    "mmpose-r152-384x288": lambda: names.mmpose_resnet(152),
    "mmpose-r50-posetrack18": lambda: names.mmpose_resnet(50, head="keypoint_head"),
    "authors-r50-256x192": lambda: names.authors_pose_resnet(50),
    "authors-r50-384x288": lambda: names.authors_pose_resnet(50),
    "authors-r101-256x192": lambda: names.authors_pose_resnet(101),
    "authors-r101-384x288": lambda: names.authors_pose_resnet(101),
    "authors-r152-256x192": lambda: names.authors_pose_resnet(152, counters=True),
    "authors-r152-384x288": lambda: names.authors_pose_resnet(152),
    "torchvision-fasterrcnn-r50": names.fasterrcnn_resnet50_fpn,
    "torchvision-fasterrcnn-r50-v2": names.fasterrcnn_resnet50_fpn_v2,
    "torchvision-fasterrcnn-mobilenet-320": lambda: names.torchvision_mobile("fasterrcnn_mobilenet_v3_large_320_fpn"),
    "torchvision-ssdlite320": lambda: names.torchvision_mobile("ssdlite320_mobilenet_v3_large"),
    "mmflow-flownets": names.mmflow_flownets,
    "nvidia-flownet2-s": names.flownet2_pytorch,
}


@pytest.fixture(scope="module", autouse=True)
def _networks_made_once() -> Iterator[None]:
    """Each network that a state is compared with, which has no numbers and is only looked at, is made once."""
    kept: dict[str, nn.Module] = {}

    def made(file: PublishedFile) -> nn.Module:
        assert torch.get_default_device().type == "meta"
        if file.name not in kept:
            kept[file.name] = network_of(file)
        return kept[file.name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(converters, "network_of", made)
        yield


@functools.lru_cache(2)  # two are asked for again and again
def _checkpoint(name: str) -> bytes:
    """A file with the published names and shapes, wrapped as its publisher wraps them. Half precision saves time."""
    file = published_file(name)
    state = names.filled(PUBLISHED[name](), dtype=torch.float16)
    content: object = state
    legacy = file.family in ("flownet2-pytorch", "simple-baselines")
    if file.family in ("mmpose", "mmflow-flownets"):
        meta = {"config": "model = dict(...)", "sigmas": np.array([0.026]), "time": "Thu Sep 22"}
        content = {"meta": meta, "state_dict": state}
    elif file.family == "flownet2-pytorch":
        content = {"arch": "FlowNet2S", "epoch": 0, "best_EPE": np.float64(1e10), "state_dict": state}
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def _publish(name: str, web: Web, content: bytes | None = None) -> PublishedFile:
    """`name` as the catalogue has it, but on the local web; its digest in the way that its name had one."""
    file = published_file(name)
    content = _checkpoint(name) if content is None else content
    web.files[f"/{file.file}"] = content
    digest = hashlib.sha256(content).hexdigest()[: len(file.sha256_prefix)]
    return dataclasses.replace(file, address=web.address(f"/{file.file}"), by_hand="", sha256_prefix=digest)


def _convert_own(name: str, store: Store, folder: Path) -> StoredFile:
    file = published_file(name)
    path = folder / file.file
    path.write_bytes(_checkpoint(file.name))
    return convert_file(path, store)


# OpenVINO takes seconds to prepare a network; that what it makes computes the same is tested where it is used.
_load = functools.partial(load_bundle, device="cpu", runtime="torch")


def _run(bundle: LoadedBundle) -> None:
    frame = Frame(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    (poses,) = bundle.pose([frame], [np.array([[30, 10, 70, 90]], np.float32)])
    assert poses.shape == (1, len(bundle.joint_set), 3)
    assert np.isfinite(poses).all()


def test_every_file_of_the_catalogue_is_stated_here() -> None:
    assert list(PUBLISHED) == list(catalogue())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes_fit(name: str) -> None:
    file = published_file(name)
    with torch.device("meta"):
        state = {
            key: torch.empty(shape) for key, shape in PUBLISHED[name]().items() if "num_batches_tracked" not in key
        }
        check_state(converters.network_of(file), CONVERTERS[file.family](state, file), name)


def test_paper_r50_is_pulled_and_loaded(web: Web, store: Store) -> None:
    files = [_publish(name, web) for name in ("mmpose-r50-256x192", "torchvision-fasterrcnn-r50-v2", "mmflow-flownets")]
    told: list[int] = []
    for file in files:
        record = pull(file, store, progress=lambda done, total: told.append(done), settings=ONCE)
        assert record.source == file.address
        assert record.source_sha256.startswith(file.sha256_prefix)
    assert max(told) == max(len(content) for content in web.files.values())
    bundle = _load("paper-r50")
    _run(bundle)
    assert isinstance(bundle.flow, FlowNetFlow)
    assert bundle.manifest.pose.architecture == "pose_resnet"
    assert bundle.manifest.pose.metrics == {"coco_val2017_keypoint_ap": 0.718}
    assert sorted(path.suffix for path in store.downloads.iterdir()) == [".lock"] * 3  # nothing is left over
    before = len(web.requests)
    pull(files[0], store, settings=ONCE)
    assert len(web.requests) == before  # what is here is not fetched again


def test_paper_r50_posetrack_keeps_15_of_17_heatmaps(web: Web, store: Store) -> None:
    file = _publish("mmpose-r50-posetrack18", web)
    record = pull(file, store, settings=ONCE)
    bundle = _load("paper-r50-posetrack", detector="none", flow="dis")
    _run(bundle)
    published = names.filled(PUBLISHED[file.name](), dtype=torch.float16)
    kept = read_state(store.path(record))
    for joint, channel in (("nose", 0), ("head_bottom", 1), ("head_top", 2), ("left_shoulder", 5), ("right_ankle", 16)):
        row = bundle.joint_set.index(joint)
        assert torch.equal(kept["final_layer.weight"][row], published["keypoint_head.final_layer.weight"][channel])
        assert torch.equal(kept["final_layer.bias"][row], published["keypoint_head.final_layer.bias"][channel])


def test_the_authors_file_is_converted(store: Store, tmp_path: Path) -> None:
    _convert_own("authors-r50-256x192", store, tmp_path)
    bundle = _load("paper-r50", detector="none", flow="dis")
    _run(bundle)
    assert bundle.manifest.pose.published == ("authors-r50-256x192",)
    assert bundle.manifest.pose.metrics == {"coco_val2017_keypoint_ap": 0.704}


def test_nvidia_s_file_is_converted(store: Store, tmp_path: Path) -> None:
    _convert_own("nvidia-flownet2-s", store, tmp_path)
    bundle = _load("nano", detector="none", flow="published:nvidia-flownet2-s")
    assert isinstance(bundle.flow, FlowNetFlow)
    assert bundle.manifest.flow is not None
    assert bundle.manifest.flow.network["subtract_mean"]


@pytest.mark.parametrize(
    "name", ["torchvision-fasterrcnn-r50", "torchvision-fasterrcnn-mobilenet-320", "torchvision-ssdlite320"]
)
def test_detectors_are_pulled_and_loaded(name: str, web: Web, store: Store) -> None:
    pull(_publish(name, web), store, settings=ONCE)
    bundle = _load("nano", detector=f"published:{name}", flow="none")
    assert isinstance(bundle.detector, TorchvisionDetector)
    assert bundle.manifest.detector is not None
    assert bundle.manifest.detector.licence == "BSD-3-Clause"


def test_torchvision_s_own_name_finds_the_store_too(web: Web, store: Store) -> None:
    record = pull(_publish("torchvision-ssdlite320", web), store, settings=ONCE)
    name = "ssdlite320_mobilenet_v3_large"
    assert default_weights(name, store) == store.path(record)
    assert isinstance(_load("nano", detector=f"torchvision:{name}", flow="none").detector, TorchvisionDetector)
    store.path(record).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged or another file"):
        default_weights(name, store)


def test_what_is_missing_is_named_with_the_command_that_fetches_it(store: Store) -> None:
    with pytest.raises(
        NotStoredError, match=r"pose: mmpose-r50-256x192 or .*466 MB, with: posewire models pull paper-r50$"
    ):
        load_bundle("paper-r50", device="cpu")
    with pytest.raises(NotStoredError, match=r"\(pose: mmpose-r152.*275 MB, with: posewire models pull paper-r152$"):
        load_bundle("paper-r152", device="cpu", detector="none", flow="dis")
    with pytest.raises(NotStoredError, match=r"posewire models pull torchvision-ssdlite320$"):
        load_bundle("nano", device="cpu", detector="published:torchvision-ssdlite320", flow="dis")
    with pytest.raises(UnknownFileError, match="unknown published file 'raft'"):
        load_bundle("nano", device="cpu", detector="none", flow="published:raft")


def test_damage_in_the_store_is_found_on_loading(web: Web, store: Store) -> None:
    record = pull(_publish("mmflow-flownets", web), store, settings=ONCE)
    with store.path(record).open("r+b") as file:
        file.seek(-1, io.SEEK_END)
        file.write(b"x")
    with pytest.raises(ValueError, match="is damaged or another file"):
        load_bundle("nano", device="cpu", detector="none", flow="published:mmflow-flownets")


def _small_checkpoint(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"<html>Please log in</html>", UnreadableError, "looks like a web page"),
        (_small_checkpoint({"state_dict": {"x": torch.ones(1)}}), UnknownCheckpointError, "'x' is no name of MMFlow"),
    ],
)
def test_what_cannot_be_converted_leaves_nothing(
    content: bytes, kind: type[Exception], message: str, web: Web, store: Store
) -> None:
    file = _publish("mmflow-flownets", web, content)
    for _ in range(2):  # the second time as the first: nothing of it is gone on with
        with pytest.raises(kind, match=message) as raised:
            pull(file, store, settings=ONCE)
        assert str(raised.value).startswith(file.address)  # and not with a path that is gone
        assert str(store.downloads) not in str(raised.value)
    assert not store.weights.exists()
    assert [path.suffix for path in store.downloads.iterdir()] == [".lock"]


def test_a_full_disk_keeps_the_download(web: Web, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _publish("torchvision-ssdlite320", web)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(StoreError, match="No space left on device"):
            pull(file, store, settings=ONCE)
    assert store.find(file.name) is None
    web.requests.clear()
    pull(file, store, settings=ONCE)
    assert web.asked_ranges == [f"bytes={len(web.files['/' + file.file])}-"]


def test_a_converted_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pose.pth").write_bytes(_checkpoint("mmflow-flownets"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        convert_to(tmp_path / "pose.pth", tmp_path / "out.safetensors", "mmflow-flownets")
    assert not (tmp_path / "out.safetensors").exists()


def test_offline_says_what_to_do_by_hand(store: Store) -> None:
    file = dataclasses.replace(published_file("mmflow-flownets"), address="http://host.invalid/flownets.pth")
    with pytest.raises(
        DownloadError, match=r"cannot reach http://host\.invalid/.*By hand: get .*models convert flownets_8x1"
    ):
        pull(file, store, settings=ONCE)
    with pytest.raises(DownloadError, match=r"cannot be fetched by a program\. By hand: get FlowNet2-S_checkpoint"):
        pull(published_file("nvidia-flownet2-s"), store, settings=ONCE)


def test_two_who_pull_at_once_fetch_once(web: Web, store: Store) -> None:
    file = _publish("torchvision-ssdlite320", web)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: pull(file, Store(), settings=ONCE), range(2))
    assert first == second
    assert len(web.requests) == 1


def test_what_is_here_needs_no_room_for_downloads(web: Web, store: Store) -> None:
    """A cache may be mounted for reading alone."""
    file = _publish("torchvision-ssdlite320", web)
    record = pull(file, store, settings=ONCE)
    shutil.rmtree(store.downloads)
    store.downloads.write_text("no folder")
    assert pull(file, store, settings=ONCE) == record


def test_a_mirror_has_the_files_of_each_host_in_a_folder(web: Web, store: Store) -> None:
    content = _checkpoint("mmflow-flownets")
    web.files["/mirror/download.openmmlab.com/mmflow/flownet/flownets_8x1_slong_flyingchairs_384x448.pth"] = content
    record = pull(published_file("mmflow-flownets"), store, mirror=web.address("/mirror/"), settings=ONCE)
    assert record.source_sha256 == hashlib.sha256(content).hexdigest()


def _meta(shapes: names.Shapes) -> dict[str, Tensor]:
    with torch.device("meta"):
        return {key: torch.empty(shape) for key, shape in shapes.items()}


def test_a_file_is_recognised_by_its_name_or_its_tensors() -> None:
    flow = _meta(names.mmflow_flownets())
    assert recognise(Path("a/pose_resnet_152_384x288.pth.tar"), {}).name == "authors-r152-384x288"
    assert recognise(Path("download (1).pth"), flow).name == "mmflow-flownets"
    wrapped = {f"module.{key}": value for key, value in _meta(names.flownet2_pytorch()).items()}
    assert recognise(Path("x.pth"), wrapped).name == "nvidia-flownet2-s"
    with pytest.raises(
        UnknownCheckpointError, match=r"the tensors of authors-r101-256x192, authors-r101-384x288,.*--as NAME"
    ):
        recognise(Path("model_best.pth.tar"), _meta(names.authors_pose_resnet(101)))
    with pytest.raises(UnknownCheckpointError, match=r"not one of the checkpoints.*\(1 tensors, the first is 'a'\)"):
        recognise(Path("x.pth"), {"a": torch.ones(1)})


def test_a_person_s_file_must_be_the_published_one_unless_it_goes_elsewhere(store: Store, tmp_path: Path) -> None:
    file = published_file("torchvision-ssdlite320")
    path = tmp_path / file.file
    path.write_bytes(_checkpoint(file.name))
    with pytest.raises(
        UnknownCheckpointError, match=r"not torchvision-ssdlite320 as it was published.*with a79551df.*--out"
    ):
        convert_file(path, store)
    assert convert_to(path, tmp_path / "own.safetensors") == file
    assert len(read_state(tmp_path / "own.safetensors")) > 100
    with pytest.raises(UnknownCheckpointError, match=r"ssdlite320\S*\.pth is not authors-r50-256x192: "):
        convert_to(path, tmp_path / "wrong.safetensors", "authors-r50-256x192")
    assert not (tmp_path / "wrong.safetensors").exists()


def test_tensors_that_share_their_numbers_are_kept_apart(tmp_path: Path) -> None:
    file = published_file("torchvision-ssdlite320")
    state = names.filled(PUBLISHED[file.name](), dtype=torch.float16)
    keys = [key for key in state if state[key].shape == (72,) and key.endswith("bias")][:4]
    state[keys[1]] = state[keys[0]]  # tied
    state[keys[2]], state[keys[3]] = torch.stack((state[keys[2]], state[keys[3]])).unbind()  # side by side
    torch.save(state, tmp_path / "mine.pth")
    convert_to(tmp_path / "mine.pth", tmp_path / "own.safetensors", file.name)
    kept = read_state(tmp_path / "own.safetensors")
    assert all(torch.equal(kept[key], state[key]) for key in keys)


def test_prefixes_and_counters_of_training_are_taken_away() -> None:
    file = published_file("torchvision-ssdlite320")
    state = names.filled(PUBLISHED[file.name](), dtype=torch.float16)
    plain = convert_state(state, file, "test")
    wrapped = convert_state({f"module.{key}": value for key, value in state.items()}, file, "test")
    assert plain.keys() == wrapped.keys()
    assert not any("module." in key or "num_batches_tracked" in key for key in plain)


def test_numbers_that_are_not_finite_are_refused() -> None:
    file = published_file("torchvision-ssdlite320")
    state = names.filled(PUBLISHED[file.name]())
    key = next(key for key in state if key.endswith("weight"))
    state[key].view(-1)[0] = float("nan")
    with pytest.raises(UnknownCheckpointError, match=f"not finite, in {key}"):
        convert_state(state, file, "test")
