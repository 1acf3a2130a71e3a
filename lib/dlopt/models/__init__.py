"""The networks of the chapters: plain ``nn.Module`` objects, each seeded by a generator of its own.

All of them can be called by ``torch.func.functional_call`` and mapped by ``torch.func.vmap``.
"""

from dlopt.models.convolution import lenet, lenet5, small_cnn
from dlopt.models.dense import ACTIVATIONS, autoencoder, lenet_300_100, linear, mlp
from dlopt.models.recurrent import elman, gru, lstm

__all__ = [
    "ACTIVATIONS",
    "autoencoder",
    "elman",
    "gru",
    "lenet",
    "lenet5",
    "lenet_300_100",
    "linear",
    "lstm",
    "mlp",
    "small_cnn",
]
