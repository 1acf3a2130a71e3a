"""How noisy a minibatch gradient is: per-example gradients, their covariance, and the gradient noise scale."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.func import functional_call, grad, vmap

from dlopt.checks import in_half_open, non_negative, positive, whole
from dlopt.scale import generator


def per_example_gradients(model, loss, x, y):
    """The gradient of every example's loss, flattened.

    Args:
        model: a module without buffers that change in training (batch normalization couples the examples).
        loss: ``loss(prediction, target)`` of a batch, averaged over it.
        x, y: inputs and targets, shapes [N, ...].

    Returns:
        Tensor of shape [N, P], P the number of trainable parameters, in the order of ``model.parameters()``.

    Raises:
        ValueError: no examples, or x and y of different length.
    """
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"x and y must have the same length >= 1, got {len(x)} and {len(y)}")
    theta = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def example_loss(parameters, xi, yi):
        return loss(functional_call(model, parameters, (xi[None],)), yi[None])

    gradients = vmap(grad(example_loss), in_dims=(None, 0, 0))(theta, x, y)
    return torch.cat([g.flatten(1) for g in gradients.values()], 1)


@dataclass(frozen=True)
class GradientNoise:
    r"""Mean and spread of per-example gradients.

    Attributes:
        mean: the full gradient, shape [P].
        square: its squared norm.
        trace: :math:`\mathrm{tr}\,\Sigma`, the sum of the coordinates' variances over the N examples (divisor N).
        cosine: mean cosine between the gradients of two different examples.
        n: number of examples N.
    """

    mean: torch.Tensor
    square: float
    trace: float
    cosine: float
    n: int

    @property
    def scale(self):
        r"""The simple noise scale :math:`\mathrm{tr}\,\Sigma / \|\nabla L\|^2`: the batch at which both are equal."""
        return self.trace / self.square


def gradient_noise(gradients):
    """Summarize per-example gradients of shape [N, P], N >= 2, as a :class:`GradientNoise`."""
    n = whole("number of examples", len(gradients), low=2)
    mean = gradients.mean(0)
    unit = gradients / gradients.norm(dim=1, keepdim=True).clamp_min(torch.finfo(gradients.dtype).tiny)
    cosine = (unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1))
    trace = (gradients - mean).square().sum() / n
    return GradientNoise(mean, mean.square().sum().item(), trace.item(), cosine.item(), n)


def minibatch_error(gradients, batch_size, *, draws, generator, replacement=False):
    r"""Squared error :math:`\|\hat g_B - g\|^2` of minibatch gradients, for independent draws of the minibatch.

    Args:
        gradients: per-example gradients, shape [N, P].
        batch_size: B >= 1; at most N without replacement.
        draws: number of minibatches.
        generator: torch generator of the draws.
        replacement: whether an example may be drawn twice.

    Returns:
        Tensor of shape [draws].
    """
    n, mean = len(gradients), gradients.mean(0)
    if whole("batch_size", batch_size) > n and not replacement:
        raise ValueError(f"batch_size must be <= {n} without replacement, got {batch_size}")
    errors = []
    for _ in range(whole("draws", draws)):
        if replacement:
            chosen = torch.randint(n, (batch_size,), generator=generator, device=gradients.device)
        else:
            chosen = torch.randperm(n, generator=generator, device=gradients.device)[:batch_size]
        errors.append((gradients[chosen].mean(0) - mean).square().sum())
    return torch.stack(errors)


def error_curve(gradients, batch_sizes, *, draws, seed, replacement=False):
    r"""Mean squared error of minibatch gradients in units of :math:`\mathrm{tr}\,\Sigma`, for several batch sizes.

    Args:
        gradients, draws, replacement: as in :func:`minibatch_error`.
        batch_sizes: [K].
        seed: of the draws; every size has its own stream.

    Returns:
        List of K numbers; :func:`expected_error` with ``trace=1`` is their expectation.
    """
    trace = gradient_noise(gradients).trace
    sources = [generator(seed * 100_003 + size, gradients.device) for size in batch_sizes]
    settings = {"draws": draws, "replacement": replacement}
    return [
        minibatch_error(gradients, size, generator=source, **settings).mean().item() / trace
        for size, source in zip(batch_sizes, sources)
    ]


def bias_ratio(gradients, batches):
    r"""Does a sampler's gradient have a bias? The squared error of its average over that of unbiased subsets.

    The average of n unbiased minibatch gradients has the n-th part of the squared error of one; a bias stays. The
    expectation is 1 for independent uniform subsets without replacement and grows like n for a biased sampler.

    Args:
        gradients: per-example gradients, [N, P].
        batches: n index tensors of equal length B < N, as the sampler drew them.

    Returns:
        The ratio.

    Raises:
        ValueError: fewer than two batches.
    """
    if len(batches) < 2:
        raise ValueError(f"a bias needs at least two batches to show, got {len(batches)}")
    average = torch.stack([gradients[index].mean(0) for index in batches]).mean(0)
    chance = expected_error(gradient_noise(gradients).trace, len(batches[0]), len(gradients)) / len(batches)
    return (average - gradients.mean(0)).square().sum().item() / chance


def expected_error(trace, batch_size, n, replacement=False):
    r"""The expected squared error of a minibatch gradient.

    .. math:: \mathbb{E}\,\|\hat g_B - g\|^2 = \frac{\mathrm{tr}\,\Sigma}{B}
              \times \begin{cases} 1 & \text{with replacement} \\ \frac{N-B}{N-1} & \text{without} \end{cases}

    Args:
        trace: :math:`\mathrm{tr}\,\Sigma` of the N per-example gradients, divisor N.
        batch_size: B.
        n: N.
        replacement: how the minibatch is drawn.
    """
    positive("batch_size", batch_size)
    return trace / batch_size * (1.0 if replacement else (n - batch_size) / (n - 1))


def two_batch_noise_scale(small_squares, big_squares, small, big):
    r"""The noise scale from squared gradient norms at two batch sizes, without per-example gradients.

    Both estimators are unbiased; their ratio is not, so average each over many steps before dividing.

    .. math:: \widehat{\|g\|^2} = \frac{B\,\overline{|g_B|^2} - b\,\overline{|g_b|^2}}{B - b}, \quad
              \widehat{\mathrm{tr}\,\Sigma} = \frac{\overline{|g_b|^2} - \overline{|g_B|^2}}{1/b - 1/B}

    Args:
        small_squares, big_squares: squared norms of minibatch gradients, any number of each.
        small, big: the batch sizes b < B.

    Returns:
        The pair (noise scale, squared norm of the full gradient), both estimated. The first is nan where
        the second is not positive.

    Source: McCandlish, Kaplan, Amodei et al. (2018), appendix A, arXiv:1812.06162.
    """
    if not 1 <= small < big:
        raise ValueError(f"two batch sizes with 1 <= small < big are needed, got {small} and {big}")
    low, high = torch.as_tensor(small_squares).mean().item(), torch.as_tensor(big_squares).mean().item()
    square = (big * high - small * low) / (big - small)
    trace = (low - high) / (1 / small - 1 / big)
    return (trace / square if square > 0 else float("nan")), square


def fit_hyperbola(batch_sizes, steps):
    r"""The least number of steps and the critical batch from steps to a target at several batch sizes.

    .. math:: S(B) = S_{\min} \left(1 + \frac{\mathcal B}{B}\right)

    fitted by least squares in the logarithms, so that each size counts for its relative error.

    Args:
        batch_sizes: B, at least three different ones, > 0.
        steps: S(B) > 0, finite, as many.

    Returns:
        The pair (:math:`S_{\min}`, :math:`\mathcal B`); the latter is sought between a thousandth of the least B and a
        thousand times the largest.

    Raises:
        ValueError: unequal lengths, fewer than three different sizes, a number that is not positive and finite.

    Source: McCandlish, Kaplan, Amodei et al. (2018), equation 2.11, arXiv:1812.06162.
    """
    sizes, steps = np.asarray(batch_sizes, dtype=float), np.asarray(steps, dtype=float)
    if sizes.shape != steps.shape or sizes.ndim != 1 or len(set(sizes)) < 3:
        raise ValueError(f"three batch sizes and as many steps are needed, got {sizes.shape} and {steps.shape}")
    if not (np.isfinite([sizes, steps]).all() and min(sizes.min(), steps.min()) > 0):
        raise ValueError("batch sizes and steps must be positive and finite; leave out sizes that missed the target")

    def residuals(log_critical):
        return np.log(steps) - np.log1p(np.exp(log_critical) / sizes)

    bounds = (np.log(sizes.min() / 1e3), np.log(sizes.max() * 1e3))
    found = minimize_scalar(lambda u: residuals(u).var(), bounds=bounds, method="bounded", options={"xatol": 1e-9}).x
    return float(np.exp(residuals(found).mean())), float(np.exp(found))


def update_noise(lr, batch_size, n, momentum=0.0):
    r"""Smith's noise scale: what the rate, the batch and the momentum do to the noise per unit of training.

    .. math:: g = \frac{\eta}{1-m} \Big( \frac NB - 1 \Big) \approx \frac{\eta N}{(1-m) B} \quad (B \ll N)

    While the parameters move by one unit of :math:`\eta t/(1-m)`, the updates' noise has covariance
    :math:`g\,\Sigma/(N-1)`.

    Args:
        lr: learning rate :math:`\eta \ge 0`.
        batch_size: B, 1 ... N, drawn without replacement.
        n: examples N.
        momentum: m of the heavy ball, in [0, 1).

    Source: Smith, Kindermans, Ying and Le (2018), arXiv:1711.00489, equation 4 and section 4.
    """
    non_negative("lr", lr), in_half_open("momentum", momentum)
    if whole("batch_size", batch_size) > whole("n", n):
        raise ValueError(f"batch_size must be <= n, got {batch_size} of {n}")
    return lr / (1 - momentum) * (n / batch_size - 1)


def noise_ball(lr, *, curvature=1.0, noise=1.0, momentum=0.0):
    r"""The mean square at which a heavy ball with noisy gradients settles on a parabola; infinite if it does not.

    .. math:: \lim_t \mathbb{E}\,x_t^2 = \frac{(1+m)\,\eta\,\sigma^2}{(1-m)\,\lambda\,(2(1+m)-\eta\lambda)}
              \approx \frac{\eta\,\sigma^2}{2\lambda(1-m)}

    Args:
        lr: learning rate :math:`\eta > 0`.
        curvature: :math:`\lambda > 0`.
        noise: standard deviation :math:`\sigma` of the gradient, independent from step to step.
        momentum: m in [0, 1), in PyTorch's convention.

    The stationary variance of the second-order autoregression :math:`x_{t+1} = (1+m-\eta\lambda)x_t - m x_{t-1} -
    \eta\sigma\xi_t`.
    """
    positive("lr", lr), positive("curvature", curvature), non_negative("noise", noise)
    m = in_half_open("momentum", momentum)
    room = 2 * (1 + m) - lr * curvature
    return (1 + m) * lr * noise**2 / ((1 - m) * curvature * room) if room > 0 else float("inf")
