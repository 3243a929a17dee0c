"""What the flow net learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from posewire_models.flownet_s import pair_input
from posewire_models.training.flow_scenes import FlowScenes, render_pairs
from posewire_models.training.flow_task import FlowTask, FlowTrainConfig
from posewire_models.training.loop_config import LoopConfig
from posewire_models.training.schedule import ScheduleConfig

SIZE = (64, 128)


@pytest.fixture(scope="module")
def scenes() -> FlowScenes:
    return render_pairs(SIZE, scenes=4, pairs_a_scene=6, first_seed=0, workers=2)


def flow_task(scenes: FlowScenes, **settings: Any) -> FlowTask:
    schedule = ScheduleConfig(samples=8, batch_size=4, lr=1e-3)
    network = settings.pop("network", {"width": 0.125, "input_size": SIZE})
    config = FlowTrainConfig(
        loop=LoopConfig(out=Path("unused"), schedule=schedule, precision="fp32"),
        network=network,
        colour=0.0,
        **settings,
    )
    textures = scenes.first[:2, :, :64].contiguous()
    return FlowTask(config, config.build_network(), textures, scenes, None, torch.device("cpu"))


def sampled(field: Tensor, points: Tensor) -> Tensor:
    """`(b, c, h, w)` at points `(b, m, 2)` in pixels: `(b, m, c)`."""
    size = torch.tensor([field.shape[3], field.shape[2]])
    grid = ((2 * points + 1) / size - 1)[:, :, None]
    return functional.grid_sample(field, grid, padding_mode="border", align_corners=False)[..., 0].transpose(1, 2)


def test_parts_of_scenes_keep_flow_and_joints_together(scenes: FlowScenes) -> None:
    """Cut out, enlarged and mirrored, the second image is still where the flow says, and so are the joints."""
    pairs = flow_task(scenes, scene_zoom=0.5).batch(torch.arange(len(scenes)), torch.Generator().manual_seed(0))
    known = pairs.joints.isfinite().all(dim=2)
    assert known.sum() > 100
    places = pairs.joints[known]
    assert ((places > -1) & (places < torch.tensor([SIZE[1], SIZE[0]]))).all()
    errors = (sampled(pairs.flow, pairs.joints.nan_to_num()) - pairs.joint_flow)[known].norm(dim=1)
    assert errors.quantile(0.7) < 0.2 < pairs.joint_flow[known].norm(dim=1).quantile(0.7)
    ys, xs = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    here = torch.stack([xs, ys], dim=2).float()
    moved = (here + pairs.flow.permute(0, 2, 3, 1)).flatten(1, 2)
    people = pairs.flow.norm(dim=1).flatten(1) > 1.5
    found, wanted = sampled(pairs.second, moved), pairs.first.flatten(2).transpose(1, 2)
    still = pairs.second.flatten(2).transpose(1, 2)
    assert (found - wanted)[people].abs().mean() < 0.7 * (still - wanted)[people].abs().mean()


def test_batches_of_other_sizes(scenes: FlowScenes) -> None:
    """Some stay, some are reduced; then displacements and joints are of the smaller picture."""
    own, other = flow_task(scenes), flow_task(scenes, other_sizes=((64, 64),))
    rows, seen = torch.arange(6), set()
    for seed in range(6):
        generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
        whole, reduced = (task.batch(rows, each) for task, each in zip((own, other), generators, strict=True))
        seen.add(reduced.first.shape[2:])
        ratio = torch.tensor([reduced.first.shape[3] / SIZE[1], reduced.first.shape[2] / SIZE[0]])
        torch.testing.assert_close(reduced.joint_flow, whole.joint_flow * ratio, equal_nan=True)
        torch.testing.assert_close(reduced.joints + 0.5, (whole.joints + 0.5) * ratio, equal_nan=True)
        torch.testing.assert_close(
            reduced.flow.mean(dim=(2, 3)), whole.flow.mean(dim=(2, 3)) * ratio, rtol=0.02, atol=0.02
        )
        assert other.loss(other.network, reduced).isfinite()
    assert seen == {(64, 128), (64, 64)}


def test_people_move_farther_between_frames_of_a_lower_rate(scenes: FlowScenes) -> None:
    slower = render_pairs(SIZE, 4, 6, first_seed=0, workers=2, rate_divisors=(3.0,))
    moved = [pairs.joint_flow[pairs.joints.isfinite().all(dim=2)].norm(dim=1).mean() for pairs in (scenes, slower)]
    assert moved[1] > 2 * moved[0] > 0


def test_a_wrong_flow_at_the_joints_costs_more(scenes: FlowScenes) -> None:
    rows = torch.arange(4)
    plain, joints_too = (flow_task(scenes, joint_weight=weight) for weight in (0.0, 0.5))
    pairs = plain.batch(rows, torch.Generator().manual_seed(0))
    untouched, weighted = (task.loss(plain.network, pairs) for task in (plain, joints_too))
    assert weighted > untouched
    pairs.joints.fill_(torch.nan)
    assert joints_too.loss(plain.network, pairs) == untouched


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_training_and_measuring_see_what_the_service_sees(scenes: FlowScenes, subtract_mean: bool) -> None:
    task = flow_task(scenes, network={"width": 0.125, "input_size": SIZE, "subtract_mean": subtract_mean})
    seen: list[Tensor] = []
    task.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pairs = task.batch(torch.arange(2), torch.Generator().manual_seed(0))
    task.loss(task.network, pairs)
    torch.testing.assert_close(seen[-1], pair_input(pairs.first, pairs.second, subtract_mean=subtract_mean))
    images = [part[0].permute(2, 0, 1)[None].float() for part in (scenes.first, scenes.second)]
    task.predict(task.network.eval(), scenes.first[0], scenes.second[0])
    torch.testing.assert_close(seen[-1], pair_input(*images, subtract_mean=subtract_mean))


def test_a_batch_without_scenes(scenes: FlowScenes) -> None:
    task = flow_task(scenes)
    rows = torch.arange(len(scenes), len(scenes) + 4)
    pairs = task.batch(rows, torch.Generator().manual_seed(0))
    assert pairs.first.shape == (4, 3, *SIZE)
    assert task.loss(task.network, pairs).isfinite()


@pytest.mark.parametrize("name", ["scene_zoom", "joint_weight"])
def test_negative_settings_are_refused(name: str, scenes: FlowScenes) -> None:
    with pytest.raises(ValueError, match=name):
        flow_task(scenes, **{name: -0.1})


def test_sizes_that_the_network_cannot_take_are_refused(scenes: FlowScenes) -> None:
    with pytest.raises(ValueError, match="input_size"):
        flow_task(scenes, other_sizes=((100, 64),))


@pytest.mark.parametrize("divisors", [(), (0.0,), (1.0, 40.0)])
def test_rates_out_of_range_are_refused(divisors: tuple[float, ...], scenes: FlowScenes) -> None:
    with pytest.raises(ValueError, match="rate_divisors"):
        flow_task(scenes, rate_divisors=divisors)
