"""Training of the flow network."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from posewire_models.flownet_s import FLOW_SCALE, FLOW_STRIDE, FlowNetS, FlowNetSConfig, pair_input
from posewire_models.training.checkpoint import load_fitting, start_file
from posewire_models.training.colour import recolour
from posewire_models.training.config import build
from posewire_models.training.contact_sheet import sheet
from posewire_models.training.devices import Processes, autocast
from posewire_models.training.flow_pairs import FlowPairConfig, FlowPairs
from posewire_models.training.flow_scenes import HELD_OUT_SEEDS, TRAINING_SEEDS, FlowScenes, render_pairs
from posewire_models.training.loop import Trained, train
from posewire_models.training.loop_config import MOST_THREADS, LoopConfig
from posewire_models.training.losses import multi_scale_epe
from posewire_models.training.sources import SourceConfig
from posewire_models.training.textures import read_textures, squares

__all__ = ["FlowTask", "FlowTrainConfig", "train_flow"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FlowTrainConfig:
    """Everything about a run of `train_flow`.

    Attributes:
        loop: length, learning rate, precision, folder.
        sources: data sets whose pictures are the textures; without any, textures are rendered scenes.
        data_root: what the sources' paths are relative to.
        network: settings of `FlowNetSConfig`.
        other_sizes: (height, width) that batches are reduced to, so that the weights work at all of these sizes; each
            gets as many batches as the network's own `input_size`.
        pairs: how pairs are made from textures.
        examples: drawn pairs per epoch.
        scenes: number of synthetic scenes, rendered at the start.
        pairs_a_scene: pairs of frames from each.
        rate_divisors: of the scenes' frame rates, see `render_pairs`.
        held_out_scenes: number of further scenes, with other seeds, to measure on.
        textures: largest number of pictures.
        texture_side: their size in pixels.
        scene_zoom: parts of synthetic pairs are enlarged by up to this share, and mirrored.
        joint_weight: weight of the end-point error at people's joints, which the tracker needs, next to all pixels.
        colour: see `recolour`; both images of a pair change alike, and each a little by itself.
        init_from: weights to start from (tensors that fit by name and shape are loaded), a path as it is or under
            `data_root`.
        device: `auto`, `cpu` or `cuda`.
        loaders: threads that read pictures, render scenes and draw pairs.
    """

    loop: LoopConfig
    sources: tuple[SourceConfig, ...] = ()
    data_root: Path = Path()
    network: dict[str, Any] = field(default_factory=dict)
    other_sizes: tuple[tuple[int, int], ...] = ()
    pairs: FlowPairConfig = field(default_factory=FlowPairConfig)
    examples: int = 4000
    scenes: int = 48
    pairs_a_scene: int = 12
    rate_divisors: tuple[float, ...] = (1.0, 2.0, 3.0)
    held_out_scenes: int = 12
    textures: int = 2000
    texture_side: int = 384
    scene_zoom: float = 0.4
    joint_weight: float = 0.3
    colour: float = 0.3
    init_from: Path | None = None
    device: str = "auto"
    loaders: int = 2

    def __post_init__(self) -> None:
        if min(self.examples, self.scenes, self.pairs_a_scene, self.textures) < 1:
            raise ValueError("examples, scenes, pairs_a_scene and textures must be at least 1")
        if self.held_out_scenes < 0 or not 0 <= self.colour <= 1:
            raise ValueError("held_out_scenes must not be negative, colour lies in 0..1")
        if not 32 <= self.texture_side <= 4096 or not 1 <= self.loaders <= MOST_THREADS:
            raise ValueError(f"texture_side lies in 32..4096, loaders in 1..{MOST_THREADS}")
        if not self.rate_divisors or not all(1 <= divisor <= 15 for divisor in self.rate_divisors):
            raise ValueError("rate_divisors must be numbers in 1..15, at least one")
        if min(self.scene_zoom, self.joint_weight) < 0:
            raise ValueError("scene_zoom and joint_weight must not be negative")
        self.network_config()
        for size in self.other_sizes:
            dataclasses.replace(self.network_config(), input_size=size)  # raises if it is invalid

    def network_config(self) -> FlowNetSConfig:
        """The network's own settings."""
        return build(FlowNetSConfig, self.network, "network")

    def build_network(self) -> FlowNetS:
        """A network with these settings and random weights from the seed."""
        torch.manual_seed(self.loop.seed)
        return FlowNetS(self.network_config())


@dataclass(frozen=True)
class _Pairs:
    """The batch of a step.

    Attributes:
        first, second: `(b, 3, h, w)` float 0..255.
        flow: `(b, 2, h, w)` in pixels.
        joints: `(b, m, 2)` positions of people's joints in the first image, padded with NaN.
        joint_flow: `(b, m, 2)` their displacements.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    joints: Tensor
    joint_flow: Tensor

    def resized(self, size: tuple[int, int]) -> _Pairs:
        """The same pairs at another size (height, width)."""
        ratio = torch.tensor([size[1] / self.flow.shape[3], size[0] / self.flow.shape[2]], device=self.flow.device)
        first, second, flow = (
            functional.interpolate(part, size, mode="bilinear", antialias=True, align_corners=False)
            for part in (self.first, self.second, self.flow)
        )
        return _Pairs(
            first,
            second,
            flow * ratio[:, None, None],
            (self.joints + 0.5) * ratio - 0.5,
            self.joint_flow * ratio,
        )


class FlowTask:
    """A `Task` for the loop: flow of drawn pairs and of synthetic scenes."""

    def __init__(
        self,
        config: FlowTrainConfig,
        network: nn.Module,
        textures: Tensor,
        scenes: FlowScenes,
        held_out: FlowScenes | None,
        device: torch.device,
    ) -> None:
        self.config, self.device = config, device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.examples = config.examples + len(scenes)
        self.scenes, self.held_out = scenes, held_out
        net = config.network_config()
        self._subtract_mean = net.subtract_mean
        self._pairs = FlowPairs(config.pairs, textures, net.input_size, config.loaders)

    def batch(self, rows: Tensor, generator: torch.Generator) -> _Pairs:
        """A batch on the device: the first rows are from scenes, the others are drawn and have no joints."""
        rendered = rows[rows < len(self.scenes)]
        taken = self._taken(rendered, generator)
        made = [part.to(self.device) for part in self._pairs(len(rows) - len(rendered), generator)]
        first, second, flow = (
            torch.cat(parts) for parts in zip((taken.first, taken.second, taken.flow), made, strict=True)
        )
        # First the same change for both images, side by side, then a small one for each.
        together = recolour(torch.cat([first, second], dim=3), generator, colour=self.config.colour, blur=0.0)
        first, second = (
            recolour(part.contiguous(), generator, colour=self.config.colour / 5, blur=0.1)
            for part in together.chunk(2, dim=3)
        )
        pairs = _Pairs(first, second, flow, taken.joints, taken.joint_flow)
        size = int(torch.randint(1 + len(self.config.other_sizes), (), generator=generator))
        return pairs.resized(self.config.other_sizes[size - 1]) if size else pairs

    def _taken(self, rows: Tensor, generator: torch.Generator) -> _Pairs:
        """Pairs from scenes: a part of both images, enlarged; some flipped horizontally, some vertically."""
        scenes, device = self.scenes, self.device
        images = [part[rows].to(device).permute(0, 3, 1, 2).float() for part in (scenes.first, scenes.second)]
        flow = scenes.flow[rows].to(device).float()
        chances = torch.rand(len(rows), 5, generator=generator).to(device)
        zoom = 1 + self.config.scene_zoom * chances[:, :1]
        scale = zoom * torch.where(chances[:, 1:3] < torch.tensor([0.5, 0.2], device=device), -1.0, 1.0)
        shift = (2 * chances[:, 3:] - 1) * (1 - 1 / zoom)
        # Both in coordinates in which the image extends from -1 to 1: `to_source` maps the part to the whole.
        to_source = torch.cat([torch.diag_embed(1 / scale), shift[..., None]], dim=2)
        whole = torch.cat([*images, flow], dim=1)
        part = whole
        if len(rows):  # PyTorch rejects empty grids
            grid = functional.affine_grid(to_source, list(whole.shape), align_corners=False)
            part = functional.grid_sample(whole, grid, padding_mode="border", align_corners=False)
        first, second, flow = part[:, :3], part[:, 3:6], part[:, 6:]
        joints = (_relative(scenes.joints[rows].to(device), flow) - shift[:, None]) * scale[:, None]
        joints[joints.abs().amax(dim=2) > 1] = torch.nan
        size = torch.tensor([flow.shape[3], flow.shape[2]], device=device)
        return _Pairs(
            first,
            second,
            flow * scale[..., None, None],
            ((joints + 1) * size - 1) / 2,
            scenes.joint_flow[rows].to(device) * scale[:, None],
        )

    def loss(self, network: nn.Module, batch: _Pairs) -> Tensor:
        """End-point error on all scales, and at people's joints on the finest."""
        flows = self._flows(network, batch.first, batch.second)
        loss = multi_scale_epe(flows, batch.flow / FLOW_SCALE)
        known = batch.joints.isfinite().all(dim=2)
        if self.config.joint_weight and known.any():
            found = _at(flows[0][: len(known)].float(), batch.joints.nan_to_num(), batch.flow)
            errors = (found - batch.joint_flow / FLOW_SCALE)[known]
            loss = loss + self.config.joint_weight * torch.linalg.vector_norm(errors, dim=1).mean()
        return loss

    @torch.no_grad()
    def measure(self, network: nn.Module) -> dict[str, float]:
        """Mean end-point error at people's joints in held-out scenes, and OpenCV's DIS medium for comparison."""
        if self.held_out is None:
            return {}
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        for row in range(len(self.held_out)):
            joints, moved = self.held_out.joints[row], self.held_out.joint_flow[row]
            known = joints.isfinite().all(dim=1)
            found = self.predict(network, self.held_out.first[row], self.held_out.second[row])
            pair = (self.held_out.first[row], self.held_out.second[row])
            greys = [cv2.cvtColor(image.numpy(), cv2.COLOR_RGB2GRAY) for image in pair]
            other = torch.from_numpy(np.asarray(dis.calc(greys[0], greys[1], None)))  # type: ignore[call-overload]
            for errors, field_ in ((ours, found), (theirs, other.permute(2, 0, 1))):
                errors.append((_at(field_[None], joints[known][None], field_)[0] - moved[known]).norm(dim=1))
        return {"joint_epe": float(torch.cat(ours).mean()), "dis_joint_epe": float(torch.cat(theirs).mean())}

    def predict(self, network: nn.Module, first: Tensor, second: Tensor) -> Tensor:
        """Flow `(2, h, w)` in pixels between two images `(h, w, 3)` uint8."""
        images = [image.to(self.device).permute(2, 0, 1)[None].float() for image in (first, second)]
        flow = self._flows(network, *images)[0].float() * FLOW_SCALE
        full = functional.interpolate(flow, scale_factor=FLOW_STRIDE, mode="bilinear", align_corners=False)
        return full[0].cpu()

    @torch.no_grad()
    def picture(self, network: nn.Module) -> Tensor | None:
        """For a few pairs: the first image, the predicted flow and the true flow, as colours."""
        scenes = self.held_out or self.scenes
        tiles = []
        for row in torch.linspace(0, len(scenes) - 1, 6).long().tolist():
            tiles.append(scenes.first[row].permute(2, 0, 1))
            tiles.append(_painted(self.predict(network, scenes.first[row], scenes.second[row])))
            tiles.append(_painted(scenes.flow[row].float()))
        return sheet(torch.stack(tiles), columns=6)

    def _flows(self, network: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs for images `(b, 3, h, w)` 0..255, on all its scales."""
        inputs = pair_input(first, second, subtract_mean=self._subtract_mean)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.config.loop.precision):
            flows: tuple[Tensor, ...] = network(inputs)
        return flows


def _relative(points: Tensor, image: Tensor) -> Tensor:
    """Pixels `(..., 2)` in coordinates in which the image `(..., h, w)` extends from -1 to 1."""
    size = torch.tensor([image.shape[-1], image.shape[-2]], device=points.device)
    return (2 * points + 1) / size - 1


def _at(flow: Tensor, points: Tensor, image: Tensor) -> Tensor:
    """Flow `(b, 2, h, w)` of any resolution, sampled bilinearly at points `(b, m, 2)` in image pixels: `(b, m, 2)`."""
    grid = _relative(points, image)[:, :, None]
    sampled = functional.grid_sample(flow, grid, padding_mode="border", align_corners=False)
    return sampled[..., 0].transpose(1, 2)


def _painted(flow: Tensor) -> Tensor:
    """Direction as hue, length as brightness: uint8 `(3, h, w)`."""
    dx, dy = flow.numpy()
    length, angle = cv2.cartToPolar(dx, dy, angleInDegrees=True)
    hue = np.asarray(angle) / 2
    brightness = (np.asarray(length) * 12).clip(0, 255)
    hsv = np.stack([hue, np.full_like(hue, 255), brightness], axis=2).astype(np.uint8)
    return torch.from_numpy(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))).permute(2, 0, 1)


def train_flow(config: FlowTrainConfig, *, resume: bool = False, **loop: Any) -> Trained:
    """Train a flow network according to the config; keyword arguments are passed to `train`.

    Raises:
        LabelFileError, WeightsError, ValueError: data or weights are missing or faulty.
    """
    processes = Processes.start(config.device, config.loop.threads)
    prepare = partial(_prepare, config, processes, start_weights=not resume)
    return train(prepare, config.loop, processes, resume=resume, **loop)


def _prepare(config: FlowTrainConfig, processes: Processes, *, start_weights: bool) -> FlowTask:
    size = config.network_config().input_size
    scenes = render_pairs(
        size, config.scenes, config.pairs_a_scene, TRAINING_SEEDS, config.loaders, config.rate_divisors
    )
    held_out = None
    if processes.first and config.held_out_scenes:
        held_out = render_pairs(size, config.held_out_scenes, 4, HELD_OUT_SEEDS, config.loaders)
    if config.sources:
        how = (config.texture_side, config.textures, config.loop.seed)
        textures = read_textures(config.sources, config.data_root, *how)
    else:
        textures = squares((image.numpy() for image in scenes.first[: config.textures]), config.texture_side)
    _log.info("%d textures, %d pairs of %d scenes", len(textures), len(scenes), config.scenes)
    network = config.build_network()
    if config.init_from and start_weights:
        load_fitting(network, start_file(config.init_from, config.data_root))
    return FlowTask(config, network, textures, scenes, held_out, processes.device)
