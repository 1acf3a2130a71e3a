"""What a model costs: parameters, bytes, multiply-adds; and a clock for comparisons on a shared machine."""

import copy
import statistics
import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from dlopt.checks import whole
from dlopt.device import synchronize


def count_parameters(model, trainable_only=False):
    """Number of parameters of ``model`` (shared ones once; buffers such as running averages are none).

    Args:
        model: ``nn.Module``.
        trainable_only: leave out those with ``requires_grad=False``.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def count_bytes(model):
    """Bytes of all parameters and buffers in their types."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)


def _inputs(shape_or_example, dtype):
    if isinstance(shape_or_example, torch.Tensor):
        return torch.empty_like(shape_or_example, device="meta")
    shape = tuple(whole("each of the input's sizes", size) for size in shape_or_example)
    return torch.empty(shape, device="meta", dtype=dtype)


def madds(model, example):
    """Multiply-adds of one forward pass, in evaluation mode: matrix products, convolutions, attention.

    Counted by torch's ``FlopCounterMode`` on the ``meta`` device: nothing is computed, the model is not touched. One
    multiply-add is two floating-point operations; additions, activations and normalizations are not counted, as is the
    custom.

    Args:
        model: ``nn.Module``.
        example: shape of an input *with* the batch axis, e.g. ``(1, 1, 28, 28)``, or a tensor (its values do not
            matter; needed where inputs are whole numbers).

    Returns:
        int; proportional to the batch size.
    """
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    return _counter(model, _inputs(example, dtype)).get_total_flops() // 2


def madds_by_layer(model, example):
    """The same count for every submodule that computes: name -> multiply-adds, in the order of first use."""
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    counts = _counter(model, _inputs(example, dtype)).get_flop_counts()
    leaves = {name for name, module in model.named_modules() if not list(module.children())}
    found = {}
    for name, operators in counts.items():
        inner = name.split(".", 1)[1] if "." in name else ""
        if inner in leaves:
            found[inner] = sum(operators.values()) // 2
    return found


def _counter(model, x):
    copied = copy.deepcopy(model).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        copied(x)
    return counter


@dataclass(frozen=True)
class Cost:
    """Cost of a model: ``parameters``, ``madds`` per example (forward pass), ``bytes`` of parameters and buffers."""

    parameters: int
    madds: int
    bytes: int

    def __str__(self):
        return f"{self.parameters:,} parameters, {self.madds:,} multiply-adds per example, {self.bytes / 1024:,.1f} KiB"


def profile(model, example):
    """Parameters, multiply-adds per example and bytes of a model.

    Args:
        model: ``nn.Module``.
        example: shape of an input with the batch axis, or a tensor.

    Returns:
        ``Cost``; ``print`` shows it in words.
    """
    batch = example.shape[0] if isinstance(example, torch.Tensor) else example[0]
    return Cost(count_parameters(model), madds(model, example) // batch, count_bytes(model))


class Clock:
    """Seconds of a block: wall clock, and CPU time of this thread, which other processes disturb less.

    ``with Clock(device) as clock: ...``; afterwards ``clock.seconds`` and ``clock.cpu_seconds``. Work queued on a GPU
    is waited for at both ends.

    Args:
        device: where the work happens.
    """

    def __init__(self, device="cpu"):
        self.device, self.seconds, self.cpu_seconds = torch.device(device), None, None

    def __enter__(self):
        synchronize(self.device)
        self._start = time.perf_counter(), time.thread_time()
        return self

    def __exit__(self, *_):
        synchronize(self.device)
        self.seconds = time.perf_counter() - self._start[0]
        self.cpu_seconds = time.thread_time() - self._start[1]


@dataclass(frozen=True)
class Ratio:
    """How many times longer ``a`` takes than ``b``: median over interleaved rounds, with the quartiles."""

    median: float
    low: float
    high: float
    rounds: int


def compare_times(a, b, rounds=9, device="cpu", cpu_time=False):
    """Time two functions against each other: alternately, so that a busy machine slows both.

    Args:
        a, b: functions without arguments; each runs once before the clock starts.
        rounds: number of pairs.
        device: where they compute.
        cpu_time: use this thread's CPU time instead of the wall clock (only for one thread on the CPU).

    Returns:
        ``Ratio`` of time(a) / time(b).
    """
    ratios = []
    a(), b()
    for k in range(whole("rounds", rounds, low=3)):
        pair = {}
        for name in ("ab", "ba")[k % 2]:
            with Clock(device) as clock:
                {"a": a, "b": b}[name]()
            pair[name] = clock.cpu_seconds if cpu_time else clock.seconds
        ratios.append(pair["a"] / max(pair["b"], 1e-9))
    low, median, high = statistics.quantiles(ratios, n=4)
    return Ratio(median, low, high, rounds)


def batch_times(model, loss, x, y, batch_sizes, rounds=15):
    """CPU seconds of one gradient (forward and backward) against the batch size, on one thread.

    The sizes take turns in every round, so a busy machine slows all of them; compare them with each other, not with a
    figure from another day.

    Args:
        model, loss: as in ``dlopt.training.train``, on the CPU.
        x, y: examples; a batch repeats them if it is larger.
        batch_sizes: sizes to time, each >= 1.
        rounds: number of turns.

    Returns:
        List of medians over the rounds, seconds of CPU time of this thread, in the order of ``batch_sizes``.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thread time counts this thread alone
    try:
        batches = [torch.arange(whole("each of batch_sizes", size)) % len(x) for size in batch_sizes]
        batches = [(x[index], y[index]) for index in batches]
        seconds = [[] for _ in batches]
        for turn in range(whole("rounds", rounds) + 1):
            for place, (inputs, targets) in enumerate(batches):
                with Clock() as clock:
                    loss(model(inputs), targets).backward()
                if turn:  # the first turn warms up
                    seconds[place].append(clock.cpu_seconds)
        model.zero_grad()
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(values) for values in seconds]
