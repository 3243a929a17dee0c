from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posewire.joints import COCO17, NANO19
from posewire.synth import SceneConfig
from posewire.synth.body import JOINTS, Posture, draw_shape
from posewire.synth.camera import Camera
from posewire.synth.figure import Figure
from posewire.synth.posing import PosedPerson, can_be_posed, paint_posed
from posewire.synth.textures import draw_wardrobe
from posewire.synth.visibility import FACE_AZIMUTHS

SIDE = 320
FACE = COCO17.names[:5]


def walker(yaw: float, *, walk: float = 1.0) -> npt.NDArray[np.float32]:
    """COCO's labels `(17, 3)` of a walking body: all are visible, except those on the far side of the head."""
    shape = draw_shape(np.random.default_rng(5))
    figure = Figure(shape, draw_wardrobe(np.random.default_rng(5), 0), 120.0)
    pose = figure.pose(Posture(0.1, walk, 0.0, False, 0.0, 0.0, 0.0), yaw, SIDE / 2, 280.0, 120.0)
    labels = np.full((17, 3), 2.0, np.float32)
    labels[:, :2] = pose.joints[:17]
    for name, (azimuth, limit) in FACE_AZIMUTHS.items():
        if np.cos(np.radians(azimuth) + yaw) < np.cos(np.radians(limit)):
            labels[COCO17.index(name), 2] = 0
    return labels


def paint(*poses: npt.NDArray[np.float32], seed: int = 0) -> tuple[npt.NDArray[np.uint8], list[PosedPerson]]:
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    return picture, paint_posed(picture, list(poses), np.random.default_rng(seed))


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 215])  # the right way up, on a side, upside down, askew
@pytest.mark.parametrize("yaw", [0.0, 0.9, -1.5, 2.8])
def test_the_body_is_where_the_labels_are(yaw: float, turn_deg: int) -> None:
    labels, middle = walker(yaw), np.array([SIDE / 2, SIDE / 2])
    turn = np.radians(turn_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    labels[:, :2] = (labels[:, :2] - middle) @ matrix.T + middle
    picture, (person,) = paint(labels)
    np.testing.assert_allclose(person.joints[5:17, :2], labels[5:, :2], atol=1e-4)
    face = labels[:5, 2] > 0
    assert np.abs(person.joints[:5, :2] - labels[:5, :2])[face].max() < 6.0  # a head of 30 pixels
    head = person.joints[[NANO19.index("head_top"), NANO19.index("neck")], :2]
    trunk = labels[[5, 6], :2].mean(axis=0) - labels[[11, 12], :2].mean(axis=0)
    assert (head[0] - head[1]) @ trunk > 0
    x1, y1, x2, y2 = np.rint(person.box).astype(int).tolist()
    painted = (picture != 90).any(axis=2)
    assert not painted[: max(y1 - 1, 0)].any()
    assert not painted[y2 + 2 :].any()
    assert not painted[:, : max(x1 - 1, 0)].any()
    assert not painted[:, x2 + 2 :].any()
    assert person.visible_fraction == 1.0


@pytest.mark.parametrize(
    ("yaw", "seen"),
    [
        (0.0, {"nose", "left_eye", "right_eye"}),
        (np.pi, {"left_ear", "right_ear"}),  # from behind
        (np.pi / 2, {"nose", "right_eye", "right_ear"}),  # looks to the right: its left side is the far one
        (-np.pi / 2, {"nose", "left_eye", "left_ear"}),
    ],
)
def test_the_head_looks_as_the_labels_say(yaw: float, seen: set[str]) -> None:
    _, (person,) = paint(walker(yaw))
    assert {name for row, name in enumerate(FACE) if person.joints[row, 2] == 2} == seen


def test_a_hidden_wrist_is_behind_the_body_and_a_visible_one_before_it() -> None:
    labels, wrist = walker(0.0), COCO17.index("left_wrist")
    labels[wrist, :2] = labels[[5, 6, 11, 12], :2].mean(axis=0)  # in the middle of the trunk
    states = []
    for label in (1, 2):
        labels[wrist, 2] = label
        _, (person,) = paint(labels)
        states.append(int(person.joints[wrist, 2]))
    assert states == [1, 2]


def test_later_people_hide_earlier_ones() -> None:
    labels = walker(0.0)
    beside = labels + np.array([25, 0, 0], np.float32)
    _, (behind, before) = paint(labels, beside)
    assert 0.2 < behind.visible_fraction < 0.9
    assert before.visible_fraction == 1.0
    assert (behind.joints[:, 2] == 1).sum() > (before.joints[:, 2] == 1).sum()
    _, people = paint(labels, labels + np.array([0.25, 0, 0], np.float32), seed=1)
    assert len(people) in (1, 2)
    assert people[-1].visible_fraction == 1.0


def test_joints_outside_the_picture_are_told() -> None:
    labels = walker(0.0) + np.array([SIDE / 2, 0, 0], np.float32)
    _, (person,) = paint(labels)
    outside = person.joints[:, 0] > SIDE - 1
    assert 0 < outside.sum() < len(NANO19)
    np.testing.assert_array_equal(np.rint(person.joints[:, 0]) >= SIDE, person.joints[:, 2] == 0)
    assert person.box[2] == SIDE - 1


def test_who_points_at_the_camera_is_left_out() -> None:
    labels = walker(0.0)
    labels[[5, 6], 1] = labels[[11, 12], 1] - 5  # shoulders just above the hips
    picture, people = paint(labels)
    assert people == []
    assert (picture == 90).all()


def test_the_same_draws_give_the_same_picture() -> None:
    first, second = (paint(walker(0.4), walker(1.9), seed=7)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != paint(walker(0.4), walker(1.9), seed=8)[0]).any()


@given(
    hnp.arrays(np.float32, (17, 2), elements=st.floats(-400, 700, width=32)),
    hnp.arrays(np.float32, 17, elements=st.sampled_from([0, 1, 2])),
)
@settings(max_examples=40)
def test_any_labels_can_be_drawn(places: npt.NDArray[np.float32], states: npt.NDArray[np.float32]) -> None:
    states[5:] = np.maximum(states[5:], 1)
    states[:2] = 2
    labels = np.column_stack([places, states])
    assert can_be_posed(labels[None]).all()
    _, people = paint(labels)
    for person in people:
        assert np.isfinite(person.joints).all()
        assert 0 < person.visible_fraction <= 1
        np.testing.assert_allclose(person.joints[5:17, :2], places[5:], atol=1e-3)
        assert (person.box >= 0).all()
        assert (person.box <= SIDE - 1).all()


def test_clothes_can_be_made_of_pictures() -> None:
    magenta = np.full((64, 64, 3), (255, 0, 255), np.uint8)

    def tinted(cloths: list[npt.NDArray[np.uint8]]) -> int:
        pixels = 0
        for seed in range(6):
            picture = np.zeros((SIDE, SIDE, 3), np.uint8)
            paint_posed(picture, [walker(0.0)], np.random.default_rng(seed), cloths)
            pixels += int((picture.min(axis=2) + 100 < picture[..., [0, 2]].min(axis=2)).sum())
        return pixels

    assert tinted([magenta]) > 2000 + tinted([])


def test_labels_that_tell_too_little_are_known() -> None:
    labels = np.stack([walker(0.0)] * 4)
    labels[1, COCO17.index("left_knee"), 2] = 0
    labels[2, :4, 2] = 0
    labels[3, :3, 2] = 1
    assert can_be_posed(labels).tolist() == [True, False, False, True]


def test_a_figure_is_placed_as_it_is_posed() -> None:
    """`Figure.pose` is `Figure.place` of the joints that it computes."""
    config = SceneConfig(seed=3)
    shape = draw_shape(np.random.default_rng(3))
    figure = Figure(shape, draw_wardrobe(np.random.default_rng(3), 0), 100.0)
    foot = Camera.of(config).ground(0.0, 6.0)
    posed = figure.pose(Posture(0.3, 0.0, 0.0, False, 0.0, 0.0, 0.2), 0.7, *foot)
    placed = figure.place(posed.joints, posed.nearness, foot[2], yaw=0.7, trunk_yaw=0.7, head_yaw=0.7 + 0.2)
    assert posed.joints.shape == (len(JOINTS), 2)
    np.testing.assert_allclose(placed.maps, posed.maps)
    np.testing.assert_allclose(placed.turns, posed.turns)
    np.testing.assert_array_equal(placed.order, posed.order)
