"""What a parameter server decides: which gradients count, when the parameters move, who may have them. No processes."""

from collections import Counter

import torch

from dlopt.checks import non_negative, one_of, whole
from dlopt.optimizers import Optimizer
from dlopt.rules import RULES

MODES = ("sync", "async")


def staleness_aware(tau):
    r"""Factor :math:`1/\max(1, \tau)` on the rate of a gradient that is ``tau`` updates old.

    Source: Zhang, Gupta, Lian and Liu (2016), arXiv:1511.05950, equation 6.
    """
    return 1 / max(1, tau)


def compensated(g, theta, sent, strength):
    r"""A stale gradient moved towards where the parameters are now.

    .. math:: \tilde g = g + \lambda\, g \odot g \odot (\theta_t - \theta_{t-\tau})

    To first order the gradient at :math:`\theta_t` is :math:`g + H(\theta_t - \theta_{t-\tau})`; the diagonal
    :math:`\lambda\, g \odot g` stands for the Hessian H.

    Args:
        g: gradient at ``sent``, [n].
        theta: the parameters now, [n].
        sent: the parameters that the worker had, [n].
        strength: :math:`\lambda \ge 0`.

    Source: Zheng et al. (2017), arXiv:1609.08326, equation 10.
    """
    return g + strength * g * g * (theta - sent)


class Store:
    r"""The parameters of one server (all, or its shard) and the rule by which workers' gradients move them.

    ``"sync"``: a round ends when gradients at the current version have come from all workers but ``backups``; the step
    takes their mean, later ones are dropped (Chen et al. 2016). ``"async"``: every gradient makes an update at once,
    however old it is; with ``bound`` s a worker gets parameters only while it is at most s pushes ahead of the slowest
    (Ho et al. 2013), so that no gradient is older than :math:`(M-1)(2s+1)` updates.

    Args:
        theta: start values, [n], a CPU tensor; moved in place.
        rule: a rule of `dlopt.rules` or its name.
        workers: the M workers: their ranks, or their number.
        mode: ``"sync"`` or ``"async"``.
        backups: b >= 0, of the M workers, for ``"sync"``.
        bound: s >= 0 or None, for ``"async"``.
        rate: factor on the learning rate as a function of the staleness, such as :func:`staleness_aware`.
        compensation: strength of :func:`compensated`, for ``"async"``.
        divisor: of the sum of a round's gradients; None: their number, which is right.
        hyper: hyper-parameters of the rule.

    Attributes:
        version: number of updates made.
        staleness: of every gradient that was used: updates between the parameters it was computed at and its own.
        used, late, bad: gradients by worker: used, dropped because their round was over, dropped as not finite.
        alive: workers that are waited for.

    Raises:
        ValueError: arguments that do not belong together, or a rule that is not elementwise.
    """

    def __init__(self, theta, rule="sgd", *, workers, mode="sync", backups=0, bound=None, rate=None, compensation=0.0,
                 divisor=None, **hyper):
        self.mode, self.backups = one_of("mode", mode, MODES), whole("backups", backups, low=0)
        self.alive = set(range(workers) if isinstance(workers, int) else workers)
        if self.backups >= len(self.alive):
            raise ValueError(f"backups must be < workers = {len(self.alive)}, got {backups}")
        self.enough = len(self.alive) - self.backups
        if mode == "async" and backups or mode == "sync" and (bound is not None or compensation):
            raise ValueError("backups belong to mode 'sync', bound and compensation to 'async'")
        self.bound, self.rate, self.divisor = bound, rate or (lambda tau: 1.0), divisor
        self.compensation = non_negative("compensation", compensation)
        if not getattr(RULES.get(rule, rule), "elementwise", True):
            raise ValueError(f"a server holds a vector; {rule} needs each parameter's shape; use an elementwise rule")
        self.parameter = torch.nn.Parameter(theta)
        self.optimizer = Optimizer([self.parameter], rule, pack_below=0, **hyper)
        self.lr = self.optimizer.param_groups[0]["lr"]
        self.version, self.staleness = 0, []
        self.used, self.late, self.bad, self.clock = Counter(), Counter(), Counter(), Counter()
        self._pending, self._sent, self._average = {}, {}, torch.empty_like(theta)

    @property
    def theta(self):
        """The parameters, [n]."""
        return self.parameter.data

    def join(self, worker):
        """Wait for ``worker`` (again); its clock starts at the slowest's."""
        if worker not in self.alive:
            self.clock[worker] = min((self.clock[other] for other in self.alive), default=0)
            self.alive.add(worker)

    def leave(self, worker):
        """Wait for ``worker`` no longer; what it had contributed to the present round counts."""
        self.alive.discard(worker)
        self._finish_round()

    def push(self, worker, g, version):
        """Take a gradient.

        Args:
            worker: its rank.
            g: gradient, [n], which in mode "sync" must stay as it is until the round is over; None: one that was not
                finite.
            version: of the parameters that it was computed at.

        Returns:
            True if it was or will be used.
        """
        self.join(worker)
        self.clock[worker] += 1
        if g is None:
            self.bad[worker] += 1
        if self.mode == "async":
            if g is not None:
                self._update_with(worker, g, self.version - version)
            return g is not None
        if version < self.version:
            self.late[worker] += g is not None
            return False
        self._pending[worker] = g
        self._finish_round()
        return g is not None

    def is_ready(self, worker):
        """Whether ``worker`` may have the parameters now."""
        if self.mode == "sync":
            return worker not in self._pending
        slowest = min((self.clock[other] for other in self.alive), default=0)
        return self.bound is None or self.clock[worker] - slowest <= self.bound

    def pull(self, worker):
        """The parameters for ``worker``, [n], and their version; a view of what later updates change."""
        if self.compensation:
            self._sent[worker] = self.theta.clone()
        return self.theta, self.version

    def _finish_round(self):
        complete = len(self._pending) >= self.enough or self.alive <= set(self._pending)
        if self.mode == "async" or not self._pending or not complete:
            return
        pending, self._pending = self._pending, {}
        arrived = [(worker, pending[worker]) for worker in sorted(pending) if pending[worker] is not None]
        if arrived:
            self._take_mean([g for _, g in arrived])
            self._step(0)
            self.used.update(worker for worker, _ in arrived)
            self.staleness += [0] * len(arrived)
        self.version += 1

    def _take_mean(self, gradients):
        """Sum in the order of the ranks, so that a run can be repeated bit by bit."""
        if len(gradients) == 1:
            self._average.copy_(gradients[0])
        else:
            torch.add(gradients[0], gradients[1], out=self._average)
        for g in gradients[2:]:
            self._average += g
        self._average /= self.divisor or len(gradients)

    def _update_with(self, worker, g, tau):
        if self.compensation:
            g = compensated(g, self.theta, self._sent.get(worker, self.theta), self.compensation)
        self._average.copy_(g)
        self._step(tau)
        self.version += 1
        self.staleness.append(tau)
        self.used[worker] += 1

    def _step(self, tau):
        self.optimizer.param_groups[0]["lr"] = self.lr * self.rate(tau)
        self.parameter.grad = self._average
        self.optimizer.step()

    def state_dict(self):
        """What a restart needs: parameters, the rule's state, the version."""
        return {"theta": self.theta.clone(), "optimizer": self.optimizer.state_dict(), "version": self.version}

    def load_state_dict(self, state):
        """Take over what :meth:`state_dict` returned."""
        self.theta.copy_(state["theta"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]
