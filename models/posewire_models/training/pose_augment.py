"""Augmentation of person crops, for whole batches and on the training device.

The geometry of one sample is a matrix from crop pixels to patch pixels: the crop is sampled through it, the joints are
mapped by its inverse. So a joint always stays on its pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from posewire.joints import JointSet
from posewire_models.crops import apply_affine, invert_affine
from posewire_models.training.colour import recolour
from posewire_models.training.patches import PatchGeometry

__all__ = ["PoseAugmentConfig", "PoseAugmenter", "Views"]


@dataclass(frozen=True, kw_only=True)
class PoseAugmentConfig:
    """Random changes of each sample. The first three are the paper's; the others are off by default.

    Attributes:
        scale: the crop grows or shrinks by up to this share.
        rotation_deg: and rotates by up to this angle, either way.
        flip: probability of mirroring.
        any_angle: probability that the crop rotates by any angle instead, so that people upside down are learned
            from those who stand.
        shift: the crop's centre moves by up to this share of its height, as with detected boxes.
        half_body: probability that only the upper or the lower half of the body fills the crop.
        colour: strength of changes of brightness, contrast, saturation and tint, 0..1.
        blur: probability of blur.
        cutout: probability of grey rectangles.
        paste: probability that another person from the batch covers a part of this one.
    """

    scale: float = 0.3
    rotation_deg: float = 40.0
    flip: float = 0.5
    any_angle: float = 0.0
    shift: float = 0.0
    half_body: float = 0.0
    colour: float = 0.0
    blur: float = 0.0
    cutout: float = 0.0
    paste: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "any_angle", "half_body", "colour", "blur", "cutout", "paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name} {getattr(self, name)} must be in 0..1")
        if not 0 <= self.scale < 1 or not 0 <= self.shift < 1:
            raise ValueError(f"augment.scale {self.scale} and augment.shift {self.shift} must be in 0..1, below 1")
        if not 0 <= self.rotation_deg <= 180:
            raise ValueError(f"augment.rotation_deg {self.rotation_deg} must be in 0..180")


@dataclass(frozen=True)
class Views:
    """The part of its patch that each sample shows.

    Attributes:
        to_patch: `(b, 2, 3)` matrices from crop pixels to patch pixels.
        mirrored: `(b,)` whether left and right are swapped.
    """

    to_patch: Tensor
    mirrored: Tensor


class PoseAugmenter:
    """Draws views of person patches and samples the network's inputs from them.

    Args:
        config: kinds and strengths of the changes.
        joint_set: order of the joints, for mirroring, half bodies and silhouettes.
        geometry: of the patches.
        input_size: (height, width) of the crops.
    """

    def __init__(
        self, config: PoseAugmentConfig, joint_set: JointSet, geometry: PatchGeometry, input_size: tuple[int, int]
    ) -> None:
        self.config, self.geometry, self.input_size = config, geometry, input_size
        self._mirror = torch.from_numpy(joint_set.mirror)
        names = joint_set.names
        lower = [any(part in name for part in ("hip", "knee", "ankle")) for name in names]
        self._lower = torch.tensor(lower)
        face = {row for row, name in enumerate(names) if name.endswith(("eye", "ear"))}
        self._bones = torch.tensor([bone for bone in joint_set.edges if face.isdisjoint(bone)])  # of silhouettes

    def __call__(self, patches: Tensor, joints: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented crops.

        Args:
            patches: `(b, side, side, 3)` uint8.
            joints: `(b, k, 3)` x, y, weight in patch pixels.
            generator: on the CPU; the only source of randomness.

        Returns:
            crops `(b, 3, h, w)` float 0..255 and joints `(b, k, 3)` in crop pixels; a joint outside the crop
            has weight 0.
        """
        views = self.draw(joints, generator)
        crops, seen = self.view(patches, joints, views)
        crops = self._cover(crops, seen, generator)
        return recolour(crops, generator, colour=self.config.colour, blur=self.config.blur), seen

    def plain(self, patches: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Crops without augmentation, as from a perfect detector."""
        batch = len(patches)
        center = joints.new_full((batch, 2), (self.geometry.side - 1) / 2)
        zoom = joints.new_full((batch,), self.geometry.crop_height / self.input_size[0])
        still = torch.zeros_like(zoom)
        views = self._views(center, zoom, still, torch.zeros(batch, dtype=torch.bool, device=joints.device))
        return self.view(patches, joints, views)

    def draw(self, joints: Tensor, generator: torch.Generator) -> Views:
        """Views for people with these joints `(b, k, 3)`."""
        config, device = self.config, joints.device
        batch = len(joints)
        # All numbers are drawn always, and on the CPU, so that a seed gives the same views on every device.
        numbers = torch.rand(batch, 8, generator=generator).to(device)
        signed = 2 * numbers - 1
        height = joints.new_full((batch,), float(self.geometry.crop_height))
        center = joints.new_full((batch, 2), (self.geometry.side - 1) / 2)
        half = numbers[:, 0] < config.half_body
        half_center, half_height, possible = self._half_body(joints, numbers[:, 1] < 0.5)
        half &= possible
        center = torch.where(half[:, None], half_center, center)
        height = torch.where(half, half_height, height)
        center = center + config.shift * signed[:, 2:4] * height[:, None]
        zoom = height / self.input_size[0] * (1 + config.scale * signed[:, 4])
        largest = torch.where(numbers[:, 7] < config.any_angle, 180.0, config.rotation_deg)
        angle = torch.deg2rad(largest * signed[:, 5])
        return self._views(center, zoom, angle, numbers[:, 6] < config.flip)

    def view(self, patches: Tensor, joints: Tensor, views: Views) -> tuple[Tensor, Tensor]:
        """Sample the crops and map the joints; arguments and results as for `__call__`."""
        height, width = self.input_size
        crops = sample(patches, views.to_patch, self.input_size)
        xy = apply_affine(invert_affine(views.to_patch), joints[..., :2])
        weight = joints[..., 2]
        mirror = self._mirror.to(joints.device)
        xy = torch.where(views.mirrored[:, None, None], xy[:, mirror], xy)
        weight = torch.where(views.mirrored[:, None], weight[:, mirror], weight)
        inside = (xy[..., 0] >= 0) & (xy[..., 0] <= width - 1) & (xy[..., 1] >= 0) & (xy[..., 1] <= height - 1)
        return crops, torch.cat([xy, (weight * inside)[..., None]], dim=2)

    def _views(self, center: Tensor, zoom: Tensor, angle: Tensor, mirrored: Tensor) -> Views:
        height, width = self.input_size
        cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
        side = torch.where(mirrored, -1.0, 1.0)
        linear = torch.stack([cos * side, -sin, sin * side, cos], dim=1).view(-1, 2, 2)
        middle = center.new_tensor([(width - 1) / 2, (height - 1) / 2])
        shift = center - linear @ middle
        return Views(torch.cat([linear, shift[..., None]], dim=2), mirrored)

    def _half_body(self, joints: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centre and height of crops around the joints above (or below) the waist, and whether each is possible."""
        chosen = torch.where(upper[:, None], ~self._lower.to(joints.device), self._lower.to(joints.device))
        chosen = chosen & (joints[..., 2] > 0)
        xy = joints[..., :2]
        low = torch.where(chosen[..., None], xy, torch.inf).amin(dim=1)
        high = torch.where(chosen[..., None], xy, -torch.inf).amax(dim=1)
        possible = chosen.sum(dim=1) >= 4
        size = torch.where(possible[:, None], high - low, 1.0) * 1.2
        center = torch.where(possible[:, None], (low + high) / 2, 0.0)
        extended = torch.maximum(size[:, 1], size[:, 0] / self.geometry.aspect) * self.geometry.box_scale
        return center, extended.clamp(self.geometry.crop_height * 0.35, self.geometry.crop_height), possible

    def _cover(self, crops: Tensor, joints: Tensor, generator: torch.Generator) -> Tensor:
        """Put silhouettes of other people and grey rectangles over some of the crops."""
        config, device = self.config, crops.device
        batch, _, height, width = crops.shape
        numbers = torch.rand(batch, 8, generator=generator).to(device)
        ys = torch.arange(height, device=device, dtype=crops.dtype)[:, None]
        xs = torch.arange(width, device=device, dtype=crops.dtype)[None]
        pasted = (numbers[:, 0] < config.paste).nonzero().squeeze(1)
        if len(pasted) and batch > 1:
            others = (pasted + 1) % batch
            side = torch.where(numbers[pasted, 1] < 0.5, -1.0, 1.0)
            dx = (side * (0.3 + 0.4 * numbers[pasted, 2]) * width).round().long().tolist()
            dy = ((numbers[pasted, 3] - 0.5) * 0.4 * height).round().long().tolist()
            masks = self._silhouettes(joints[others], xs, ys)
            covered = crops.clone()
            for row, other, mask, x, y in zip(pasted.tolist(), others.tolist(), masks, dx, dy, strict=True):
                to_rows, from_rows = _overlap(y, height)
                to_columns, from_columns = _overlap(x, width)
                covered[row, :, to_rows, to_columns] = torch.lerp(
                    covered[row, :, to_rows, to_columns],
                    crops[other, :, from_rows, from_columns],
                    mask[from_rows, from_columns],
                )
            crops = covered
        if config.cutout:
            size = (0.12 + 0.28 * numbers[:, 4:5, None]) * width
            cx, cy = numbers[:, 5:6, None] * width, numbers[:, 6:7, None] * height
            inside = ((xs - cx).abs() < size / 2) & ((ys - cy).abs() < size / 2)
            inside &= (numbers[:, 7] < config.cutout)[:, None, None]
            crops = torch.where(inside[:, None], 114.0, crops)
        return crops

    def _silhouettes(self, joints: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
        """Soft masks `(b, h, w)` of people: capsules around their bones."""
        bones = self._bones.to(joints.device)
        start, end = joints[:, bones[:, 0]], joints[:, bones[:, 1]]  # (b, bones, 3)
        known = (start[..., 2] > 0) & (end[..., 2] > 0)
        along = end[..., :2] - start[..., :2]
        squared = along.square().sum(dim=2).clamp(min=1e-3)
        x, y = xs - start[..., 0, None, None], ys - start[..., 1, None, None]  # (b, bones, h, w) each
        part = (x * along[..., 0, None, None] + y * along[..., 1, None, None]) / squared[..., None, None]
        part = part.clamp(0, 1)
        distance = torch.hypot(x - part * along[..., 0, None, None], y - part * along[..., 1, None, None])
        radius = 0.055 * self.input_size[0]
        soft = ((radius - distance) / 2 + 0.5).clamp(0, 1)
        return (soft * known[..., None, None]).amax(dim=1)


def sample(patches: Tensor, to_patch: Tensor, size: tuple[int, int]) -> Tensor:
    """Crops `(b, 3, h, w)` float of patches `(b, side, side, 3)` through matrices `(b, 2, 3)`; black outside."""
    height, width = size
    side = patches.shape[1]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=patches.device, dtype=to_patch.dtype),
        torch.arange(width, device=patches.device, dtype=to_patch.dtype),
        indexing="ij",
    )
    grid = torch.stack([xs, ys, torch.ones_like(xs)], dim=-1).view(-1, 3)  # (h*w, 3)
    points = (grid @ to_patch.transpose(1, 2)).view(-1, height, width, 2)
    pixels = patches.permute(0, 3, 1, 2).to(to_patch.dtype)
    return functional.grid_sample(pixels, points * (2 / (side - 1)) - 1, mode="bilinear", align_corners=True)


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Where a strip of this length, moved by `shift`, overlaps its old place, and which part of it that is."""
    return slice(max(shift, 0), length + min(shift, 0)), slice(max(-shift, 0), length - max(shift, 0))
