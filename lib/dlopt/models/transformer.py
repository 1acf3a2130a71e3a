"""A small decoder-only transformer, with normalization before or after each block."""

import math

import torch
from torch import nn

from dlopt.checks import one_of, positive, whole
from dlopt.losses import cross_entropy
from dlopt.scale import generator


class CausalAttention(nn.Module):
    r"""Each position mixes the values of itself and earlier positions.

    .. math:: \text{softmax}\big(QK^\top / \sqrt{d_h} + M\big)\,V, \qquad M_{ts} = -\infty \text{ for } s > t

    Written with elementary operations, so that second derivatives and ``vmap`` exist for it.
    """

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        """[n, T, width] -> [n, T, width]."""
        n, length, width = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.mT / math.sqrt(width // self.heads)  # [n, heads, T, T]
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each beside a skip connection.

    ``"pre"``: x + f(norm(x)), the skip path is never normalized; ``"post"``: norm(x + f(x)), the original.
    """

    def __init__(self, width, heads, norm):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.feed_in, self.feed_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.pre = norm == "pre"

    def feed(self, x):
        """The perceptron, position by position."""
        return self.feed_out(nn.functional.gelu(self.feed_in(x)))

    def forward(self, x):
        """[n, T, width] -> [n, T, width]."""
        if self.pre:
            x = x + self.attention(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.feed(x))


class Transformer(nn.Module):
    """Token and position embeddings, ``layers`` blocks, a linear readout; see :func:`transformer`."""

    def __init__(self, vocabulary, length, width, heads, layers, norm):
        super().__init__()
        self.length = length
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, norm) for _ in range(layers))
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.readout = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        """int64 [n, T], T <= length -> logits [n, T, vocabulary] for the token after each position."""
        if tokens.shape[1] > self.length:
            raise ValueError(f"sequences must have <= {self.length} tokens, got {tokens.shape[1]}; raise length")
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x))

    @torch.no_grad()
    def continue_text(self, tokens, n, generator, temperature=1.0):
        """Sample ``n`` tokens after ``tokens`` [T]; the model sees the last ``length`` of them.

        Args:
            tokens: int64 [T], T >= 1.
            n: tokens to add.
            generator: a ``torch.Generator`` on the device of ``tokens``.
            temperature: > 0; logits are divided by it.

        Returns:
            int64 [T + n].
        """
        for _ in range(whole("n", n)):
            logits = self(tokens[None, -self.length :])[0, -1] / positive("temperature", temperature)
            tokens = torch.cat([tokens, torch.multinomial(logits.softmax(0), 1, generator=generator)])
        return tokens


def transformer(vocabulary, length=64, width=64, heads=4, layers=2, *, norm="pre", std=0.02, seed=0):
    """Decoder-only transformer, tokens [n, T] -> logits [n, T, vocabulary].

    Weights start Gaussian with standard deviation ``std``, biases 0; the last matrix of each block's two branches is
    divided by sqrt(2 * layers), so that the sum over the skip path starts with the same size at any depth.

    Args:
        vocabulary: number of different tokens.
        length: longest sequence.
        width: size of a position's vector, divisible by ``heads``.
        heads, layers: numbers, >= 1.
        norm: ``"pre"`` (trains without warmup) or ``"post"`` (the original; needs warmup).
        std: of the initial weights.
        seed: of the initial weights.

    Source: Vaswani et al. (2017), arXiv:1706.03762; initialization: Radford et al. (2019), GPT-2;
    pre-norm: Xiong et al. (2020), arXiv:2002.04745.
    """
    sizes = {"vocabulary": vocabulary, "length": length, "width": width, "heads": heads, "layers": layers}
    sizes = {name: whole(name, value) for name, value in sizes.items()}
    if width % heads:
        raise ValueError(f"width must be divisible by heads, got {width} and {heads}")
    with torch.random.fork_rng(devices=[]):
        net = Transformer(**sizes, norm=one_of("norm", norm, ("pre", "post")))
    g = generator(whole("seed", seed, low=0))
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 2:
                shrink = math.sqrt(2 * layers) if name.endswith(("attention.out.weight", "feed_out.weight")) else 1
                p.normal_(0.0, std / shrink, generator=g)
            elif name.endswith("bias"):
                p.zero_()
    return net


def token_cross_entropy(logits, target, reduction="mean"):
    """Cross-entropy of every position of a sequence, in nats: ``loss`` for models that answer at every step.

    Args:
        logits: [n, T, classes] (our cross-entropy and torch's want the classes on axis 1: they are moved there).
        target: int64 [n, T].
        reduction: ``"mean"`` over all positions, ``"sum"`` or ``"none"`` ([n, T]).
    """
    return cross_entropy(logits.mT, target, reduction)
