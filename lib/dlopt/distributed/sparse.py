"""Saying less: the largest entries of a gradient with error feedback, and updates without locks on shared memory."""

import torch
import torch.distributed as dist

from dlopt.checks import whole


class TopK:
    r"""Each rank sends only the k largest entries of its gradient and remembers the rest for the next time.

    .. math:: a_t = g_t + e_{t-1}, \qquad s_t = \mathrm{top}_k(a_t), \qquad e_t = a_t - s_t

    Without the memory e, coordinates that are never among the largest would never move.

    Args:
        n: length of the gradient.
        k: entries sent, 1 ... n.
        feedback: remember what was not sent.

    Attributes:
        error: e, [n].

    Source: Stich, Cordonnier and Jaggi (2018), arXiv:1809.07599.
    """

    def __init__(self, n, k, *, feedback=True, dtype=torch.float32):
        if whole("k", k) > n:
            raise ValueError(f"k must be <= n = {n}, got {k}")
        self.k, self.feedback, self.error = k, feedback, torch.zeros(n, dtype=dtype)

    def compress(self, g):
        """The k largest entries of ``g`` plus the error: their indices [k] and values [k]."""
        a = g + self.error if self.feedback else g
        index = a.abs().topk(self.k).indices
        self.error = a.clone()
        self.error[index] = 0.0
        return index, a[index]

    def average(self, g):
        """The mean over the ranks of what each one sends, [n]."""
        index, values = self.compress(g)
        ranks = dist.get_world_size()
        indices = [torch.empty_like(index) for _ in range(ranks)]
        parts = [torch.empty_like(values) for _ in range(ranks)]
        dist.all_gather(indices, index)
        dist.all_gather(parts, values)
        mean = torch.zeros_like(g)
        for i, v in zip(indices, parts):
            mean.index_add_(0, i, v / ranks)
        return mean


def shared_vector(path, n, dtype=torch.float64):
    """A vector of ``n`` numbers in a file that several processes map into their memory; zeros where the file is new.

    What one process writes, the others see at once; nothing is locked.

    Args:
        path: the file; on Linux best in ``/dev/shm``, which is memory.
    """
    return torch.from_file(str(path), shared=True, size=whole("n", n), dtype=dtype)
