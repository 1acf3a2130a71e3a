"""How the graded functions of this homework are called. Runs in the sandbox: it holds no answer and no hidden input.

Every driver takes ``student`` (the student's functions by name) and plain data, and returns plain data.
"""

import torch


def make(kind, **p):
    """A scalar function of a vector from its family and parameters; all are smooth and work with autograd.

    ``quartic``: x'Ax/2 + c sum(x^4)/4 - b'x. ``chain``: sum of (x[i+1]-x[i])^2/2 + c sum(x^4)/4. ``linear``: b'x.
    ``around``: y'Ay/2 + c sum(y^4)/4 + b'y with y = x - p.
    """
    if kind == "quartic":
        return lambda x: 0.5 * x @ (p["A"] @ x) + p["c"] * (x**4).sum() / 4 - p["b"] @ x
    if kind == "chain":
        return lambda x: 0.5 * ((x[1:] - x[:-1]) ** 2).sum() + p["c"] * (x**4).sum() / 4
    if kind == "linear":
        return lambda x: p["b"] @ x
    if kind == "around":
        return lambda x: _around(x - p["p"], p)
    raise ValueError(f"no family {kind!r}")


def _around(y, p):
    return 0.5 * y @ (p["A"] @ y) + p["c"] * (y**4).sum() / 4 + p["b"] @ y


def drive_hvp(student, theta, v, **family):
    """The product."""
    return {"Hv": student.hvp(make(**family), theta, v)}


def drive_power(student, A, v0, steps):
    """The eigenpair, and how many products were taken."""
    calls = []

    def product(v):
        if v.shape != v0.shape:
            raise ValueError(f"product takes one vector of shape {list(v0.shape)}, got shape {list(v.shape)}")
        calls.append(1)
        return A @ v

    value, vector = student.power_iteration(product, v0, steps)
    return {"value": value, "vector": vector, "products": len(calls)}


def drive_classify(student, theta, tol, **family):
    """The word that the student's function returns."""
    return student.classify(make(**family), theta, tol)


def drive_clip(student, values, gradients, max_norm):
    """Norm, gradients after clipping, whether they are the same tensors, and the parameters."""
    params = [torch.nn.Parameter(v.clone()) for v in values]
    for p, g in zip(params, gradients):
        p.grad = None if g is None else g.clone()
    held = [p.grad for p in params]
    norm = student.clip_gradients(params, max_norm)
    return {
        "norm": norm,
        "gradients": [p.grad for p in params],
        "in place": all(p.grad is h for p, h in zip(params, held)),
        "parameters": [p.detach() for p in params],
    }


def drive_descent(student, theta, eta, steps, max_norm, **family):
    """The trajectory."""
    return {"path": student.gradient_descent(make(**family), theta, eta, steps, max_norm)}


def drive_flops(student, name, arguments):
    """One of the three counting functions."""
    return getattr(student, name)(*arguments)
