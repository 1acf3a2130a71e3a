"""Update rules as pure functions: gradient and state in, step and new state out, one line per equation.

:mod:`dlopt.rules.contract` says what a rule is. The rules themselves:

- :mod:`dlopt.rules.momentum`: gradient descent, momentum in five conventions, Nesterov's momentum;
- :mod:`dlopt.rules.adaptive`: AdaGrad, RMSProp, AdaDelta;
- :mod:`dlopt.rules.adam`: Adam, AMSGrad, AdamW, NAdam, RAdam, Lion;
- :mod:`dlopt.rules.muon`: Muon, a rule for matrices;
- :mod:`dlopt.rules.errata`: variants that some sources print.

To add one, see the page "How to add a rule" of the book.
"""

from dlopt.rules.adam import adam, adamw, amsgrad, lion, nadam, radam
from dlopt.rules.adaptive import adadelta, adagrad, rmsprop
from dlopt.rules.contract import (
    RULES,
    check_hyperparameters,
    hyperparameters,
    initial_state,
    rule,
    state_names,
    where,
)
from dlopt.rules.errata import (
    adadelta_printed,
    adagrad_eps_inside,
    adam_eps_inside,
    adam_uncorrected,
    rmsprop_eps_inside,
)
from dlopt.rules.momentum import (
    gd,
    lookahead,
    momentum,
    momentum_averaged,
    momentum_descent,
    momentum_displacement,
    momentum_velocity,
    nesterov,
    nesterov_velocity,
    sgd,
)
from dlopt.rules.muon import muon, orthogonalize

__all__ = [
    "RULES", "adadelta", "adadelta_printed", "adagrad", "adagrad_eps_inside", "adam", "adam_eps_inside",
    "adam_uncorrected", "adamw", "amsgrad", "check_hyperparameters", "gd", "hyperparameters", "initial_state", "lion",
    "lookahead", "momentum", "momentum_averaged", "momentum_descent", "momentum_displacement", "momentum_velocity",
    "muon", "nadam", "nesterov", "nesterov_velocity", "orthogonalize", "radam", "rmsprop", "rmsprop_eps_inside",
    "rule", "sgd", "state_names", "where",
]  # fmt: skip
