from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posewire.synth import PRESETS, Scene, SceneConfig
from posewire_models.center_detector import CenterMaps, decode_centers
from posewire_models.letterbox import LARGEST_SCALE, letterbox
from posewire_models.training.canvases import CanvasComposer, CanvasConfig, LabelledImage, letterboxed, load_images
from posewire_models.training.center_targets import center_loss, center_targets
from posewire_models.training.people import Person, Picture
from posewire_models.training.synthetic_scenes import render_scenes

NOBODY = np.zeros((0, 4), np.float32)


def image_with_a_rectangle(width: int = 200, height: int = 150) -> LabelledImage:
    """A black picture with one white rectangle, which is the person."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[40:120, 60:100] = 255
    return LabelledImage(pixels, np.array([[60, 40, 100, 120]], np.float32), NOBODY)


def white_box(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[int]:
    ys, xs = np.nonzero(pixels.min(axis=2) > 127)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_boxes_stay_around_their_people(seed: int) -> None:
    composer = CanvasComposer(CanvasConfig(mosaic=0.0, least_seen=0.0), [image_with_a_rectangle()], (192, 256))
    canvas = composer(0, np.random.default_rng(seed))
    for box in canvas.boxes:
        np.testing.assert_allclose(box, white_box(canvas.pixels), atol=1.5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_mosaics_lose_nobody_silently(seed: int) -> None:
    composer = CanvasComposer(CanvasConfig(mosaic=1.0), [image_with_a_rectangle()], (192, 256))
    canvas = composer(0, np.random.default_rng(seed))
    known = np.zeros(canvas.pixels.shape[:2], bool)
    for x1, y1, x2, y2 in np.concatenate([canvas.boxes, canvas.ignored]):
        known[max(int(y1) - 2, 0) : int(y2) + 3, max(int(x1) - 2, 0) : int(x2) + 3] = True
    stray = (canvas.pixels.min(axis=2) > 127) & ~known
    assert stray.sum() <= 0.02 * 40 * 80  # at most a sliver of someone who is all but cut off


def test_cut_people_are_neither_asked_for_nor_denied() -> None:
    config = CanvasConfig(mosaic=0.0, smallest=3.0, largest=3.0, flip=0.0, least_seen=0.9)
    composer = CanvasComposer(config, [image_with_a_rectangle()], (96, 128))
    canvases = [composer(0, np.random.default_rng(seed)) for seed in range(20)]
    assert any(len(canvas.ignored) for canvas in canvases)
    assert all(len(canvas.boxes) + len(canvas.ignored) <= 1 for canvas in canvases)


@pytest.mark.parametrize("side", [128, 512])
def test_letterboxing_keeps_the_aspect_ratio_and_is_as_in_the_detector(side: int) -> None:
    image = image_with_a_rectangle(width=200, height=200)
    boxed, scale = letterboxed(image, (side, side))
    assert scale == min(side / 200, LARGEST_SCALE)
    assert letterbox([torch.from_numpy(image.pixels)], (side, side), LARGEST_SCALE)[1] == [(scale, scale)]
    np.testing.assert_allclose(boxed.boxes[0], white_box(boxed.pixels), atol=1)
    assert (boxed.pixels[round(200 * scale) + 1 :] == 114).all()


def test_only_readable_pictures_that_tell_of_everybody_are_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 400, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"not a picture")
    someone = Person(np.array([0, 0, 200, 100], np.float32), np.zeros((0, 3), np.float32), 1.0)
    pictures = [
        Picture(tmp_path / "a.png", 1, (someone,), complete=True),
        Picture(tmp_path / "a.png", 2, (), complete=False),
        Picture(tmp_path / "b.png", 3, (someone,), complete=True),
        Picture(tmp_path / "c.png", 4, (someone,), complete=True),
    ]
    (image,) = load_images(pictures, longest_side=200)
    assert image.pixels.shape == (50, 200, 3)
    assert image.boxes.tolist() == [[0, 0, 100, 50]]
    assert "b.png is damaged" in caplog.text
    assert "c.png cannot be read" in caplog.text


def test_thin_pictures_and_people_beside_them_are_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((1, 4000, 3), np.uint8))
    boxes = np.array([[1000, 0, 2000, 1], [4100, 0, 4200, 1]], np.float32)
    people = tuple(Person(box, np.zeros((0, 3), np.float32), 1.0) for box in boxes)
    (image,) = load_images([Picture(tmp_path / "a.png", 1, people, complete=True)], longest_side=200)
    assert image.pixels.shape == (1, 200, 3)
    assert image.boxes.tolist() == [[50, 0, 100, 1]]
    assert "[4100.0, 0.0, 4200.0, 1.0] of a person shows nothing of it" in caplog.text


def test_targets_decode_to_the_boxes_they_were_made_of() -> None:
    boxes = np.array([[20, 30, 60, 150], [100, 10, 130, 90], [140, 100, 150, 125]], np.float32)
    targets = center_targets([(boxes, NOBODY)], (48, 40), stride=4)
    middle = (targets.boxes[:, :2] + targets.boxes[:, 2:]) / 2
    cells = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="xy"))
    heat = torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4))
    maps = CenterMaps(heat, targets.boxes[:, 2:] - targets.boxes[:, :2], middle - cells)
    found, scores = decode_centers(maps, stride=4)
    best = found[0][scores[0] > 0.9]
    np.testing.assert_allclose(sorted(best.tolist()), sorted(boxes.tolist()), atol=1e-3)
    # The focal loss of a Gaussian predicted exactly is small but not 0; that of the boxes is.
    exact, too_large = (float(center_loss(maps._replace(wh=maps.wh * part), targets)) for part in (1.0, 1.5))
    assert exact < 0.15
    assert too_large > exact + 0.5


def test_nothing_is_learned_where_nobody_knows() -> None:
    doubtful = np.array([[40, 40, 120, 120]], np.float32)
    targets = center_targets([(NOBODY, doubtful)], (48, 40), stride=4)
    heat = torch.zeros(1, 1, 48, 40, requires_grad=True)
    zeros = torch.zeros(1, 2, 48, 40)
    center_loss(CenterMaps(heat, zeros, zeros), targets).backward()
    assert heat.grad is not None
    learned = heat.grad[0, 0].abs() > 0
    assert not learned[10:30, 10:30].any()
    assert learned[:10].all()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scene\.mosaic 2 must be in 0\.\.1"):
        CanvasConfig(mosaic=2)
    with pytest.raises(ValueError, match="at most largest"):
        CanvasConfig(smallest=2, largest=1)


def test_boxes_of_synthetic_people_count_from_edges() -> None:
    seed, count = 3, 6
    drawn = Scene(SceneConfig.preset(sorted(PRESETS)[0], seed=seed))
    images = render_scenes(1, count, longest_side=drawn.config.width, first_seed=seed, workers=1)
    misses = []
    for image, index in zip(images, np.random.default_rng(seed).integers(len(drawn), size=count), strict=True):
        truth = drawn[int(index)].truth
        for number, seen in zip(truth.ids, truth.visible_fraction, strict=True):
            ys, xs = np.nonzero(truth.instances == number)
            if seen > 0.999 and min(xs.min(), ys.min()) > 1:
                body = np.array([xs.min() + xs.max() + 1, ys.min() + ys.max() + 1]) / 2
                middles = (image.boxes[:, :2] + image.boxes[:, 2:]) / 2
                misses.append((middles - body)[np.linalg.norm(middles - body, axis=1).argmin()])
    assert len(misses) > 3
    np.testing.assert_allclose(np.mean(misses, axis=0), 0, atol=0.2)


def test_synthetic_scenes_tell_of_everybody() -> None:
    rendered = render_scenes(2, 3, longest_side=160, first_seed=3, workers=1)
    assert len(rendered) == 6
    assert all(image.pixels.shape == (120, 160, 3) for image in rendered)
    boxes = np.concatenate([image.boxes for image in rendered])
    assert len(boxes) > 0
    assert (boxes >= 0).all()
    assert (boxes <= [160, 120, 160, 120]).all()
    assert np.median(boxes[:, 3] - boxes[:, 1]) > 0.2 * 120  # people, not specks
