from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from posewire_evaluation.ablation import cache as cache_module
from posewire_evaluation.ablation.cache import (
    CachedDetections,
    CacheError,
    KnownPoses,
    NetworkCache,
    digest_of,
    replaced,
)
from posewire_models.frames import FlowField

BOXES = np.array([[0, 0, 10, 20], [5, 5, 15, 25], [0, 0, 10, 20]], np.float32)
TIMES_S = np.array([0.0, 0.04, 0.2])
POSES = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)


def test_poses_are_known_by_frame_and_exact_box() -> None:
    known = KnownPoses(joints=4)
    assert known.missing(7, BOXES).tolist() == [0, 1]  # the third is the first again
    known.add(7, BOXES[:2], POSES)
    assert known.missing(7, BOXES).tolist() == []
    np.testing.assert_array_equal(known.get(7, BOXES), POSES[[0, 1, 0]])
    assert known.missing(8, BOXES[:1]).tolist() == [0]
    assert known.missing(7, np.nextafter(BOXES[:1], np.float32(99))).tolist() == [0]


def test_the_first_pose_of_a_box_stays() -> None:
    known, other = KnownPoses(4), KnownPoses(4)
    known.add(0, BOXES[:1], POSES[:1])
    other.add(0, BOXES[:2], POSES[::-1])
    known.merge(other)
    np.testing.assert_array_equal(known.get(0, BOXES[:2]), POSES[[0, 0]])


def test_everything_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path)
    found = CachedDetections(BOXES, np.array([0.9, 0.5, 0.4], np.float32), np.array([2, 0, 1]), TIMES_S, (240, 320))
    cache.store_detections("a/b c", "d1", found)
    back = cache.detections("a/b c", "d1")
    assert back.frame_size == (240, 320)
    np.testing.assert_array_equal(back.times_s, TIMES_S)
    assert [len(back.of(frame)[0]) for frame in range(3)] == [2, 0, 1]
    np.testing.assert_array_equal(back.of(2)[0], BOXES[2:])
    assert back.of(2)[1] == np.float32(0.4)

    known = KnownPoses(4)
    known.add(3, BOXES[:2], POSES)
    cache.store_poses("a", "d2", known)
    np.testing.assert_array_equal(cache.poses("a", "d2", 4).get(3, BOXES[:2]), POSES)
    assert len(cache.poses("a", "unknown", 4)) == 0
    with pytest.raises(CacheError, match=r"poses\.npz is damaged \(its poses have the shape \(4, 3\), not \(17, 3\)\)"):
        cache.poses("a", "d2", 17)


def test_fields_keep_their_displacements(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path)
    rng = np.random.default_rng(0)
    grids = rng.uniform(-100, 100, (12, 20, 30, 2)).astype(np.float32)
    with cache.storing_flow("a", "d") as store:
        for grid in grids:
            store(grid)
    back = cache.flow("a", "d")
    assert back.shape == grids.shape
    np.testing.assert_allclose(back, grids, rtol=2**-10, atol=1e-3)


def test_a_video_of_one_frame_has_no_field(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path)
    with cache.storing_flow("a", "d"):
        pass
    assert cache.has_flow("a", "d")
    assert len(cache.flow("a", "d")) == 0


def test_wide_fields_are_reduced_and_say_the_same(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path)
    ramp = np.linspace(-8, 8, 640, dtype=np.float32)
    grid = np.stack([np.tile(ramp, (360, 1)), np.zeros((360, 640), np.float32)], axis=2)
    with cache.storing_flow("a", "d") as store:
        store(grid)
    back = cache.flow("a", "d")[0]
    assert back.shape == (180, 320, 2)
    np.testing.assert_allclose(back[90, :, 0], ramp.reshape(320, 2).mean(axis=1), atol=0.01)


@pytest.mark.parametrize("order", [(0, 0, 1), (1, 0, 1), (1, 1, 0)], ids=str)
def test_fields_of_estimators_that_take_turns_have_one_shape_and_say_the_same(
    order: tuple[int, ...], tmp_path: Path
) -> None:
    """As of `FlowByGap`, in a video of which frames are missing."""

    def field(rows: int, columns: int) -> FlowField:
        x, y = np.meshgrid((np.arange(columns) + 0.5) * 320 / columns, (np.arange(rows) + 0.5) * 180 / rows)
        return FlowField(np.stack([0.02 * x + 0.01 * y, 3 - 0.02 * y], axis=2).astype(np.float32), (180, 320))

    fields = [field(45, 80), field(12, 16)]
    cache = NetworkCache(tmp_path)
    with cache.storing_flow("a", "d") as store:
        for kind in order:
            store(fields[kind].grid)
    back = cache.flow("a", "d")
    assert back.shape == (3, 45, 80, 2)
    points = np.array([[20.0, 20.0], [160.0, 90.0], [299.0, 160.0]], np.float32)
    for grid in back:
        found = FlowField(grid.astype(np.float32), (180, 320)).at(points)
        np.testing.assert_allclose(found, fields[0].at(points), atol=0.02)


def test_others_may_use_the_cache_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # with the rights that any file of this user has
    with replaced(tmp_path / "a" / "poses.npz") as file:
        file.write(b"poses")
    assert (tmp_path / "a" / "poses.npz").stat().st_mode == (tmp_path / "file").stat().st_mode


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path)
    with pytest.raises(RuntimeError, match="the network"), cache.storing_flow("a", "d") as store:  # noqa: PT012
        store(np.zeros((4, 4, 2), np.float32))
        raise RuntimeError("the network fails")
    assert not cache.has_flow("a", "d")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


READERS: dict[str, Callable[[NetworkCache], object]] = {
    "detections.npz": lambda cache: cache.detections("a", "d"),
    "flow.npy": lambda cache: cache.flow("a", "d"),
    "poses.npz": lambda cache: cache.poses("a", "d", 4),
}


@pytest.mark.parametrize("file", READERS)
def test_a_damaged_file_is_named_with_the_remedy(file: str, tmp_path: Path) -> None:
    path = tmp_path / "a-d" / file
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 rubbish")
    with pytest.raises(CacheError, match=rf"{file} is damaged .*delete it"):
        READERS[file](NetworkCache(tmp_path))


@pytest.mark.parametrize("file", READERS)
def test_a_file_of_somebody_else_is_not_called_damaged(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(np.lib.format, "open_memmap", refused)
    (tmp_path / "a-d").mkdir()
    (tmp_path / "a-d" / file).touch()
    with pytest.raises(PermissionError):
        READERS[file](NetworkCache(tmp_path))


@pytest.mark.parametrize("damaged", ["what is compressed", "how it is compressed"])
def test_every_part_of_a_file_may_be_damaged(damaged: str, tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path)
    cache.store_detections("a", "d", CachedDetections(BOXES, BOXES[:, 0], np.array([3]), TIMES_S, (240, 320)))
    path = tmp_path / "a-d" / "detections.npz"
    content = bytearray(path.read_bytes())
    if damaged == "what is compressed":
        name, extra = struct.unpack("<HH", content[26:30])  # the lengths of what comes before it
        content[30 + name + extra] = 0xFF
    else:
        with ZipFile(path) as archive:
            content[archive.start_dir + 10] = 99
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"detections\.npz is damaged"):
        cache.detections("a", "d")


def test_a_digest_stands_for_the_software_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of("a")
    monkeypatch.setattr(cache_module, "_SOFTWARE", {**cache_module._SOFTWARE, "opencv": "1.0"})
    assert digest_of("a") != before


def test_a_digest_stands_for_all_its_parts() -> None:
    assert digest_of("a", {"x": 1, "y": 2}) == digest_of("a", {"y": 2, "x": 1})
    assert len({digest_of("a", {"x": 1}), digest_of("a", {"x": 2}), digest_of("b", {"x": 1}), digest_of("a")}) == 4
