"""One layer on several ranks: linear maps cut by columns or rows, and the hybrid of replicas and cut layers.

What communicates forward has a partner that communicates backward: sum and copy, gather and slice.
"""

import torch
import torch.distributed as dist
from torch import nn

from dlopt.distributed.flat import shard


class _Copy(torch.autograd.Function):
    """Identity forward, sum over the ranks backward: the input of a layer that is cut by outputs."""

    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        g = g.contiguous()
        dist.all_reduce(g, group=ctx.group)
        return g, None


class _Sum(torch.autograd.Function):
    """Sum over the ranks forward, identity backward: the output of a layer that is cut by inputs."""

    @staticmethod
    def forward(ctx, x, group):
        x = x.contiguous().clone()
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx, g):
        return g, None


class _GatherBatch(torch.autograd.Function):
    """Batches of all ranks one after the other forward; backward, each rank's own part of the gradient."""

    @staticmethod
    def forward(ctx, x, group):
        ctx.group, ctx.size = group, len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, x.contiguous(), group=group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, g):
        start = dist.get_rank(ctx.group) * ctx.size
        return g[start : start + ctx.size], None


def gather_batch(x, group=None):
    """The batches [B, ...] of all ranks as one, [k B, ...].

    What follows must compute the same gradient on every rank, as :class:`ColumnParallel` does: each takes its part.
    """
    return _GatherBatch.apply(x, group)


class ColumnParallel(nn.Module):
    """The outputs of a linear layer cut over the ranks: [B, d_in] -> [B, d_out / k], this rank's part.

    Args:
        layer: the whole ``nn.Linear``, the same on every rank; this rank keeps its rows of the weight.
        group: process group; None: all ranks.
    """

    def __init__(self, layer, group=None):
        super().__init__()
        part = shard(layer.out_features, dist.get_world_size(group), dist.get_rank(group))
        self.group = group
        self.weight = nn.Parameter(layer.weight.detach()[part].clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach()[part].clone())

    def forward(self, x):
        """Needs the whole input; sends nothing forward, the input's gradient backward."""
        return nn.functional.linear(_Copy.apply(x, self.group), self.weight, self.bias)


class RowParallel(nn.Module):
    """The inputs of a linear layer cut over the ranks: [B, d_in / k] -> [B, d_out], the whole output on every rank.

    Args:
        layer, group: as for :class:`ColumnParallel`; this rank keeps its columns of the weight, all keep the bias.
    """

    def __init__(self, layer, group=None):
        super().__init__()
        part = shard(layer.in_features, dist.get_world_size(group), dist.get_rank(group))
        self.group = group
        self.weight = nn.Parameter(layer.weight.detach()[:, part].clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())

    def forward(self, x):
        """Sends the output forward, nothing backward."""
        out = _Sum.apply(nn.functional.linear(x, self.weight), self.group)
        return out if self.bias is None else out + self.bias


def tensor_parallel(first, act, second, group=None):
    """Two linear layers with an elementwise activation between them, cut by columns, then by rows.

    The activation works on this rank's part, so that the pair needs one all-reduce forward and one backward.

    Args:
        first, second: ``nn.Linear``, the same on every rank.
        act: an elementwise module.
        group: process group; None: all ranks.

    Source: Shoeybi et al. (2019), arXiv:1909.08053.
    """
    return nn.Sequential(ColumnParallel(first, group), act, RowParallel(second, group))


class Hybrid(nn.Module):
    """Convolutions replicated over the data, dense layers cut over the same ranks ("one weird trick").

    Forward: every rank convolves its own batch; the small activations are gathered; the dense layers, each rank with
    its columns and rows, work on the batch of all ranks. The loss of the whole batch is known to every rank, so the
    gradients of the convolutions must be *summed* over the ranks, which :meth:`sum_gradients` does.

    Args:
        features: module on images, [B, ...] -> [B, d]; the same on every rank.
        first, act, second: the dense part, as for :func:`tensor_parallel`.
        data: process group over which images are divided; None: all ranks.
        model: process group over which the dense layers are cut; None: all ranks.

    Source: Krizhevsky (2014), arXiv:1404.5997.
    """

    def __init__(self, features, first, act, second, data=None, model=None):
        super().__init__()
        self.features, self.data, self.model = features, data, model
        self.dense = tensor_parallel(first, act, second, model)

    def forward(self, x):
        """[B, ...] of this rank -> [k B, classes] of all ranks."""
        return self.dense(gather_batch(self.features(x), self.data))

    def sum_gradients(self):
        """After the backward pass: add up the convolutions' gradients over the ranks that share the data."""
        for p in self.features.parameters():
            dist.all_reduce(p.grad, group=self.data)
