from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from posewire_models.training.patches import PatchGeometry, StreamedPatches, cut_patch, load_patches
from posewire_models.training.people import Person, Picture
from posewire_models.training.pictures import read_rgb

GEOMETRY = PatchGeometry(side=352, crop_height=224, aspect=160 / 224, box_scale=1.15)


def someone(x1: float, y1: float, x2: float, y2: float) -> Person:
    """A person whose only joint is in the middle of the box."""
    joint = [(x1 + x2) / 2, (y1 + y2) / 2, 1]
    return Person(np.array([x1, y1, x2, y2], np.float32), np.array([joint], np.float32), 1.0)


@pytest.mark.parametrize("size", [(640, 480), (1281, 1023), (1283, 1027)])  # reduced, to a size that is rounded
def test_joints_stay_on_their_pixels(size: tuple[int, int]) -> None:
    width, height = size
    person = someone(0.5 * width, 0.02 * height, 0.95 * width, 0.98 * height)
    ys, xs = np.mgrid[:height, :width]
    distance = np.square(xs - person.joints[0, 0]) + np.square(ys - person.joints[0, 1])
    blob = (255 * np.exp(-distance / (2 * (height / 30) ** 2))).astype(np.uint8)
    patch, joints, _ = cut_patch(np.repeat(blob[..., None], 3, axis=2), person, GEOMETRY)
    light = patch[..., 0].float() * (patch[..., 0] > 8)
    places = torch.arange(GEOMETRY.side)
    found = torch.stack([(light.sum(dim=0) * places).sum(), (light.sum(dim=1) * places).sum()]) / light.sum()
    torch.testing.assert_close(found, joints[0, :2], rtol=0, atol=0.02)


def write_picture(file: Path, height: int, width: int) -> Path:
    cv2.imwrite(str(file), np.full((height, width, 3), 200, np.uint8))
    return file


@pytest.mark.parametrize(
    ("height", "width", "person"),
    [
        (100, 100, someone(0, 0, 1e6, 1e6)),  # its crop is a fraction of a pixel
        (1, 4000, someone(100, 0, 3000, 1)),
    ],
)
def test_odd_sizes_are_no_fault(tmp_path: Path, height: int, width: int, person: Person) -> None:
    file = write_picture(tmp_path / "a.png", height, width)
    assert len(load_patches([Picture(file, 1, (person,))], GEOMETRY)) == 1


def write_turned(file: Path, lit: tuple[int, int]) -> Path:
    """A picture that is stored 200 pixels wide and 120 high, a light around `lit`, and is to be shown on its side."""
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[lit[1] - 5 : lit[1] + 6, lit[0] - 5 : lit[0] + 6] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, clockwise
    Image.fromarray(pixels).save(file, exif=exif, quality=95)
    return file


@pytest.mark.parametrize(
    ("size", "joint"),
    [
        ((200, 120), (150.0, 60.0)),  # labels of what is stored
        ((120, 200), (59.0, 150.0)),  # of what is shown
    ],
)
def test_labels_of_turned_pictures_are_of_what_has_their_size(
    tmp_path: Path, size: tuple[int, int], joint: tuple[float, float]
) -> None:
    file = write_turned(tmp_path / "a.jpg", lit=(150, 60))
    x, y = joint
    picture = Picture(file, 1, (someone(x - 30, y - 40, x + 30, y + 40),), size=size)
    for patches in (load_patches([picture], GEOMETRY), StreamedPatches([picture], GEOMETRY)):
        pixels, joints = patches.take(torch.tensor([0]))
        x, y = joints[0, 0, :2].round().long().tolist()
        assert pixels[0, y, x].min() > 200


def test_a_picture_of_another_size_than_its_labels_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_turned(tmp_path / "a.jpg", lit=(150, 60))
    assert read_rgb(file, (100, 60)) is None
    assert f"{file} has 120x200 pixels, its labels are of 100x60; skipped" in caplog.text
    shown = read_rgb(file)
    assert shown is not None
    assert shown.shape == (200, 120, 3)


@pytest.mark.parametrize(
    "box",
    [
        (120, 10, 140, 30),  # beside the picture
        (-20, 10, 0, 30),
        (50, 50, 50, 50),  # of one joint: a point, enlarged without end
        (50, 20, 50, 80),  # a line
    ],
)
def test_people_whose_box_shows_nothing_are_left_out(
    tmp_path: Path, box: tuple[int, int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    file = write_picture(tmp_path / "a.png", 100, 100)
    inside = someone(10, 10, 60, 90)
    pictures = [Picture(file, 1, (someone(*box), inside))]
    assert (
        load_patches(pictures, GEOMETRY).joints.tolist()
        == load_patches([Picture(file, 1, (inside,))], GEOMETRY).joints.tolist()
    )
    assert f"{file}: the box {list(map(float, box))} of a person shows nothing of it" in caplog.text
    streamed = StreamedPatches(pictures, GEOMETRY)  # which sees the picture only later on
    pixels, joints = streamed.take(torch.arange(len(streamed)))
    assert joints[-1, 0, 2] == 1
    assert not joints[:-1].any()
    assert not pixels[:-1].any()
