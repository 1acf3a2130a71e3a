"""Rules as torch optimizers.

:class:`Optimizer` drives any rule; the other classes are the well-known ones under their names. Underneath,
:mod:`dlopt.optimizers.tracing` splits a rule into numbers and vectors, :mod:`dlopt.optimizers.inplace` derives its
in-place form, :mod:`dlopt.optimizers.kernels` runs it and :mod:`dlopt.optimizers.packing` decides where parameters and
state live.
"""

from dlopt.optimizers.adapter import Optimizer
from dlopt.optimizers.named import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    AdamW,
    AMSGrad,
    Lion,
    Momentum,
    Muon,
    NAdam,
    Nesterov,
    RAdam,
    RMSProp,
)

__all__ = [
    "AMSGrad", "AdaDelta", "AdaGrad", "Adam", "AdamW", "Lion", "Momentum", "Muon", "NAdam", "Nesterov", "Optimizer",
    "RAdam", "RMSProp", "SGD",
]  # fmt: skip
