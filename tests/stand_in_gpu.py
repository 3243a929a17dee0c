"""A GPU for machines without one: it computes on the CPU, and catches what only a GPU would suffer from.

Tensors "on the device" are real values behind a wrapper that says `cuda:0`, so the code under test takes its path for
GPUs. These are errors, which on a CPU pass unnoticed and on a GPU may do so on most days:

- an operation that mixes tensors of the device and of the CPU;
- work on a stream that reads or overwrites what another stream may still be working on (`RaceError`);
- memory that is freed while a stream it was not recorded for may still be using it (`RaceError`);
- a wait for the device in what must not wait: a recorded graph, or after `torch.cuda.set_sync_debug_mode("error")`.

A copy to the CPU that is not waited for arrives when it is: until then the destination holds garbage. A graph repeats
the operations that were recorded, with the tensors they had; what Python did between them, it does not repeat.

It has no memory to run out of, computes float16 as the CPU does, and is one device. After `break_down` it refuses
everything, as a GPU does after a fault.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch._dynamo  # imported by torch at the first operation under a dispatch mode; not while it is patched
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from posewire_models import inference
from posewire_models.cuda_runtime import GraphedNetwork

__all__ = ["DEVICE", "HiddenWaitError", "RaceError", "break_down", "gpu_or_stand_in", "is_stand_in", "stand_in_gpu"]

DEVICE = torch.device("cuda", 0)
_NAME = "stand-in"
_STREAMS_IN_POOL = 32

Clock = dict[int, int]
"""Number of a stream -> how much of its work is known to be done."""

aten = torch.ops.aten
# Operations whose result's shape or Python value depends on values: the CPU waits for them.
_WAITING = {
    aten._local_scalar_dense.default,
    aten.item.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.unique_consecutive.default,
    aten._unique2.default,
    aten.repeat_interleave.Tensor,
}
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class RaceError(AssertionError):
    """Two streams use the same memory, one of them to write, and nothing says which comes first."""


class HiddenWaitError(RuntimeError):
    """The CPU waits for the device where it must not."""


class _Memory:
    """A block of the device's memory: which streams have used it, and when.

    Attributes:
        home: number of the stream that it was allocated for.
        written: the last write.
        read: reads since then.
        recorded: streams that `record_stream` was called for.
    """

    def __init__(self, home: int, machine: _Machine) -> None:
        self.home = home
        self._machine = machine
        self.written: Clock = {}
        self.read: Clock = {}
        self.recorded = {home}

    def forget_others(self) -> None:
        """What an earlier device did to it, as to a constant that is kept, is long done."""
        if self._machine is not _the_machine():
            self._machine, self.written, self.read = _the_machine(), {}, {}
            self.home = self._machine.default.number
            self.recorded = {self.home}

    def __del__(self) -> None:
        if self._machine is _machine:
            self._machine.freed(self)


class _Machine:
    """The device: its streams, and what the CPU and each of them knows to be done."""

    def __init__(self) -> None:
        self.default = Stream()
        self.streams = {self.default.number: self.default}
        self.done: Clock = defaultdict(int)
        """What the CPU has waited for."""
        self.races: list[str] = []
        self.pools: dict[int, Iterator[Stream]] = defaultdict(
            lambda: itertools.cycle([Stream() for _ in range(_STREAMS_IN_POOL)])
        )
        """For each priority, the streams that it hands out in turns."""
        self.waits_are_errors = False
        self.is_broken = False
        self.here = threading.local()
        self._turn = threading.Lock()

    @property
    def stream(self) -> Stream:
        """The calling thread's current stream."""
        return getattr(self.here, "stream", self.default)

    @property
    def graph(self) -> Graph | None:
        """Into which the calling thread records."""
        return getattr(self.here, "graph", None)

    def check_works(self) -> None:
        """Every call begins with this."""
        if self.is_broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def wait(self, stream: Stream, what: str, seen: Clock | None = None, explicit: bool = False) -> None:
        """The CPU waits until `stream` is as far as `seen` says, or done."""
        self.check_works()
        seen = stream.seen if seen is None else seen
        if self.graph is not None:
            raise HiddenWaitError(f"{what} waits while a graph is recorded")
        if self.waits_are_errors and not explicit:
            raise HiddenWaitError(f"{what} waits for the device")
        with self._turn:
            _learn(self.done, seen)
        for arrival in [each for each in stream.arrivals if each[0] <= seen[stream.number]]:
            stream.arrivals.remove(arrival)
            arrival[1]()

    def freed(self, memory: _Memory) -> None:
        """Note a race if a stream may still use `memory`, which its home may use for something else from now on."""
        home = self.streams[memory.home].seen
        for uses in (memory.written, memory.read):
            for number, moment in list(uses.items()):
                if number not in memory.recorded and moment > max(self.done[number], home[number]):
                    self.races.append(
                        f"memory of stream {memory.home} is freed while stream {number} may be using it: record_stream "
                        "is missing"
                    )


_machine: _Machine | None = None


def _the_machine() -> _Machine:
    assert _machine is not None
    return _machine


def _learn(clock: Clock, other: Clock) -> None:
    for number, moment in list(other.items()):  # other threads may add to it
        clock[number] = max(clock[number], moment)


class Event:
    """A moment on a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.seen: Clock = defaultdict(int, stream.seen)

    def synchronize(self) -> None:
        _the_machine().wait(self._stream, "an event", self.seen, explicit=True)


class Stream:
    """A queue of work."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        self.number = next(self._numbers)
        self.seen: Clock = defaultdict(int)
        self.arrivals: list[tuple[int, Callable[[], None]]] = []

    def begin(self) -> int:
        """Enqueue one operation; returns its moment."""
        _the_machine().check_works()
        _the_machine().streams[self.number] = self
        _learn(self.seen, _the_machine().done)
        self.seen[self.number] += 1
        return self.seen[self.number]

    def record_event(self, event: Event | None = None) -> Event:
        assert event is None
        return Event(self)

    def wait_event(self, event: Event) -> None:
        _learn(self.seen, event.seen)

    def wait_stream(self, stream: Stream) -> None:
        _learn(self.seen, stream.seen)

    def synchronize(self) -> None:
        _the_machine().wait(self, "a stream", explicit=True)


def _stream_of_pool(device: Any = None, priority: int = 0) -> Stream:
    """Takes the place of `torch.cuda.Stream`."""
    assert device is None or torch.device(device).type == "cuda"
    return next(_the_machine().pools[priority])


class Graph:
    """Operations, to be repeated with the tensors that they had. Takes the place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[OnDevice]]] = []

    def replay(self) -> None:
        machine = _the_machine()
        for function, args, kwargs, outputs in self.operations:
            for output, new in zip(outputs, _on_device(_run(function, args, kwargs)), strict=True):
                if output.memory is not new.memory:  # else it is a view, or was written in place
                    stream = machine.stream
                    _note_write(stream, stream.seen[stream.number], output.memory, "a graph")
                    output.held.copy_(new.held)


class OnDevice(Tensor):
    """A tensor whose values are on the CPU, and that says it is on the device."""

    held: Tensor
    memory: _Memory

    @staticmethod
    def __new__(cls, held: Tensor, memory: _Memory) -> OnDevice:
        self: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=held.requires_grad,
        )
        self.held, self.memory = held, memory
        return self

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.held!r})"

    def new_tensor(self, data: Any, **kwargs: Any) -> Tensor:
        return torch.tensor(data, **({"dtype": self.dtype, "device": self.device} | kwargs))

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def record_stream(self, stream: Any) -> None:
        self.memory.recorded.add(stream.number)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


def _on_device(values: Any) -> list[OnDevice]:
    """The tensors of the device among the arguments or results of an operation."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, OnDevice)]


class _Mode(TorchDispatchMode):
    """Makes factories with `device="cuda"`, copies to the device and page-locked memory work, on one thread."""

    def __enter__(self) -> _Mode:
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") comes as a copy from the CPU
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


def _dispatch(function: Any, args: Any, kwargs: Any) -> Any:
    device = kwargs.get("device")
    to_device = device is not None and torch.device(device).type == "cuda"
    there = _on_device((args, kwargs))
    if not there and not to_device:
        if function in (aten._pin_memory.default, aten.pin_memory.default):
            return args[0].clone()
        if function is aten.is_pinned.default:
            return False
        if kwargs.get("pin_memory"):
            kwargs = kwargs | {"pin_memory": False}
        return function(*args, **kwargs)
    if function is aten._to_copy.default and device is not None and bool(there) is not to_device:
        return _copied_over(args[0], kwargs)
    if function is aten.copy_.default and isinstance(args[0], OnDevice) is not isinstance(args[1], OnDevice):
        return _copied_into(args[0], args[1], bool(args[2]) if len(args) > 2 else kwargs.get("non_blocking", False))
    if there:
        _check_devices(function, args, kwargs)
    graph = _the_machine().graph
    result = _run(function, args, kwargs)
    if graph is not None:
        graph.operations.append((function, args, kwargs, _on_device(result)))
    return result


def _check_devices(function: Any, args: Any, kwargs: Any) -> None:
    for place, leaf in enumerate(tree_leaves((args, kwargs))):
        if isinstance(leaf, Tensor) and not isinstance(leaf, OnDevice) and leaf.dim() > 0:
            if function in _INDEXING and leaf.dtype is torch.int64 and place > 0:
                # Torch allows that: it copies the indices, and waits.
                machine = _the_machine()
                machine.wait(machine.stream, f"{function} by indices of the CPU")
                continue
            raise RuntimeError(f"{function} mixes tensors on {DEVICE} and on the CPU")


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    """The operation on the calling thread's stream."""
    machine = _the_machine()
    stream = machine.stream
    moment = stream.begin()
    inputs = _on_device((args, kwargs))
    masks = function in _INDEXING and any(each.dtype in (torch.bool, torch.uint8) for each in inputs[1:])
    if function in _WAITING or masks:
        machine.wait(stream, str(function))
    held = tree_map(lambda leaf: leaf.held if isinstance(leaf, OnDevice) else leaf, (args, kwargs))
    if held[1].get("device") is not None:
        held[1]["device"] = torch.device("cpu")
    held[1].pop("pin_memory", None)
    found = function(*held[0], **held[1])
    wrappers = {id(each.held): each for each in inputs}
    memories = {each.held.untyped_storage().data_ptr(): each.memory for each in inputs}

    def wrapped(output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        if id(output) in wrappers:
            return wrappers[id(output)]
        memory = memories.get(output.untyped_storage().data_ptr())
        return OnDevice(output, memory or _Memory(stream.number, machine))

    result = tree_map(wrapped, found)
    outputs = _on_device(result)
    views = function.is_view or function in (aten.detach.default, aten._reshape_alias.default)
    if not views and machine.graph is None:  # recorded operations do not run yet
        for each in inputs:
            if function._schema.is_mutable and any(each.memory is output.memory for output in outputs):
                _note_write(stream, moment, each.memory, function)
            else:
                _note_read(stream, moment, each.memory, function)
        for each in outputs:
            if not any(each.memory is other.memory for other in inputs):
                each.memory.written = {stream.number: moment}
    return result


def _note_read(stream: Stream, moment: int, memory: _Memory, what: Any) -> None:
    memory.forget_others()
    _check(stream, memory.written, f"{what} reads what another stream may still be writing")
    memory.read[stream.number] = moment


def _note_write(stream: Stream, moment: int, memory: _Memory, what: Any) -> None:
    memory.forget_others()
    _check(stream, memory.written, f"{what} overwrites what another stream may still be writing")
    _check(stream, memory.read, f"{what} overwrites what another stream may still be reading")
    memory.written, memory.read = {stream.number: moment}, {}


def _check(stream: Stream, uses: Clock, what: str) -> None:
    for number, moment in list(uses.items()):
        if number != stream.number and moment > stream.seen[number]:
            raise RaceError(f"{what}: stream {stream.number} has not waited for stream {number}")


def _copied_over(source: Tensor, kwargs: Any) -> Tensor:
    """A copy between the CPU and the device."""
    machine = _the_machine()
    stream = machine.stream
    blocking = not kwargs.get("non_blocking", False)
    plain = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking", "pin_memory")}
    if isinstance(source, OnDevice):
        moment = stream.begin()
        _note_read(stream, moment, source.memory, "a copy to the CPU")
        if blocking:
            machine.wait(stream, "a copy to the CPU")
        return aten._to_copy.default(source.held, **plain)  # type: ignore[no-any-return]
    moment = stream.begin()
    memory = _Memory(stream.number, machine)
    memory.written = {stream.number: moment}
    if blocking:
        machine.wait(stream, "a copy to the device")
    if machine.graph is not None:
        raise HiddenWaitError("a copy from the CPU cannot be part of a graph")
    return OnDevice(aten._to_copy.default(source, **plain), memory)


def _copied_into(target: Tensor, source: Tensor, non_blocking: bool) -> Tensor:
    machine = _the_machine()
    stream = machine.stream
    moment = stream.begin()
    if isinstance(target, OnDevice):
        _note_write(stream, moment, target.memory, "a copy to the device")
        target.held.copy_(source)
    else:
        assert isinstance(source, OnDevice)
        _note_read(stream, moment, source.memory, "a copy to the CPU")
        values = source.held.clone()
        target.fill_(77)
        stream.arrivals.append((moment, lambda: target.copy_(values)))
    if not non_blocking:
        machine.wait(stream, "a copy")
    return target


@contextmanager
def _on(stream: Stream) -> Iterator[None]:
    here = _the_machine().here
    before = _the_machine().stream
    here.stream = stream
    try:
        yield
    finally:
        here.stream = before


@contextmanager
def _recording(graph: Graph, *, stream: Stream, **_: Any) -> Iterator[None]:
    machine = _the_machine()
    assert machine.graph is None
    with _on(stream):
        machine.here.graph = graph
        try:
            yield
        finally:
            machine.here.graph = None


def _set_sync_debug_mode(mode: str) -> None:
    _the_machine().waits_are_errors = mode == "error"


def _synchronize(_: Any = None) -> None:
    for stream in list(_the_machine().streams.values()):
        stream.synchronize()


def _enter_no_grad(mode: Any) -> None:
    mode.grad_before = torch.is_grad_enabled()
    torch.set_grad_enabled(torch.is_grad_enabled() and not mode.mode)


def _leave_no_grad(mode: Any, *_: Any) -> None:
    torch.set_grad_enabled(mode.grad_before)


@contextmanager
def stand_in_gpu() -> Iterator[torch.device]:
    """torch with one CUDA device, for this thread and those that are started inside.

    Raises:
        RaceError: at the end, if memory was freed while a stream may still have been using it.
    """
    global _machine
    assert _machine is None
    _machine = machine = _Machine()
    run_thread = threading.Thread.run

    def run(self: threading.Thread) -> None:
        with _Mode():
            run_thread(self)

    cuda = {
        "_lazy_init": lambda: None,
        "init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "set_device": lambda _: None,
        "is_bf16_supported": lambda **_: True,
        "get_device_name": lambda _=None: _NAME,
        "Stream": _stream_of_pool,
        "Event": Event,
        "CUDAGraph": Graph,
        "stream": _on,
        "current_stream": lambda _=None: machine.stream,
        "default_stream": lambda _=None: machine.default,
        "graph": _recording,
        "graph_pool_handle": lambda: None,
        "synchronize": _synchronize,
        "set_sync_debug_mode": _set_sync_debug_mode,
        "get_rng_state": lambda *_: torch.zeros(1, dtype=torch.uint8),
        "set_rng_state": lambda *_: None,
    }
    torch._C._ensureCUDADeviceGuardSet()  # indexing selects the device first, which without a driver must do nothing
    with pytest.MonkeyPatch.context() as patch:
        # torch makes no views of wrappers in inference mode.
        patch.setattr(torch.inference_mode, "__enter__", _enter_no_grad)
        patch.setattr(torch.inference_mode, "__exit__", _leave_no_grad)
        # Else a module that is moved would keep its parameters' type.
        patch.setattr(torch, "_has_compatible_shallow_copy_type", lambda one, other: type(one) is type(other))
        patch.setattr(torch.backends.cudnn, "enabled", False)  # batch norms of cuDNN are operations of their own
        patch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *_: None, raising=False)
        for name, value in cuda.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(threading.Thread, "run", run)
        try:
            with _Mode():
                yield DEVICE
        finally:
            _machine = None
    if machine.races:
        raise RaceError("\n".join(machine.races))


def break_down() -> None:
    """From now on the device refuses everything."""
    _the_machine().is_broken = True


@contextmanager
def gpu_or_stand_in() -> Iterator[torch.device]:
    """The first CUDA device; where there is none, its stand-in, with graphs only for the smallest batches."""
    if torch.cuda.is_available():
        yield torch.device("cuda", 0)
        return
    if not torch.backends.cuda.is_built():
        pytest.skip("torch is built without CUDA, not even a stand-in for a GPU works")

    def of_few_sizes(*given: Any) -> GraphedNetwork:
        *others, sizes = given
        return GraphedNetwork(*others, sizes[:2])

    with stand_in_gpu() as device, pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "GraphedNetwork", of_few_sizes)
        yield device


def is_stand_in(gpu: torch.device) -> bool:
    """Whether it is not a real one."""
    return bool(torch.cuda.get_device_name(gpu) == _NAME)
