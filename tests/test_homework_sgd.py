# ruff: noqa: E501  (a table of one-line edits)
"""Mutation tests of the graders: the reference earns everything, every wrong solution loses in what it breaks.

``MUTANTS`` and ``EQUIVALENT`` map a test cell to sources that replace the solution; a mutant also names the requirements
(by position) that it must fail. Everything runs in this process, without a sandbox.
"""

import pytest
from homework_harness import Topic, cases, check_mutants_differ, edit

TOPIC = Topic("sgd")

MOMENTS = """
def moments(rates, curvature, noise, start):
    mean, square = torch.empty_like(rates), torch.empty_like(rates)
    m, variance = start, 0.0
    for t, g in enumerate(rates.tolist()):
        m *= 1 - g * curvature
        variance = variance * (1 - g * curvature) ** 2 + (g * noise) ** 2
        mean[t], square[t] = m, m**2 + variance
    return mean, square
"""
SCHEDULE = """
def schedule(t):
    return 0.8 * t**-0.45
"""
BIAS = """
def is_biased(gradients, batches):
    n, size = batches.shape
    means = gradients[batches].mean(1)
    spread = gradients.var(0) / size / n
    z = (means.mean(0) - gradients.mean(0)) ** 2 / spread
    return (z.sum() / len(z)).item() > 3.5
"""
PLAN = """
def plan(n, epochs, starts, batch, growth, most):
    if growth < 1 or batch < 1 or batch > n or most < batch:
        raise ValueError("no")
    if starts and (starts[0] < 1 or any(a >= b for a, b in zip(starts, starts[1:]))):
        raise ValueError("no")
    wanted = [batch * growth ** len([s for s in starts if s <= e]) for e in range(epochs)]
    sizes = [int(min(math.floor(w + 1e-9), n, most)) for w in wanted]
    return sizes, [s / w for s, w in zip(sizes, wanted)]
"""
CRITICAL = """
def critical_batch(batches, steps):
    b, s = batches.tolist(), [math.log(x) for x in steps.tolist()]
    def fit(k):
        r = [y - math.log(1 + 10**k / x) for x, y in zip(b, s)]
        m = sum(r) / len(r)
        return sum((v - m) ** 2 for v in r), m
    low, high, q = -4.0, 6.0, (5**0.5 - 1) / 2
    for _ in range(100):
        c, d = high - q * (high - low), low + q * (high - low)
        low, high = (low, d) if fit(c)[0] < fit(d)[0] else (c, high)
    return math.exp(fit(low)[1]), 10**low
"""
LABEL = """
def label(curves):
    c = [[v for v in row if math.isfinite(v)] for row in curves.tolist()]
    end = [sum(r[-25:]) / len(r[-25:]) if len(r) == curves.shape[1] else math.inf for r in c]
    order = sorted(range(4), key=lambda i: end[i])
    names = {order[0]: "good", order[3]: "diverges"}
    def jumps(i):
        d = [b - a for a, b in zip(c[i], c[i][1:])]
        return sum(x > 0 for x in d)
    a, b = order[1:3]
    small = [max(abs(x - y) for x, y in zip(c[i], c[i][1:])) for i in (a, b)]
    names[a], names[b] = ("high", "low") if small[0] > small[1] else ("low", "high")
    return [names[i] for i in range(4)]
"""


EQUIVALENT = {
    "test_moments": {"mean and variance": MOMENTS},
    "test_schedule": {
        "slower power": SCHEDULE,
        "cube root": "def schedule(t):\n    return 0.3 * t ** (-1 / 2) * (1 + 0.1 * math.log(t)) if t > 1 else 0.3",
    },
    "test_bias": {"squares in units of chance": BIAS},
    "test_plan": {"powers": PLAN},
    "test_critical": {"golden section": CRITICAL},
    "test_label": {"largest jump": LABEL},
}

MUTANTS = {
    "test_moments": {
        "factor not squared": (edit(MOMENTS, ("variance * (1 - g * curvature) ** 2", "variance * (1 - g * curvature)")), [1]),
        "noise not squared": (edit(MOMENTS, ("(g * noise) ** 2", "g * noise**2")), [1]),
        "variance in place of the square": (edit(MOMENTS, ("m**2 + variance", "variance")), [1]),
        "square of the mean": (edit(MOMENTS, ("m**2 + variance", "m**2")), [1]),
        "curvature forgotten in the mean": (edit(MOMENTS, ("m *= 1 - g * curvature", "m *= 1 - g")), [0, 1]),
        "one step late": (edit(MOMENTS, ("mean[t], square[t] = m, m**2 + variance", "mean[t], square[t] = mean[t - 1], square[t - 1]")), [0, 1]),
        "float64 whatever comes": (edit(MOMENTS, ("return mean, square", "return mean.double(), square.double()")), [2]),
        "rates used up": (edit(MOMENTS, ("    return mean", "    rates.zero_()\n    return mean")), [2]),
        "simulated": ("""
def moments(rates, curvature, noise, start):
    g, x, out = torch.Generator().manual_seed(0), torch.full((4000,), float(start)), []
    for rate in rates:
        x = x - rate * (curvature * x + noise * torch.randn(4000, generator=g))
        out.append(x)
    x = torch.stack(out).to(rates.dtype)
    return x.mean(1), (x**2).mean(1)
""", [0, 1]),
        "visible answer": ("def moments(rates, curvature, noise, start):\n    return f64([2.0, 1.0]), f64([5.0, 2.25])", [0, 1, 2]),
        "the library's": ("from dlopt.chains import expected_square\n" + edit(MOMENTS, ("    return mean", "    square = torch.as_tensor(expected_square(rates.numpy(), steps=len(rates), curvature=curvature, noise=noise, start=start))\n    return mean")), [1]),
    },
    "test_schedule": {
        "Robbins and Monro": ("def schedule(t):\n    return 1 / t", [0]),
        "a little too fast": ("def schedule(t):\n    return t**-0.55", [0]),
        "frozen": ("def schedule(t):\n    return math.exp(-t) + 1e-300", [0, 1]),
        "constant": ("def schedule(t):\n    return 0.01", [2]),
        "logarithm": ("def schedule(t):\n    return 0.7 / math.log(t + 2)", [1, 2]),
        "small constants of a logarithm": ("def schedule(t):\n    return 0.05 / math.log(t + 2)", [2]),
        "power too small": ("def schedule(t):\n    return t**-0.05", [1, 2]),
        "zero at times": ("def schedule(t):\n    return t**-0.5 if t % 2 else 0.0", [0, 1, 2]),
        "unstable start": ("def schedule(t):\n    return 40 * t**-0.5", [1]),
        "negative": ("def schedule(t):\n    return -(t**-0.5)", [0, 1, 2]),
        "stops at ten thousand": ("def schedule(t):\n    return t**-0.5 if t <= 10_000 else 1e-9", [0]),
    },
    "test_bias": {
        "never": ("def is_biased(gradients, batches):\n    return False", [1, 2, 3]),
        "always": ("def is_biased(gradients, batches):\n    return True", [0, 3]),
        "fixed threshold": (edit(BIAS, ("/ spread", "/ 1.0"), ("> 3.5", "> 0.03")), [3]),
        "bias in units of the mean": (edit(BIAS, ("/ spread", "/ gradients.mean(0) ** 2"), ("> 3.5", "> 0.01")), [0, 3]),
        "chance of a single batch": (edit(BIAS, ("/ size / n", "/ size")), [2]),
        "number of batches twice": (edit(BIAS, ("/ size / n", "/ size / n**2")), [0]),
        "too strict": (edit(BIAS, ("> 3.5", "> 0.9")), [0]),
        "first batch alone": (edit(BIAS, ("means.mean(0)", "means[0]"), ("/ size / n", "/ size")), [2]),
        "a tensor for an answer": (edit(BIAS, ("(z.sum() / len(z)).item() > 3.5", "z.mean() > 3.5")), [0, 1, 2, 3]),
        "the library's": ("from dlopt.noise import bias_ratio\ndef is_biased(gradients, batches):\n    return bias_ratio(gradients, list(batches)) > 3.5", [0, 1, 2, 3]),
        "gradients centred in place": (edit(BIAS, ("    n, size", "    gradients -= gradients.mean(0)\n    n, size")), [0, 3]),
    },
    "test_plan": {
        "never grows": (edit(PLAN, ("growth ** len([s for s in starts if s <= e])", "1")), [0, 1]),
        "one epoch late": (edit(PLAN, ("s <= e]", "s < e]")), [0, 1, 2]),
        "grows by addition": (edit(PLAN, ("batch * growth ** len([s for s in starts if s <= e])", "batch * (1 + (growth - 1) * len([s for s in starts if s <= e]))")), [0, 1]),
        "no cap": (edit(PLAN, ("math.floor(w + 1e-9), n, most", "math.floor(w + 1e-9), 10**9")), [1]),
        "cap of the data forgotten": (edit(PLAN, ("math.floor(w + 1e-9), n, most", "math.floor(w + 1e-9), most")), [1]),
        "rate never takes over": (edit(PLAN, ("[s / w for s, w in zip(sizes, wanted)]", "[1.0] * epochs")), [1, 2]),
        "rate the wrong way": (edit(PLAN, ("s / w for", "w / s for")), [1, 2]),
        "growth of the used size": ("""
def plan(n, epochs, starts, batch, growth, most):
    if growth < 1 or batch < 1 or batch > n or most < batch or any(a >= b for a, b in zip([0, *starts], starts)):
        raise ValueError("no")
    sizes, size = [], batch
    for e in range(epochs):
        size = min(int(size * growth), n, most) if e in starts else size
        sizes.append(size)
    return sizes, [s / batch / growth ** sum(x <= e for x in starts) for e, s in enumerate(sizes)]
""", [2]),
        "rounded to the nearest": (edit(PLAN, ("math.floor(w + 1e-9)", "round(w + 0.26)")), [2]),
        "floats": (edit(PLAN, ("int(min(math.floor(w + 1e-9), n, most))", "min(w, n, most)")), [0, 2]),
        "nothing refused": (edit(PLAN, ('raise ValueError("no")', "pass")), [3]),
        "shrinking allowed": (edit(PLAN, ("growth < 1 or ", "")), [3]),
        "an empty list refused": (edit(PLAN, ("if starts and (starts[0] < 1 or", "if not starts or (starts[0] < 1 or")), [3]),
        "small cap allowed": (edit(PLAN, (" or most < batch", "")), [3]),
        "no growth refused": (edit(PLAN, ("growth < 1", "growth <= 1")), [0]),
    },
    "test_critical": {
        "least squares of the steps": ("""
def critical_batch(batches, steps):
    A = torch.stack([torch.ones_like(batches), 1 / batches], 1)
    a, b = torch.linalg.lstsq(A, steps[:, None]).solution[:, 0].tolist()
    return a, b / a
""", [1]),
        "two largest batches": ("""
def critical_batch(batches, steps):
    u, v = (1 / batches[-2:]).tolist()
    slope = (steps[-2] - steps[-1]).item() / (u - v)
    least = steps[-1].item() - slope * v
    return least, slope / least
""", [1]),
        "steps at the largest batch": (edit(CRITICAL, ("return math.exp(fit(low)[1]), 10**low", "return steps[-1].item(), 10**low")), [0]),
        "pair swapped": (edit(CRITICAL, ("return math.exp(fit(low)[1]), 10**low", "return 10**low, math.exp(fit(low)[1])")), [0, 1]),
        "examples for steps": (edit(CRITICAL, ("steps.tolist()", "(steps * batches).tolist()")), [0, 1]),
        "batch at which steps are twice the last": ("""
def critical_batch(batches, steps):
    twice = (steps - 2 * steps[-1]).abs().argmin()
    return steps[-1].item(), batches[twice].item()
""", [0, 1]),
        "visible answer": ("def critical_batch(batches, steps):\n    return 100.0, 20.0", [0, 1]),
        "coarse grid": (edit(CRITICAL, ("range(100)", "range(4)")), [0]),
    },
    "test_label": {
        "visible answer": ('def label(curves):\n    return ["low", "good", "high", "diverges"]', [0, 1, 2]),
        "high and low swapped": (edit(LABEL, ('("high", "low") if', '("low", "high") if'), ('else ("low", "high")', 'else ("high", "low")')), [1, 2]),
        "by the level alone": (edit(LABEL, ("if small[0] > small[1]", "if True")), [2]),
        "nan is taken for the best": (edit(LABEL, (" if len(r) == curves.shape[1] else math.inf", " if len(r) == curves.shape[1] else -1.0")), [0]),
        "good everywhere": ('def label(curves):\n    return ["good"] * 4', [0, 1, 2]),
        "another word": (edit(LABEL, ('"diverges"', '"divergent"')), [0, 1, 2]),
        "by the start": (edit(LABEL, ("r[-25:]) / len(r[-25:])", "r[:5]) / 5")), [2]),
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
