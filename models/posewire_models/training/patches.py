"""People cut out of pictures once, with a margin, so that a training step only samples from memory.

A patch is square. The person's crop (its box extended to the network's aspect ratio and then by 1.25, as in the
published code) is centred in it and `crop_height` pixels high; the rest is the margin that rotation, scaling and
shifting need.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from posewire.array_types import Float32s, Image
from posewire_models.crops import BOX_SCALE, check_box_scale
from posewire_models.training.people import Person, Picture, in_sight
from posewire_models.training.pictures import cut_square, read_rgb

__all__ = ["Cut", "PatchGeometry", "PatchSet", "StreamedPatches", "cut_patch", "load_patches"]

Cut = tuple[Tensor, Tensor, float]
"""Patch `(side, side, 3)`, and the person's joints `(k, 3)` and area in patch pixels."""


@dataclass(frozen=True, kw_only=True)
class PatchGeometry:
    """Position and size of a person in a patch.

    Attributes:
        side: pixels of the square patch.
        crop_height: height of the person's crop in the patch, in pixels.
        aspect: width / height of the network's input.
        box_scale: factor from the person's (extended) box to the crop.
    """

    side: int
    crop_height: int
    aspect: float
    box_scale: float = BOX_SCALE

    def __post_init__(self) -> None:
        if not 0 < self.crop_height <= self.side:
            raise ValueError(f"crop_height {self.crop_height} must be in 1..{self.side}, the side of the patch")
        check_box_scale(self.box_scale)

    def to_patch(self, box: Float32s) -> tuple[float, Float32s]:
        """Scale and shift `(2,)` from picture pixels to patch pixels: `patch = scale * picture + shift`."""
        height = max(box[3] - box[1], (box[2] - box[0]) / self.aspect, 1.0) * self.box_scale
        scale = self.crop_height / float(height)
        center = (box[:2] + box[2:]) / 2
        return scale, ((self.side - 1) / 2 - scale * center).astype(np.float32)


@dataclass(frozen=True)
class PatchSet:
    """People in memory.

    Attributes:
        pixels: `(n, side, side, 3)` uint8 RGB.
        joints: `(n, k, 3)` x, y, weight in patch pixels.
        areas: `(n,)` of the people in square patch pixels.
        geometry: of the patches.
    """

    pixels: Tensor
    joints: Tensor
    areas: Tensor
    geometry: PatchGeometry

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Patches `(b, side, side, 3)` and joints `(b, k, 3)` of these rows."""
        rows = rows.to(self.pixels.device)
        return self.pixels[rows], self.joints[rows]

    def to(self, device: torch.device) -> PatchSet:
        """The same people on `device`."""
        return PatchSet(self.pixels.to(device), self.joints.to(device), self.areas.to(device), self.geometry)

    @staticmethod
    def of(cuts: Sequence[Cut], geometry: PatchGeometry) -> PatchSet:
        """A set of people who were cut out one by one; there must be at least one."""
        pixels, joints, areas = zip(*cuts, strict=True)
        return PatchSet(torch.stack(pixels), torch.stack(joints), torch.tensor(areas), geometry)

    @staticmethod
    def joined(parts: list[PatchSet]) -> PatchSet:
        """One set from several with the same geometry; empties the list, so that nobody is in memory twice."""
        geometry, people, row = parts[0].geometry, sum(len(part) for part in parts), 0
        pixels = parts[0].pixels.new_empty(people, *parts[0].pixels.shape[1:])
        joints, areas = torch.cat([part.joints for part in parts]), torch.cat([part.areas for part in parts])
        while parts:
            part = parts.pop(0)
            pixels[row : row + len(part)] = part.pixels
            row += len(part)
        return PatchSet(pixels, joints, areas, geometry)


def cut_patch(picture: Image, person: Person, geometry: PatchGeometry) -> Cut:
    """A person cut out of a picture."""
    scale, shift = geometry.to_patch(person.box)
    patch = cut_square(picture, scale, shift, geometry.side)
    joints = person.joints.copy()
    joints[:, :2] = joints[:, :2] * scale + shift
    return torch.from_numpy(patch), torch.from_numpy(joints), person.area * scale * scale


def load_patches(
    pictures: Sequence[Picture],
    geometry: PatchGeometry,
    *,
    joints_needed: int = 1,
    workers: int = 2,
    name: str = "the data set",
) -> PatchSet:
    """Cut everybody with at least `joints_needed` labelled joints out of the pictures.

    Damaged pictures, and people whose box is outside the picture, are reported in the log and left out.

    Args:
        pictures: with their people.
        geometry: of the patches.
        joints_needed: people with fewer labelled joints are left out.
        workers: threads that read pictures.
        name: what to call the pictures in errors.

    Raises:
        ValueError: nobody is left.
    """

    def cut(picture: Picture) -> list[Cut]:
        people = [person for person in picture.people if person.labelled >= joints_needed]
        pixels = read_rgb(picture.path, picture.size) if people else None
        if pixels is None:
            return []
        return [cut_patch(pixels, person, geometry) for person in in_sight(picture, people, pixels.shape[1::-1])]

    with ThreadPoolExecutor(workers) as pool:  # OpenCV releases the GIL while it decodes and warps
        patches = [patch for people in pool.map(cut, pictures) for patch in people]
    if not patches:
        raise _nobody(name, pictures, joints_needed)
    return PatchSet.of(patches, geometry)


def _nobody(name: str, pictures: Sequence[Picture], joints_needed: int) -> ValueError:
    needed = f" of {joints_needed} joints or more" if joints_needed > 1 else ""
    return ValueError(
        f"{name} has no labelled person{needed} in {len(pictures)} pictures; check the paths and the split in the "
        "config, or leave it out"
    )


class StreamedPatches:
    """People who are cut out of their pictures on demand: for data sets larger than the memory."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        geometry: PatchGeometry,
        *,
        joints_needed: int = 1,
        workers: int = 2,
        name: str = "the data set",
    ) -> None:
        self.geometry = geometry
        self._people = [
            (picture, person)
            for picture in pictures
            for person in in_sight(picture, [one for one in picture.people if one.labelled >= joints_needed])
        ]
        if not self._people:
            raise _nobody(name, pictures, joints_needed)
        self._pool = ThreadPoolExecutor(workers, "patches")

    def __len__(self) -> int:
        return len(self._people)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """As `PatchSet.take`. People left out by `load_patches` are reported, and returned black without labels."""
        patches = list(self._pool.map(self._cut, rows.tolist()))
        return torch.stack([pixels for pixels, _ in patches]), torch.stack([joints for _, joints in patches])

    def _cut(self, row: int) -> tuple[Tensor, Tensor]:
        picture, person = self._people[row]
        pixels = read_rgb(picture.path, picture.size)
        if pixels is None or not in_sight(picture, [person], pixels.shape[1::-1]):
            side = self.geometry.side
            return torch.zeros(side, side, 3, dtype=torch.uint8), torch.zeros(person.joints.shape)
        return cut_patch(pixels, person, self.geometry)[:2]
