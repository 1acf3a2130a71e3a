# ruff: noqa: E501  (a table of one-line edits)
"""Mutation tests of the graders: the reference earns everything, every wrong solution loses in what it breaks.

``MUTANTS`` and ``EQUIVALENT`` map a test cell to sources that replace the solution; a mutant also names the requirements
(by position) that it must fail. Everything runs in this process, without a sandbox.
"""

import pytest
from homework_harness import Topic, cases, check_mutants_differ, edit

TOPIC = Topic("losses")

CROSS_ENTROPY = """
def cross_entropy(z, y):
    keep = y != -1
    m = z.amax(1, keepdim=True)
    e = torch.exp(z - m)
    s = e.sum(1, keepdim=True)
    own = z.gather(1, y.clamp(min=0)[:, None]) - m
    loss = (s.log() - own)[keep].mean()
    p = e / s
    p[torch.arange(len(y)), y.clamp(min=0)] -= 1
    p[~keep] = 0
    return loss, p / keep.sum()
"""
HUBER = """
def huber(prediction, target, delta):
    if prediction.shape != target.shape or bool(target.isnan().any()):
        raise ValueError("no")
    r = prediction - target
    inside = r.abs() <= delta
    values = torch.where(inside, r**2 / 2, delta * r.abs() - delta**2 / 2)
    slope = torch.where(inside, r, delta * r.sign())
    return values.mean(), slope / r.numel()
"""
LOCATION = """
def location(sample, law, q=None):
    ordered = sorted(sample.tolist())
    n = len(ordered)
    if law == "gaussian":
        return sum(ordered) / n
    if law == "laplace":
        return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    if law == "asymmetric laplace":
        return min(ordered, key=lambda c: sum(max(q * (y - c), (q - 1) * (y - c)) for y in ordered))
    if law == "uniform":
        return 0.5 * (ordered[0] + ordered[-1])
    best = None
    for start in ordered:
        c = start
        for _ in range(200):
            w = [1 / (1 + (y - c) ** 2) for y in ordered]
            c = sum(a * y for a, y in zip(w, ordered)) / sum(w)
        cost = sum(math.log1p((y - c) ** 2) for y in ordered)
        best = (cost, c) if best is None or cost < best[0] else best
    return best[1]
"""
GRADIENTS = """
def gradients(x, y, W1, b1, W2, b2):
    n = x.shape[0]
    h = torch.tanh(x @ W1.T + b1)
    out = h @ W2.T + b2
    e = (out - y) / n
    loss = ((out - y) ** 2).sum() / (2 * n)
    back = (e @ W2) * (1 - h * h)
    return loss, (back.T @ x, back.sum(0), e.T @ h, e.sum(0))
"""
STOP = """
def should_stop(history):
    if not math.isfinite(history[-1]):
        return True
    return history.index(min(history)) + 12 < len(history)
"""


EQUIVALENT = {
    "test_cross_entropy": {
        "gather": CROSS_ENTROPY,
        "example by example": """
def cross_entropy(z, y):
    total, gradient, n = z.new_zeros(()), torch.zeros_like(z), int((y >= 0).sum())
    for i, k in enumerate(y.tolist()):
        if k < 0:
            continue
        s = z[i] - z[i].max()
        weights = s.exp()
        total = total + weights.sum().log() - s[k]
        gradient[i] = weights / weights.sum()
        gradient[i, k] -= 1
    return total / n, gradient / n
""",
    },
    "test_huber": {
        "two branches": HUBER,
        "minimum": """
def huber(prediction, target, delta):
    if prediction.shape != target.shape or not bool((target == target).all()):
        raise ValueError("refused")
    r = (prediction - target).abs()
    small = torch.minimum(r, torch.full_like(r, delta))
    return (small * (r - small / 2)).mean(), small * (prediction - target).sign() / r.numel()
""",
    },
    "test_location": {
        "python and a search from every record": LOCATION,
        "upper median and a sorted quantile": edit(
            LOCATION, ("(ordered[(n - 1) // 2] + ordered[n // 2]) / 2", "ordered[n // 2]"),
            ("min(ordered, key=lambda c: sum(max(q * (y - c), (q - 1) * (y - c)) for y in ordered))", "ordered[math.ceil(q * n) - 1]")),
    },
    "test_gradients": {
        "matrices": GRADIENTS,
        "sums over examples of outer products": """
def gradients(x, y, W1, b1, W2, b2):
    loss, G = 0.0, [torch.zeros_like(t) for t in (W1, b1, W2, b2)]
    for xi, yi in zip(x, y):
        a = torch.tanh(W1 @ xi + b1)
        d2 = W2 @ a + b2 - yi
        d1 = (W2.T @ d2) * (1 - a**2)
        loss = loss + 0.5 * (d2 @ d2)
        for g, new in zip(G, (torch.outer(d1, xi), d1, torch.outer(d2, a), d2)):
            g += new / len(x)
    return loss / len(x), tuple(G)
""",
    },
    "test_stop": {
        "patience": STOP,
        "two windows of means": """
def should_stop(history):
    if math.isnan(history[-1]) or math.isinf(history[-1]):
        return True
    if len(history) < 21:
        return False
    late = sum(history[-10:]) / 10
    return late >= sum(history[-20:-10]) / 10
""",
        "more patience": edit(STOP, ("+ 12", "+ 18")),
    },
}  # fmt: skip

MUTANTS = {
    "test_cross_entropy": {
        "sum": (edit(CROSS_ENTROPY, ("[keep].mean()", "[keep].sum()")), [0, 2]),
        "gradient of the sum": (edit(CROSS_ENTROPY, ("return loss, p / keep.sum()", "return loss, p")), [1, 2]),
        "sign of the loss": (edit(CROSS_ENTROPY, ("(s.log() - own)", "(own - s.log())")), [0]),
        "sign of the gradient": (edit(CROSS_ENTROPY, ("p / keep.sum()", "-p / keep.sum()")), [1]),
        "one-hot forgotten": (edit(CROSS_ENTROPY, (" -= 1", " -= 0")), [1]),
        "bits": (edit(CROSS_ENTROPY, ("return loss,", "return loss / math.log(2),")), [0]),
        "mean over elements": (edit(CROSS_ENTROPY, ("p / keep.sum()", "p / p.numel()")), [1]),
        "no shift": (edit(CROSS_ENTROPY, ("z.amax(1, keepdim=True)", "torch.zeros_like(z[:, :1])")), [2]),
        "log of a probability": (edit(CROSS_ENTROPY, ("(s.log() - own)", "-(own.exp() / s).log()")), [2]),
        "log of a probability plus a little": (edit(CROSS_ENTROPY, ("(s.log() - own)", "-(own.exp() / s + 1e-12).log()")), [2]),
        "probabilities clamped": (edit(CROSS_ENTROPY, ("(s.log() - own)", "-(own.exp() / s).clamp(min=1e-30).log()")), [2]),
        "logits clamped": (edit(CROSS_ENTROPY, ("    keep =", "    z = z.clamp(-500, 500)\n    keep =")), [2]),
        "class -1 is the last class": (edit(CROSS_ENTROPY, ("keep = y != -1", "keep = y == y"), ("y.clamp(min=0)", "y % z.shape[1]")), [3]),
        "class -1 is class 0": (edit(CROSS_ENTROPY, ("keep = y != -1", "keep = y == y")), [3]),
        "unlabeled counted in the mean": (edit(CROSS_ENTROPY, ("[keep].mean()", "[keep].sum() / len(y)"), ("p / keep.sum()", "p / len(y)")), [3]),
        "unlabeled keep a gradient": (edit(CROSS_ENTROPY, ("    p[~keep] = 0\n", "")), [3]),
        "float64 whatever comes": (edit(CROSS_ENTROPY, ("    keep =", "    z = z.double()\n    keep =")), [4]),
        "logits shifted in place": (edit(CROSS_ENTROPY, ("torch.exp(z - m)", "torch.exp(z.sub_(m))"), ("[:, None]) - m", "[:, None])")), [4]),
        "gradient of the squared error": (edit(CROSS_ENTROPY, ("p / keep.sum()", "2 * p / keep.sum()")), [1]),
        "pair swapped": (edit(CROSS_ENTROPY, ("return loss, p / keep.sum()", "return p / keep.sum(), loss")), [0, 1, 2, 3, 4]),
        "loss alone": (edit(CROSS_ENTROPY, ("return loss, p / keep.sum()", "return loss")), [0, 1, 2, 3, 4]),
        "softmax along examples": (edit(CROSS_ENTROPY, ("s = e.sum(1, keepdim=True)", "s = e.sum(0, keepdim=True)")), [0, 1]),
        "visible answers": ("""
def cross_entropy(z, y):
    if z[0, 0] == 1e4:
        return f64(1e4), f64([[1.0, -1.0]])
    return f64(1.2531), torch.tensor([[0.3325, -0.3776, 0.0450], [-1 / 3, 1 / 6, 1 / 6]], dtype=torch.float64)
""", [0, 1, 2, 3, 4]),
        "not written": ("def cross_entropy(z, y):\n    raise NotImplementedError()", [0, 1, 2, 3, 4]),
        "ready-made": ("""
def cross_entropy(z, y):
    leaf = z.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(leaf, y, ignore_index=-1)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]
""", [0, 1, 2, 3, 4]),
        "ready-made softmax method": (edit(CROSS_ENTROPY, ("p = e / s", "p = z.softmax(1)")), [0, 1, 2, 3, 4]),
        "ready-made logsumexp": (edit(CROSS_ENTROPY, ("s.log()", "(z - m).logsumexp(1, keepdim=True)")), [0, 1, 2, 3, 4]),
    },
    "test_huber": {
        "only squares": (edit(HUBER, ("inside = r.abs() <= delta", "inside = r == r")), [0, 1]),
        "only lines": (edit(HUBER, ("inside = r.abs() <= delta", "inside = r != r")), [0, 1]),
        "half forgotten": (edit(HUBER, ("r**2 / 2,", "r**2,")), [0]),
        "branches do not meet": (edit(HUBER, (" - delta**2 / 2", "")), [0]),
        "smooth L1": (edit(HUBER, ("values.mean(), slope / r.numel()", "values.mean() / delta, slope / r.numel() / delta")), [0, 1]),
        "delta is 1": (edit(HUBER, ("    r = prediction", "    delta = 1.0\n    r = prediction")), [0, 1]),
        "gradient of the target": (edit(HUBER, ("slope / r.numel()", "-slope / r.numel()")), [1]),
        "gradient of the sum": (edit(HUBER, ("slope / r.numel()", "slope")), [1]),
        "gradient per example": (edit(HUBER, ("slope / r.numel()", "slope / len(r)")), [1]),
        "slope 1 outside": (edit(HUBER, ("delta * r.sign()", "r.sign()")), [1]),
        "sum": (edit(HUBER, ("values.mean()", "values.sum()")), [0]),
        "shapes broadcast": (edit(HUBER, ("prediction.shape != target.shape or ", "")), [2]),
        "same number of elements is enough": (edit(HUBER, ("prediction.shape != target.shape", "prediction.numel() != target.numel()")), [2]),
        "nan passes": (edit(HUBER, (" or bool(target.isnan().any())", "")), [2]),
        "nan silently dropped": (edit(HUBER, (" or bool(target.isnan().any())", ""), ("    r = prediction - target\n", "    r = (prediction - target).nan_to_num()\n")), [2]),
        "everything refused": ("def huber(prediction, target, delta):\n    raise ValueError('no')", [0, 1, 2, 3]),
        "another error": (edit(HUBER, ("ValueError", "TypeError")), [2]),
        "float64 whatever comes": (edit(HUBER, ("    r = prediction - target\n", "    r = (prediction - target).double()\n")), [3]),
        "prediction overwritten": (edit(HUBER, ("r = prediction - target", "r = prediction.sub_(target)")), [3]),
        "ready-made": ("""
def huber(prediction, target, delta):
    if prediction.shape != target.shape or bool(target.isnan().any()):
        raise ValueError("no")
    leaf = prediction.clone().requires_grad_()
    loss = torch.nn.HuberLoss(delta=delta)(leaf, target)
    loss.backward()
    return loss.detach(), leaf.grad
""", [0, 1, 2, 3]),
        "visible answer": ("""
def huber(prediction, target, delta):
    if delta != 2.0:
        raise ValueError("no")
    return f64(9.25), f64([-0.5, 1.0])
""", [0, 1, 2, 3]),
    },
    "test_location": {
        "always the mean": ("def location(sample, law, q=None):\n    return sample.mean()", [0, 1, 2, 3]),
        "always the median": ("def location(sample, law, q=None):\n    return sample.median()", [0, 1, 2, 3]),
        "always the middle": ("def location(sample, law, q=None):\n    return (sample.min() + sample.max()) / 2", [0, 1, 3]),
        "mean and median swapped": (edit(LOCATION, ('"gaussian"', '"swap"'), ('"laplace"', '"gaussian"'), ('"swap"', '"laplace"')), [0]),
        "record after the median": (edit(LOCATION, ("(ordered[(n - 1) // 2] + ordered[n // 2]) / 2", "ordered[n // 2 + 1]")), [0]),
        "the other quantile": (edit(LOCATION, ("max(q * (y - c), (q - 1) * (y - c))", "max((1 - q) * (y - c), -q * (y - c))")), [1]),
        "quantile is the median": (edit(LOCATION, ("max(q * (y - c), (q - 1) * (y - c))", "abs(y - c)")), [1]),
        "quantile rounded down": (edit(LOCATION, ("min(ordered, key=lambda c: sum(max(q * (y - c), (q - 1) * (y - c)) for y in ordered))", "ordered[math.ceil(q * n) - 2]")), [1]),
        "interpolated off the record": (edit(LOCATION, ("min(ordered, key=lambda c: sum(max(q * (y - c), (q - 1) * (y - c)) for y in ordered))", "0.98 * torch.quantile(sample, q) + 0.02 * sample.mean()")), [1]),
        "expectile": (edit(LOCATION, ("max(q * (y - c), (q - 1) * (y - c))", "abs(q - (y < c)) * (y - c) ** 2")), [1]),
        "uniform by the mean": (edit(LOCATION, ("0.5 * (ordered[0] + ordered[-1])", "sum(ordered) / n")), [2]),
        "largest record": (edit(LOCATION, ("0.5 * (ordered[0] + ordered[-1])", "ordered[-1]")), [2]),
        "one start, the mean": (edit(LOCATION, ("for start in ordered:", "for start in [sum(ordered) / n]:")), [3]),
        "cauchy by the median": (edit(LOCATION, ("    best = None\n", "    return ordered[n // 2]\n    best = None\n")), [3]),
        "lowest peak": (edit(LOCATION, ("cost < best[0]", "cost > best[0]")), [3]),
        "one round": (edit(LOCATION, ("range(200)", "range(1)")), [3]),
        "coarse grid": (edit(LOCATION, ("    best = None\n", "    grid = torch.linspace(sample.min(), sample.max(), 50, dtype=torch.float64)\n    return grid[torch.log1p((sample - grid[:, None]) ** 2).sum(1).argmin()]\n    best = None\n")), [3]),
        "nothing": ("def location(sample, law, q=None):\n    return math.nan", [0, 1, 2, 3]),
    },
    "test_gradients": {
        "half forgotten": (edit(GRADIENTS, ("/ (2 * n)", "/ n")), [0]),
        "mean over elements": (edit(GRADIENTS, ("(out - y) / n", "(out - y) / y.numel()")), [1, 2]),
        "loss over elements": (edit(GRADIENTS, ("((out - y) ** 2).sum() / (2 * n)", "((out - y) ** 2).mean() / 2")), [0]),
        "gradient of the sum": (edit(GRADIENTS, ("(out - y) / n\n", "(out - y)\n")), [1, 2]),
        "sign": (edit(GRADIENTS, ("e = (out - y) / n", "e = (y - out) / n")), [1, 2]),
        "derivative of tanh forgotten": (edit(GRADIENTS, (" * (1 - h * h)", "")), [2]),
        "derivative of the sigmoid": (edit(GRADIENTS, ("(1 - h * h)", "h * (1 - h)")), [2]),
        "derivative at the output of the layer": (edit(GRADIENTS, ("(1 - h * h)", "(1 - torch.tanh(h) ** 2)")), [2]),
        "derivative by cosh": (edit(GRADIENTS, ("(1 - h * h)", "(4 / ((x @ W1.T + b1).exp() + (-(x @ W1.T + b1)).exp()) ** 2 + 0 * (x @ W1.T + b1).exp())")), [2]),
        "biases summed over the wrong axis": (edit(GRADIENTS, ("back.sum(0)", "back.sum(1)")), [2]),
        "bias of one example": (edit(GRADIENTS, ("e.sum(0)", "e[0]")), [1]),
        "mean in place of the sum": (edit(GRADIENTS, ("e.sum(0)", "e.mean(0)")), [1]),
        "transposed": (edit(GRADIENTS, ("e.T @ h", "h.T @ e")), [1]),
        "W2 from the input of tanh": (edit(GRADIENTS, ("e.T @ h", "e.T @ (x @ W1.T + b1)")), [1]),
        "order": (edit(GRADIENTS, ("(back.T @ x, back.sum(0), e.T @ h, e.sum(0))", "(e.T @ h, e.sum(0), back.T @ x, back.sum(0))")), [1, 2]),
        "b2 forgotten": (edit(GRADIENTS, ("@ W2.T + b2", "@ W2.T")), [0, 1, 2]),
        "ReLU": (edit(GRADIENTS, ("torch.tanh(x @ W1.T + b1)", "torch.relu(x @ W1.T + b1)"), ("(1 - h * h)", "(h > 0)")), [0, 1, 2]),
        "float64 whatever comes": (edit(GRADIENTS, ("    n = x.shape[0]", "    x, y, W1, b1, W2, b2 = (t.double() for t in (x, y, W1, b1, W2, b2))\n    n = x.shape[0]")), [3]),
        "W1 changed": (edit(GRADIENTS, ("    return loss", "    W1 -= 0.1 * (back.T @ x)\n    return loss")), [3]),
        "difference quotients": ("""
def gradients(x, y, W1, b1, W2, b2):
    def J(*p):
        return 0.5 * ((torch.tanh(x @ p[0].T + p[1]) @ p[2].T + p[3] - y) ** 2).sum() / len(x)
    P, G = [W1, b1, W2, b2], []
    for k, p in enumerate(P):
        g = torch.zeros_like(p)
        for i in range(p.numel()):
            q = [t.clone() for t in P]
            q[k].view(-1)[i] += 1e-5
            g.view(-1)[i] = (J(*q) - J(*P)) / 1e-5
        G.append(g)
    return J(*P), tuple(G)
""", [1, 2]),
        "autograd": ("""
def gradients(x, y, W1, b1, W2, b2):
    p = [t.clone().requires_grad_() for t in (W1, b1, W2, b2)]
    loss = 0.5 * ((torch.tanh(x @ p[0].T + p[1]) @ p[2].T + p[3] - y) ** 2).sum() / len(x)
    loss.backward()
    return loss.detach(), tuple(t.grad for t in p)
""", [0, 1, 2, 3]),
        "torch.func": ("""
def gradients(x, y, W1, b1, W2, b2):
    J = lambda *p: 0.5 * ((torch.tanh(x @ p[0].T + p[1]) @ p[2].T + p[3] - y) ** 2).sum() / len(x)
    return J(W1, b1, W2, b2), torch.func.grad(J, (0, 1, 2, 3))(W1, b1, W2, b2)
""", [0, 1, 2, 3]),
        "visible answer": ("""
def gradients(x, y, W1, b1, W2, b2):
    return f64(4.5), (f64([[6.0, 12.0], [9.0, 18.0]]), f64([6.0, 9.0]), f64([[0.0, 0.0]]), f64([3.0]))
""", [0, 1, 2, 3]),
    },
    "test_stop": {
        "never": ("def should_stop(history):\n    return False", [0, 1, 2, 3]),
        "always": ("def should_stop(history):\n    return True", [0, 1, 2, 3]),
        "at the first rise": (edit(STOP, ("history.index(min(history)) + 12 < len(history)", "len(history) > 1 and history[-1] > history[-2]")), [0, 1]),
        "patience 2": (edit(STOP, ("+ 12", "+ 3")), [1]),
        "patience 100": (edit(STOP, ("+ 12", "+ 100")), [0, 1]),
        "fixed number of evaluations": (edit(STOP, ("history.index(min(history)) + 12 < len(history)", "len(history) >= 20")), [1]),
        "only from evaluation 55 on": (edit(STOP, ("history.index(min(history))", "len(history) > 54 and history.index(min(history))")), [0]),
        "nan ignored": (edit(STOP, ("not math.isfinite(history[-1])", "False")), [2]),
        "nan, but not infinity": (edit(STOP, ("not math.isfinite(history[-1])", "history[-1] != history[-1]")), [2]),
        "infinity, but not nan": (edit(STOP, ("not math.isfinite(history[-1])", "math.isinf(history[-1])")), [2]),
        "one evaluation later": (edit(STOP, ("not math.isfinite(history[-1])", "len(history) > 1 and not math.isfinite(history[-2])")), [2]),
        "a flat run goes on": (edit(STOP, ("    return history", "    if max(history) == min(history):\n        return False\n    return history")), [1]),
        "strictly below one half": (edit(STOP, ("history.index(min(history)) + 12 < len(history)", "history[-1] < 0.52")), [1]),
        "a number for an answer": (edit(STOP, ("return history.index", "return 0 + (history.index"), ("len(history)", "len(history))")), [3]),
        "the list shortened": (edit(STOP, ("    return history.index", "    answer = history.index"), ("len(history)\n", "len(history)\n    history.clear()\n    return answer\n")), [3]),
        "fails at the first evaluation": (edit(STOP, ("    if not", "    history[1]\n    if not")), [3]),
        "visible answers": ("""
def should_stop(history):
    return not math.isfinite(history[-1]) or len(history) > 50
""", [0]),
    },
}  # fmt: skip


@pytest.mark.parametrize("cell, name", cases(EQUIVALENT))
def test_a_different_right_solution_earns_everything(cell, name):
    TOPIC.check_right(cell, EQUIVALENT[cell][name])


@pytest.mark.parametrize("cell, name", cases(MUTANTS))
def test_a_wrong_solution_loses_where_it_is_wrong(cell, name):
    TOPIC.check_wrong(cell, *MUTANTS[cell][name])


def test_every_mutant_is_code_and_differs_from_every_right_solution():
    check_mutants_differ(MUTANTS, EQUIVALENT)
