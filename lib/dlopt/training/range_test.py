"""``lr_range_test``: one short run whose learning rate grows, to find the rates worth trying."""

import copy
import math
from dataclasses import dataclass

import numpy as np

from dlopt.checks import in_half_open, positive, whole
from dlopt.schedules import exponential
from dlopt.training.loop import train


@dataclass(frozen=True)
class RangeTest:
    """What a learning-rate range test saw, at T rates.

    Attributes:
        lr: the rates, growing by a constant factor, [T].
        loss: mini-batch loss before the update at each rate, [T].
        smooth: the same, averaged over recent updates, [T].
        stopped: ``"finished"`` (the highest rate was reached), ``"risen"`` or ``"diverged"``.
    """

    lr: np.ndarray
    loss: np.ndarray
    smooth: np.ndarray
    stopped: str

    @property
    def edge(self):
        """The rate at which the smoothed loss is lowest, beyond which it rises. A usual choice is a third of it."""
        return float(self.lr[np.argmin(self.smooth)])

    @property
    def steepest(self):
        """The rate, below ``edge``, around which the smoothed loss falls most within a tenth of the test."""
        last, width = int(np.argmin(self.smooth)), max(2, len(self.lr) // 10)
        if last <= width:
            return float(self.lr[last // 2])
        return float(self.lr[np.argmin(self.smooth[width : last + 1] - self.smooth[: last + 1 - width]) + width // 2])


def lr_range_test(model, data, *, optimizer, loss, low=1e-5, high=10.0, steps=100, batch_size=32, seed=0, smoothing=0.9,
                  rise=4.0):  # fmt: skip
    r"""Train a copy of the model while the learning rate grows from ``low`` to ``high``, and record the loss.

    .. math:: \eta_t = \eta_{low}\, (\eta_{high}/\eta_{low})^{t/(T-1)}, \qquad
              \bar\ell_t = \frac{\sum_{s\le t} \beta^{t-s}\,\ell_s}{\sum_{s\le t} \beta^{t-s}}

    The loss hardly moves at low rates, falls at useful ones and rises beyond. All rates are tried on one path: a
    rate is judged by the parameters that the lower ones left, and by a single step.

    Args:
        model: ``nn.Module``; it is not changed.
        data: ``Dataset`` or ``(x, y)``, as for :func:`train`.
        optimizer: makes an optimizer from parameters; its learning rate is replaced.
        loss: ``loss(prediction, target)``, a mean over examples.
        low, high: first and last rate, 0 < low < high.
        steps: number of rates T, >= 10.
        batch_size, seed: of the batches.
        smoothing: :math:`\beta` in [0, 1); the average remembers ``1 / (1 - smoothing)`` updates.
        rise: stop once the smoothed loss exceeds this multiple of its lowest value, > 1.

    Returns:
        :class:`RangeTest`.

    Raises:
        ValueError: an argument out of its range, an optimizer instead of what makes one.

    Source: Smith (2017), arXiv:1506.01186, section 3.3 (there with a linear ramp).
    """
    steps, beta = whole("steps", steps, low=10), in_half_open("smoothing", smoothing)
    if not 0 < positive("low", low) < positive("high", high):
        raise ValueError(f"low must be < high, got {low} and {high}")
    if not positive("rise", rise) > 1:
        raise ValueError(f"rise must be > 1, got {rise}")
    if not callable(optimizer):
        raise ValueError(f"optimizer must make one from parameters, such as SGD itself, got {type(optimizer).__name__}")
    tried = copy.deepcopy(model)
    optimizer = optimizer(tried.parameters())
    for group in optimizer.param_groups:
        group["lr"] = low
    smooth, average, weight = [], 0.0, 0.0

    def risen(run):
        nonlocal average, weight
        average, weight = beta * average + run.loss, beta * weight + 1
        smooth.append(average / weight)
        return smooth[-1] > rise * min(smooth)

    ramp = exponential((high / low) ** (1 / (steps - 1)))
    history = train(tried, data, optimizer=optimizer, loss=loss, steps=steps, batch_size=batch_size, seed=seed,
                    schedule=ramp, evaluate_every=0, callback=risen, nonfinite="stop")  # fmt: skip
    if not math.isfinite(sum(smooth)) or not smooth:
        raise FloatingPointError(f"the loss is not finite at the lowest rate; lower low (now {low:g})")
    stopped = {"callback": "risen"}.get(history.stopped, history.stopped)
    return RangeTest(history.lr, history.loss, np.array(smooth), stopped)
