"""One class per rule, for those who know the optimizer by its name.

Each takes the rule's own hyper-parameters, by position in the rule's order or by name, and the options of
:class:`~dlopt.optimizers.adapter.Optimizer` (``weight_decay``, ``l2``, ``maximize``, ``compile``, ``capturable``,
``pack_below``).
"""

from dlopt import rules
from dlopt.optimizers.adapter import Optimizer


class SGD(Optimizer):
    """(Stochastic) gradient descent: :func:`dlopt.rules.momentum.sgd`."""

    def __init__(self, params, lr=0.01, **options):
        super().__init__(params, rules.sgd, lr, **options)


class Momentum(Optimizer):
    """Heavy-ball momentum, in PyTorch's convention: :func:`dlopt.rules.momentum.momentum`."""

    def __init__(self, params, lr=0.01, mu=0.9, **options):
        super().__init__(params, rules.momentum, lr, mu=mu, **options)


class Nesterov(Optimizer):
    """Nesterov's momentum, re-centred: :func:`dlopt.rules.momentum.nesterov`."""

    def __init__(self, params, lr=0.01, mu=0.9, **options):
        super().__init__(params, rules.nesterov, lr, mu=mu, **options)


class AdaGrad(Optimizer):
    """One rate per coordinate, falling with the squared gradients so far: :func:`dlopt.rules.adaptive.adagrad`."""

    def __init__(self, params, lr=0.01, eps=1e-10, **options):
        super().__init__(params, rules.adagrad, lr, eps=eps, **options)


class RMSProp(Optimizer):
    """AdaGrad that forgets: :func:`dlopt.rules.adaptive.rmsprop`."""

    def __init__(self, params, lr=0.01, rho=0.99, eps=1e-8, **options):
        super().__init__(params, rules.rmsprop, lr, rho=rho, eps=eps, **options)


class AdaDelta(Optimizer):
    """Steps in the units of past steps: :func:`dlopt.rules.adaptive.adadelta`."""

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, **options):
        super().__init__(params, rules.adadelta, lr, rho=rho, eps=eps, **options)


class Adam(Optimizer):
    """Momentum and RMSProp with bias correction: :func:`dlopt.rules.adam.adam`.

    ``weight_decay`` is decoupled here as for every optimizer of this library; ``l2`` is what ``torch.optim.Adam`` calls
    ``weight_decay``.
    """

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, **options):
        super().__init__(params, rules.adam, lr, **_betas(options, beta1, beta2), eps=eps, **options)


class AdamW(Adam):
    """Adam with decoupled weight decay on by default; exempt biases and norms by a group with ``weight_decay=0``."""

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, **options):
        super().__init__(params, lr, beta1, beta2, eps, weight_decay=weight_decay, **options)


class AMSGrad(Optimizer):
    """Adam whose denominator never shrinks: :func:`dlopt.rules.adam.amsgrad`."""

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, **options):
        super().__init__(params, rules.amsgrad, lr, **_betas(options, beta1, beta2), eps=eps, **options)


class NAdam(Optimizer):
    """Adam with Nesterov's look-ahead: :func:`dlopt.rules.adam.nadam`."""

    def __init__(self, params, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3, **options):
        options = {"momentum_decay": momentum_decay, **options}
        super().__init__(params, rules.nadam, lr, **_betas(options, beta1, beta2), eps=eps, **options)


class RAdam(Optimizer):
    """Adam whose scaling fades in: :func:`dlopt.rules.adam.radam`."""

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, threshold=5.0, **options):
        options = {"threshold": threshold, **options}
        super().__init__(params, rules.radam, lr, **_betas(options, beta1, beta2), eps=eps, **options)


class Lion(Optimizer):
    """The sign of an average: :func:`dlopt.rules.adam.lion`."""

    def __init__(self, params, lr=1e-4, beta1=0.9, beta2=0.99, **options):
        super().__init__(params, rules.lion, lr, **_betas(options, beta1, beta2), **options)


class Muon(Optimizer):
    """Momentum orthogonalized matrix by matrix: :func:`dlopt.rules.muon.muon`.

    Parameters with fewer than two dimensions are refused; give them to a group with another rule::

        Muon([{"params": matrices}, {"params": vectors, "rule": "adam", "lr": 1e-3}], lr=0.02)

    ``weight_decay`` is 0 by default (0.1 in ``torch.optim.Muon``), and the iteration runs in the parameters' own
    precision (``precision=torch.bfloat16`` for PyTorch's).
    """

    def __init__(self, params, lr=1e-3, mu=0.95, **options):
        super().__init__(params, rules.muon, lr, mu=mu, **options)


def _betas(options, beta1, beta2):
    """The two decays, taken out of PyTorch's ``betas`` if that was given."""
    return dict(zip(("beta1", "beta2"), options.pop("betas", (beta1, beta2))))
