"""The training loop of all three networks.

A step is a function of the run's seed and the step's number: the order of the examples and all augmentation come from
generators seeded by them. So a run needs only its weights, the optimiser's state and its step number to continue bit
for bit, and there is nothing "in flight" that a kill could lose.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posewire_models.training.averaging import AveragedWeights
from posewire_models.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from posewire_models.training.curves import Curves
from posewire_models.training.devices import Processes
from posewire_models.training.example_order import example_order, step_generator
from posewire_models.training.frozen_parts import speed_up_frozen
from posewire_models.training.learning_parts import freeze, parameter_groups
from posewire_models.training.loop_config import LoopConfig
from posewire_models.training.resuming import continued, restore_optimiser, settings_of
from posewire_models.training.run_folder import alone_in, check_run_folder
from posewire_models.training.task import Task
from posewire_models.weights import load_strict, not_finite

__all__ = ["Trained", "train"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """Result of a run.

    Attributes:
        network: with the averaged weights (the trained ones if averaging is off), in evaluation mode.
        steps: done in total.
        figures: last measurement.
    """

    network: nn.Module
    steps: int
    figures: dict[str, float]


def train(
    prepare: Callable[[], Task],
    config: LoopConfig,
    processes: Processes,
    *,
    resume: bool = False,
    stop: Callable[[int], bool] = lambda step: False,
) -> Trained:
    """Train until the schedule is over.

    Args:
        prepare: reads the data, which may take minutes, and returns what to train; called once no other run can use
            the folder.
        config: settings of the loop.
        processes: the device and this process's place among others, whose group it leaves at the end.
        resume: continue from `checkpoint.pt` in the run's folder.
        stop: called after each step (with several processes, every `log_every` steps) with the number of steps done; if
            it returns true, the run ends early, with a checkpoint.

    Raises:
        WeightsError: `resume` without a usable checkpoint.
        ValueError: the processes cannot share a batch evenly.
        OSError: the folder cannot be written to, another run uses it, or it holds a run while `resume` is false.
            Nothing was written.
        RuntimeError: the loss or a weight is not finite. A checkpoint, if any, is from before that.
    """
    if not resume:  # resuming reads the checkpoint, which reports what is wrong
        check_run_folder(config.out, resume=False)
    with alone_in(config.out) if processes.first else nullcontext():
        trained = _Run(prepare(), config, processes, resume).go(stop)
    processes.stop()
    return trained


class _Run:
    """One process's part of a run."""

    def __init__(self, task: Task, config: LoopConfig, processes: Processes, resume: bool) -> None:
        self.task, self.config, self.processes = task, config, processes
        processes.share_batch_norms(task.network)
        schedule = config.schedule
        self.batch = schedule.batch_of(task.examples)
        processes.check_batch(self.batch)
        self.steps = schedule.steps(task.examples)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(task.network, config.lr_factors),
            schedule.lr,
            weight_decay=schedule.weight_decay,
            foreach=True,
        )
        self.averaged = AveragedWeights(task.network, config.average) if config.average else None
        self.step, self.elapsed_s = 0, 0.0
        self.saved = -1  # the step of the last checkpoint
        self.figures: dict[str, float] = {}
        if resume:
            self._restore(config.out / "checkpoint.pt")
        self.frozen = freeze(task.network, config.frozen)
        speed_up_frozen(task.network, config.frozen)
        self.network = processes.parallel(task.network)
        self.curves = Curves(config.out, self.step) if processes.first else None

    def go(self, stop: Callable[[int], bool]) -> Trained:
        config, begun, before = self.config, time.monotonic(), self.elapsed_s
        last_saved = last_measured = begun
        losses, computing = [], 0.0
        self._to_training()
        for batch in self._batches():
            now = time.monotonic()
            self.elapsed_s = before + now - begun
            done = self._done()
            if done >= 1:
                break
            loss, seconds = self._train_step(batch, config.schedule.rate(done))
            computing += seconds
            losses.append(loss)
            self.step += 1
            if self.step % config.log_every == 0:
                self._report(losses, time.monotonic() - begun, computing)
                losses.clear()
            if self._stopped(stop):
                self._check(losses)
                self.save()  # before measuring, which whoever stops the run may not wait for
                break
            if now - last_measured > config.measure_every_s:
                self.measure()
                last_measured = time.monotonic()
            if now - last_saved > config.checkpoint_every_s:
                self._check(losses)
                self.save()
                last_saved = time.monotonic()
        self.elapsed_s = before + time.monotonic() - begun
        self._check(losses)
        if self.saved != self.step:  # before anything may go wrong in measuring
            self.save()
        self.measure()
        self.save()
        return Trained(self._result(), self.step, self.figures)

    def _stopped(self, stop: Callable[[int], bool]) -> bool:
        """Whether to end early, the same in every process: several use the first one's value, at a report's steps."""
        if self.processes.count == 1:
            return stop(self.step)
        return self.step % self.config.log_every == 0 and bool(self.processes.agree(float(stop(self.step))))

    def _done(self) -> float:
        """Share of the run that is done, the same in every process."""
        return self.processes.agree(self._local_done()) if self.config.schedule.max_minutes else self._local_done()

    def _local_done(self) -> float:
        minutes = self.config.schedule.max_minutes
        return self.elapsed_s / 60 / minutes if minutes else self.step / self.steps

    def _batches(self) -> Iterator[Any]:
        """Batches from the current step on, each made while the step before is computed."""
        order = example_order(self.config.seed, self.task.examples, self.batch, self.step)

        def make(step: int) -> Any:
            generator = step_generator(self.config.seed, step, self.processes.rank)
            return self.task.batch(self.processes.share(next(order)), generator)

        with ThreadPoolExecutor(1, "batches") as ahead:
            coming = ahead.submit(make, self.step)
            for step in itertools.count(self.step + 1):
                batch = coming.result()
                coming = ahead.submit(make, step)
                yield batch

    def _train_step(self, batch: Any, rate: float) -> tuple[Tensor, float]:
        """Loss of the step, and its seconds from the batch to the new weights."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        begun = time.perf_counter()
        loss = self.task.loss(self.network, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_gradient:
            nn.utils.clip_grad_norm_(self.task.network.parameters(), self.config.clip_gradient, foreach=True)
        self.optimiser.step()
        if self.averaged:
            self.averaged.update(self.task.network, self.step)
        return loss.detach(), time.perf_counter() - begun

    def _report(self, losses: list[Tensor], wall: float, computing: float) -> None:
        loss = self._checked_mean(losses)
        if self.curves is None:
            return
        rate = self.optimiser.param_groups[0]["lr"]
        samples = self.step * self.batch
        self.curves.add(self.step, {"loss": loss, "lr": rate, "samples": samples})
        _log.info(
            "step %d (%.1f %%), %d samples, loss %.6f, lr %.2e, %.0f s in all, %.0f %% in the network",
            self.step, 100 * self._local_done(), samples, loss, rate, self.elapsed_s, 100 * computing / wall,
        )  # fmt: skip

    def _checked_mean(self, losses: list[Tensor]) -> float:
        """Mean of the losses since the last report; raises `RuntimeError` if one is not finite."""
        loss = float(torch.stack(losses).mean()) if losses else 0.0
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        return loss

    def _check(self, losses: list[Tensor]) -> None:
        """Raise `RuntimeError` if the loss or a weight is not finite, so that it is not saved.

        Gradients may not be finite though the loss is, which the loss would show only a step later.
        """
        self._checked_mean(losses)
        states = [self.task.network.state_dict(), *([self.averaged.state] if self.averaged else [])]
        for state in states:
            if name := not_finite(state):
                raise self._diverged(f"{name} is not finite")

    def _diverged(self, what: str) -> RuntimeError:
        remedy = "lower schedule.lr, or set clip_gradient or precision = 'fp32', and"
        if (self.config.out / "checkpoint.pt").exists():
            return RuntimeError(f"{what} at step {self.step}; the last checkpoint is sound: {remedy} resume")
        return RuntimeError(f"{what} at step {self.step}, before the first checkpoint: {remedy} begin anew")

    @torch.no_grad()
    def measure(self) -> None:
        """Measure the averaged weights on held-out data; figures go to the log and the curves."""
        if self.curves is None:
            return
        with self._interim_result() as network:
            self.figures = self.task.measure(network)
            self.curves.add(self.step, self.figures)
            _log.info("step %d measured: %s", self.step, ", ".join(f"{k} {v:.4f}" for k, v in self.figures.items()))
            sheet = self.task.picture(network)
            if sheet is not None:
                self.curves.show(self.step, sheet)

    @contextmanager
    def _interim_result(self) -> Iterator[nn.Module]:
        """The result so far; afterwards the network has the trained weights again, and is in training mode."""
        network = self.task.network
        trained = {name: value.clone() for name, value in network.state_dict().items()} if self.averaged else None
        try:
            yield self._result()
        finally:
            if trained is not None:
                network.load_state_dict(trained)
            self._to_training()

    def _result(self) -> nn.Module:
        """The task's network with the averaged weights in it, in evaluation mode."""
        network = self.task.network
        if self.averaged:
            network.load_state_dict(self.averaged.state)
        return network.eval()

    def _to_training(self) -> None:
        self.task.network.train()
        for module in self.frozen:
            module.eval()

    def save(self) -> None:
        """Write a checkpoint, and the averaged weights ready for use."""
        self.saved = self.step
        if not self.processes.first:
            return
        network = self.task.network.state_dict()
        averaged = self.averaged.state if self.averaged else network
        state: dict[str, Any] = {
            "network": network,
            "averaged": averaged,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "examples": self.task.examples,
            "settings": settings_of(self.config),
            "figures": self.figures,
        }
        save_checkpoint(self.config.out / "checkpoint.pt", state)
        about = {"step": str(self.step), "samples": str(self.step * self.batch), "seed": str(self.config.seed)}
        save_weights(self.config.out / "weights.safetensors", averaged, about)

    def _restore(self, checkpoint: Path) -> None:
        state = load_checkpoint(checkpoint)
        load_strict(self.task.network, state["network"], str(checkpoint))
        restore_optimiser(self.optimiser, state["optimiser"])
        self.config = continued(self.config, state["settings"])
        if self.averaged:
            self.averaged.restore(state["averaged"])
        self.step, self.elapsed_s, self.figures = state["step"], state["elapsed_s"], state["figures"]
        if state["examples"] != self.task.examples:
            _log.warning(
                "the run had %d examples and has %d now: it goes on, but not as it would have",
                state["examples"], self.task.examples,
            )  # fmt: skip
