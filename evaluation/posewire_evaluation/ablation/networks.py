"""The networks to compare: how to load them, and what identifies their outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from posewire.joints import JointSet, joint_set
from posewire_models.choice import ByGap, ChosenDetector, ChosenFlow, Part, choose_networks
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.flow_estimators import FAR_S
from posewire_models.manifest import find_bundle, read_manifest
from posewire_models.specs import Dis, FlowNetFile, Nothing, OnnxFile, TorchvisionFile
from posewire_models.stages import Detector, FlowEstimator, PoseEstimator
from posewire_models.whole_files import file_digest

__all__ = ["BundleNetworks", "Networks", "Stages", "with_unique_names"]


class Stages(Protocol):
    """The three stages, ready to run; `posewire_models.bundle.LoadedBundle` is one."""

    @property
    def detector(self) -> Detector:
        """Finds people."""
        ...

    @property
    def flow(self) -> FlowEstimator:
        """Estimates optical flow."""
        ...

    @property
    def pose(self) -> PoseEstimator:
        """Finds joints."""
        ...


class Networks(Protocol):
    """A choice of networks. Must be picklable, since worker processes get it and load the networks when needed."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def joint_set(self) -> JointSet:
        """What the joints of a pose mean."""
        ...

    @property
    def identities(self) -> dict[str, Any]:
        """JSON values for `detector`, `flow` and `pose` that differ if their outputs may differ."""
        ...

    def load(self) -> Stages:
        """Load the networks; takes seconds."""
        ...


@dataclass(frozen=True)
class BundleNetworks:
    """The networks of a bundle, optionally with another detector or flow estimator; see `load_bundle`.

    Attributes:
        bundle: a name, or the path of a folder.
        detector: `bundle`, `onnx:PATH` or `torchvision:NAME[:WEIGHTS]`.
        flow: `auto`, `bundle`, `dis[:PRESET]`, `flownet2-s:PATH` or `none`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        folders: number of parent folders of a path that are part of the name.
    """

    bundle: str = "nano"
    detector: str = "bundle"
    flow: str = "auto"
    device: str = "auto"
    folders: int = 0

    @property
    def name(self) -> str:
        """Pose network and detector, as in the rows of Table 5; paths are shortened to `folders` parent folders."""
        bundle = self._tail(self.bundle)
        kind, colon, path = self.detector.partition(":")
        return bundle if self.detector == "bundle" else f"{bundle}, {kind}{colon}{self._tail(path)}"

    def _tail(self, path: str) -> str:
        parts = Path(path).parts[-1 - self.folders :]
        return str(Path(*parts)) if parts else ""

    @cached_property
    def joint_set(self) -> JointSet:
        """The bundle's joint set; raises `BundleError` if there is no such bundle."""
        return joint_set(read_manifest(find_bundle(self.bundle)).joint_set)

    @cached_property
    def identities(self) -> dict[str, Any]:
        """From the digests of the weights, the settings, and how they are run, since GPUs round differently.

        Raises:
            BundleError: unknown or faulty bundle, or one without the requested stage.
            PublishedError: it needs published weights that were not fetched.
            ValueError: unknown detector, flow estimator or device.
            OSError: a weight file cannot be read.
        """
        choice = choose_networks(self.bundle, device=self.device, detector=self.detector, flow=self.flow)
        execution = asdict(choice.execution) | {"device": choice.execution.device.type}
        stages = {"detector": choice.detector, "flow": choice.flow, "pose": choice.pose}
        return {stage: _identity(chosen, execution) for stage, chosen in stages.items()}

    def load(self) -> Stages:
        """Load the networks; raises what `load_bundle` raises."""
        from posewire_models.bundle import load_bundle

        return load_bundle(self.bundle, device=self.device, detector=self.detector, flow=self.flow)


def with_unique_names(choices: Sequence[BundleNetworks]) -> list[BundleNetworks]:
    """The same choices; where names clash, as many parent folders are added as are needed to tell them apart.

    Raises:
        ValueError: two choices are the same.
    """
    named = list(choices)
    while twice := {name for name, times in Counter(each.name for each in named).items() if times > 1}:
        longer = [replace(each, folders=each.folders + 1) if each.name in twice else each for each in named]
        if [each.name for each in longer] == [each.name for each in named]:
            raise ValueError(f"the networks {min(twice)!r} are asked for twice; name each choice once")
        named = longer
    return named


def _identity(chosen: ChosenDetector | ChosenFlow, execution: dict[str, Any]) -> dict[str, Any]:
    # Some keys carry no information. They are kept so that existing caches stay valid (except for `none`, which costs
    # nothing to compute).
    match chosen:
        case Part(component):
            return asdict(component) | execution
        case ByGap(near, far):
            return {"far": _identity(far, execution), "near": asdict(near.component), "from_s": FAR_S}
        case OnnxFile(path):
            named: dict[str, Any] = {"kind": "onnx", "path": _content(path), "name": ""}
        case TorchvisionFile(name, path):
            named = {"kind": "torchvision", "path": _content(path), "name": name}
        case FlowNetFile(path):
            named = {"kind": "flownet2-s", "path": _content(path), "preset": "ultrafast", "name": ""}
        case Dis(preset):
            named = {"kind": "dis", "path": None, "preset": preset, "name": ""}
        case Nothing():
            named = {"kind": "none"}
    return named | execution | asdict(DetectorSettings())


def _content(path: Path) -> str:
    """Digest of a network's file, since its path does not identify the content."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the file of the network")
    return file_digest(path)
