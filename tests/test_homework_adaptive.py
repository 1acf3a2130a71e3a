# ruff: noqa: E501  (a table of one-line edits)
"""Mutation tests of the grader: the reference earns everything, every wrong solution loses in what it breaks."""

import pytest
from homework_harness import Topic, cases, check_mutants_differ, edit

TOPIC = Topic("adaptive")

ADAM = """
def adam(gradient, theta, steps, lr, beta1, beta2, eps):
    x, m, v, path = theta, 0 * theta, 0 * theta, [theta]
    for t in range(1, steps + 1):
        g = gradient(x)
        m = m + (1 - beta1) * (g - m)
        v = v + (1 - beta2) * (g * g - v)
        x = x - lr * m / (1 - beta1**t) / (torch.sqrt(v / (1 - beta2**t)) + eps)
        path.append(x)
    return torch.stack(path)
"""
RADAM = """
def radam(gradient, theta, steps, lr, beta1, beta2, eps, threshold):
    x, m, v, path = theta, 0 * theta, 0 * theta, [theta]
    end = 2 / (1 - beta2) - 1
    for t in range(1, steps + 1):
        g = gradient(x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        rho = end - 2 * t * beta2**t / (1 - beta2**t)
        scale = 1.0
        if rho > threshold:
            r = ((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho)) ** 0.5
            scale = r * (1 - beta2**t) ** 0.5 / (torch.sqrt(v) + eps)
        x = x - lr * m / (1 - beta1**t) * scale
        path.append(x)
    return torch.stack(path)
"""
ADADELTA = """
def adadelta(gradient, theta, steps, rho, eps):
    x, v, d, path = theta, 0 * theta, 0 * theta, [theta]
    for _ in range(steps):
        g = gradient(x)
        v = rho * v + (1 - rho) * g * g
        move = torch.sqrt((d + eps) / (v + eps)) * g
        d = rho * d + (1 - rho) * move * move
        x = x - move
        path.append(x)
    return torch.stack(path)
"""
ADAMW = """
def adamw(gradient, theta, steps, lr, beta1, beta2, eps, decay, decoupled):
    x, m, v, path = theta, 0 * theta, 0 * theta, [theta]
    for t in range(1, steps + 1):
        g = gradient(x)
        if not decoupled:
            g = g + decay * x
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        if decoupled:
            x = x - lr * decay * x
        x = x - lr * m / (1 - beta1**t) / (torch.sqrt(v / (1 - beta2**t)) + eps)
        path.append(x)
    return torch.stack(path)
"""
DIAGNOSE = """
def diagnose(run, beta1, beta2, eps):
    def machine(word, gradients):
        m = v = 0.0
        out = []
        for t, g in enumerate(gradients, start=1):
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            a = m if word == "no correction" else m / (1 - beta1**t)
            b = v / {"no correction": 1.0, "constant correction": 1 - beta2**2}.get(word, 1 - beta2**t)
            low = math.sqrt(b + eps) if word == "epsilon inside" else b + eps if word == "no root" else math.sqrt(b) + eps
            out.append(a / low if word == "sign" else -a / low)
        return out
    words = ["correct", "sign", "no correction", "constant correction", "epsilon inside", "no root"]
    trial = [3.0, -1.0, eps, 40.0, eps]
    seen = run(trial) + run([eps])
    return min(words, key=lambda w: sum(abs(a - b) for a, b in zip(seen, machine(w, trial) + machine(w, [eps]))))
"""
TUNE = """
def tune(train, budget):
    low, high, points = -4.0, 0.0, []
    for k in range(16):
        z = low + (high - low) * k / 15
        points.append((z, train(10**z, k)))
    A = torch.tensor([[1.0, z, z * z] for z, _ in points], dtype=torch.float64)
    y = torch.tensor([[v] for _, v in points], dtype=torch.float64)
    c = torch.linalg.lstsq(A, y).solution[:, 0]
    z = min(max(float(-c[1] / (2 * c[2])), low), high) if c[2] > 0 else min(points, key=lambda p: p[1])[0]
    runs = torch.tensor([train(10**z, 1000 + k) for k in range(budget - 16)], dtype=torch.float64)
    half = 2.16 * runs.std() / len(runs) ** 0.5
    return 10**z, float(runs.mean() - half), float(runs.mean() + half)
"""

EQUIVALENT = {"test_adam": {"differences": ADAM}, "test_radam": {"one scale": RADAM}, "test_adadelta": {"downhill": ADADELTA},
              "test_adamw": {"decay first": ADAMW}, "test_diagnose": {"least distance": DIAGNOSE}, "test_tune": {"parabola": TUNE}}

V_ADAM = "torch.sqrt(v / (1 - beta2**t)) + eps"
MUTANTS = {
    "test_adam": {
        "no correction": (edit(ADAM, ("m / (1 - beta1**t)", "m"), ("v / (1 - beta2**t)", "v")), [0, 1]),
        "only the first corrected": (edit(ADAM, ("v / (1 - beta2**t)", "v")), [0, 1]),
        "correction of lecture B": (edit(ADAM, ("1 - beta2**t", "1 - beta2**2")), [0, 1]),
        "t from 0": (edit(ADAM, ("1 - beta1**t", "1 - beta1**(t + 1)")), [0, 1]),
        "epsilon inside": (edit(ADAM, (V_ADAM, "torch.sqrt(v / (1 - beta2**t) + eps)")), [2]),
        "epsilon forgotten": (edit(ADAM, (" + eps)", ")")), [2]),
        "uphill": (edit(ADAM, ("x - lr", "x + lr")), [0, 1, 2]),
        "betas exchanged": (edit(ADAM, ("(1 - beta1) * (g - m)", "(1 - beta2) * (g - m)"), ("(1 - beta2) * (g * g - v)", "(1 - beta1) * (g * g - v)")), [0, 1]),
        "sums": (edit(ADAM, ("m + (1 - beta1) * (g - m)", "beta1 * m + g")), [0, 1]),
        "sign of the gradient": (edit(ADAM, ("m / (1 - beta1**t) / (" + V_ADAM + ")", "g.sign()")), [1, 2]),
        "without the start": (edit(ADAM, ("torch.stack(path)", "torch.stack(path[1:] or path)")), [0, 1, 2, 3]),
        "float64 whatever comes": (edit(ADAM, ("x, m, v, path = theta", "theta = theta.double()\n    x, m, v, path = theta")), [3]),
        "in place": (edit(ADAM, ("x = x - lr", "x -= lr")), [0, 1, 2, 3]),
        "ready-made": ("""
def adam(gradient, theta, steps, lr, beta1, beta2, eps):
    p, path = torch.nn.Parameter(theta.clone()), [theta]
    o = torch.optim.Adam([p], lr, (beta1, beta2), eps)
    for _ in range(steps):
        p.grad = gradient(p.detach())
        o.step()
        path.append(p.detach().clone())
    return torch.stack(path)
""", [0, 1, 2, 3]),
        "from the library": ("""
from dlopt.rules import adam as rule
def adam(gradient, theta, steps, lr, beta1, beta2, eps):
    m = v = torch.zeros_like(theta)
    path = [theta]
    for t in range(1, steps + 1):
        step, m, v = rule(gradient(path[-1]), m, v, t=t, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
        path.append(path[-1] + step)
    return torch.stack(path)
""", [0, 1, 2, 3]),
        "not written": ("def adam(gradient, theta, steps, lr, beta1, beta2, eps):\n    raise NotImplementedError()", [0, 1, 2, 3]),
    },
    "test_radam": {
        "always Adam": (edit(RADAM, ("if rho > threshold:", "if True:"), ("r = ((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho)) ** 0.5", "r = 1.0")), [0, 1, 3]),
        "never scaled": (edit(RADAM, ("if rho > threshold:", "if False:")), [1, 2]),
        "threshold 4 always": (edit(RADAM, ("rho > threshold", "rho > 4")), [1]),
        "threshold 5 always": (edit(RADAM, ("rho > threshold", "rho > 5")), [1]),
        "no root of r": (edit(RADAM, (") ** 0.5\n", ")\n")), [1, 2]),
        "r forgotten": (edit(RADAM, ("scale = r * ", "scale = ")), [1]),
        "rho without the 2": (edit(RADAM, ("2 * t * beta2**t", "t * beta2**t")), [0, 1]),
        "second moment not corrected": (edit(RADAM, ("r * (1 - beta2**t) ** 0.5 /", "r /")), [1]),
        "first moment not corrected": (edit(RADAM, ("m / (1 - beta1**t)", "m")), [0, 1]),
        "the gradient before": (edit(RADAM, ("scale = 1.0", "scale = 1.0 if rho > threshold else g / (m / (1 - beta1**t))")), [0, 3]),
        "stands still before": (edit(RADAM, ("scale = 1.0", "scale = 0.0")), [0, 3]),
        "sign": (edit(RADAM, ("x - lr", "x + lr")), [0, 1, 2, 3]),
        "adaptive where the formula has no root": (edit(RADAM, ("rho > threshold", "rho > threshold or end < 4")), [3]),
        "not written": ("def radam(gradient, theta, steps, lr, beta1, beta2, eps, threshold):\n    raise NotImplementedError()", [0, 1, 2, 3]),
    },
    "test_adadelta": {
        "as printed": (edit(ADADELTA, ("torch.sqrt((d + eps) / (v + eps)) * g", "-g / (torch.sqrt(v) + eps)")), [0, 1]),
        "sign mended": (edit(ADADELTA, ("torch.sqrt((d + eps) / (v + eps)) * g", "g / (torch.sqrt(v) + eps)")), [0, 1]),
        "uphill": (edit(ADADELTA, ("x - move", "x + move")), [0, 1, 2]),
        "epsilon outside": (edit(ADADELTA, ("torch.sqrt((d + eps) / (v + eps))", "(torch.sqrt(d) + eps) / (torch.sqrt(v) + eps)")), [0, 1]),
        "average of gradients": (edit(ADADELTA, ("move * move", "g * g")), [1]),
        "steps not squared": (edit(ADADELTA, ("move * move", "move.abs()")), [1]),
        "present step in the numerator": (edit(ADADELTA, ("        x = x - move", "        move = torch.sqrt((d + eps) / (v + eps)) * g\n        x = x - move")), [1]),
        "no root": (edit(ADADELTA, ("torch.sqrt((d + eps) / (v + eps))", "(d + eps) / (v + eps)")), [0, 1]),
        "float64 whatever comes": (edit(ADADELTA, ("x, v, d, path = theta", "theta = theta.double()\n    x, v, d, path = theta")), [2]),
        "not written": ("def adadelta(gradient, theta, steps, rho, eps):\n    raise NotImplementedError()", [0, 1, 2]),
    },
    "test_adamw": {
        "always L2": (edit(ADAMW, ("if not decoupled:", "if True:"), ("if decoupled:", "if False:")), [0, 1]),
        "always decoupled": (edit(ADAMW, ("if not decoupled:", "if False:"), ("        if decoupled:", "        if True:")), [2]),
        "both at once": (edit(ADAMW, ("if not decoupled:", "if True:")), [0, 1]),
        "decay without the rate": (edit(ADAMW, ("x - lr * decay * x", "x - decay * x")), [0, 1]),
        "decay after the step": (edit(ADAMW, ("        if decoupled:\n            x = x - lr * decay * x\n", ""), ("        path.append", "        x = x * (1 - lr * decay) if decoupled else x\n        path.append")), [1]),
        "gradient at the decayed point": (edit(ADAMW, ("        g = gradient(x)\n", "        g = gradient(x * (1 - lr * decay) if decoupled else x)\n")), [1]),
        "penalty counted twice": (edit(ADAMW, ("g + decay * x", "g + 2 * decay * x")), [2]),
        "penalty beside the averages": (edit(ADAMW, ("            g = g + decay * x\n", "            pass\n"), ("        path.append", "        x = x if decoupled else x - lr * decay * path[-1]\n        path.append")), [2]),
        "decay never": (edit(ADAMW, ("x - lr * decay * x", "x"), ("g + decay * x", "g")), [0, 1, 2]),
        "no correction": (edit(ADAMW, ("m / (1 - beta1**t)", "m")), [1, 2, 3]),
        "not written": ("def adamw(*arguments):\n    raise NotImplementedError()", [0, 1, 2, 3]),
    },
    "test_diagnose": {
        "always correct": ("def diagnose(run, beta1, beta2, eps):\n    return 'correct'", [0, 1, 2, 3, 4]),
        "always sign": ("def diagnose(run, beta1, beta2, eps):\n    return 'sign'", [0, 1, 2, 3, 4]),
        "one gradient of one": (edit(DIAGNOSE, ("[3.0, -1.0, eps, 40.0, eps]", "[1.0]"), (" + run([eps])", ""), (" + machine(w, [eps])", "")), [4]),
        "blind for epsilon": (edit(DIAGNOSE, ('"epsilon inside", "no root"]', '"no root"]')), [3]),
        "blind for the root": (edit(DIAGNOSE, ('"epsilon inside", "no root"]', '"epsilon inside"]')), [4]),
        "default decay rates": (edit(DIAGNOSE, ("    def machine", "    beta1, beta2 = 0.9, 0.999\n    def machine")), [1]),
        "by the sign alone": ("def diagnose(run, beta1, beta2, eps):\n    return 'sign' if run([1.0])[0] > 0 else 'correct'", [1, 2, 3, 4]),
    },
    "test_tune": {
        "over the budget": (edit(TUNE, ("range(budget - 16)", "range(budget - 15)")), [0]),
        "one rate for all": (edit(TUNE, ("    runs =", "    z = -2.0\n    runs =")), [1]),
        "largest loss": (edit(TUNE, ("    z = min(max(float(-c[1] / (2 * c[2])), low), high) if c[2] > 0 else min(points, key=lambda p: p[1])[0]", "    z = max(points, key=lambda p: p[1])[0]")), [1]),
        "only around one": (edit(TUNE, ("low, high, points = -4.0, 0.0", "low, high, points = -1.0, 0.0"), ("c[2] > 0", "False")), [1]),
        "standard error of nothing": (edit(TUNE, ("half = 2.16 * runs.std() / len(runs) ** 0.5", "half = 0.001")), [2]),
        "interval around the luckiest run": (edit(TUNE, ("runs.mean() - half", "runs.min() - half"), ("runs.mean() + half", "runs.min() + half")), [2]),
        "as wide as can be": (edit(TUNE, ("half = 2.16 * runs.std() / len(runs) ** 0.5", "half = 10.0")), [2]),
        "tuning seeds again": (edit(TUNE, ("train(10**z, 1000 + k)", "train(10**z, k)")), [3]),
        "two runs": (edit(TUNE, ("range(budget - 16)", "range(2)")), [3]),
        "a guess": ("def tune(train, budget):\n    return 0.01, 0.0, 1.0", [1, 2, 3]),
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
