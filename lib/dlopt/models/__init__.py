"""The networks of the chapters: plain ``nn.Module`` objects, each seeded by a generator of its own.

All of them can be called by ``torch.func.functional_call`` and mapped by ``torch.func.vmap``.
"""

from dlopt.models.convolution import lenet, lenet5, lenet5_caffe, small_cnn
from dlopt.models.dense import ACTIVATIONS, autoencoder, lenet_300_100, linear, mlp
from dlopt.models.recurrent import elman, gru, lstm
from dlopt.models.residual import residual_cnn, residual_mlp
from dlopt.models.transformer import token_cross_entropy, transformer

__all__ = [
    "ACTIVATIONS",
    "autoencoder",
    "elman",
    "gru",
    "lenet",
    "lenet5",
    "lenet5_caffe",
    "lenet_300_100",
    "linear",
    "lstm",
    "mlp",
    "residual_cnn",
    "residual_mlp",
    "small_cnn",
    "token_cross_entropy",
    "transformer",
]
