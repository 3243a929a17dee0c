"""The scenes of the benchmark sets: drawn once, stored as ground truth without pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s, Float64s
from posewire.joints import NANO19, POSETRACK15
from posewire.synth import PRESETS, Scene, SceneConfig, TrueFlow
from posewire.synth.layout import Layout
from posewire_evaluation.ablation.cache import NetworkCache, digest_of, read_npz, replaced
from posewire_evaluation.ablation.networks import BundleNetworks
from posewire_evaluation.sequences import PoseFrame, PoseSequence
from posewire_models.stages import FlowEstimator

__all__ = ["SETS", "DrawnScene", "FlowKind", "People", "draw", "scene_configs"]


SETS: tuple[str, ...] = tuple(PRESETS)
"""Names of the sets, which are the presets of `posewire.synth`."""

_VERSION = 1
_DIS_WIDTH = 640
_BUNDLE = "nano"
_OF_PEOPLE = ("ids", "joints", "boxes", "head_boxes", "visible_fraction")
_ARRAYS = (*_OF_PEOPLE, "counts", "labels", "label_bytes", "bases", "maps", "turns")


class FlowKind(StrEnum):
    """Where flow comes from."""

    TRUE = "true"
    """The scene's own motion, exact at every point."""
    NETWORK = "network"
    """The nano bundle's flow network on the pictures."""
    DIS = "dis"
    """OpenCV's DIS on the pictures."""


def scene_configs(name: str, *, scenes: int, frames: int, rate_divisor: int = 1) -> list[SceneConfig]:
    """The scenes of a set: seeds 100, 101, ...; at a lower frame rate the same scenes with fewer frames.

    Raises:
        ValueError: there is no such set, or a number is out of range.
    """
    preset = SceneConfig.preset(name)
    return [
        replace(preset, seed=100 + number, frames=max(1, frames // rate_divisor), fps=preset.fps / rate_divisor)
        for number in range(scenes)
    ]


@dataclass(frozen=True, eq=False)
class People:
    """The people of one frame, as in `posewire.synth.FrameTruth`.

    Attributes:
        ids: `(n,)` int64.
        joints: `(n, 19, 3)` float32, NANO19: x, y, visibility 0, 1 or 2.
        boxes: `(n, 4)` float32 xyxy, clipped to the picture.
        head_boxes: `(n, 4)` float32 xyxy.
        visible_fraction: `(n,)` float32.
    """

    ids: npt.NDArray[np.int64]
    joints: Float32s
    boxes: Float32s
    head_boxes: Float32s
    visible_fraction: Float32s


@dataclass(frozen=True, eq=False)
class DrawnScene:
    """The truth of a scene.

    Attributes:
        config: of the scene.
        people: of each frame.
        labels: of each frame, the part visible at each pixel: 16-bit PNG.
        bases: `(frames, 2, 3)`, see `posewire.synth.layout.Layout`.
        maps: `(frames, parts, 2, 3)`.
        turns: `(frames, parts)`.
        estimated: fields `(frames - 1, rows, columns, 2)` of each kind of flow that is estimated from the pictures.
    """

    config: SceneConfig
    people: tuple[People, ...]
    labels: tuple[bytes, ...]
    bases: Float64s
    maps: Float64s
    turns: Float64s
    estimated: Mapping[FlowKind, npt.NDArray[np.float16]]

    @property
    def name(self) -> str:
        """For messages, and the name of the sequence."""
        return f"scene of {self.config.people} people, seed {self.config.seed}, {self.config.fps:g} fps"

    def flow(self, frame: int) -> TrueFlow:
        """The true flow from frame - 1 to `frame`."""
        return TrueFlow(self._layout(frame - 1), self._layout(frame))

    def _layout(self, frame: int) -> Layout:
        labels = cv2.imdecode(np.frombuffer(self.labels[frame], np.uint8), cv2.IMREAD_UNCHANGED)
        return Layout(np.asarray(labels, np.uint16), self.bases[frame], self.maps[frame], self.turns[frame])

    def truth(self) -> PoseSequence:
        """The scene as the metrics need it: people with at least one visible joint, and their visible joints."""
        return PoseSequence(self.name, POSETRACK15, tuple(map(_true_frame, range(len(self.people)), self.people)))


def _true_frame(number: int, people: People) -> PoseFrame:
    joints = NANO19.convert(people.joints, POSETRACK15)
    seen = joints[..., 2] == 2
    some = seen.any(axis=1)
    sides = people.head_boxes[some, 2:] - people.head_boxes[some, :2]
    return PoseFrame.of(
        number,
        people.ids[some],
        joints[some],
        present=seen[some],
        labelled=bool(some.any()),
        head_sizes=0.6 * np.hypot(sides[:, 0], sides[:, 1]),
        boxes=people.boxes[some],
    )


def draw(config: SceneConfig, cache_dir: Path) -> DrawnScene:
    """The truth of a scene, from `cache_dir` or else drawn and stored there.

    Raises:
        CacheError: a file of the cache is damaged.
        OSError: the cache cannot be written.
    """
    what = ("scene", _VERSION, asdict(config))
    path = cache_dir / f"scene-{digest_of(*what)}.npz"
    cache = NetworkCache(cache_dir)
    digests = {
        FlowKind.DIS: digest_of(*what),
        FlowKind.NETWORK: digest_of(*what, BundleNetworks(_BUNDLE, flow="bundle", device="cpu").identities["flow"]),
    }
    if not (path.exists() and all(cache.has_flow("scene", digest) for digest in digests.values())):
        _draw(config, path, cache, digests)
    return _scene(
        config, read_npz(path, _ARRAYS), {kind: cache.flow("scene", digest) for kind, digest in digests.items()}
    )


def _estimators() -> dict[FlowKind, FlowEstimator]:
    import torch

    from posewire_models.architectures import build_flow
    from posewire_models.flow_estimators import DisFlow, DisSettings
    from posewire_models.inference import Execution
    from posewire_models.manifest import find_bundle, read_manifest

    folder = find_bundle(_BUNDLE)
    network = read_manifest(folder).flow
    assert network is not None
    # Run by PyTorch: a faster runtime rounds differently, so results would differ between machines.
    execution = Execution(torch.device("cpu"), "torch", "float32")
    return {
        FlowKind.DIS: DisFlow(DisSettings(width=_DIS_WIDTH)),
        FlowKind.NETWORK: build_flow(network, folder, execution),
    }


def _draw(config: SceneConfig, path: Path, cache: NetworkCache, digests: Mapping[FlowKind, str]) -> None:
    from posewire_models.frames import Frame

    estimators = _estimators()
    truths, labels, before = [], [], None
    with ExitStack() as files:
        stores = {kind: files.enter_context(cache.storing_flow("scene", digest)) for kind, digest in digests.items()}
        for frame in Scene(config):
            picture = Frame(frame.image)
            if before is not None:
                for kind, store in stores.items():
                    store(estimators[kind]([(before, picture)])[0].grid)
            before = picture
            truths.append(frame.truth)
            labels.append(cv2.imencode(".png", frame.truth.layout.labels)[1].ravel())
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.concatenate([getattr(truth, name) for truth in truths]) for name in _OF_PEOPLE
    }
    arrays["counts"] = np.array([len(truth.ids) for truth in truths])
    arrays["labels"], arrays["label_bytes"] = np.concatenate(labels), np.array([len(png) for png in labels])
    for name, of_layout in (("bases", "base"), ("maps", "maps"), ("turns", "turns")):
        arrays[name] = np.array([getattr(truth.layout, of_layout) for truth in truths])
    with replaced(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stubs take any keyword for allow_pickle


def _scene(
    config: SceneConfig,
    arrays: dict[str, npt.NDArray[Any]],
    estimated: Mapping[FlowKind, npt.NDArray[np.float16]],
) -> DrawnScene:
    by_frame = zip(*(_split(arrays[name], arrays["counts"]) for name in _OF_PEOPLE), strict=True)
    return DrawnScene(
        config,
        people=tuple(People(*parts) for parts in by_frame),
        labels=tuple(png.tobytes() for png in _split(arrays["labels"], arrays["label_bytes"])),
        bases=arrays["bases"],
        maps=arrays["maps"],
        turns=arrays["turns"],
        estimated=estimated,
    )


def _split(rows: npt.NDArray[Any], counts: Sequence[int] | npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
    return np.split(rows, np.cumsum(counts)[:-1])
