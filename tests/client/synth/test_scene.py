"""Scenes: the ground truth fits the picture, and both are reproducible."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posewire.joints import NANO19
from posewire.synth import PRESETS, Choreography, Scene, SceneConfig, SceneFrame

SMALL = {"width": 192, "height": 144}
CLEAN = {"sensor_noise": 0.0, "flicker": 0.0, "motion_blur": 0.0}


def small(preset: str, **changes: object) -> Scene:
    return Scene(SceneConfig.preset(preset, **{**SMALL, "frames": 40, **changes}))


@pytest.fixture(scope="module", params=PRESETS)
def walk(request: pytest.FixtureRequest) -> list[SceneFrame]:
    """A scene for several tests that only use its ground truth, which does not depend on blur."""
    frames = []
    for frame in small(request.param, seed=5, frames=30, motion_blur=0.0):
        assert frame.truth.flow_field  # computed now: later, the previous frame would have to be drawn again
        frames.append(frame)
    return frames


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    first, again, other = small("camera-motion"), small("camera-motion"), small("camera-motion", seed=1)
    for index in (0, 7):
        assert first[index].image.tobytes() == again[index].image.tobytes()
        assert first[index].truth.joints.tobytes() == again[index].truth.joints.tobytes()
    assert first[7].image.tobytes() != other[7].image.tobytes()


def test_frames_do_not_depend_on_the_order_in_which_they_are_asked_for() -> None:
    scene, other = small("occlusion"), small("occlusion")
    forward = [scene[index] for index in range(12)]
    for index in (11, 3, 4, 0):
        frame = other[index]
        assert frame.image.tobytes() == forward[index].image.tobytes()
        assert np.array_equal(frame.truth.flow, forward[index].truth.flow)
        assert np.array_equal(frame.truth.joint_flow, forward[index].truth.joint_flow)


def test_indices_behave_like_a_sequence() -> None:
    scene = small("easy", frames=3)
    assert len(scene) == len(list(scene)) == 3
    assert scene[-1].truth.index == 2
    assert [frame.truth.time_s for frame in scene] == [number / scene.config.fps for number in range(3)]
    with pytest.raises(IndexError, match=r"0\.\.2"):
        scene[3]


def test_visible_joints_lie_in_their_box_and_on_their_person(walk: list[SceneFrame]) -> None:
    seen = 0
    for frame in walk:
        truth = frame.truth
        for person, joints, box in zip(truth.ids, truth.joints, truth.boxes, strict=True):
            points = joints[joints[:, 2] == 2, :2]
            columns, rows = np.rint(points).astype(int).T
            assert (truth.instances[rows, columns] == person).all()
            assert (points >= box[:2] - 1).all()
            assert (points <= box[2:] + 1).all()
            seen += len(points)
    assert seen > 300


@pytest.mark.parametrize("preset", ["crossing", "fast-motion", "camera-motion"])  # some leave the picture
def test_joints_outside_the_picture_are_marked_so_and_only_they(preset: str) -> None:
    seen = 0
    for frame in small(preset, seed=2, frames=25, people=6, motion_blur=0.0):
        truth = frame.truth
        joints = truth.joints
        nearest = np.rint(joints[..., :2])
        outside = ((nearest < 0) | (nearest > np.array([SMALL["width"], SMALL["height"]]) - 1)).any(axis=-1)
        assert np.array_equal(joints[..., 2] == 0, outside)
        inside, whole = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (truth.boxes, truth.full_boxes))
        assert (truth.visible_fraction[inside < 0.4 * whole] < 0.8).all()  # what is outside is not visible
        seen += outside.sum()
    assert seen > 40


def test_the_head_box_holds_the_head(walk: list[SceneFrame]) -> None:
    head = [NANO19.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head_top")]
    for frame in walk:
        truth = frame.truth
        assert (truth.joints[:, head, :2] >= truth.head_boxes[:, None, :2] - 1).all()
        assert (truth.joints[:, head, :2] <= truth.head_boxes[:, None, 2:] + 1).all()
        heights = [boxes[:, 3] - boxes[:, 1] for boxes in (truth.head_boxes, truth.full_boxes)]
        assert (heights[0] < 0.25 * heights[1]).all()


def test_of_somebody_in_profile_only_the_near_shoulder_is_visible() -> None:
    left, right, nose, *ears = map(NANO19.index, ("left_shoulder", "right_shoulder", "nose", "left_ear", "right_ear"))
    seen = set()
    for frame in small("crossing", seed=5, frames=15, fps=10.0, motion_blur=0.0):
        truth = frame.truth
        for joints, box, fraction in zip(truth.joints, truth.full_boxes, truth.visible_fraction, strict=True):
            if fraction > 0.99 and abs(joints[left, 0] - joints[right, 0]) < 0.1 * (box[3] - box[1]):
                faces_right = bool(joints[nose, 0] > joints[ears, 0].mean())
                near, far = (right, left) if faces_right else (left, right)
                assert (joints[near, 2], joints[far, 2]) == (2, 1)
                seen.add(faces_right)
    assert seen == {True, False}


def test_joint_flow_is_the_motion_of_the_joints(walk: list[SceneFrame]) -> None:
    for before, after in itertools.pairwise(walk):
        both = np.intersect1d(before.truth.ids, after.truth.ids)
        rows = np.searchsorted(before.truth.ids, both), np.searchsorted(after.truth.ids, both)
        moved = before.truth.joints[rows[0], :, :2] + after.truth.joint_flow[rows[1]]
        np.testing.assert_allclose(moved, after.truth.joints[rows[1], :, :2], atol=1e-3)
    assert not walk[0].truth.joint_flow.any()


LIMBS = [NANO19.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("elbow", "wrist", "knee", "ankle")]


def test_true_flow_carries_visible_limb_joints_to_the_next_frame(walk: list[SceneFrame]) -> None:
    errors, motions = [], []
    for before, after in itertools.pairwise(walk):
        for person, joints in zip(before.truth.ids, before.truth.joints, strict=True):
            row = np.nonzero(after.truth.ids == person)[0]
            visible = [joint for joint in LIMBS if joints[joint, 2] == 2]
            if row.size and visible:
                moved = joints[visible, :2] + after.truth.flow_field.at(joints[visible, :2])
                landed = after.truth.joints[row[0], visible, :2]
                errors.append(np.linalg.norm(moved - landed, axis=1))
                motions.append(np.linalg.norm(joints[visible, :2] - landed, axis=1))
    # Joints are inside the limbs and the flow is that of the skin, so a turning body differs by a fraction of a pixel.
    assert np.mean(np.concatenate(errors)) < 0.35
    assert np.quantile(np.concatenate(errors), 0.98) < 2.0
    assert np.mean(np.concatenate(errors)) < 0.25 * np.mean(np.concatenate(motions))


@pytest.mark.parametrize("preset", ["crossing", "camera-motion", "fast-motion"])
def test_dense_flow_explains_the_pictures(preset: str) -> None:
    """Each frame, warped back along the flow, equals the previous frame wherever the flow is valid."""
    with_flow, without = [], []
    for before, after in itertools.pairwise(small(preset, seed=3, frames=12, **CLEAN)):
        flow, valid = after.truth.flow, after.truth.flow_valid
        height, width = valid.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        fetched = cv2.remap(after.image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        landed = np.rint(np.stack([x, y], axis=-1) + flow).astype(int)
        stays = ((landed >= 0) & (landed < (width, height))).all(axis=-1)
        there = after.truth.instances[np.clip(landed[..., 1], 0, height - 1), np.clip(landed[..., 0], 0, width - 1)]
        assert not valid[~stays | (there != before.truth.instances)].any()
        assert valid[stays & (there == 0) & (before.truth.instances == 0)].all()
        inside = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        inside &= before.truth.instances > 0  # the background is the easy part
        with_flow.append(np.abs(fetched.astype(int) - before.image)[inside].mean())
        without.append(np.abs(after.image.astype(int) - before.image)[inside].mean())
    assert np.mean(with_flow) < 0.35 * np.mean(without)


def test_dense_flow_and_flow_at_points_agree() -> None:
    frame = small("crowd")[9]
    points = np.array([[x, y] for x in range(0, 192, 7) for y in range(0, 144, 5)], np.float32)
    columns, rows = points.astype(int).T
    np.testing.assert_allclose(frame.truth.flow_field.at(points), frame.truth.flow[rows, columns], atol=1e-3)


def test_first_frame_has_no_motion() -> None:
    truth = small("crowd", people=3)[0].truth
    np.testing.assert_allclose(truth.flow, 0.0, atol=1e-4)
    assert truth.flow_valid.all()


@pytest.mark.parametrize(("setting", "value"), [("pan", 0.3), ("zoom", 0.5), ("shake_px", 4.0)])
def test_the_camera_moves_as_far_as_it_is_told_and_never_sees_the_end_of_the_background(
    setting: str, value: float
) -> None:
    config = SceneConfig(people=0, width=96, height=64, frames=100, fps=4.0, **{setting: value}, **CLEAN)
    places, zooms = [np.zeros(2)], [1.0]
    for frame in Scene(config):
        flow = frame.truth.flow
        places.append(places[-1] + flow[32, 48])
        zooms.append(zooms[-1] * (1.0 + float(flow[0, -1, 0] - flow[0, 0, 0]) / (config.width - 1)))
        for edge in (frame.image[:, :8], frame.image[:, -8:]):
            assert np.ptp(edge, axis=1).any()
    reach = np.ptp(places, axis=0)
    expected = {"pan": 2 * value * config.width, "zoom": 0.0, "shake_px": 2 * value}[setting]
    assert 0.8 * expected - 0.5 < reach[0] < expected + 0.5
    assert max(zooms) / min(zooms) == pytest.approx(1.0 + (value if setting == "zoom" else 0.0), rel=0.03)


@pytest.mark.parametrize(("smallest", "tallest"), [(0.3, 0.9), (0.5, 0.5)])
def test_people_have_the_sizes_asked_for(smallest: float, tallest: float) -> None:
    (frame,) = small("easy", people=8, frames=1, actions=0.0, smallest_person=smallest, tallest_person=tallest)
    heights = np.ptp(frame.truth.full_boxes[:, [1, 3]], axis=1) / SMALL["height"]
    assert heights.min() == pytest.approx(smallest, rel=0.2)
    assert heights.max() == pytest.approx(tallest, rel=0.2)


@pytest.mark.parametrize("speed", [0.5, 2.5])
def test_people_walk_at_the_speed_asked_for_and_their_feet_do_not_slide(speed: float) -> None:
    hips, ankles = ([NANO19.index(f"{side}_{joint}") for side in ("left", "right")] for joint in ("hip", "ankle"))
    speeds, standing = [], []
    for frame in small("crossing", speed=speed, frames=30, fps=10.0, motion_blur=0.0):
        metres = 1.72 / np.ptp(frame.truth.full_boxes[:, [1, 3]], axis=1)[:, None]  # per pixel
        moved = np.abs(frame.truth.joint_flow[:, :, 0]) * metres * 10.0
        speeds += moved[:, hips].mean(axis=1).tolist()
        standing += moved[:, ankles].min(axis=1).tolist()  # the foot on the ground
    assert np.quantile(speeds, 0.7) == pytest.approx(1.3 * speed, rel=0.25)
    assert np.median(standing) < 0.2 * np.median(speeds)


@pytest.mark.parametrize("actions", [0.0, 1.0])
def test_people_stop_wave_and_crouch_only_if_asked_to(actions: float) -> None:
    hips, ankles, wrists = (
        [NANO19.index(f"{side}_{joint}") for side in ("left", "right")] for joint in ("hip", "ankle", "wrist")
    )
    stands, waves, legs = [], [], []
    for frame in Scene(SceneConfig(width=64, height=64, people=6, frames=60, fps=3.0, seed=1, actions=actions)):
        joints, height = frame.truth.joints, np.ptp(frame.truth.full_boxes[:, [1, 3]], axis=1)
        moved = np.linalg.norm(frame.truth.joint_flow[:, hips].mean(axis=1), axis=1)
        stands += (moved < 0.02 * height).tolist()
        waves += (joints[:, wrists, 1].min(axis=1) < joints[:, NANO19.index("nose"), 1]).tolist()
        trunk = joints[:, hips, 1].mean(axis=1) - joints[:, NANO19.index("neck"), 1]
        legs += ((joints[:, ankles, 1].max(axis=1) - joints[:, hips, 1].mean(axis=1)) / trunk).tolist()
    if actions:
        assert np.mean(stands) > 0.3
        assert np.mean(waves) > 0.05
        assert min(legs) < 1.3
    else:
        assert np.mean(stands) < 0.15
        assert not any(waves)
        assert min(legs) > 1.3


def test_people_keep_their_ids_when_they_leave_and_return() -> None:
    scene = small("crossing", seed=1, frames=90, fps=3.0, people=3)
    seen = [frame.truth.ids for frame in scene]
    assert {*np.concatenate(seen)} <= {1, 2, 3}
    present = np.array([np.isin((1, 2, 3), ids) for ids in seen])
    returns = (~present[:-1] & present[1:]).sum(axis=0)
    assert returns.sum() >= 2


def test_who_is_hidden_says_so() -> None:
    """Where people cross, fractions fall below 1 and hidden joints are marked; both agree with the pixels."""
    fractions, hidden, nearer = [], 0, 0
    for frame in small("occlusion", seed=1, frames=60, fps=10.0):
        truth = frame.truth
        fractions += truth.visible_fraction.tolist()
        hidden += int((truth.joints[truth.visible_fraction < 0.3, :, 2] == 1).sum())
        for person, fraction in zip(truth.ids, truth.visible_fraction, strict=True):
            assert (fraction > 0) == bool((truth.instances == person).any())
        feet = dict(zip(truth.ids.tolist(), truth.full_boxes[:, 3].tolist(), strict=True))
        for person, joints in zip(truth.ids.tolist(), truth.joints[:, LIMBS], strict=True):
            columns, rows = np.rint(joints[joints[:, 2] == 1, :2]).astype(int).T
            for other in {*truth.instances[rows, columns].tolist()} - {0, person}:
                assert feet[other] > feet[person] - 3  # who hides somebody is nearer
                nearer += 1
    assert min(fractions) < 0.2
    assert max(fractions) > 0.98
    assert hidden > 20
    assert nearer > 20


def test_a_given_picture_is_the_background() -> None:
    picture = np.full((50, 300, 3), (10, 200, 30), np.uint8)
    scene = Scene(SceneConfig(people=0, frames=1, **SMALL, **CLEAN), backgrounds=[picture])
    assert (scene[0].image == (10, 200, 30)).all()
    with pytest.raises(ValueError, match="RGB pictures"):
        Scene(SceneConfig(**SMALL), backgrounds=[picture.astype(np.float32)])


@pytest.mark.parametrize(("setting", "value"), [("motion_blur", 0.8), ("flicker", 0.3), ("sensor_noise", 4.0)])
def test_what_spoils_the_picture_does_not_change_the_truth(setting: str, value: float) -> None:
    scenes = [small("fast-motion", **{**CLEAN, setting: strength}) for strength in (0.0, value)]
    for index in (12, 13, 14):  # the frame before is at hand, or has to be drawn
        sharp, blurred = (scene[index] for scene in scenes)
        for name in ("ids", "joints", "boxes", "visible_fraction", "joint_flow", "instances", "flow"):
            assert np.array_equal(getattr(sharp.truth, name), getattr(blurred.truth, name)), name
        assert not np.array_equal(sharp.image, blurred.image)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    width=st.integers(64, 200),
    height=st.integers(64, 200),
    people=st.integers(0, 6),
    seed=st.integers(0, 2**40),
    speed=st.floats(0.1, 5.0),
    fps=st.floats(1.0, 60.0),
    choreography=st.sampled_from(Choreography),
    pan=st.floats(0.0, 0.5),
    zoom=st.floats(0.0, 1.0),
    pillars=st.integers(0, 3),
    tallest=st.floats(0.2, 1.5),
)
def test_any_settings_give_consistent_frames(
    width: int, height: int, people: int, seed: int, speed: float, fps: float, choreography: Choreography,
    pan: float, zoom: float, pillars: int, tallest: float,
) -> None:  # fmt: skip
    config = SceneConfig(
        width=width, height=height, people=people, frames=3, seed=seed, speed=speed, fps=fps, pan=pan, zoom=zoom,
        choreography=choreography, pillars=pillars, smallest_person=min(0.4, tallest), tallest_person=tallest,
    )  # fmt: skip
    for frame in Scene(config):
        truth = frame.truth
        count = len(truth.ids)
        assert frame.image.shape == (height, width, 3)
        assert frame.image.dtype == np.uint8
        assert truth.joints.shape == (count, 19, 3)
        assert truth.flow.shape == (height, width, 2)
        assert np.isfinite(truth.joints).all()
        assert np.isfinite(truth.flow).all()
        assert (np.diff(truth.ids) > 0).all()
        assert set(np.unique(truth.instances)) - {0} <= set(truth.ids.tolist())
        assert ((truth.visible_fraction >= 0) & (truth.visible_fraction <= 1)).all()
        assert (truth.boxes[:, :2] <= truth.boxes[:, 2:]).all()
        assert (truth.boxes >= 0).all()
        assert (truth.boxes[:, 2:] <= (width - 1, height - 1)).all()
        assert (truth.full_boxes[:, :2] <= truth.boxes[:, :2] + 1e-3).all()


def test_true_flow_follows_the_skin_of_turning_heads() -> None:
    """Eyes move when the head turns, though its outline does not change: the flow must show this."""
    eyes = [NANO19.index("left_eye"), NANO19.index("right_eye")]
    ears = [NANO19.index("left_ear"), NANO19.index("right_ear")]
    config = SceneConfig(people=2, frames=50, fps=8.0, seed=3, choreography=Choreography.TERRITORY, actions=1.0)
    errors, slips = [], []
    for before, after in itertools.pairwise(Scene(config)):
        for person, joints in zip(before.truth.ids, before.truth.joints, strict=True):
            (row,) = np.nonzero(after.truth.ids == person)
            visible = [
                eye for eye in eyes if joints[eye, 2] == 2 and row.size and after.truth.joints[row[0], eye, 2] == 2
            ]
            if not visible:
                continue
            landed = after.truth.joints[row[0]]
            moved = joints[visible, :2] + after.truth.flow_field.at(joints[visible, :2])
            errors.append(np.linalg.norm(moved - landed[visible, :2], axis=1).max())
            middle = landed[ears, :2].mean(axis=0) - joints[ears, :2].mean(axis=0)
            slips.append(np.linalg.norm(joints[visible, :2] + middle - landed[visible, :2], axis=1).max())
    turning = np.array(slips) > 1.5  # eyes that move against their head
    assert turning.sum() > 10
    assert np.median(np.array(errors)[turning]) < 0.2 * np.median(np.array(slips)[turning])


def test_the_painted_eyes_turn_with_those_of_the_truth() -> None:
    config = SceneConfig(
        width=480,
        height=480,
        people=3,
        frames=20,
        fps=1.0,
        smallest_person=0.9,
        tallest_person=0.95,
        actions=1.0,
        **CLEAN,
    )
    contrasts = []
    for frame in Scene(config):
        grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
        for joints, box in zip(frame.truth.joints, frame.truth.full_boxes, strict=True):
            above = round(0.011 * float(box[3] - box[1]))  # the camera looks down: eyes are painted a little higher
            points = [joints[NANO19.index(f"{side}_eye")] for side in ("left", "right")]
            if all(point[2] == 2 for point in points):
                for x, y in np.rint(points)[:, :2].astype(int).tolist():
                    around = grey[max(y - 8, 0) : y + 9, max(x - 8, 0) : x + 9]
                    contrasts.append(float(grey[max(y - above, 0) : y + 1, x].min() / np.median(around)))
    assert len(contrasts) > 20
    assert np.mean(np.array(contrasts) < 0.6) > 0.9
