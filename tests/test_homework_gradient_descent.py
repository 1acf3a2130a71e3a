# ruff: noqa: E501  (a table of one-line edits)
"""Mutation tests of the graders: the reference earns everything, every wrong solution loses in what it breaks.

``MUTANTS`` and ``EQUIVALENT`` map a test cell to sources that replace the solution; a mutant also names the requirements
(by position) that it must fail. Everything runs in this process, without a sandbox.
"""

import dataclasses

import pytest
from dlopt.homework.publish import check_source
from homework_harness import Topic, cases, check_mutants_differ, edit

TOPIC = Topic("gradient_descent")

HVP = """
def hvp(f, theta, v):
    theta = theta.detach().clone().requires_grad_(True)
    (g,) = torch.autograd.grad(f(theta), theta, create_graph=True)
    if not g.requires_grad:
        return torch.zeros_like(v)
    return torch.autograd.grad(g @ v, theta)[0]
"""
POWER = """
def power_iteration(product, v0, steps):
    v = v0 / v0.norm()
    for _ in range(steps):
        v = product(v)
        v = v / v.norm()
    return v @ product(v), v
"""
CLASSIFY = """
def classify(f, theta, tol=1e-6):
    H = torch.autograd.functional.hessian(f, theta)
    g = torch.autograd.functional.jacobian(f, theta)
    values = torch.linalg.eigvalsh(H)
    if g.abs().max() > tol:
        return "not critical"
    if values.max() > tol and values.min() < -tol:
        return "saddle"
    if values.abs().min() <= tol:
        return "degenerate"
    return "minimum" if values.min() > 0 else "maximum"
"""
CLIP = """
def clip_gradients(params, max_norm):
    norm = sum((p.grad**2).sum() for p in params if p.grad is not None) ** 0.5
    if norm > max_norm:
        for p in params:
            if p.grad is not None:
                p.grad *= max_norm / norm
    return norm
"""
DESCENT = """
def gradient_descent(f, theta, eta, steps, max_norm=None):
    theta = theta.clone()
    path = [theta.clone()]
    for _ in range(steps):
        theta.requires_grad_(True)
        g = torch.autograd.grad(f(theta), theta)[0]
        theta = theta.detach()
        if max_norm is not None:
            g = g * min(1.0, max_norm / float(g.norm()))
        theta -= eta * g
        path.append(theta.clone())
    return torch.stack(path)
"""
FLOPS = """
def gd_steps(kappa, eps):
    rate = (kappa - 1) / (kappa + 1)
    return max(1, math.ceil(math.log(eps) / math.log(rate))) if rate > 0 else 1

def gd_flops(n, kappa, eps):
    return gd_steps(kappa, eps) * (2 * n**2 + 2 * n)

def newton_flops(n):
    return n**3 / 3 + 4 * n**2 + n

def break_even(n, eps):
    most = math.floor(newton_flops(n) / (2 * n**2 + 2 * n))
    q = eps ** (1 / most)
    kappa = math.floor((1 + q) / (1 - q)) + 2
    while gd_flops(n, kappa, eps) > newton_flops(n):
        kappa -= 1
    return kappa
"""


EQUIVALENT = {
    "test_hvp": {
        "product of g and v": HVP,
        "backward on a leaf": """
def hvp(f, theta, v):
    x = theta.detach().clone().requires_grad_(True)
    g = torch.autograd.grad(f(x), x, create_graph=True)[0]
    if g.grad_fn is None:
        return torch.zeros_like(theta)
    (g * v).sum().backward()
    return x.grad
""",
        "forward over reverse": """
def hvp(f, theta, v):
    return torch.func.jvp(torch.func.grad(f), (theta,), (v,))[1]
""",
    },
    "test_power": {
        "loop": POWER,
        "python sums and a carried product": """
def power_iteration(product, v0, steps):
    v = v0 / float((v0 * v0).sum()) ** 0.5
    w = product(v)
    for _ in range(steps):
        v = w / torch.linalg.vector_norm(w)
        w = product(v)
    return float((v * w).sum()), v
""",
        "quotient with an explicit division, other sign of v": """
def power_iteration(product, v0, steps):
    u = -v0.clone()
    for _ in range(steps):
        u = torch.nn.functional.normalize(product(u), dim=0)
    return (u @ product(u)) / (u @ u), u
""",
    },
    "test_classify": {
        "jacobian and extremes": CLASSIFY,
        "rows of the Hessian by double backward, counting signs": """
def classify(f, theta, tol=1e-6):
    x = theta.clone().requires_grad_(True)
    g = torch.autograd.grad(f(x), x, create_graph=True)[0]
    if any(abs(float(gi)) > tol for gi in g):
        return "not critical"
    rows = [torch.autograd.grad(gi, x, retain_graph=True)[0] for gi in g]
    values = torch.linalg.eigh(torch.stack(rows)).eigenvalues.tolist()
    up, down = sum(e > tol for e in values), sum(e < -tol for e in values)
    if up and down:
        return "saddle"
    return "minimum" if up == len(values) else "maximum" if down == len(values) else "degenerate"
""",
    },
    "test_clip": {
        "powers": CLIP,
        "torch's own formula with its epsilon": """
def clip_gradients(params, max_norm):
    gs = [p.grad for p in params if p.grad is not None]
    if not gs:
        return torch.tensor(0.0)
    total = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gs]))
    factor = torch.clamp(max_norm / (total + 1e-9), max=1.0)
    for g in gs:
        g.copy_(g * factor)
    return total
""",
        "one flat vector": """
def clip_gradients(params, max_norm):
    held = [p for p in params if p.grad is not None]
    flat = torch.cat([p.grad.reshape(-1) for p in held]) if held else torch.zeros(1)
    norm = float(flat.norm())
    for p in held:
        p.grad.mul_(min(1.0, max_norm / norm) if norm > 0 else 1.0)
    return norm
""",
    },
    "test_descent": {
        "detached in place": DESCENT,
        "preallocated rows": """
def gradient_descent(f, theta, eta, steps, max_norm=None):
    path = torch.empty(steps + 1, len(theta), dtype=theta.dtype)
    path[0] = theta
    gradient = torch.func.grad(f)
    for t in range(steps):
        g = gradient(path[t].clone())
        length = torch.linalg.vector_norm(g)
        if max_norm is not None and length > max_norm:
            g = g / length * max_norm
        path[t + 1] = path[t] - eta * g
    return path
""",
        "backward on a leaf": """
def gradient_descent(f, theta, eta, steps, max_norm=None):
    x = theta.detach().clone().requires_grad_(True)
    rows = [x.detach().clone()]
    for _ in range(steps):
        x.grad = None
        f(x).backward()
        with torch.no_grad():
            if max_norm is not None:
                x.grad *= torch.clamp(max_norm / x.grad.norm(), max=1)
            x -= eta * x.grad
        rows.append(x.detach().clone())
    return torch.stack(rows)
""",
    },
    "test_flops": {
        "solved for kappa": FLOPS,
        "logarithms of one plus": edit(
            FLOPS,
            ("return max(1, math.ceil(math.log(eps) / math.log(rate))) if rate > 0 else 1",
             "return max(1, math.ceil(-math.log(eps) / (math.log1p(kappa) - math.log(kappa - 1)))) if kappa > 1 else 1"),
            ("n**3 / 3 + 4 * n**2 + n", "(n * n * n + 12 * n * n + 3 * n) / 3"),
        ),
    },
}  # fmt: skip

MUTANTS = {
    "test_hvp": {
        "sign": (edit(HVP, ("(g @ v, theta)[0]", "(-(g @ v), theta)[0]")), [0, 1, 3]),
        "the gradient itself": (edit(HVP, ("torch.autograd.grad(g @ v, theta)[0]", "g.detach()")), [0, 1, 3]),
        "twice": (edit(HVP, ("(g @ v, theta)[0]", "(2 * g @ v, theta)[0]")), [0, 1, 3]),
        "row sums, v forgotten": (edit(HVP, ("g @ v", "g.sum()")), [0, 1, 3]),
        "v multiplied afterwards": (edit(HVP, ("(g @ v, theta)[0]", "(g.sum(), theta)[0] * v")), [0, 1]),
        "at the origin": (edit(HVP, ("theta.detach().clone()", "torch.zeros_like(theta)")), [0, 1]),
        "visible answer": ("def hvp(f, theta, v):\n    return f64([4.0, 0.0])", [0, 1, 2, 3]),
        "crash on a linear f": (edit(HVP, ("if not g.requires_grad:", "if False:")), [2]),
        "float64 whatever comes": (edit(HVP, ("return torch.autograd.grad(g @ v, theta)[0]",
                                              "return torch.autograd.grad(g @ v, theta)[0].double()")), [3]),
        "requires_grad left on": (edit(HVP, ("theta.detach().clone().requires_grad_(True)", "theta.requires_grad_(True)")), [0]),
        "grad left behind": ("""
def hvp(f, theta, v):
    theta.requires_grad_(True)
    (g,) = torch.autograd.grad(f(theta), theta, create_graph=True)
    if not g.requires_grad:
        return torch.zeros_like(v)
    (g @ v).backward()
    theta.requires_grad_(False)
    return theta.grad
""", [0, 3]),
        "v scaled in place": (edit(HVP, ("    theta = theta.detach()", "    v.mul_(1.5).div_(1.5).add_(1e-9)\n    theta = theta.detach()")), [0]),
        "coarse difference quotient": ("""
def hvp(f, theta, v):
    g = torch.func.grad(f)
    return (g(theta + 1e-2 * v) - g(theta)) / 1e-2
""", [0, 1]),
        "ready-made": ("def hvp(f, theta, v):\n    return torch.autograd.functional.hvp(f, theta, v)[1]", [0, 1, 2, 3]),
        "ready-made under another name": (
            "from torch.autograd import functional as tool\ndef hvp(f, theta, v):\n    return tool.hvp(f, theta, v)[1]", [0, 1, 2, 3]),
        "ready-made through a helper": (
            "import torch.autograd.functional as F\ndef helper(*a):\n    return F.vhp(*a)\n"
            "def hvp(f, theta, v):\n    return helper(f, theta, v)[1]", [0, 1, 2, 3]),
        "not written": ("def hvp(f, theta, v):\n    raise NotImplementedError()", [0, 1, 2, 3]),
        "returns nothing": (edit(HVP, ("return torch.autograd.grad(g @ v, theta)[0]", "torch.autograd.grad(g @ v, theta)[0]")), [0, 1, 3]),
        "a list": (edit(HVP, ("(g @ v, theta)[0]", "(g @ v, theta)[0].tolist()")), [0, 1, 3]),
        "a column": (edit(HVP, ("(g @ v, theta)[0]", "(g @ v, theta)[0][:, None]")), [0, 1, 3]),
    },
    "test_power": {
        "norm in place of the quotient": (edit(POWER, ("v @ product(v), v", "product(v).norm(), v")), [0]),
        "absolute value": (edit(POWER, ("v @ product(v), v", "(v @ product(v)).abs(), v")), [0]),
        "one step more": (edit(POWER, ("range(steps)", "range(steps + 1)")), [2]),
        "one step less": (edit(POWER, ("range(steps)", "range(steps - 1)")), [2]),
        "vector not normalized": (edit(POWER, ("        v = v / v.norm()\n    return v @ product(v), v",
                                               "        v = v / v.norm()\n    return v @ product(v), product(v)")), [1]),
        "scaled by the largest entry": (edit(POWER, ("v = v / v.norm()", "v = v / v.abs().max()")), [1]),
        "quotient of the previous vector": ("""
def power_iteration(product, v0, steps):
    v = v0 / v0.norm()
    for _ in range(steps):
        w = product(v)
        value = v @ w
        v = w / w.norm()
    return value, v
""", [2]),
        "quotient without normalization": (edit(POWER, ("v @ product(v), v", "v @ product(product(v)), v")), [0]),
        "v0 normalized in place": (edit(POWER, ("v = v0 / v0.norm()", "v = v0.div_(v0.norm())")), [1]),
        "twice the products": (edit(POWER, ("        v = product(v)\n", "        v = product(v) + 0 * product(v)\n")), [0, 1]),
        "runs until it does not change": (edit(POWER, ("for _ in range(steps):", "for _ in range(100):")), [2]),
        "visible answer": ("def power_iteration(product, v0, steps):\n    return 3.0, f64([1.0, 1.0]) / 2**0.5", [0, 1, 2]),
        "pair swapped": (edit(POWER, ("return v @ product(v), v", "return v, v @ product(v)")), [0, 1, 2]),
        "value alone": (edit(POWER, ("return v @ product(v), v", "return v @ product(v)")), [0, 1, 2]),
        "smallest eigenvalue": (edit(POWER, ("v = product(v)\n", "v = 30 * v - product(v)\n")), [0, 1]),
        "eigenvalue routine": ("""
def power_iteration(product, v0, steps):
    H = torch.stack([product(e) for e in torch.eye(len(v0), dtype=v0.dtype)])
    values, vectors = torch.linalg.eigh(H)
    i = values.abs().argmax()
    return values[i], vectors[:, i]
""", [0, 1, 2]),
    },
    "test_classify": {
        **{f"always {w}": (f"def classify(f, theta, tol=1e-6):\n    return {w!r}", [0, 1, 2, 3])
           for w in ("minimum", "maximum", "saddle", "degenerate", "not critical")},
        "sign of the determinant": (edit(CLASSIFY, ("values.max() > tol and values.min() < -tol", "torch.linalg.det(H) < 0")), [1]),
        "sign of the trace": (edit(CLASSIFY, ('"minimum" if values.min() > 0 else "maximum"', '"maximum" if H.trace() > 0 else "minimum"')), [0]),
        "diagonal of the Hessian": (edit(CLASSIFY, ("torch.linalg.eigvalsh(H)", "torch.diagonal(H)")), [1]),
        "first eigenvalue only": (edit(CLASSIFY, ("values.max() > tol and values.min() < -tol", "False")), [1]),
        "negative means saddle": (edit(CLASSIFY, ("values.max() > tol and values.min() < -tol", "values.min() < -tol")), [0]),
        "never degenerate": (edit(CLASSIFY, ("values.abs().min() <= tol", "False")), [2]),
        "degenerate before saddle": (edit(CLASSIFY, ('    if values.max() > tol and values.min() < -tol:\n        return "saddle"\n', ""),
                                          ('return "minimum"', 'if values.max() > tol and values.min() < -tol:\n        return "saddle"\n    return "minimum"')), [2]),
        "tol ignored": (edit(CLASSIFY, ("g.abs().max() > tol", "g.abs().max() > 1e-6")), [3]),
        "loose tolerance": (edit(CLASSIFY, ("g.abs().max() > tol", "g.abs().max() > 1e-2")), [3]),
        "signed slope": (edit(CLASSIFY, ("g.abs().max() > tol", "g.sum() > tol")), [3]),
        "gradient never looked at": (edit(CLASSIFY, ("g.abs().max() > tol", "False")), [3]),
        "words swapped": (edit(CLASSIFY, ('"minimum" if', '"maximum" if'), ('else "maximum"', 'else "minimum"')), [0]),
        "capital letters": (edit(CLASSIFY, ('"saddle"', '"Saddle"')), [1]),
    },
    "test_clip": {
        "one norm per parameter": ("""
def clip_gradients(params, max_norm):
    gs = [p.grad for p in params if p.grad is not None]
    norm = sum((g**2).sum() for g in gs) ** 0.5
    for g in gs:
        g *= min(1.0, max_norm / float(g.norm())) if g.norm() > 0 else 1.0
    return norm
""", [0]),
        "every entry clamped": (edit(CLIP, ("p.grad *= max_norm / norm", "p.grad.clamp_(-max_norm, max_norm)")), [0]),
        "largest entry": (edit(CLIP, ("sum((p.grad**2).sum() for p in params if p.grad is not None) ** 0.5",
                                      "max([p.grad.abs().max() for p in params if p.grad is not None], default=0.0)")), [0, 3]),
        "always to max_norm": (edit(CLIP, ("if norm > max_norm:", "if norm > 0:")), [1]),
        "zero divided by zero": ("""
def clip_gradients(params, max_norm):
    gs = [p.grad for p in params if p.grad is not None]
    norm = torch.as_tensor(sum((g**2).sum() for g in gs)) ** 0.5
    for g in gs:
        g *= max_norm / torch.maximum(norm, torch.where(norm > 0, norm.new_tensor(max_norm), norm))
    return norm
""", [1]),
        "crash on a missing gradient": (edit(CLIP, (" for p in params if p.grad is not None", " for p in params"),
                                             ("            if p.grad is not None:\n    ", "        ")), [2]),
        "missing gradient becomes zeros": (edit(CLIP, ("    norm = sum", """    for p in params:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    norm = sum""")), [2]),
        "stops at a missing gradient": ("""
def clip_gradients(params, max_norm):
    held = []
    for p in params:
        if p.grad is None:
            break
        held.append(p.grad)
    norm = sum((g**2).sum() for g in held) ** 0.5
    for g in held:
        g *= min(1.0, max_norm / float(norm)) if norm > 0 else 1.0
    return norm
""", [2]),
        "returns nothing": (edit(CLIP, ("    return norm\n", "")), [2, 3]),
        "returns the norm after": (edit(CLIP, ("return norm", "return min(norm, max_norm)")), [3]),
        "returns the square": (edit(CLIP, ("    return norm", "    return norm**2")), [3]),
        "a new tensor": (edit(CLIP, ("p.grad *= max_norm / norm", "p.grad = p.grad * (max_norm / norm)")), [3]),
        "scales the parameters": (edit(CLIP, ("p.grad *= max_norm / norm", "p.grad *= max_norm / norm; p.data *= max_norm / norm")), [3]),
        "root forgotten": (edit(CLIP, (" ** 0.5", "")), [0, 3]),
        "factor upside down": (edit(CLIP, ("max_norm / norm", "norm / max_norm")), [0]),
        "square of the factor": (edit(CLIP, ("p.grad *= max_norm / norm", "p.grad *= (max_norm / norm) ** 2")), [0]),
        "epsilon inside the root": (edit(CLIP, ("(p.grad**2).sum()", "(p.grad**2 + 1e-2).sum()")), [0, 3]),
        "first parameter only": (edit(CLIP, ("        for p in params:", "        for p in params[:1]:")), [0]),
        "last parameter forgotten": (edit(CLIP, ("for p in params if", "for p in params[:-1] if")), [3]),
        "visible answer": ("""
def clip_gradients(params, max_norm):
    if max_norm == 1.0:
        params[0].grad.copy_(f64([0.6, 0.0])), params[1].grad.copy_(f64([0.8]))
    return 5.0
""", [0, 2, 3]),
        "ready-made": ("clip_gradients = torch.nn.utils.clip_grad_norm_", [0, 1, 2, 3]),
        "ready-made, imported": ("from torch.nn.utils import clip_grad_norm_ as c\ndef clip_gradients(p, m):\n    return c(p, m)", [0, 1, 2, 3]),
    },
    "test_descent": {
        "ascent": (edit(DESCENT, ("theta -= eta * g", "theta += eta * g")), [0, 2]),
        "step size squared": (edit(DESCENT, ("theta -= eta * g", "theta -= eta**2 * g")), [0]),
        "start left out": (edit(DESCENT, ("path = [theta.clone()]", "path = [theta.clone()][:0]")), [0, 2]),
        "one row too many": (edit(DESCENT, ("range(steps)", "range(steps + 1)")), [0, 2]),
        "last row left out": (edit(DESCENT, ("torch.stack(path)", "torch.stack(path[:-1] or path)")), [0, 2]),
        "rows are one tensor": (edit(DESCENT, ("path.append(theta.clone())", "path.append(theta)")), [0]),
        "start changed": (edit(DESCENT, ("    theta = theta.clone()\n", "")), [2]),
        "start switched to requires_grad": (edit(DESCENT, ("theta = theta.clone()", "theta = theta.double().clone()")), [3]),
        "max_norm ignored": (edit(DESCENT, ("if max_norm is not None:", "if False:")), [1]),
        "clipped up as well": (edit(DESCENT, ("min(1.0, max_norm / float(g.norm()))", "(max_norm / float(g.norm()))")), [1]),
        "entries clamped": (edit(DESCENT, ("g * min(1.0, max_norm / float(g.norm()))", "g.clamp(-max_norm, max_norm)")), [1]),
        "step clipped in place of the gradient": (edit(DESCENT, ("max_norm / float(g.norm())", "max_norm / (eta * float(g.norm()))")), [1]),
        "gradient accumulates": ("""
def gradient_descent(f, theta, eta, steps, max_norm=None):
    x = theta.detach().clone().requires_grad_(True)
    rows = [x.detach().clone()]
    for _ in range(steps):
        f(x).backward()
        with torch.no_grad():
            x -= eta * (x.grad if max_norm is None else x.grad * min(1.0, max_norm / float(x.grad.norm())))
        rows.append(x.detach().clone())
    return torch.stack(rows)
""", [0]),
        "gradient of the start for ever": (edit(DESCENT, ("f(theta), theta", "f(first), first"), ("    path = ", "    first = theta.clone().requires_grad_(True)\n    path = ")), [0]),
        "visible answer": ("""
def gradient_descent(f, theta, eta, steps, max_norm=None):
    if max_norm:
        return torch.stack([theta, theta - theta / theta.norm()])
    return torch.stack([theta / 2**t for t in range(steps + 1)])
""", [0, 1]),
        "fails without steps": (edit(DESCENT, ("torch.stack(path)", "torch.cat([path[0][None], torch.stack(path[1:])])")), [2]),
        "decaying step size": (edit(DESCENT, ("for _ in", "for k in"), ("eta * g", "eta / (1 + 1e-4 * k) * g")), [0]),
        "torch.optim": ("""
def gradient_descent(f, theta, eta, steps, max_norm=None):
    x = theta.clone().requires_grad_(True)
    optimizer = torch.optim.SGD([x], lr=eta)
    rows = [x.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        f(x).backward()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_([x], max_norm)
        optimizer.step()
        rows.append(x.detach().clone())
    return torch.stack(rows)
""", [0, 1, 2, 3]),
        "torch.optim by getattr, right in every number": ("""
library = getattr(torch, "op" + "tim")
def gradient_descent(f, theta, eta, steps, max_norm=None):
    x = theta.clone().requires_grad_(True)
    optimizer = library.SGD([x], lr=eta)
    rows = [x.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        f(x).backward()
        if max_norm is not None:
            x.grad *= min(1.0, max_norm / float(x.grad.norm()))
        optimizer.step()
        rows.append(x.detach().clone())
    return torch.stack(rows)
""", [0, 1, 2, 3]),
    },
    "test_flops": {
        "rounded down": (edit(FLOPS, ("math.ceil", "math.floor")), [0]),
        "one step more": (edit(FLOPS, ("math.ceil(math.log(eps) / math.log(rate))", "math.ceil(math.log(eps) / math.log(rate)) + 1")), [0]),
        "crash at kappa 1": (edit(FLOPS, (" if rate > 0 else 1", "")), [0]),
        "rate squared": (edit(FLOPS, ("(kappa - 1) / (kappa + 1)", "((kappa - 1) / (kappa + 1)) ** 2")), [0]),
        "rate of the step 1/L": (edit(FLOPS, ("(kappa - 1) / (kappa + 1)", "1 - 1 / kappa")), [0]),
        "approximation for large kappa": (edit(FLOPS, ("math.log(eps) / math.log(rate)", "-math.log(eps) * kappa / 2")), [0]),
        "update not counted": (edit(FLOPS, ("(2 * n**2 + 2 * n)\n\n", "(2 * n**2)\n\n")), [1]),
        "two thirds": (edit(FLOPS, ("n**3 / 3", "2 * n**3 / 3")), [1]),
        "whole division": (edit(FLOPS, ("n**3 / 3", "n**3 // 3")), [1]),
        "solves not counted": (edit(FLOPS, ("4 * n**2", "2 * n**2")), [1]),
        "break-even one too large": (edit(FLOPS, ("    return kappa\n", "    return kappa + 1\n")), [2, 3]),
        "break-even one too small": (edit(FLOPS, ("    return kappa\n", "    return kappa - 1\n")), [2, 3]),
        "break-even not whole": (edit(FLOPS, ("    return kappa\n", "    return kappa + 0.4\n")), [2, 3]),
        "comparison the wrong way": (edit(FLOPS, ("    while gd_flops(n, kappa, eps) > newton_flops(n):\n        kappa -= 1\n", "")), [2, 3]),
        "stops at a thousand": (edit(FLOPS, ("    return kappa\n", "    return min(kappa, 1000)\n")), [3]),
        "visible answers": ("""
def gd_steps(kappa, eps):
    return 1 if kappa == 1 else 4
def gd_flops(n, kappa, eps):
    return 880
def newton_flops(n):
    return 12630
def break_even(n, eps):
    return 3
""", [0, 1, 2, 3]),
    },
}  # fmt: skip


def test_disagreement_on_points_functions_drivers_and_cells_is_refused():
    task = TOPIC.homework.tasks[0]
    for changes, told in [
        ({"tasks": [dataclasses.replace(task, requirements=task.requirements[:1]), *TOPIC.homework.tasks[1:]]}, "make them equal"),
        ({"tasks": [dataclasses.replace(task, functions=["absent"]), *TOPIC.homework.tasks[1:]]}, "defines absent"),
        ({"tasks": [dataclasses.replace(task, driver="absent"), *TOPIC.homework.tasks[1:]]}, "no function absent"),
        ({"skip": ["absent"]}, "do not exist: absent"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=told):
            check_source(TOPIC.notebook, dataclasses.replace(TOPIC.homework, **changes))


@pytest.mark.parametrize("cell, name", cases(EQUIVALENT))
def test_a_different_right_solution_earns_everything(cell, name):
    TOPIC.check_right(cell, EQUIVALENT[cell][name])


@pytest.mark.parametrize("cell, name", cases(MUTANTS))
def test_a_wrong_solution_loses_where_it_is_wrong(cell, name):
    TOPIC.check_wrong(cell, *MUTANTS[cell][name])


def test_many_mutants_lose_only_a_part_so_that_the_feedback_tells_which():
    names = [(cell, name) for cell, name in cases(MUTANTS) if cell != "test_hvp"]
    partial = sum(0 < TOPIC.grade_source(cell, MUTANTS[cell][name][0])["score"] for cell, name in names)
    assert partial > len(names) / 3


def test_every_mutant_is_code_and_differs_from_every_right_solution():
    check_mutants_differ(MUTANTS, EQUIVALENT)


def test_messages_show_the_students_values_and_not_the_right_ones():
    task = TOPIC.grade_source("test_power", edit(POWER, ("v @ product(v), v", "v @ product(v) * 0 + 123.5, v")))
    message = task["requirements"][0]["message"]
    assert "124" in message and "power_iteration" in message
    right = TOPIC.homework.task("test_power").requirements[0]
    assert message.count("float64") == 1 and "must" not in message and right.says not in message
