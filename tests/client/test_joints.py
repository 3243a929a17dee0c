from __future__ import annotations

import numpy as np
import pytest

from posewire.joints import COCO17, JOINT_SETS, NANO19, POSETRACK15, JointSet, joint_set


@pytest.mark.parametrize("joints", JOINT_SETS.values(), ids=JOINT_SETS)
def test_mirroring_twice_changes_nothing_and_swaps_sides(joints: JointSet) -> None:
    np.testing.assert_array_equal(joints.mirror[joints.mirror], np.arange(len(joints)))
    for joint, twin in enumerate(joints.mirror):
        side = {"left": "right", "right": "left"}.get(joints.names[joint].split("_")[0])
        assert joints.names[twin].startswith(side) if side else twin == joint


def test_the_orders_are_those_of_the_data_sets() -> None:
    assert [COCO17.index(name) for name in ("nose", "left_shoulder", "right_ankle")] == [0, 5, 16]
    assert [POSETRACK15.index(name) for name in ("nose", "head_bottom", "head_top", "right_ankle")] == [0, 1, 2, 14]
    assert NANO19.names == (*COCO17.names, "neck", "head_top")


def test_conversion_goes_by_name() -> None:
    joints = np.arange(19 * 3, dtype=np.float32).reshape(1, 19, 3)
    converted = NANO19.convert(joints, POSETRACK15)
    for name, found in (
        ("nose", "nose"),
        ("head_bottom", "neck"),
        ("head_top", "head_top"),
        ("left_knee", "left_knee"),
    ):
        np.testing.assert_array_equal(converted[0, POSETRACK15.index(name)], joints[0, NANO19.index(found)])


def test_the_neck_is_made_of_the_shoulders_and_what_cannot_be_made_has_no_score() -> None:
    joints = np.zeros((2, 17, 3), dtype=np.float32)
    joints[:, COCO17.index("left_shoulder")] = (10, 20, 0.9)
    joints[:, COCO17.index("right_shoulder")] = (30, 24, 0.5)
    converted = COCO17.convert(joints, NANO19)
    np.testing.assert_allclose(converted[:, NANO19.index("neck")], [(20, 22, 0.5)] * 2)
    np.testing.assert_array_equal(converted[:, NANO19.index("head_top")], np.zeros((2, 3)))


def test_an_unknown_set_and_an_unknown_joint_are_named() -> None:
    with pytest.raises(ValueError, match="unknown joint set 'coco18'; known sets: coco17, nano19, posetrack15"):
        joint_set("coco18")
    with pytest.raises(ValueError, match="has no joint 'tail'"):
        COCO17.index("tail")


@pytest.mark.parametrize(
    ("names", "edges", "sigmas", "says"),
    [
        (("a", "a"), (), (0.1, 0.1), "occurs twice"),
        (("a", "b"), ((0, 2),), (0.1, 0.1), r"edge \(0, 2\) is outside 0..1"),
        (("a", "b"), (), (0.1,), "1 sigmas for 2 joints"),
    ],
)
def test_impossible_sets_are_refused(
    names: tuple[str, ...], edges: tuple[tuple[int, int], ...], sigmas: tuple[float, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        JointSet("odd", names, edges, sigmas)
