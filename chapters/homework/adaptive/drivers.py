"""How the graded functions of this homework are called. Runs in the sandbox: it holds no answer and no hidden input.

Every driver takes ``student`` (the student's functions by name) and plain data, and returns plain data.
"""

import math

import torch


def slope(kind, **p):
    """A gradient as a function of theta. ``curved``: A theta + c theta^3 - b. ``constant``: b."""
    if kind == "curved":
        return lambda theta: p["A"] @ theta + p["c"] * theta**3 - p["b"]
    if kind == "constant":
        return lambda theta: p["b"].clone()
    raise ValueError(f"no family {kind!r}")


def drive_path(student, name, theta, numbers, **family):
    """The trajectory of one of the four optimizers."""
    before = theta.clone()
    path = getattr(student, name)(slope(**family), theta, **numbers)
    return {"path": path, "start unchanged": torch.equal(theta, before) and not theta.requires_grad}


def machine(error, beta1, beta2, eps):
    """Adam at rate 1 on one coordinate, with one of its printed errors: gradients -> steps."""

    def run(gradients):
        m = v = 0.0
        steps = []
        for t, g in enumerate(gradients, start=1):
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            first = 1.0 if error == "no correction" else 1 - beta1**t
            second = 1.0 if error == "no correction" else 1 - beta2 ** (2 if error == "constant correction" else t)
            scale = v / second
            other = {"epsilon inside": math.sqrt(scale + eps), "no root": scale + eps}
            bottom = other.get(error, math.sqrt(scale) + eps)
            steps.append((1 if error == "sign" else -1) * m / first / bottom)
        return steps

    return run


def drive_diagnose(student, errors, beta1, beta2, eps):
    """The words for several machines."""
    return [student.diagnose(machine(error, beta1, beta2, eps), beta1, beta2, eps) for error in errors]


def drive_tune(student, centers, floors, noise, budget, seed):
    """Rates, intervals, numbers of calls and whether the interval's seeds are fresh, for several problems."""
    out = {"rate": [], "low": [], "high": [], "calls": [], "fresh": []}
    for k, (center, floor) in enumerate(zip(centers.tolist(), floors.tolist())):
        log = []

        def train(lr, seed_, center=center, floor=floor, log=log, k=k):
            key = seed + 7919 * k + 104729 * int(seed_) + round(1e6 * math.log10(lr)) % 10007
            draw = torch.Generator().manual_seed(key)
            log.append((float(lr), int(seed_)))
            value = floor + 0.4 * (math.log10(lr) - center) ** 2
            return value + noise * torch.randn((), generator=draw, dtype=torch.float64).item()

        lr, low, high = student.tune(train, budget)
        at = {s for rate, s in log if rate == float(lr)}
        used = {s for rate, s in log if rate != float(lr)}
        for key, value in {"rate": lr, "low": low, "high": high, "calls": len(log), "fresh": len(at - used)}.items():
            out[key].append(float(value))
    return out
