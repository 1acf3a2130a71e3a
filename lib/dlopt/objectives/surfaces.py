"""The book's test surfaces: closed-form functions whose minima are known."""

import math

import torch

from dlopt.checks import finite, positive, whole
from dlopt.objectives.objective import Objective


def _points(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def rotation_matrix(n, seed=0):
    """A rotation of R^n drawn uniformly (Haar measure): an orthogonal ``[n, n]`` matrix with determinant +1.

    Args:
        n: dimension, >= 1.
        seed: seed of its own generator.
    """
    rng = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(whole("n", n), n, dtype=torch.float64, generator=rng))
    q = q * r.diagonal().sign()
    q[:, 0] *= torch.linalg.det(q).sign()
    return q


def quadratic(spectrum, rotation=None, minimum=None):
    r"""The quadratic with a chosen spectrum, :math:`f(x) = \frac12 (x-x^*)^T Q\,\mathrm{diag}(\lambda)\,Q^T (x-x^*)`.

    Args:
        spectrum: the n eigenvalues of the Hessian; negative ones make a saddle, zero ones a flat direction.
        rotation: None for axes along the eigenvectors, an angle in radians (n = 2 only), or an orthogonal ``[n, n]``
            matrix Q whose columns are the eigenvectors (see `rotation_matrix`).
        minimum: the stationary point x*, ``[n]``; the origin if None.

    Raises:
        ValueError: an empty or non-finite spectrum, an angle with n != 2, a matrix that is not orthogonal.
    """
    spectrum = torch.as_tensor(spectrum, dtype=torch.float64).flatten()
    if spectrum.numel() == 0 or not spectrum.isfinite().all():
        raise ValueError(f"spectrum must hold at least one finite eigenvalue, got {spectrum.tolist()}")
    n = spectrum.numel()
    q = _orthogonal(rotation, n)
    center = torch.zeros(n, dtype=torch.float64) if minimum is None else torch.as_tensor(minimum, dtype=torch.float64)

    def f(x):
        return 0.5 * (((x - center.to(x)) @ q.to(x)) ** 2 @ spectrum.to(x))

    definite = bool((spectrum > 0).all())
    return Objective("quadratic", f, n, minima=center[None] if definite else None,
                     domain=((-3.0, 3.0),) * n, start=center + 2 * q.sum(dim=1) / math.sqrt(n))


def _orthogonal(rotation, n):
    if rotation is None:
        return torch.eye(n, dtype=torch.float64)
    if isinstance(rotation, int | float):
        if n != 2:
            raise ValueError(f"rotation must be a matrix unless n = 2, got the angle {rotation} with n = {n}")
        c, s = math.cos(rotation), math.sin(rotation)
        return _points((c, -s), (s, c))
    q = torch.as_tensor(rotation, dtype=torch.float64)
    if q.shape != (n, n) or not torch.allclose(q @ q.T, torch.eye(n, dtype=torch.float64), atol=1e-8):
        raise ValueError(f"rotation must be an orthogonal [{n}, {n}] matrix, got shape {list(q.shape)} "
                         "(or columns that are not orthonormal)")
    return q


def rosenbrock(a=1.0, b=100.0):
    r"""Rosenbrock's curved valley, :math:`f(x, y) = (a-x)^2 + b\,(y-x^2)^2`; minimum 0 at :math:`(a, a^2)`."""
    finite("a", a), positive("b", b)
    return Objective("Rosenbrock", lambda p: (a - p[..., 0]) ** 2 + b * (p[..., 1] - p[..., 0] ** 2) ** 2, 2,
                     minima=_points((a, a * a)), domain=((-2.0, 2.0), (-1.0, 3.0)), start=_points(-1.2, 1.0))


def beale():
    r"""Beale's function, :math:`f(x, y) = \sum_{k=1}^{3} (c_k - x + x y^k)^2` with c = 1.5, 2.25, 2.625.

    Minimum 0 at (3, 0.5); flat far valleys and walls whose height grows like the sixth power of y.
    """

    def f(p):
        x, y = p[..., 0], p[..., 1]
        return sum((c - x + x * y**k) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), start=1))

    return Objective("Beale", f, 2, minima=_points((3.0, 0.5)), domain=((-4.5, 4.5), (-4.5, 4.5)),
                     start=_points(1.0, 1.5))


def himmelblau():
    r"""Himmelblau's function, :math:`f(x, y) = (x^2+y-11)^2 + (x+y^2-7)^2`: four minima of value 0, four saddles."""

    def f(p):
        x, y = p[..., 0], p[..., 1]
        return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2

    minima = _points((3.0, 2.0), (-2.805118086952745, 3.131312518250573),
                     (-3.779310253377747, -3.283185991286170), (3.584428340330492, -1.848126526964404))
    return Objective("Himmelblau", f, 2, minima=minima, domain=((-6.0, 6.0), (-6.0, 6.0)), start=_points(0.0, 0.0))


def saddle():
    r"""A strict saddle between two minima, :math:`f(x, y) = \frac12 x^2 - \frac12 y^2 + \frac14 y^4`.

    At the origin the Hessian is diag(1, -1); the minima (0, -1) and (0, 1) have value -1/4. Gradient descent started
    on the line y = 0 stays on it and converges to the saddle.
    """
    return Objective("saddle", lambda p: 0.5 * p[..., 0] ** 2 - 0.5 * p[..., 1] ** 2 + 0.25 * p[..., 1] ** 4, 2,
                     minima=_points((0.0, -1.0), (0.0, 1.0)), domain=((-2.0, 2.0), (-1.6, 1.6)),
                     start=_points(1.5, 0.0))


def ripple(amplitude=0.5, frequency=8.0, n=2):
    r"""A bowl with ripples, :math:`f(x) = \frac12\|x\|^2 + a \sum_i (1 - \cos \omega x_i)`; global minimum 0 at 0.

    It has local minima away from 0 as soon as :math:`a\,\omega > 1` or so, although seen from afar it is convex.

    Args:
        amplitude: a > 0, half the height of a ripple.
        frequency: omega > 0, radians per unit of x.
        n: dimension.
    """
    a, w = positive("amplitude", amplitude), positive("frequency", frequency)
    n = whole("n", n)
    return Objective("ripple", lambda p: (0.5 * p**2 + a * (1 - torch.cos(w * p))).sum(-1), n,
                     minima=torch.zeros(1, n, dtype=torch.float64), domain=((-3.0, 3.0),) * n,
                     start=torch.full((n,), 2.5, dtype=torch.float64))


def plateau(n=2):
    r"""A well in a plain, :math:`f(x) = 1 - e^{-\|x\|^2/2}`; minimum 0 at 0.

    At distance r the gradient has norm :math:`r e^{-r^2/2}`: gradient descent needs a time of order
    :math:`e^{r^2/2}/r^2` to leave distance r.
    """
    n = whole("n", n)
    return Objective("plateau", lambda p: -torch.expm1(-0.5 * (p**2).sum(-1)), n,
                     minima=torch.zeros(1, n, dtype=torch.float64), domain=((-4.0, 4.0),) * n,
                     start=torch.full((n,), 2.0, dtype=torch.float64))


def cliff(length=50, target=0.7, initial=0.5):
    r"""The loss of a recurrent network with one unit, as a function of its weight w and bias b.

    .. math:: f(w, b) = (\sigma(x_T) - y)^2, \qquad x_t = w\,\sigma(x_{t-1}) + b, \quad x_0 \text{ given}

    Where the recurrence changes from one fixed point to another the surface has a wall that steepens with T.

    Args:
        length: T, number of steps of the recurrence.
        target: y in (0, 1).
        initial: x_0.

    The listed minimum (0, logit(y)) has value 0 exactly; others lie on a curve through it.

    Source: Pascanu, Mikolov and Bengio (2013), Figure 6, arXiv:1211.5063.
    """
    length, x0 = whole("length", length), finite("initial", initial)
    if not 0 < finite("target", target) < 1:
        raise ValueError(f"target must be in (0, 1), got {target}")

    def f(p):
        x = torch.full_like(p[..., 0], x0)
        for _ in range(length):
            x = p[..., 0] * torch.sigmoid(x) + p[..., 1]
        return (torch.sigmoid(x) - target) ** 2

    return Objective("cliff", f, 2, minima=_points((0.0, math.log(target / (1 - target)))),
                     domain=((3.0, 8.0), (-4.0, 0.0)), start=_points(4.0, -1.5))
