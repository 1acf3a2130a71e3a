"""``Batches``: a batch sampler whose batch size may change from epoch to epoch; ``staged`` changes it and the rate."""

from bisect import bisect_right

from dlopt.checks import non_negative, whole
from dlopt.data import BatchSampler


class Batches:
    """Endless iterator over index tensors, as :class:`dlopt.data.BatchSampler`, with a batch size per epoch.

    The order of epoch ``e`` depends on ``seed`` and ``e`` alone, so two runs with different batch sizes see the same
    permutations.

    Args:
        n: number of examples.
        batch_size: whole number, or a function of the epoch (from 0) that returns one: batches that grow.
        seed: whole number >= 0.
        replacement: draw with replacement instead of by permutations.
        device: where the index tensors are put.

    Attributes:
        epoch: epochs completed.
    """

    def __init__(self, n, batch_size, seed=0, replacement=False, device="cpu"):
        self.n, self._size = whole("n", n), batch_size if callable(batch_size) else lambda epoch: batch_size
        self._rest = {"seed": seed, "replacement": replacement, "device": device}
        self.epoch, self._sampler = 0, self._at(0)

    def _at(self, epoch):
        sampler = BatchSampler(self.n, self._size(epoch), **self._rest)
        sampler.epoch = epoch
        return sampler

    @property
    def sampler(self):
        """The sampler of the epoch under way; a new epoch asks for its batch size when its first batch is drawn."""
        if self._sampler is None:
            self._sampler = self._at(self.epoch)
        return self._sampler

    @property
    def batch_size(self):
        """Examples per batch in the epoch under way."""
        return self.sampler.batch_size

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self.sampler)
        if self._sampler.epoch != self.epoch:
            self.epoch, self._sampler = self.epoch + 1, None
        return batch

    def steps(self, epochs):
        """Number of batches in the first ``epochs`` epochs."""
        return sum(self._at(epoch).batches_per_epoch for epoch in range(whole("epochs", epochs, low=0)))

    def state_dict(self):
        """Plain numbers that :meth:`load_state_dict` takes."""
        begun = self._sampler is not None and self._sampler.position > 0
        return {"n": self.n, "seed": self._rest["seed"], "replacement": self._rest["replacement"], "epoch": self.epoch,
                "begun": self._sampler.state_dict() if begun else None}  # fmt: skip

    def load_state_dict(self, state):
        """Go on where ``state`` was taken.

        Raises:
            ValueError: the state belongs to another number of examples, seed, batch size or kind of sampling.
        """
        mine = {"n": self.n, "seed": self._rest["seed"], "replacement": self._rest["replacement"]}
        for name, value in mine.items():
            if state[name] != value:
                raise ValueError(f"the saved run has {name} = {state[name]}, this one {value}; give the same")
        sampler, epoch = None, whole("epoch", state["epoch"], low=0)
        if state["begun"] is not None:
            sampler = self._at(epoch)
            sampler.load_state_dict(state["begun"])
        self.epoch, self._sampler = epoch, sampler


def staged(n, starts, batch_sizes, factors):
    """Batch size and rate that change together at given epochs: decay the one, grow the other, or both.

    Args:
        n: number of training examples.
        starts: epochs (from 1, increasing) at which the second, third, ... stage begins, [S - 1].
        batch_sizes: of the S stages, each 1 ... n.
        factors: of the S stages on the learning rate, each >= 0.

    Returns:
        ``(batch_size, schedule)`` for :func:`dlopt.training.train` and ``Ensemble.train``: a function of the epoch, and
        a function of the step that counts the steps which those batches make.

    Raises:
        ValueError: lists of unequal length, epochs that do not increase, values out of range.
    """
    starts = [whole("each of starts", epoch) for epoch in starts]
    sizes = [whole("each of batch_sizes", size) for size in batch_sizes]
    factors = [non_negative("each of factors", factor) for factor in factors]
    if not len(sizes) == len(factors) == len(starts) + 1:
        got = f"{len(sizes)}, {len(factors)} and {len(starts)} starts"
        raise ValueError(f"batch_sizes and factors must have one entry more than starts, got {got}")
    if sorted(set(starts)) != starts:
        raise ValueError(f"starts must increase, got {starts}")
    if max(sizes) > n:
        raise ValueError(f"each of batch_sizes must be <= {n}, the number of examples, got {max(sizes)}; cap it")

    def batch_size(epoch):
        return sizes[bisect_right(starts, epoch)]

    first_steps = [Batches(n, batch_size).steps(epoch) for epoch in starts]
    return batch_size, lambda t: factors[bisect_right(first_steps, whole("the step", t, low=0))]
