"""Caches outputs of networks on disk, so that no network runs twice on the same input.

    FOLDER/NAME-DIGEST/detections.npz     boxes and scores of every frame, and when it was taken
    FOLDER/NAME-DIGEST/flow.npy           all fields, memory-mapped: shared by processes instead of held by each
    FOLDER/NAME-DIGEST/poses.npz          a pose for every (frame, box) that was needed so far

NAME is that of the sequence; each digest covers all that the content depends on: network, settings, video, software.
Files are written to a temporary name and then moved, so that they are never incomplete.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import av
import cv2
import numpy as np
import numpy.typing as npt

from posewire import __version__
from posewire.array_types import Float32s, Float64s
from posewire.output_files import AtomicPath
from posewire_evaluation.errors import EvaluationError

__all__ = [
    "CacheError",
    "CachedDetections",
    "Fields",
    "KnownPoses",
    "NetworkCache",
    "digest_of",
    "read_npz",
    "replaced",
]


_FORMAT = 2
# What decodes pictures, computes DIS, and turns outputs of the networks into boxes and joints.
_SOFTWARE = {"posewire": __version__, "opencv": cv2.__version__, "pyav": av.__version__}
_OF_DETECTIONS = ("boxes", "scores", "counts", "times_s")
_MOST_COLUMNS = 320
"""Fields are stored with at most this many columns, those of DIS at half their width: a quarter of the space.

This has a cost. For frames 1280 pixels wide, the displacements of 99 in 100 points stay within 0.7 pixels; at the edges
of moving things they may be off by 4. So replayed tracks are not quite those of the service. Half precision costs 0.01
pixels.
"""


class CacheError(EvaluationError):
    """A file of the cache cannot be used; the message names it and says what to do."""


def digest_of(*parts: object) -> str:
    """16 hexadecimal digits that identify `parts`, which must be JSON values, and the versions of the software."""
    text = json.dumps([_FORMAT, _SOFTWARE, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class CachedDetections:
    """B_det of a sequence.

    Attributes:
        boxes: `(n, 4)` float32 xyxy of all frames, one frame after another.
        scores: `(n,)` float32.
        counts: `(frames,)` int64: number of boxes per frame.
        times_s: `(frames,)` float64: when each frame was taken.
        frame_size: (height, width) of the frames.
    """

    boxes: Float32s
    scores: Float32s
    counts: npt.NDArray[np.int64]
    times_s: Float64s
    frame_size: tuple[int, int]

    def of(self, frame: int) -> tuple[Float32s, Float32s]:
        """Boxes and scores of one frame."""
        end = int(self.counts[: frame + 1].sum())
        rows = slice(end - int(self.counts[frame]), end)
        return self.boxes[rows], self.scores[rows]


class KnownPoses:
    """Poses by frame and box. Boxes are looked up by their exact coordinates."""

    def __init__(self, joints: int) -> None:
        self._joints = joints
        self._poses: dict[tuple[int, bytes], Float32s] = {}

    def __len__(self) -> int:
        return len(self._poses)

    def missing(self, frame: int, xyxy: Float32s) -> npt.NDArray[np.intp]:
        """Rows of the boxes `(n, 4)` whose poses are not known yet; only the first of equal boxes."""
        keys = [(frame, box.tobytes()) for box in _exact(xyxy)]
        return np.array(
            [row for row, key in enumerate(keys) if key not in self._poses and key not in keys[:row]], dtype=np.intp
        )

    def add(self, frame: int, xyxy: Float32s, joints: Float32s) -> None:
        """Remember the poses `(n, k, 3)` of boxes `(n, 4)`; known ones are kept."""
        for box, pose in zip(_exact(xyxy), joints, strict=True):
            self._poses.setdefault((frame, box.tobytes()), np.array(pose, np.float32))

    def get(self, frame: int, xyxy: Float32s) -> Float32s:
        """The poses `(n, k, 3)` of boxes that are known."""
        poses = [self._poses[frame, box.tobytes()] for box in _exact(xyxy)]
        return np.array(poses, np.float32).reshape(len(xyxy), self._joints, 3)

    def merge(self, other: KnownPoses) -> None:
        """Add the poses of the other that are not known here."""
        for key, pose in other._poses.items():
            self._poses.setdefault(key, pose)

    def arrays(self) -> tuple[npt.NDArray[np.int64], Float32s, Float32s]:
        """All entries: frames `(n,)`, boxes `(n, 4)`, poses `(n, k, 3)`."""
        boxes = np.frombuffer(b"".join(box for _, box in self._poses), np.float32).reshape(-1, 4)
        poses = np.array(list(self._poses.values()), np.float32).reshape(-1, self._joints, 3)
        return np.array([frame for frame, _ in self._poses], np.int64), boxes, poses

    @classmethod
    def of(cls, frames: npt.NDArray[np.int64], boxes: Float32s, poses: Float32s) -> KnownPoses:
        """The inverse of `arrays`."""
        known = cls(poses.shape[1])
        for frame, box, pose in zip(frames.tolist(), boxes, poses, strict=True):
            known.add(frame, box[None], pose[None])
        return known


class NetworkCache:
    """The cache in a folder, which is created when something is stored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has_detections(self, sequence: str, digest: str) -> bool:
        """Whether they are stored."""
        return self._path(sequence, digest, "detections.npz").exists()

    def detections(self, sequence: str, digest: str) -> CachedDetections:
        """The stored detections; raises `CacheError` if the file is damaged."""
        arrays = read_npz(self._path(sequence, digest, "detections.npz"), (*_OF_DETECTIONS, "size"))
        height, width = arrays["size"].tolist()
        return CachedDetections(arrays["boxes"], arrays["scores"], arrays["counts"], arrays["times_s"], (height, width))

    def store_detections(self, sequence: str, digest: str, found: CachedDetections) -> None:
        """Store B_det of a sequence."""
        size = np.array(found.frame_size, np.int64)
        with replaced(self._path(sequence, digest, "detections.npz")) as file:
            np.savez_compressed(file, **{name: getattr(found, name) for name in _OF_DETECTIONS}, size=size)

    def has_flow(self, sequence: str, digest: str) -> bool:
        """Whether the fields are stored."""
        return self._path(sequence, digest, "flow.npy").exists()

    def flow(self, sequence: str, digest: str) -> npt.NDArray[np.float16]:
        """Grids `(frames - 1, rows, columns, 2)` float16, memory-mapped: only what is accessed is read.

        Raises:
            CacheError: the file is damaged.
            PermissionError: it must not be read.
        """
        path = self._path(sequence, digest, "flow.npy")
        with _whole(path):
            return np.asarray(np.lib.format.open_memmap(path, mode="r"), np.float16)

    @contextmanager
    def storing_flow(self, sequence: str, digest: str) -> Iterator[Callable[[Float32s], None]]:
        """Yields a function that stores the next frame's grid; the file appears when the block ends without error."""
        with replaced(self._path(sequence, digest, "flow.npy")) as file:
            fields = Fields(file)
            yield fields.add
            fields.finish()

    def poses(self, sequence: str, digest: str, joints: int) -> KnownPoses:
        """All known poses; none if nothing is stored. Raises `CacheError` if the file is damaged."""
        path = self._path(sequence, digest, "poses.npz")
        if not path.exists():
            return KnownPoses(joints)
        arrays = read_npz(path, ("frames", "boxes", "poses"))
        if arrays["poses"].shape[1:] != (joints, 3):
            raise _damaged(path, f"its poses have the shape {arrays['poses'].shape[1:]}, not {(joints, 3)}")
        return KnownPoses.of(arrays["frames"], arrays["boxes"], arrays["poses"])

    def store_poses(self, sequence: str, digest: str, known: KnownPoses) -> None:
        """Replace the stored poses by these."""
        with replaced(self._path(sequence, digest, "poses.npz")) as file:
            frames, boxes, poses = known.arrays()
            np.savez(file, frames=frames, boxes=boxes, poses=poses)

    def _path(self, sequence: str, digest: str, file: str) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', sequence)}-{digest}" / file


class Fields:
    """Writes grids one after another as one `.npy` array, whose length is known only at the end.

    Estimators that take turns return grids of different shapes: all are resized to the widest.

    Args:
        file: empty, and open for reading and writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._shape: tuple[int, int, int] | None = None
        self._count = 0

    def add(self, grid: Float32s) -> None:
        """Append a grid `(rows, columns, 2)`, reduced, in half precision (a thousandth of the displacement)."""
        small = _reduced(grid)
        if self._shape is None or small.shape[1] > self._shape[1]:
            self._begin_again(small.shape)
        self._append(small)

    def _begin_again(self, shape: tuple[int, int, int]) -> None:
        earlier = self._written()
        self._shape, self._count = shape, 0
        self._write_header()
        for grid in earlier:
            self._append(np.asarray(grid, np.float32))

    def _written(self) -> npt.NDArray[np.float16]:
        if self._shape is None:
            return np.zeros((0, 1, 1, 2), np.float16)
        self._write_header()
        self._file.seek(0)
        return np.asarray(np.load(self._file))

    def _append(self, grid: Float32s) -> None:
        assert self._shape is not None
        rows, columns, _ = self._shape
        resized = cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_LINEAR)
        self._file.write(resized.astype(np.float16).tobytes())
        self._count += 1

    def finish(self) -> None:
        """Write the final header."""
        self._shape = self._shape or (1, 1, 2)
        self._write_header()

    def _write_header(self) -> None:
        assert self._shape is not None
        self._file.seek(0)
        # numpy reserves space for the length to grow, so the header can be rewritten in place.
        header = {"descr": np.dtype(np.float16).str, "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _reduced(grid: Float32s) -> Float32s:
    rows, columns, _ = grid.shape
    factor = -(-columns // _MOST_COLUMNS)
    size = (columns // factor, max(1, rows // factor))
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_AREA), np.float32)


def _exact(xyxy: Float32s) -> Float32s:
    return np.ascontiguousarray(xyxy, dtype=np.float32)


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file that replaces `path` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with AtomicPath(path) as target, target.temporary.open("w+b") as file:
        yield file


def read_npz(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays with these names; raises what `NetworkCache.flow` raises."""
    with _whole(path), path.open("rb") as file, np.load(file) as stored:
        return {name: stored[name] for name in names}


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """While this file is read: whatever goes wrong, except for missing rights, means that it is damaged."""
    try:
        yield
    except PermissionError:
        raise
    # A flipped bit may appear as an unknown compression method, or as an error in the middle of compressed data.
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError, zlib.error) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> CacheError:
    return CacheError(f"{path} is damaged ({why}); delete it, and it is made again")
