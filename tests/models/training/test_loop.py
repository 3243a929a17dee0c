from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch import Tensor, nn

from posewire_models.training.checkpoint import load_checkpoint
from posewire_models.training.devices import Processes
from posewire_models.training.example_order import example_order
from posewire_models.training.learning_parts import parameter_groups
from posewire_models.training.loop import train
from posewire_models.training.loop_config import LoopConfig
from posewire_models.training.run_folder import alone_in
from posewire_models.training.schedule import ScheduleConfig
from posewire_models.weights import WeightsError

ONE_PROCESS = Processes(torch.device("cpu"))
STEPS = 12


class Line:
    """A task that learns a line through noise; its batches depend on rows and on chance, as real ones do."""

    examples = 40

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        self.seen: list[Tensor] = []

    def batch(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = torch.rand(len(rows), 2, generator=generator)
        return torch.cat([rows[:, None].float() / 40, noise], dim=1), rows[:, None].float() / 20

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.seen.append(batch[0])
        return (network(batch[0]) - batch[1]).square().mean()

    def measure(self, network: nn.Module) -> dict[str, float]:
        assert not network.training
        return {"bias": float(network[3].bias.detach()[0])}  # type: ignore[index, union-attr, operator]

    def picture(self, network: nn.Module) -> Tensor | None:
        return torch.zeros(3, 4, 4, dtype=torch.uint8)


def settings(out: Path, **changes: Any) -> LoopConfig:
    schedule = changes.pop("schedule", ScheduleConfig(batch_size=8, lr=0.01, samples=8 * STEPS, shape="cosine"))
    return LoopConfig(out=out, schedule=schedule, log_every=5, **changes)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two checkpoints are equal to the bit; how long a run took may differ."""

    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor):
            return torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a if key != "elapsed_s")
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(equal(one, other) for one, other in zip(a, b, strict=True))
        return bool(a == b)

    return equal(first, second)


@pytest.mark.parametrize("stop_at", [1, 5, 7, 11])  # first step, end of an epoch, within one, before the last
def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path: Path, stop_at: int) -> None:
    train(Line, settings(tmp_path / "whole"), ONE_PROCESS)
    train(Line, settings(tmp_path / "parts"), ONE_PROCESS, stop=lambda step: step == stop_at)
    assert load_checkpoint(tmp_path / "parts" / "checkpoint.pt")["step"] == stop_at
    train(Line, settings(tmp_path / "parts"), ONE_PROCESS, resume=True)
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    assert whole["step"] == STEPS
    assert same(whole, parts)


KILLED = """
import sys, time
from pathlib import Path
from tests.models.training.test_loop import *
out = Path(sys.argv[1])
def stop(step):
    if step == 7:
        print("seven", flush=True)
        time.sleep(60)
    return False
train(Line, settings(out, checkpoint_every_s=1e-9), ONE_PROCESS, stop=stop)
"""


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    train(Line, settings(tmp_path / "whole"), ONE_PROCESS)
    root = Path(__file__).parents[3]
    # Equal to the bit with as many threads only: they share out the sums.
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"seven\n"
        process.send_signal(signal.SIGKILL)
    assert load_checkpoint(tmp_path / "killed" / "checkpoint.pt")["step"] == 6  # seven was not saved yet
    (tmp_path / "killed" / ".checkpoint.pt.0123abcd.tmp").write_bytes(b"half of a checkpoint")
    train(Line, settings(tmp_path / "killed"), ONE_PROCESS, resume=True)
    assert {file.name for file in (tmp_path / "killed").iterdir()} == {
        file.name for file in (tmp_path / "whole").iterdir()
    }
    whole, killed = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed"))
    assert same(whole, killed)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(Line, settings(tmp_path), ONE_PROCESS, stop=lambda step: step == 3)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.suffix != ".csv"}

    def full(state: object, file: BinaryIO) -> None:
        file.write(b"half of a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(Line, settings(tmp_path), ONE_PROCESS, resume=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.suffix != ".csv"} == before


def test_each_epoch_shows_every_example_once_in_another_order() -> None:
    next(example_order(2**63 - 1, examples=10, batch=5, start=0))  # the largest seed in a config
    order = example_order(1, examples=10, batch=5, start=0)
    first, second = (torch.cat([next(order), next(order)]) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert torch.equal(next(example_order(1, 10, 5, start=3)), second[5:])


def test_processes_share_a_batch_and_draw_differently() -> None:
    shares = [Processes(torch.device("cpu"), rank, 2).share(torch.arange(8)).tolist() for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(8))


@pytest.mark.parametrize("batch_size", [7, 1, 80])  # uneven, less than one each, and more than the 40 examples of three
def test_a_batch_that_processes_cannot_share_evenly_is_refused(batch_size: int, tmp_path: Path) -> None:
    uneven = settings(tmp_path, schedule=ScheduleConfig(batch_size=batch_size, lr=0.01, samples=40))
    with pytest.raises(ValueError, match=r"3 processes cannot share a batch of .* evenly"):
        train(Line, uneven, Processes(torch.device("cpu"), 0, 3))
    assert not list(tmp_path.iterdir())


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    task = Line()
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    train(lambda: task, settings(tmp_path, frozen=("0", "1"), average=0.0), ONE_PROCESS)
    changed = {name for name, value in task.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}


class SeveralGpus(Processes):
    """What several GPUs do to a network, on a CPU, on which their batch norms run in evaluation mode only."""

    def share_batch_norms(self, network: nn.Module) -> None:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]

    def parallel(self, network: nn.Module) -> nn.Module:
        return network


def test_frozen_batch_norms_learn_nothing_on_several_gpus(tmp_path: Path) -> None:
    task = Line()
    train(lambda: task, settings(tmp_path, frozen=("1",), average=0.0), SeveralGpus(torch.device("cpu")))
    norm = task.network[1]  # type: ignore[index]
    assert isinstance(norm, nn.SyncBatchNorm)
    assert torch.equal(norm.running_mean, torch.zeros(8))


def test_frozen_parts_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no part of the network is called 'features'"):
        train(Line, settings(tmp_path, frozen=("features",)), ONE_PROCESS)


def test_averaged_weights_are_what_a_run_gives(tmp_path: Path) -> None:
    trained = train(Line, settings(tmp_path, average=0.9), ONE_PROCESS)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert not torch.equal(state["network"]["3.weight"], state["averaged"]["3.weight"])
    assert torch.equal(trained.network.state_dict()["3.weight"], state["averaged"]["3.weight"])
    assert trained.figures == {"bias": pytest.approx(float(state["averaged"]["3.bias"]))}


def test_a_run_on_the_clock_ends_with_it(tmp_path: Path) -> None:
    schedule = ScheduleConfig(batch_size=8, lr=0.01, samples=10**9, max_minutes=0.3 / 60)
    trained = train(Line, settings(tmp_path, schedule=schedule), ONE_PROCESS)
    assert 0 < trained.steps < 10**9 / 8
    assert load_checkpoint(tmp_path / "checkpoint.pt")["elapsed_s"] >= 0.3


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    class Broken(Line):
        def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return super().loss(network, batch) * torch.nan

    with pytest.raises(RuntimeError, match=r"the loss is nan at step 5, before the first checkpoint: .* begin anew"):
        train(Broken, settings(tmp_path), ONE_PROCESS)


def test_weights_are_saved_before_they_are_measured(tmp_path: Path) -> None:
    class Unmeasurable(Line):
        def measure(self, network: nn.Module) -> dict[str, float]:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        train(Unmeasurable, settings(tmp_path), ONE_PROCESS)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == STEPS
    assert (tmp_path / "weights.safetensors").exists()


def test_the_last_checkpoint_tells_the_last_figures(tmp_path: Path) -> None:
    trained = train(Line, settings(tmp_path), ONE_PROCESS)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["figures"] == trained.figures != {}


class Steep(Line):
    """Loses a finite amount whose slope is infinite, at the fifth step."""

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = super().loss(network, batch)
        return loss + (loss - loss.detach()).sqrt() if len(self.seen) == 5 else loss


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path, average: float) -> None:
    with pytest.raises(RuntimeError, match=r"0\.weight is not finite at step 5; the last checkpoint is sound"):
        train(Steep, settings(tmp_path, checkpoint_every_s=1e-9, average=average), ONE_PROCESS)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == 4
    assert all(value.isfinite().all() for part in ("network", "averaged") for value in state[part].values())


def test_resuming_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="run without --resume"):
        train(Line, settings(tmp_path), ONE_PROCESS, resume=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content, r"holds a run of 3 steps: go on with --resume, or give another --out"),
        (lambda content: content[:100], r"cannot be read: move it away, or give another --out"),
    ],
)
def test_a_run_is_not_overwritten_by_a_new_one(tmp_path: Path, spoil: Callable[[bytes], bytes], said: str) -> None:
    train(Line, settings(tmp_path), ONE_PROCESS, stop=lambda step: step == 3)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(spoil(checkpoint.read_bytes()))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=said):
        train(Line, settings(tmp_path), ONE_PROCESS)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_has_one_run_at_a_time(tmp_path: Path, resume: bool) -> None:
    refused = []

    def another(when: str) -> None:
        with pytest.raises(BlockingIOError, match=r"another run uses .*give another --out"):
            train(Line, settings(tmp_path), ONE_PROCESS, resume=resume)
        refused.append(when)

    def prepare() -> Line:
        another("while it reads its data")
        return Line()

    def stop(step: int) -> bool:
        another(f"in step {step}")
        return True

    train(prepare, settings(tmp_path), ONE_PROCESS, stop=stop)
    assert refused == ["while it reads its data", "in step 1"]


def test_a_run_that_is_refused_leaves_the_folder_of_a_quicker_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, mkdir = tmp_path / "run", Path.mkdir
    with ExitStack() as quicker:

        def mkdir_late(path: Path, **how: Any) -> None:
            monkeypatch.setattr(Path, "mkdir", mkdir)
            quicker.enter_context(alone_in(path))
            path.mkdir(**how)

        monkeypatch.setattr(Path, "mkdir", mkdir_late)
        with pytest.raises(BlockingIOError), alone_in(out):
            pass
        assert out.exists()
    assert not out.exists()


def test_curves_are_kept(tmp_path: Path) -> None:
    train(Line, settings(tmp_path), ONE_PROCESS)
    rows = [line.split(",") for line in (tmp_path / "curves.csv").read_text().splitlines()]
    assert {"loss", "lr", "bias"} <= {name for _, name, _ in rows}
    assert [step for step, name, _ in rows if name == "loss"] == ["5", "10"]
    assert (tmp_path / "samples.png").exists()


def test_a_run_that_was_killed_writes_no_step_twice(tmp_path: Path) -> None:
    train(Line, settings(tmp_path), ONE_PROCESS, stop=lambda step: step == 7)
    file = tmp_path / "curves.csv"
    written = file.read_bytes()
    file.write_bytes(written + b"10,loss,0.5\r\n11,lo")  # of steps after the checkpoint; killed in mid-line
    train(Line, settings(tmp_path), ONE_PROCESS, resume=True)
    assert file.read_bytes().startswith(written)
    rows = [line.split(",")[:2] for line in file.read_text().splitlines()]
    assert rows.count(["10", "loss"]) == 1
    assert not any(name == "lo" for _, name in rows)


def test_parts_may_learn_faster(tmp_path: Path) -> None:
    task = Line()
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    constant = ScheduleConfig(batch_size=8, lr=0.001, samples=8)
    train(lambda: task, settings(tmp_path, schedule=constant, average=0.0, lr_factors={"3": 10.0}), ONE_PROCESS)
    after = task.network.state_dict()
    # Adam's first step has the length of the rate, whatever the gradient.
    for name, rate in (("0.weight", 0.001), ("3.weight", 0.01)):
        assert float((after[name] - before[name]).abs().max()) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("names", [("0", "0.1"), ("0.1", "0")])  # the order in which they are given says nothing
def test_the_longest_name_of_a_part_holds(names: tuple[str, str]) -> None:
    network = nn.Sequential(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), nn.Linear(1, 1))
    factors = {"0": 0.5, "0.1": 0.1}
    groups = parameter_groups(network, {name: factors[name] for name in names})
    found = {name: group["factor"] for group in groups for name in group["names"]}
    assert [found[f"{part}.bias"] for part in ("0.0", "0.1", "1")] == [0.5, 0.1, 1.0]


def test_parts_that_learn_faster_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no part of the network is called 'head'"):
        train(Line, settings(tmp_path, lr_factors={"head": 10.0}), ONE_PROCESS)
