from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posewire import COCO17, NANO19, InvalidSettings, JointSet, Person, Trails, color_of, draw_people
from posewire.overlay._primitives import glyphs, mix

INK = (18, 20, 24)


def person(person_id: int = 1, x: float = 40, y: float = 30, score: float = 0.9) -> Person:
    """A person whose joints form a small grid."""
    joints = np.array([(x + 10 * (k % 4), y + 10 * (k // 4), score) for k in range(17)], np.float32)
    return Person(person_id, 0.8, np.array([x - 5, y - 5, 60, 60], np.float32), joints, "detector")


def canvas(value: int = 128, size: tuple[int, int] = (200, 160)) -> Any:
    return np.full((size[1], size[0], 3), value, np.uint8)


def test_ids_have_stable_and_distant_colours() -> None:
    colors = [color_of(person_id) for person_id in range(1, 49)]
    assert len(set(colors)) == 48
    assert color_of(49) == color_of(1)
    assert all(0 <= value <= 255 for color in colors for value in color)
    for a, b in pairwise(colors):
        assert np.abs(np.subtract(a, b)).sum() > 120
    for a, b in combinations(colors[:16], 2):
        assert np.abs(np.subtract(a, b)).max() > 20


def test_the_picture_given_stays_as_it_was() -> None:
    image = canvas()
    drawn = draw_people(image, [person()], COCO17)
    assert (image == 128).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "it is a NoneType"),  # of a frame that was dropped
        (np.zeros((160, 200), np.uint8), r"its shape is \(160, 200\)"),  # grey
        (np.zeros((160, 200, 4), np.uint8), r"its shape is \(160, 200, 4\)"),  # with an alpha channel
        (np.zeros((160, 200, 3), np.float32), "its dtype float32"),
    ],
)
def test_what_is_no_picture_is_told(image: Any, words: str) -> None:
    trails = Trails()
    with pytest.raises(InvalidSettings, match=f"image is no picture: .*{words}"):
        draw_people(image, [person()], COCO17, trails=trails)
    assert trails.paths() == {}


@pytest.mark.parametrize("side", [np.nan, np.inf])
def test_boxes_that_are_not_finite_are_told(side: float) -> None:
    trails = Trails()
    endless = replace(person(7), box=np.array([side, 0, 10, 10], np.float32))
    with pytest.raises(InvalidSettings, match="person 7 has a box that is not finite"):
        draw_people(canvas(), [person(), endless], COCO17, trails=trails)
    assert trails.paths() == {}


def test_nobody_changes_nothing() -> None:
    assert (draw_people(canvas(), [], COCO17, trails=Trails()) == canvas()).all()


def test_a_person_is_drawn_in_the_colour_of_the_id() -> None:
    drawn = draw_people(canvas(), [person(person_id=4)], COCO17)
    assert (drawn == color_of(4)).all(axis=2).any()


def test_joints_that_are_not_seen_are_left_out() -> None:
    unseen = draw_people(canvas(), [person(score=0.2)], COCO17, boxes=False, labels=False)
    assert (unseen == canvas()).all()
    seen = draw_people(canvas(), [person(score=0.2)], COCO17, boxes=False, labels=False, joint_score_threshold=0.2)
    assert (seen != canvas()).any()


def test_a_single_joint_is_a_dot_to_be_seen() -> None:
    joints = np.zeros((17, 3), np.float32)
    joints[0] = (400, 300, 0.9)
    someone = Person(1, 0.8, np.array([300, 200, 200, 400], np.float32), joints, "detector")
    drawn = draw_people(canvas(size=(800, 640)), [someone], COCO17, boxes=False, labels=False)
    rows, columns = np.nonzero((drawn != 128).any(axis=2))
    assert (rows.mean(), columns.mean()) == pytest.approx((300, 400), abs=0.5)
    assert 30 < len(rows) < 200
    assert (drawn == INK).all(axis=2).any()  # its rim


def test_left_limbs_are_lighter_than_right_ones() -> None:
    joints = np.zeros((17, 3), np.float32)
    for side, x in (("left", 60), ("right", 140)):
        joints[COCO17.index(f"{side}_shoulder")] = (x, 20, 0.9)
        joints[COCO17.index(f"{side}_elbow")] = (x, 140, 0.9)
    joints[COCO17.index("left_hip")] = joints[COCO17.index("right_hip")] = (100, 150, 0.1)  # not seen
    someone = Person(1, 0.8, np.array([50, 10, 100, 140], np.float32), joints, "detector")
    drawn = draw_people(canvas(), [someone], COCO17, boxes=False, labels=False).astype(int)
    assert drawn[80, 60].sum() > sum(color_of(1)) > drawn[80, 140].sum()


def test_a_neck_is_joined_to_the_middle_of_the_shoulders() -> None:
    joints = np.zeros((len(NANO19), 3), np.float32)
    for name, x, y in (
        ("head_top", 100, 10),
        ("neck", 100, 60),
        ("left_shoulder", 60, 140),
        ("right_shoulder", 140, 140),
    ):
        joints[NANO19.index(name)] = (x, y, 0.9)
    someone = Person(1, 0.8, np.array([50, 10, 100, 140], np.float32), joints, "detector")
    drawn = draw_people(canvas(), [someone], NANO19, boxes=False, labels=False)
    for y in (35, 100):  # between neck and head, between neck and shoulders
        np.testing.assert_allclose(drawn[y, 100], color_of(1), atol=25)
    for unseen in ("neck", "left_shoulder"):
        fewer = joints.copy()
        fewer[NANO19.index(unseen), 2] = 0.1
        drawn = draw_people(canvas(), [replace(someone, joints=fewer)], NANO19, boxes=False, labels=False)
        assert (drawn[100, 100] == 128).all()


def test_a_box_is_a_faint_frame_with_strong_corners() -> None:
    someone = replace(person(score=0.0), box=np.array([0, 20, 120, 100], np.float32))
    drawn = draw_people(canvas(), [someone], COCO17, labels=False)
    color, faint = color_of(1), mix((128, 128, 128), color_of(1), 0.45)
    for x, y in ((60, 20), (60, 120), (0, 70), (120, 70)):
        np.testing.assert_allclose(drawn[y, x], faint, atol=8)
    for x, y in ((4, 20), (116, 20), (4, 120), (116, 120), (0, 24), (120, 24), (0, 116), (120, 116)):
        np.testing.assert_allclose(drawn[y, x], color, atol=25)
    assert (drawn[30:110, 10:110] == 128).all()


@pytest.mark.parametrize("joint_set", [COCO17, NANO19])
def test_ears_are_joined_to_shoulders_only_where_there_is_no_neck(joint_set: JointSet) -> None:
    joints = np.zeros((len(joint_set), 3), np.float32)
    joints[joint_set.index("left_ear")], joints[joint_set.index("left_shoulder")] = (50, 20, 0.9), (50, 140, 0.9)
    someone = Person(1, 0.8, np.array([20, 10, 60, 140], np.float32), joints, "detector")
    drawn = draw_people(canvas(), [someone], joint_set, boxes=False, labels=False)
    assert (drawn[80, 50] != 128).any() == (joint_set is COCO17)


def test_who_is_nearer_is_drawn_over_who_is_farther() -> None:
    near, far = person(1, y=34), person(2, y=30)
    arguments: dict[str, Any] = {"joint_set": COCO17, "labels": False}
    expected = draw_people(draw_people(canvas(), [far], **arguments), [near], **arguments)
    for people in ([near, far], [far, near]):
        assert np.array_equal(draw_people(canvas(), people, **arguments), expected)


def test_labels_are_above_boxes_and_beside_each_other() -> None:
    def plates(*people: Person) -> list[Any]:
        drawn = draw_people(canvas(), [replace(each, joints=each.joints * 0) for each in people], COCO17, boxes=False)
        return [np.argwhere((drawn == color_of(each.id)).all(axis=2)) for each in people]

    low, same_place, high, right = person(1, y=80), person(2, y=80), person(3, y=1), person(1, x=198, y=80)
    ((alone,), (other,), (inside,), (moved,)) = plates(low), plates(same_place), plates(high), plates(right)
    assert (alone[:, 1].min(), alone[:, 0].max()) == (low.box[0], low.box[1] - 1)
    assert (moved[:, 1].max(), len(moved)) == (199, len(alone))
    assert inside[:, 0].min() == 0  # there is no room above
    assert len(inside) > 0.5 * len(alone)
    stacked = plates(low, same_place)
    assert [len(plate) for plate in stacked] == [len(alone), len(other)]


@pytest.mark.parametrize("text", ["1", "47", "1234567890"])
def test_a_label_has_the_whole_text_and_no_margin(text: str) -> None:
    ample = np.zeros((200, 400), np.uint8)
    cv2.putText(ample, text, (100, 100), cv2.FONT_HERSHEY_DUPLEX, 1.2, 255, 2, cv2.LINE_AA)
    rows, columns = np.nonzero(ample)
    ink = ample[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    np.testing.assert_allclose(glyphs(text, 1.2, 2), ink / 255, atol=1e-6)


@pytest.mark.parametrize("background", [0, 128, 255])
def test_a_label_can_be_read_on_any_ground(background: int) -> None:
    for person_id in range(1, 49):
        image = canvas(background)
        drawn = draw_people(image, [person(person_id, score=0.0)], COCO17, boxes=False)
        plate = drawn[(drawn != image).any(axis=2)].astype(float) @ (0.299, 0.587, 0.114)
        assert plate.max() - plate.min() > 90  # ink or paper on the plate


@given(
    box=hnp.arrays(np.float32, 4, elements=st.floats(-1e6, 1e6, width=32)),
    joints=hnp.arrays(np.float32, (19, 3), elements=st.floats(-1e9, 1e9, width=32)),
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
)
def test_no_pose_is_too_strange_to_draw(box: Any, joints: Any, size: tuple[int, int]) -> None:
    someone = Person(3, 0.5, box, joints, "flow")
    trails = Trails(3)
    for _ in range(2):
        assert draw_people(canvas(size=size), [someone], NANO19, trails=trails).shape == (size[1], size[0], 3)


def test_lines_grow_with_the_picture() -> None:
    def share(scale: int) -> float:
        someone = person()
        larger = Person(
            1, 0.8, someone.box * scale, someone.joints * np.array([scale, scale, 1], np.float32), someone.source
        )
        image = canvas(size=(200 * scale, 160 * scale))
        return float((draw_people(image, [larger], COCO17, labels=False) != image).any(axis=2).mean())

    assert share(8) == pytest.approx(share(4), rel=0.4)


def test_trails_remember_so_many_frames() -> None:
    trails = Trails(length=5)
    for step in range(12):
        trails.update([person(x=10.0 * step, y=5.0 * step)], COCO17)
    (path,) = trails.paths().values()
    assert [freshness for freshness, _ in path] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose([point for _, point in path], [(10 * step + 15, 5 * step + 25) for step in range(7, 12)])
    for _ in range(5):
        trails.update([], COCO17)
    assert trails.paths() == {}
    trails.update([person(score=0.2)], COCO17)  # without hips: the middle of the box
    assert trails.paths() == {1: [(1.0, (65, 55))]}


def test_a_trail_shows_where_somebody_came_from() -> None:
    trails = Trails()
    plain = canvas(size=(400, 160))
    for x in range(20, 200, 10):
        drawn = draw_people(plain, [person(2, x=x, y=10 + x / 4)], COCO17, trails=trails, boxes=False, labels=False)
    without = draw_people(plain, [person(2, x=190, y=10 + 190 / 4)], COCO17, boxes=False, labels=False)
    trail = (drawn != without).any(axis=2)
    assert np.nonzero(trail)[1].min() < 80
    assert trail.mean() < 0.03  # a line, and nothing beside it
    colour, change = np.subtract(color_of(2), 128), (drawn.astype(int) - 128)[trail].mean(axis=0)
    assert colour @ change > 0.95 * np.linalg.norm(colour) * np.linalg.norm(change)


def test_a_trail_has_a_length() -> None:
    with pytest.raises(InvalidSettings, match="at least 2"):
        Trails(1)
    assert Trails(2).length == 2
