"""Losses for classes. All take logits (scores before softmax or sigmoid): probabilities underflow, logits do not."""

import torch
from torch.nn.functional import logsigmoid

from dlopt.checks import in_closed, one_of, positive
from dlopt.losses.validation import (
    REDUCTIONS,
    class_numbers,
    class_weights,
    finite_values,
    not_empty,
    reduce,
    same_shape,
    values_in,
)


def log_softmax(logits, dim=-1):
    r"""Logarithms of the softmax probabilities, without overflow.

    .. math:: \log p_k = z_k - m - \log\sum_j e^{z_j - m}, \qquad m = \max_j z_j

    Every exponent is <= 0 and one of them is 0, so the sum lies between 1 and the number of classes.

    Args:
        logits: real scores, any shape.
        dim: the axis of classes.

    Returns:
        A tensor of the shape of ``logits``, all entries <= 0.
    """
    shifted = logits - logits.amax(dim, keepdim=True).detach()  # a constant shift has no gradient
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def cross_entropy(logits, target, reduction="mean", *, weight=None, label_smoothing=0.0, ignore_index=-100):
    r"""Negative log-probability of the target class under softmax; its minimizer estimates the class probabilities.

    .. math:: \ell(z, y) = -\log p_y = \log \sum_j e^{z_j} - z_y, \qquad \frac{\partial\ell}{\partial z} = p - e_y

    With smoothing :math:`\epsilon` the target :math:`e_y` becomes :math:`(1-\epsilon)\,e_y + \epsilon/K`.

    Args:
        logits: [n, K], [n, K, ...] (classes on axis 1, as in torch) or [K] for one example.
        target: class numbers, int64, the shape of ``logits`` without the class axis; or probabilities, floating point,
            the shape of ``logits``.
        reduction: ``"mean"`` (for class numbers with ``weight``: the weighted mean, divided by the sum of the weights
            of the targets), ``"sum"`` or ``"none"`` (one value per example).
        weight: one factor >= 0 per class, [K].
        label_smoothing: epsilon in [0, 1].
        ignore_index: targets with this number count for nothing.

    Returns:
        A scalar or one value per example, in nats.

    Raises:
        ValueError: shapes that do not belong together, an empty batch, class numbers outside 0 ... K - 1,
            probabilities that are nan or outside [0, 1], every target ignored, a wrong ``weight``.

    Source: equal to ``torch.nn.functional.cross_entropy``; smoothing: Szegedy et al. (2016), arXiv:1512.00567.
    """
    dim, n_classes = _class_axis(logits)
    log_p, epsilon = log_softmax(logits, dim), in_closed("label_smoothing", label_smoothing)
    if target.is_floating_point():
        same_shape(logits, target, ("logits", "probabilities"))
        values_in("probabilities", target, 0, 1)
        return _expected_nll(log_p, (1 - epsilon) * target + epsilon / n_classes, dim, weight, reduction)
    total = _nll(log_p, target, dim, weight, ignore_index)
    if epsilon > 0:
        keep = target != ignore_index
        spread = _weighted(-log_p, weight, dim).sum(dim) / n_classes
        total = (1 - epsilon) * total + epsilon * torch.where(keep, spread, torch.zeros_like(spread))
    return _reduce_classes(total, target, weight, ignore_index, reduction)


def nll(log_probabilities, target, reduction="mean", *, weight=None, ignore_index=-100):
    r"""Negative log-likelihood of the target class, for a model whose outputs are already log-probabilities.

    .. math:: \ell(\log p, y) = -\log p_y

    Args:
        log_probabilities: [n, K], [n, K, ...] or [K], entries <= 0, as :func:`log_softmax` gives them.
        target, reduction, weight, ignore_index: as in :func:`cross_entropy` (class numbers only).

    Returns:
        A scalar or one value per example, in nats.

    Raises:
        ValueError: as :func:`cross_entropy`.

    Source: equal to ``torch.nn.functional.nll_loss``.
    """
    dim, _ = _class_axis(log_probabilities)
    values = _nll(log_probabilities, target, dim, weight, ignore_index)
    return _reduce_classes(values, target, weight, ignore_index, reduction)


def binary_cross_entropy(logits, target, reduction="mean", *, pos_weight=None):
    r"""Cross-entropy of yes-or-no targets with the sigmoid of a logit.

    .. math:: \ell(z, y) = -w\,y\log\sigma(z) - (1-y)\log\sigma(-z), \qquad
              \frac{\partial \ell}{\partial z} = \sigma(z) - y \quad (w = 1)

    Args:
        logits: real scores, any shape.
        target: probabilities of "yes" in [0, 1] (floating point), the shape of ``logits``.
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
        pos_weight: factor w >= 0 on the "yes" part; a number or a tensor that broadcasts to ``logits``.

    Returns:
        A scalar or one value per element, in nats.

    Raises:
        ValueError: shapes differ, nothing in them, targets nan or outside [0, 1], pos_weight negative.

    Source: equal to ``torch.nn.functional.binary_cross_entropy_with_logits``.
    """
    same_shape(logits, target, ("logits", "target"))
    values_in("target", target, 0, 1)
    yes, no = -target * logsigmoid(logits), -(1 - target) * logsigmoid(-logits)
    if pos_weight is not None:
        values_in("pos_weight", torch.as_tensor(pos_weight), 0, float("inf"))
        yes = pos_weight * yes
    return reduce(yes + no, reduction)


def hinge(score, target, reduction="mean"):
    r"""Zero once the score has the right sign with a margin of 1; its minimizer estimates the likelier class only.

    .. math:: \ell(s, y) = \max(0,\ 1 - y\,s)

    Args:
        score: real, any shape.
        target: -1 or 1, the shape of ``score``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: shapes differ, nothing in them, a target other than -1 and 1.

    Source: Cortes and Vapnik (1995), Support-vector networks.
    """
    same_shape(score, target, ("score", "target"))
    values_in("the size of each target (-1 or 1)", target.abs(), 1, 1)
    return reduce(torch.clamp(1 - target * score, min=0), reduction)


def multi_margin(logits, target, reduction="mean", *, margin=1.0):
    r"""Hinge loss for several classes: every wrong class must stay ``margin`` below the target class.

    .. math:: \ell(z, y) = \frac1K \sum_{j \ne y} \max(0,\ \text{margin} - z_y + z_j)

    Args:
        logits: [n, K] or [K].
        target: class numbers, [n] or a scalar.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (one value per example).
        margin: > 0, in units of the logits.

    Raises:
        ValueError: as :func:`cross_entropy`, or margin not > 0.

    Source: Crammer and Singer (2001) in the form summed over classes; ``torch.nn.functional.multi_margin_loss``.
    """
    dim, n_classes = _class_axis(logits)
    _check_classes(logits, target, dim)
    own = logits.take_along_dim(target.long().unsqueeze(dim), dim)
    violation = torch.clamp(positive("margin", margin) - own + logits, min=0)
    other = torch.arange(n_classes, device=logits.device) != target.unsqueeze(dim)
    return reduce(torch.where(other, violation, 0.0).sum(dim) / n_classes, reduction)


def kl_divergence(log_prediction, target, reduction="batchmean"):
    r"""Kullback–Leibler divergence from the predicted to the target distribution.

    .. math:: \operatorname{KL}(q \,\|\, p) = \sum_k q_k\,(\log q_k - \log p_k) = H(q, p) - H(q) \ge 0

    Args:
        log_prediction: log-probabilities :math:`\log p`, [n, K] (any shape).
        target: probabilities q in [0, 1], the same shape; 0 contributes 0.
        reduction: ``"batchmean"`` (sum over everything, divided by the length of the first axis: the mean divergence
            per example), ``"sum"``, ``"none"``, or ``"mean"`` (over elements, as torch has it: K times too small).

    Returns:
        A scalar, or one value per element; in nats.

    Raises:
        ValueError: shapes differ, nothing in them, targets nan or outside [0, 1].

    Source: Kullback and Leibler (1951); equal to ``torch.nn.functional.kl_div``.
    """
    one_of("reduction", reduction, ("batchmean", *REDUCTIONS))
    same_shape(log_prediction, target, ("log_prediction", "target"))
    values_in("target", target, 0, 1)
    values = torch.xlogy(target, target) - torch.where(target > 0, target * log_prediction, 0.0)
    return values.sum() / len(values) if reduction == "batchmean" else reduce(values, reduction)


def _class_axis(scores):
    if scores.ndim == 0:
        raise ValueError("logits must have an axis of classes, got a scalar; use binary_cross_entropy for one logit")
    not_empty("logits", scores)
    dim = 0 if scores.ndim == 1 else 1
    return dim, scores.shape[dim]


def _check_classes(scores, target, dim, ignore_index=None):
    wanted = scores.shape[:dim] + scores.shape[dim + 1 :]
    if target.shape != wanted:
        got = f"logits {tuple(scores.shape)} and class numbers {tuple(target.shape)}"
        raise ValueError(f"got {got}: with classes on axis {dim}, class numbers must have shape {tuple(wanted)}")
    class_numbers(target, scores.shape[dim], ignore_index)


def _nll(log_p, target, dim, weight, ignore_index):
    """Weighted -log p_y per example, 0 where ignored."""
    _check_classes(log_p, target, dim, ignore_index)
    keep = target != ignore_index
    safe = torch.where(keep, target, 0).long()
    values = -log_p.take_along_dim(safe.unsqueeze(dim), dim).squeeze(dim)
    if weight is not None:
        class_weights(weight, log_p.shape[dim])
        values = weight[safe] * values
    return torch.where(keep, values, torch.zeros_like(values))


def _weighted(values, weight, dim):
    """``values`` times the weight of their class."""
    if weight is None:
        return values
    return values * weight.view([-1] + [1] * (values.ndim - dim - 1))


def _expected_nll(log_p, q, dim, weight, reduction):
    finite_values("probabilities", q)
    if weight is not None:
        class_weights(weight, log_p.shape[dim])
    terms = torch.where(q > 0, -q * log_p, torch.zeros_like(log_p))  # 0 * log 0 counts as 0
    return reduce(_weighted(terms, weight, dim).sum(dim), reduction)


def _reduce_classes(values, target, weight, ignore_index, reduction):
    """As :func:`reduce`; a mean is over the examples that count, each with the weight of its class."""
    if one_of("reduction", reduction, REDUCTIONS) != "mean":
        return reduce(values, reduction)
    keep = target != ignore_index
    if weight is None:
        return values.sum() / keep.sum()
    return values.sum() / torch.where(keep, weight[torch.where(keep, target, 0).long()], 0.0).sum()
