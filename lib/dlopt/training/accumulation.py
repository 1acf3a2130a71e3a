"""Gradient accumulation: the gradient of a large batch in the memory of a small one."""

from dlopt.checks import whole


def accumulate_gradient(model, loss, x, y, piece):
    r"""Leave in ``p.grad`` the gradient of the mean loss over all of ``x``, computed piece by piece.

    .. math:: \nabla \frac1B \sum_{i \in \mathcal B} \ell_i
              = \sum_k \frac{|\mathcal P_k|}{B}\; \nabla
              \Big( \frac1{|\mathcal P_k|} \sum_{i \in \mathcal P_k} \ell_i \Big)

    An identity as long as an example's loss does not depend on its neighbors; batch normalization breaks it.

    Args:
        model: a module, in the mode it is in.
        loss: ``loss(prediction, target)``, a mean over examples.
        x, y: the batch, [B, ...].
        piece: examples at a time, >= 1; the last piece may be smaller.

    Returns:
        The mean loss, a float.

    Raises:
        ValueError: no examples, unequal lengths, or ``piece`` < 1.
    """
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"x and y must have the same length >= 1, got {len(x)} and {len(y)}")
    model.zero_grad()
    total = 0.0
    for xs, ys in zip(x.split(whole("piece", piece)), y.split(piece)):
        part = loss(model(xs), ys) * (len(xs) / len(x))
        part.backward()
        total += part.item()
    return total
