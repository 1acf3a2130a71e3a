"""``Batches``: a batch sampler whose batch size may change from epoch to epoch."""

from dlopt.checks import whole
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
        self._sampler = self._at(0)

    def _at(self, epoch):
        sampler = BatchSampler(self.n, self._size(epoch), **self._rest)
        sampler.epoch = epoch
        return sampler

    @property
    def epoch(self):
        return self._sampler.epoch

    @property
    def batch_size(self):
        """Examples per batch in the epoch under way."""
        return self._sampler.batch_size

    def __iter__(self):
        return self

    def __next__(self):
        epoch = self._sampler.epoch
        batch = next(self._sampler)
        if self._sampler.epoch != epoch and self._size(epoch + 1) != self._sampler.batch_size:
            self._sampler = self._at(epoch + 1)
        return batch

    def steps(self, epochs):
        """Number of batches in the first ``epochs`` epochs."""
        return sum(self._at(epoch).batches_per_epoch for epoch in range(whole("epochs", epochs, low=0)))

    def state_dict(self):
        """Plain numbers that :meth:`load_state_dict` takes."""
        return self._sampler.state_dict()

    def load_state_dict(self, state):
        """Go on where ``state`` was taken.

        Raises:
            ValueError: the state belongs to another number of examples, seed, batch size or kind of sampling.
        """
        sampler = self._at(whole("epoch", state["epoch"], low=0))
        sampler.load_state_dict(state)
        self._sampler = sampler
