"""Distillation: a small model learns the answers of a large one."""

import torch
from torch.nn import functional

from dlopt.checks import in_closed, positive


def distillation_loss(logits, teacher_logits, target, T=1.0, alpha=1.0):
    r"""The teacher's softened answers and the labels, mixed.

    .. math:: L = \alpha\, T^2\, \mathrm{KL}\big(p_T \,\|\, q_T\big) + (1-\alpha)\,\mathrm{CE}(y, q_1), \qquad
              p_T = \mathrm{softmax}(z^{\text{teacher}}/T), \quad q_T = \mathrm{softmax}(z/T)

    The gradient of the first term is :math:`\alpha T (q_T - p_T)` per example; with the factor :math:`T^2` its size
    stays comparable as T changes, because :math:`q_T - p_T` itself shrinks like 1/T.

    Args:
        logits: the student's, [n, C].
        teacher_logits: [n, C], constants.
        target: classes [n].
        T: temperature, > 0; large T shows how the teacher ranks the wrong classes.
        alpha: weight of the teacher, in [0, 1].

    Returns:
        0-d tensor, the mean over examples.

    Source: Hinton, Vinyals and Dean (2015), arXiv:1503.02531.
    """
    positive("T", T), in_closed("alpha", alpha)
    p, log_q = functional.log_softmax(teacher_logits / T, -1), functional.log_softmax(logits / T, -1)
    kl = (p.exp() * (p - log_q)).sum(-1).mean()
    hard = functional.cross_entropy(logits, target) if alpha < 1 else 0.0
    return alpha * T**2 * kl + (1 - alpha) * hard


def with_teacher(teacher_logits, target):
    """Targets that carry the teacher's logits beside the class: float [n, C + 1], for `soft_loss`."""
    return torch.cat([teacher_logits, target[:, None].to(teacher_logits.dtype)], 1)


def soft_loss(T=1.0, alpha=1.0):
    """`distillation_loss` as a ``loss(prediction, target)`` for `dlopt.training.train` and ensembles.

    Args:
        T, alpha: as in `distillation_loss`.

    Returns:
        A function of logits [n, C] and targets from `with_teacher`, [n, C + 1].
    """
    def loss(prediction, target):
        return distillation_loss(prediction, target[..., :-1], target[..., -1].long(), T, alpha)

    return loss
