"""``BatchSampler``: which examples come next, resumable in the middle of an epoch."""

import torch

from dlopt.checks import whole
from dlopt.data.dataset import stream


class BatchSampler:
    """Endless iterator over index tensors.

    The order of epoch ``e`` is a function of ``(seed, e)`` alone, drawn on the CPU: it is the same on every device, and
    a sampler restored from ``state_dict`` goes on with exactly the batches that would have come.

    Args:
        n: number of examples.
        batch_size: examples per batch, 1 ... n (any number with ``replacement``).
        seed: whole number >= 0.
        replacement: draw every index independently and uniformly, as the theory of SGD assumes; else every epoch is a
            fresh permutation that visits each example once.
        device: where the index tensors are put.
        drop_last: leave out the shorter batch at the end of an epoch (all batches are then equally long).

    Attributes:
        epoch: number of epochs completed.
        position: batches already delivered in this epoch.
        batches_per_epoch: number of batches an epoch has.
    """

    def __init__(self, n, batch_size, seed=0, replacement=False, device="cpu", drop_last=False):
        self.n, self.batch_size = whole("n", n), whole("batch_size", batch_size)
        if self.batch_size > self.n and not replacement:
            raise ValueError(f"batch_size must be <= n = {n}, got {batch_size}; batch_size={n} is the full batch")
        self.seed, self.replacement = whole("seed", seed, low=0), bool(replacement)
        self.device, self.drop_last = torch.device(device), bool(drop_last)
        full, rest = divmod(self.n, self.batch_size)
        self.batches_per_epoch = max(1, full + (rest > 0 and not drop_last))
        self.epoch, self.position, self._order = 0, 0, None

    def _draw(self):
        g = stream("batches", self.seed, self.epoch)
        if self.replacement:
            drawn = torch.randint(self.n, (self.batches_per_epoch * self.batch_size,), generator=g)
        else:
            drawn = torch.randperm(self.n, generator=g)
        return drawn.to(self.device)

    def __iter__(self):
        return self

    def __next__(self):
        if self._order is None:
            self._order = self._draw()
        start = self.position * self.batch_size
        batch = self._order[start : start + self.batch_size]
        self.position += 1
        if self.position == self.batches_per_epoch:
            self.epoch, self.position, self._order = self.epoch + 1, 0, None
        return batch

    def state_dict(self):
        """What a checkpoint has to keep: plain numbers only."""
        names = ("n", "batch_size", "seed", "replacement", "drop_last", "epoch", "position")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state):
        """Go on where ``state`` was taken.

        Raises:
            ValueError: the state belongs to another n, batch size, seed or kind of sampling.
        """
        for name in ("n", "batch_size", "seed", "replacement", "drop_last"):
            if state[name] != getattr(self, name):
                raise ValueError(f"the saved sampler has {name} = {state[name]}, this one {getattr(self, name)}")
        self.epoch = whole("epoch", state["epoch"], low=0)
        self.position, self._order = whole("position", state["position"], low=0), None
        if self.position >= self.batches_per_epoch:
            raise ValueError(f"position must be < {self.batches_per_epoch}, got {self.position}")
