"""Update rules as pure functions: gradient and state in, step and new state out, one line per equation.

:mod:`dlopt.rules.contract` says what a rule is. The rules themselves:

- :mod:`dlopt.rules.momentum`: gradient descent, momentum in five conventions, Nesterov's momentum;
- :mod:`dlopt.rules.adaptive`: AdaGrad, RMSProp, AdaDelta;
- :mod:`dlopt.rules.adam`: Adam, AMSGrad, AdamW, NAdam, RAdam, Lion;
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

__all__ = [
    "RULES", "adadelta", "adagrad", "adam", "adamw", "amsgrad", "check_hyperparameters", "gd", "hyperparameters",
    "initial_state", "lion", "lookahead", "momentum", "momentum_averaged", "momentum_descent", "momentum_displacement",
    "momentum_velocity", "nadam", "nesterov", "nesterov_velocity", "radam", "rmsprop", "rule", "sgd", "state_names",
    "where",
]  # fmt: skip
