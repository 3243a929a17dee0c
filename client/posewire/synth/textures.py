"""Clothes and appearance of people: textures that wrap around the parts of a body.

A texture is `(rows, columns, 3)` uint8 RGB: rows run along the part, columns around it. The first column is the back,
the middle one the front (azimuth 0), azimuth grows towards the person's left. All textures have fine noise, so that
optical flow can follow them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from posewire.array_types import Float32s, Image
from posewire.synth.body import FACE

__all__ = ["COLUMNS", "Wardrobe", "draw_wardrobe"]

Colour = Float32s

ROWS, COLUMNS = 96, 192

_SKINS = ((246, 212, 188), (233, 190, 160), (214, 164, 128), (180, 128, 92), (138, 94, 66), (98, 66, 48))
_HAIRS = ((28, 22, 20), (62, 42, 28), (110, 74, 42), (176, 136, 78), (206, 178, 120), (132, 128, 126), (134, 60, 32))
_TOPS = ((200, 50, 47), (32, 96, 176), (240, 196, 48), (46, 140, 88), (236, 236, 230), (40, 42, 50), (232, 122, 40),
         (122, 72, 152), (94, 184, 204), (236, 128, 160), (120, 128, 60), (150, 40, 70))  # fmt: skip
_LEGS = ((44, 62, 106), (34, 36, 42), (110, 104, 92), (176, 156, 118), (74, 92, 66), (96, 110, 140), (92, 60, 48))
_SHOES = ((236, 236, 236), (34, 34, 36), (120, 76, 46), (196, 44, 44), (50, 90, 160))


@dataclass(frozen=True)
class Wardrobe:
    """The textures of one person, by part."""

    head: Image
    torso: Image
    hips: Image
    upper_arm: Image
    forearm: Image
    hand: Image
    neck: Image
    thigh: Image
    shin: Image
    foot: Image


def draw_wardrobe(rng: np.random.Generator, person: int) -> Wardrobe:
    """Draw the textures of one person. People with neighbouring numbers get different shirt colours."""
    skin = _vary(rng, _SKINS[int(rng.integers(len(_SKINS)))], 8)
    hair = _vary(rng, _HAIRS[int(rng.integers(len(_HAIRS)))], 8)
    start = int(rng.integers(2)) * 3
    shirt = _vary(rng, _TOPS[(person * 5 + start) % len(_TOPS)], 14)
    second = _vary(rng, _TOPS[(person * 5 + start + 1 + int(rng.integers(len(_TOPS) - 1))) % len(_TOPS)], 14)
    trousers = _vary(rng, _LEGS[int(rng.integers(len(_LEGS)))], 10)
    shoes = _vary(rng, _SHOES[int(rng.integers(len(_SHOES)))], 6)
    torso, sleeve = _shirt(rng, shirt, second)
    bare = _cloth(rng, skin, 0.02)
    thigh = _cloth(rng, trousers, 0.09)
    _seams(thigh, trousers)
    shorts = rng.random() < 0.25
    shin = _cloth(rng, skin, 0.02) if shorts else _cloth(rng, trousers, 0.09)
    if shorts:
        thigh[int(ROWS * 0.72) :] = bare[int(ROWS * 0.72) :]
    else:
        _seams(shin, trousers)
        shin[-7:] *= 0.8
    upper_arm, forearm = sleeve.copy(), sleeve.copy()
    sleeves = rng.random()
    if sleeves < 0.6:
        forearm[:] = bare
        upper_arm[int(ROWS * (0.55 if sleeves < 0.45 else 0.8)) :] = bare[
            : ROWS - int(ROWS * (0.55 if sleeves < 0.45 else 0.8))
        ]
    else:
        forearm[-8:] = second
    hips = thigh.copy()
    hips[:] = _cloth(rng, trousers, 0.09)
    hips[: ROWS // 5] = _vary(rng, (52, 38, 28), 6)  # a belt
    foot = _cloth(rng, shoes, 0.04)
    foot[:, : COLUMNS // 5] = foot[:, -COLUMNS // 5 :] = np.float32(225)  # the sole, below and behind
    return Wardrobe(
        head=_as_image(_head(rng, skin, hair)),
        torso=_as_image(torso),
        hips=_as_image(hips),
        upper_arm=_as_image(upper_arm),
        forearm=_as_image(forearm),
        hand=_as_image(bare),
        neck=_as_image(bare * 0.88),
        thigh=_as_image(thigh),
        shin=_as_image(shin),
        foot=_as_image(foot),
    )


def _vary(rng: np.random.Generator, colour: tuple[int, int, int], by: float) -> Colour:
    return np.clip(np.array(colour, np.float32) + rng.normal(0.0, by, 3), 12, 248).astype(np.float32)


def _as_image(texture: Float32s) -> Image:
    return np.clip(texture, 0, 255).astype(np.uint8)


def _cloth(rng: np.random.Generator, colour: Colour, roughness: float) -> Float32s:
    """Plain cloth with folds and weave; `roughness` is the contrast of both."""
    folds = cv2.resize(rng.normal(0.0, 1.0, (7, 14)).astype(np.float32), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    weave = cv2.resize(rng.normal(0.0, 1.0, (ROWS // 2, COLUMNS // 2)).astype(np.float32), (COLUMNS, ROWS))
    relief = 1.0 + roughness * (0.8 * folds + 0.6 * weave)
    return (colour * relief[..., None]).astype(np.float32)


def _seams(texture: Float32s, colour: Colour) -> None:
    """Side seams of trousers."""
    for column in (COLUMNS // 4, 3 * COLUMNS // 4):
        texture[:, column - 1 : column + 1] = colour * 0.7


def _shirt(rng: np.random.Generator, colour: Colour, second: Colour) -> tuple[Float32s, Float32s]:
    """Torso and sleeve in one of seven patterns."""
    torso, sleeve = _cloth(rng, colour, 0.07), _cloth(rng, colour, 0.07)
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    pattern = int(rng.integers(7))
    front = COLUMNS // 2
    if pattern == 0:  # a number on chest and back
        number = str(int(rng.integers(1, 99)))
        for centre in (front, 0, COLUMNS):
            stencil = np.zeros((ROWS, COLUMNS), np.uint8)
            place = (centre - 11 * len(number), 58)
            cv2.putText(stencil, number, place, cv2.FONT_HERSHEY_SIMPLEX, 1.1, 255, 4, cv2.LINE_AA)
            ink = stencil[..., None].astype(np.float32) / 255
            torso += ink * (second - torso)
    elif pattern in (1, 2):  # stripes around
        period = int(rng.integers(12, 24))
        for cloth in (torso, sleeve):
            cloth[(rows % period) < period // 2] = second * 0.96
    elif pattern == 3:  # checks
        period = int(rng.integers(10, 20))
        for cloth in (torso, sleeve):
            cloth[(rows % period) < period // 4] *= 0.66
            cloth[(columns % period) < period // 4] = 0.5 * cloth[(columns % period) < period // 4] + 0.4 * second
    elif pattern == 4:  # an open jacket
        torso[:, front - 16 : front + 16] = _cloth(rng, second, 0.05)[:, front - 16 : front + 16]
        torso[:, [front - 17, front - 16, front + 15, front + 16]] = colour * 0.5
    elif pattern == 5:  # dots
        dots = ((rows % 16) - 8) ** 2 + (((columns + 8 * (rows // 16 % 2)) % 16) - 8) ** 2 < 17
        torso[dots] = second
    else:  # a band across the chest
        torso[26:46] = second
        sleeve[40:60] = second
    torso[:5] = colour * 0.72
    torso[-5:] *= 0.82
    return torso, sleeve


def _head(rng: np.random.Generator, skin: Colour, hair: Colour) -> Float32s:
    """Face, ears and hair."""
    head = _cloth(rng, skin, 0.02)
    azimuth = np.degrees((np.arange(COLUMNS) + 0.5) / COLUMNS * 2 * np.pi - np.pi)
    t = (np.arange(ROWS) + 0.5)[:, None] / ROWS
    _face(head, skin, hair, beard=rng.random() < 0.25)
    style = rng.random()
    fringe = float(rng.uniform(0.17, 0.30))
    if style < 0.12:  # bald
        limit = np.full(COLUMNS, 0.02)
    else:
        away = np.abs(azimuth)
        down = 0.98 if style > 0.7 else 0.78
        limit = np.interp(away, [0, 52, 68, 84, 112, 130, 180], [fringe, fringe + 0.02, 0.36, 0.44, 0.50, down, down])
        if style > 0.7:  # long, over the ears
            limit = np.interp(away, [0, 45, 66, 90, 180], [fringe, fringe + 0.05, 0.6, 0.98, 0.98])
    strands = 1.0 + 0.16 * rng.normal(0.0, 1.0, (1, COLUMNS)) + 0.05 * rng.normal(0.0, 1.0, (ROWS, COLUMNS))
    covered = t < limit + 0.012 * rng.normal(0.0, 1.0, COLUMNS)
    head[covered] = (hair * strands[..., None])[covered]
    if 0.12 <= style < 0.22:  # a cap
        cap = _vary(rng, _TOPS[int(rng.integers(len(_TOPS)))], 10)
        head[:30] = _cloth(rng, cap, 0.05)[:30]
        head[27:33, COLUMNS // 2 - 32 : COLUMNS // 2 + 32] = cap * 0.6
    return head


def _face(head: Float32s, skin: Colour, hair: Colour, *, beard: bool) -> None:
    def spot(azimuth: float, t: float, size: tuple[int, int], colour: Colour) -> None:
        centre = (round(COLUMNS * (azimuth / (2 * np.pi) + 0.5)), round(t * ROWS))
        cv2.ellipse(head, centre, size, 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA)

    if beard:
        spot(0.0, 0.86, (34, 15), 0.6 * hair + 0.4 * skin)
    spot(0.0, 0.69, (10, 3), skin * 0.84)  # the shadow of the nose
    spot(0.0, 0.80, (11, 3), (np.array([164, 72, 70]) * (0.4 + 0.6 * skin / 255)).astype(np.float32))
    for name in ("left_eye", "right_eye"):
        azimuth, t = FACE[name]
        spot(azimuth, t, (9, 5), np.array([240, 240, 236], np.float32))
        spot(azimuth, t, (4, 5), np.array([44, 32, 26], np.float32))
        spot(azimuth, t - 0.10, (10, 2), 0.75 * hair + 0.15 * skin)
    for name in ("left_ear", "right_ear"):
        azimuth, t = FACE[name]
        spot(azimuth, t, (9, 11), skin * 0.82)
        spot(azimuth, t, (4, 6), skin * 0.62)
