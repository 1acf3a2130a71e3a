"""A model whose parameters, and whose gradients, lie side by side in one vector each: what is sent and received."""

import zlib

import torch


class Flat:
    """Moves the parameters of a model into one vector ``theta`` and their gradients into one vector ``gradient``.

    The model works on views of the two, so a vector that was received is the model's already, and a gradient can be
    sent as it is. Call ``zero_grad`` of this object, not of the model, which would drop the views.

    Args:
        model: a module whose trainable parameters have one dtype and one device.

    Attributes:
        theta: the parameters, [n].
        gradient: their gradients, [n].
        shapes: the parameters' shapes by name.

    Raises:
        ValueError: no trainable parameter, or several dtypes or devices.
    """

    def __init__(self, model):
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        kinds = {(p.dtype, p.device) for p in named.values()}
        if len(kinds) != 1:
            raise ValueError(f"the model must have trainable parameters of one dtype and device, it has {len(kinds)}")
        self.shapes = {name: tuple(p.shape) for name, p in named.items()}
        self.theta = torch.cat([p.detach().flatten() for p in named.values()])
        self.gradient = torch.zeros_like(self.theta)
        start = 0
        for p in named.values():
            part = slice(start, start + p.numel())
            p.data, p.grad = self.theta[part].view(p.shape), self.gradient[part].view(p.shape)
            start = part.stop

    def zero_grad(self):
        """Set all gradients to zero."""
        self.gradient.zero_()

    @property
    def fingerprint(self):
        """One whole number for names and shapes of the parameters and their dtype."""
        return zlib.crc32(repr((self.shapes, self.theta.dtype)).encode())


def shard(n, parts, index):
    """The slice of a vector of length ``n`` that part ``index`` of ``parts`` holds; lengths differ by at most one.

    Raises:
        ValueError: more parts than elements.
    """
    if parts > n:
        raise ValueError(f"a vector of {n} elements has at most {n} parts, got {parts}")
    size, rest = divmod(n, parts)
    start = index * size + min(index, rest)
    return slice(start, start + size + (index < rest))
