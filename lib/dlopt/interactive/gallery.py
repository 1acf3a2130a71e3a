"""The figures of the book, each with its title, its instructions and its initial values."""

from dlopt.checks import finite, in_closed, one_of, positive
from dlopt.interactive.figure import Interactive

SURFACES = ("quadratic", "rosenbrock", "saddle", "ripple", "himmelblau", "plateau")
METHODS = ("momentum", "nesterov")
RACERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adadelta_printed", "adam",
          "adam_uncorrected", "amsgrad", "nadam", "radam", "lion")


def descent(surface="quadratic", *, lr=None, mu=0.0, kappa=10.0, angle=30.0, start=None, method="momentum",
            id="descent"):
    r"""Descent playground: 200 steps of a rule on a surface, with the loss curve beside it.

    The rule is `dlopt.rules.momentum` (``mu=0`` is gradient descent) or `dlopt.rules.nesterov`; the bowl is
    :math:`\frac12 (u^2/\kappa + w^2)` in coordinates turned by ``angle``, so that its steepest curvature is 1.

    Args:
        surface: one of ``quadratic``, ``rosenbrock``, ``saddle``, ``ripple``, ``himmelblau``, ``plateau``.
        lr: learning rate in [1e-4, 4]; the surface's own if None.
        mu: momentum in [0, 0.99].
        kappa: condition number of the bowl, in [1, 100].
        angle: rotation of the bowl, degrees in [0, 90].
        start: ``(x, y)``; the surface's own if None.
        method: ``"momentum"`` or ``"nesterov"``.
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: an argument out of its range.
    """
    config = {"surface": one_of("surface", surface, SURFACES), "method": one_of("method", method, METHODS),
              "mu": in_closed("mu", mu, 0, 0.99), "kappa": in_closed("kappa", kappa, 1, 100),
              "angle": in_closed("angle", angle, 0, 90)}
    if lr is not None:
        config["lr"] = in_closed("lr", positive("lr", lr), 1e-4, 4)
    if start is not None:
        if len(start) != 2:
            raise ValueError(f"start must be (x, y), got {len(start)} numbers")
        config["start"] = [finite("start", float(x)) for x in start]
    return Interactive("descent", "Descent playground", "Drag the open circle, change surface, rate and momentum, or "
                       "play the descent step by step.", config, id)


def schedule_exponent(exponent=0.5, *, scale=1.0, start=3.0, id="schedule-exponent"):
    r"""Chains :math:`x_t = x_{t-1} - c\,t^{-a}(x_{t-1} + \xi_t)` beside the conditions that the exponent meets.

    Args:
        exponent: a in [0, 1.5].
        scale: c in [0.1, 1.5].
        start: :math:`x_0` in [-4, 4].
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: an argument out of its range.
    """
    config = {"exponent": in_closed("exponent", exponent, 0, 1.5), "scale": in_closed("scale", scale, 0.1, 1.5),
              "start": in_closed("start", start, -4, 4)}
    return Interactive("schedule_exponent", "Which exponents converge?", "Move the exponent through 0, 1/2 and 1, and "
                       "watch the chains and the three conditions.", config, id)


def estimators(fit="level", *, loss="squared", delta=1.0, id="estimators"):
    r"""Nine points to drag, one of them an outlier, with what three losses make of them.

    Mean, median and Huber's location (or the three lines: least squares, least absolute deviations, Huber) follow the
    points; beside them stands the average loss as a function of the level, or of intercept and slope.

    Args:
        fit: ``"level"`` or ``"line"``.
        loss: loss that the right panel shows or emphasizes: ``"squared"``, ``"absolute"`` or ``"huber"``.
        delta: where Huber's loss turns from a parabola to straight lines, in [0.05, 10], in units of y.
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: an argument out of its range.
    """
    config = {"fit": one_of("fit", fit, ("level", "line")), "delta": in_closed("delta", delta, 0.05, 10),
              "loss": one_of("loss", loss, ("squared", "absolute", "huber"))}
    return Interactive("estimators", "What a loss estimates", "Drag the points and the outlier, or reach them by Tab "
                       "and move them by the arrow keys; then change the loss and Huber’s δ.", config, id)


def phase_map(rate=0.1, mu=0.5, *, method="heavy ball", id="phase-map"):
    r"""Momentum on one parabola: the map of regimes, the two roots in the complex plane, the ball in its valley.

    The roots are those of `dlopt.heavy_ball.roots`; the ball follows `dlopt.rules.momentum` or `dlopt.rules.nesterov`.

    Args:
        rate: rate times curvature, :math:`\eta\lambda`, in [0.001, 4.2].
        mu: momentum in [0, 0.999].
        method: ``"heavy ball"`` or ``"nesterov"``.
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: an argument out of its range.
    """
    config = {"point": [in_closed("rate", rate, 0.001, 4.2), in_closed("mu", mu, 0, 0.999)],
              "method": one_of("method", method, ("heavy ball", "nesterov"))}
    return Interactive("phase_map", "Where momentum oscillates", "Drag the open circle over the map; lines mark where "
                       "the roots become complex (solid) and where the method diverges (dashed).", config, id)


def optimizer_race(rules=("momentum", "adagrad", "adam"), *, surface="quadratic", kappa=30.0, angle=0.0, start=None,
                   id="optimizer-race"):
    """Three rules on one surface from one start, each with its own rate and memories, and their loss curves.

    The rules are those of `dlopt.rules` of the same names (AdamW without its decay is Adam; Muon needs matrices). The
    bowl is that of `descent`: a rotation takes its axes away from the coordinates.

    Args:
        rules: names of the three rules; each starts with its own numbers.
        surface: one of ``quadratic``, ``rosenbrock``, ``saddle``, ``ripple``, ``himmelblau``, ``plateau``.
        kappa: condition number of the bowl, in [1, 100].
        angle: rotation of the bowl, degrees in [0, 90].
        start: ``(x, y)``; the surface's own if None.
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: an argument out of its range, or another number of rules than three.
    """
    if len(rules) != 3:
        raise ValueError(f"rules must name three rules, got {len(rules)}")
    config = {"surface": one_of("surface", surface, SURFACES), "kappa": in_closed("kappa", kappa, 1, 100),
              "angle": in_closed("angle", angle, 0, 90)}
    config |= {f"rule{i}": one_of("each of rules", rule, RACERS) for i, rule in enumerate(rules, start=1)}
    usual = {"surface": "quadratic", "kappa": 30, "angle": 0, "rule1": "momentum", "rule2": "adagrad", "rule3": "adam"}
    config = {key: value for key, value in config.items() if value != usual[key]}
    if start is not None:
        config["start"] = [finite("start", float(x)) for x in start]
    return Interactive("optimizer_race", "Optimizer race", "Choose a surface, a rule for each of the three lanes and "
                       "its numbers; drag the open circle; then play the race.", config, id)


def noise_scale(lr=0.05, batch=10, momentum=0.0, *, id="noise-scale"):
    r"""Rate, batch size and momentum set the noise of training: its scale, its ball, and chains on a bowl.

    The formulas are `dlopt.noise.update_noise` and `dlopt.noise.noise_ball`, for 1,000 examples whose gradients have
    variance 1 in each of two coordinates with curvatures 1 and 0.2.

    Args:
        lr: rate in [0.001, 4].
        batch: batch size in [2, 1000].
        momentum: m in [0, 0.99].
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: an argument out of its range.
    """
    config = {"lr": in_closed("lr", lr, 0.001, 4), "batch": in_closed("batch", batch, 2, 1000),
              "momentum": in_closed("momentum", momentum, 0, 0.99)}
    return Interactive("noise_scale", "One noise scale, three knobs", "Keep a run for comparison, then change rate and "
                       "batch together: where does the new curve leave the kept one?", config, id)
