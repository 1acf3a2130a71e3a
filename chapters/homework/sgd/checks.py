"""What the homework on stochastic descent grades: requirements, inputs and references. Never released.

Add a task: ``chapters/instructor.md``. The points of a task must equal those of its test cell in the notebook.
"""

import math

import torch
from dlopt.homework import Homework, Requirement, Task, difference

LABELS = ("low", "good", "high", "diverges")


# --- references: closed forms, or another way than the one that the notebook asks for --------------------------------


def moments(rates, curvature, noise, start):
    """Mean and mean square as sums over the steps (products of later factors), not as a recursion."""
    keep = 1 - rates * curvature
    later = [keep[s + 1 :] for s in range(len(rates))]
    mean = torch.stack([start * keep[: t + 1].prod() for t in range(len(rates))])
    added = [sum((rates[s] * noise * later[s][: t - s].prod()) ** 2 for s in range(t + 1)) for t in range(len(rates))]
    square = mean**2 + torch.stack([torch.as_tensor(a) for a in added]).to(mean.dtype)
    return {"mean": mean, "square": square, "rates": rates}


def plan(n, epochs, starts, batch, growth, most):
    """Sizes and factors from the exact size of every epoch."""
    unordered = starts != sorted(set(starts)) or min(starts, default=1) < 1
    if growth < 1 or not 1 <= batch <= n or most < batch or unordered:
        return {"refused": True}
    exact = [batch * growth ** sum(epoch >= s for s in starts) for epoch in range(epochs)]
    sizes = [min(math.floor(size + 1e-9), most, n) for size in exact]
    return {"refused": False, "sizes": sizes, "factors": [s / e for s, e in zip(sizes, exact)], "whole numbers": True}


def squares(times, rates, curvature, start=3.0):
    """The mean square at the last of consecutive times."""
    keep = (1 - rates * curvature) ** 2
    square = start**2
    for k, rate in zip(keep.tolist(), rates.tolist()):
        square = k * square + rate**2
    return square


# --- inputs and judgements -------------------------------------------------------------------------------------------


def chain(rng, steps, dtype=torch.float64, rates=None):
    """Step sizes of one chain and its constants."""
    rates = rng.uniform(0.02, 0.9, steps) if rates is None else rates
    return {"rates": rates.to(dtype), "curvature": rng.uniform(0.3, 1.8), "noise": rng.uniform(0.3, 2.0),
            "start": rng.uniform(-4.0, 4.0)}  # fmt: skip


def freezing(rng):
    """Step sizes whose sum is finite."""
    t = torch.arange(1, 60, dtype=torch.float64)
    return [chain(rng, 59, rates=torch.exp(-t * rng.uniform(0.3, 1.2))) for _ in range(3)]


def only(reference, *parts, rtol=1e-9):
    """Compare some entries of an answer with a reference."""

    def check(answer, **case):
        expected = reference(**case)
        return difference(answer, {k: expected[k] for k in parts}, rtol, 1e-12)

    return check


def decades(rng):
    """Whole numbers t, evenly spaced in the logarithm, with 40 a decade from 10**3 to 10**6."""
    del rng
    return [{"times": [round(10 ** (3 + k / 40)) for k in range(121)]}]


def consecutive(rng):
    """Every t up to a hidden end."""
    return [{"times": list(range(1, rng.whole(20_000, 25_000))), "curvature": rng.uniform(0.7, 1.5)}]


def usable(answer, times):
    """Why the step sizes cannot be judged, or None."""
    rates = answer.get("rates") if isinstance(answer, dict) else None
    if not isinstance(rates, torch.Tensor) or rates.shape != (len(times),):
        return "it gave no step sizes"
    if not bool((rates.isfinite() & (rates > 0)).all()):
        return f"a step size is not a positive number: {rates[~(rates.isfinite() & (rates > 0))][0].item():.3g}"
    return None


def check_sum_of_squares(answer, times):
    """The share of a decade in the sum of squares does not fall."""
    found = usable(answer, times)
    if found:
        return found
    density = answer["rates"] ** 2 * torch.tensor(times, dtype=torch.float64)  # per factor of t
    shares = [density[k : k + 41].mean().item() for k in (0, 40, 80)]
    if shares[0] < 1e-12 or shares[1] < 0.999 * shares[0] or shares[2] < 0.999 * shares[1]:
        return f"the decades from 10^3 on add {', '.join(f'{2.3026 * s:.3g}' for s in shares)} to the sum of squares"
    return None


def check_mean_square(answer, times, curvature):
    """The mean square has become small, from a far start."""
    found = usable(answer, times)
    if found:
        return found
    if bool((answer["rates"] > 2).any()):
        return f"its largest step size is {answer['rates'].max().item():.3g}"
    square = squares(times, answer["rates"], curvature)
    return None if square < 0.02 else f"after {len(times)} steps the mean square is still {square:.2g}"


def check_paths(answer, times):
    """gamma_t ln t falls: peaks of single paths vanish."""
    found = usable(answer, times)
    if found:
        return found
    heights = (answer["rates"] * torch.tensor(times, dtype=torch.float64).log())[::40].tolist()
    if all(b < 0.75 * a for a, b in zip(heights, heights[1:])):
        return None
    return f"the step size times ln t is {', '.join(f'{h:.3g}' for h in heights)} at the decades from 10^3 on"


def cloud(rng, n=120, d=6, classes=False):
    """Gradients of n examples; with ``classes``, of three kinds of which one is rare (the last tenth)."""
    g = rng.normal(n, d) + 0.3 * rng.normal(d)
    if classes:
        g[-n // 10 :] += 2.0 * rng.normal(d)
    return g


def subsets(rng, n, size, count, among=None):
    """``count`` uniform subsets of ``size`` out of the first ``among`` (or all) examples."""
    among = among or n
    return torch.stack([torch.randperm(among, generator=rng.generator)[:size] for _ in range(count)])


def draws(rng, n, size, count):
    """The same with replacement."""
    return torch.randint(n, (count, size), generator=rng.generator)


def epochs(rng, n, size, count):
    """Permutations cut into pieces."""
    per = n // size
    orders = [torch.randperm(n, generator=rng.generator)[: per * size].view(per, size) for _ in range(-(-count // per))]
    return torch.cat(orders)[:count]


def fair(rng):
    """Unbiased samplers of three kinds, with few and with many batches."""
    g = cloud(rng)
    kinds = [(kind, count) for kind in (subsets, draws, epochs) for count in (10, 60, 300)]
    sets = [kind(rng, len(g), 8, count) for kind, count in kinds for _ in range(3)]
    return [{"gradients": g, "batches": sets, "biased": False}]


def strong(rng):
    """Rows of a sorted file; the rare class as often as the others."""
    g = cloud(rng, classes=True)
    order, n = torch.argsort(g[:, 0]), len(g)
    runs = torch.stack([order[s : s + 8] for s in torch.randint(n // 2, (200,), generator=rng.generator)])
    rare = torch.randint(n - n // 10, n, (200, 4), generator=rng.generator)
    common = torch.randint(0, n - n // 10, (200, 4), generator=rng.generator)
    return [{"gradients": g, "batches": [runs, torch.cat([rare, common], 1)], "biased": True}]


def weak(rng):
    """The last sixth of the examples is never drawn: seen only where many batches are averaged."""
    g = cloud(rng)
    g[100:] += 0.8
    sets = [subsets(rng, len(g), 8, 2000, among=100) for _ in range(3)]
    return [{"gradients": g, "batches": sets, "biased": True}]


def scaled(rng):
    """Fair and biased samplers of gradients in other units and with a large mean: neither may decide."""
    g = cloud(rng) * 1e-3 + 5.0
    unfair = torch.stack([torch.argsort(g[:, 1])[s : s + 8] for s in range(60)])
    return [{"gradients": g, "batches": [subsets(rng, len(g), 8, 100) for _ in range(6)], "biased": False},
            {"gradients": g, "batches": [unfair], "biased": True}]  # fmt: skip


def check_bias(answer, gradients, batches, biased):
    """Right on all biased sets, and on all but a few fair ones."""
    answers = answer.get("answers") if isinstance(answer, dict) else None
    if not isinstance(answers, list) or len(answers) != len(batches) or answer.get("plain bools") is not True:
        return "it did not answer True or False"
    if difference(answer, {"gradients": gradients}, 1e-12, 0):
        return "it changed the gradients"
    wrong = sum(a != biased for a in answers)
    if biased:
        return None if not wrong else f"it let {wrong} of {len(batches)} biased samplers pass"
    most = max(1, len(batches) // 9)
    return None if wrong <= most else f"it called {wrong} of {len(batches)} fair samplers biased"


def request(rng, **changes):
    """Arguments of a plan."""
    n = rng.whole(500, 4000)
    return {"n": n, "epochs": rng.whole(8, 12), "starts": [2, rng.whole(4, 5), 7], "batch": rng.whole(8, 20),
            "growth": float(rng.whole(2, 3)), "most": n} | changes  # fmt: skip


def refusals(rng):
    """One fault at a time, and a request without any."""
    good = request(rng)
    above = good["n"] + 1
    faults = [{"growth": 0.5}, {"batch": 0}, {"batch": above, "most": above}, {"most": 4}, {"starts": [5, 3]},
              {"starts": [0, 3]}]  # fmt: skip
    return [good, *[good | fault for fault in faults], good | {"starts": []}]


def hyperbola(rng, scatter=0.0):
    """Steps that lie on a hyperbola, within ``scatter``."""
    least, critical = rng.uniform(20.0, 400.0), 10 ** rng.uniform(0.8, 2.6)
    batches = torch.tensor([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0], dtype=torch.float64)[: rng.whole(5, 6)]
    steps = least * (1 + critical / batches) * torch.exp(scatter * rng.normal(len(batches)))
    return {"batches": batches, "steps": steps}


def best_hyperbola(batches, steps):
    """Least squares of the logarithms over a grid of critical batches, refined."""
    low, high = -3.0, 5.0
    for _ in range(12):
        grid = torch.linspace(low, high, 201, dtype=torch.float64)
        residual = steps.log() - (1 + 10 ** grid[:, None] / batches).log()
        best = grid[(residual - residual.mean(1, keepdim=True)).square().sum(1).argmin()].item()
        low, high = best - (high - low) / 50, best + (high - low) / 50
    critical = 10**best
    return {"least": (steps.log() - (1 + critical / batches).log()).mean().exp().item(), "critical": critical}


def check_noisy(answer, batches, steps):
    """Near the best fit of the logarithms: within a quarter."""
    expected = best_hyperbola(batches, steps)
    return difference(answer, {k: expected[k] for k in ("least", "critical")}, 0.25, 0)


def zoo(rng, count=7):
    """Sets of four loss curves of the same problem, one of each kind, in random order."""
    sets, truth = [], []
    for k in range(count):
        order = torch.randperm(4, generator=rng.generator).tolist()
        made = curves(rng, near=k > 1, overflow=k % 2 == 0)
        sets.append(torch.stack([made[LABELS[k]] for k in order]))
        truth.append([LABELS[k] for k in order])
    return {"sets": sets, "truth": truth}


def curves(rng, near, overflow, steps=100):
    """Losses of stochastic descent on a random diagonal quadratic at four rates.

    A run that starts ``near`` begins little above the level at which the high rate stalls: the low rate falls below it.
    With ``overflow`` the run that diverges ends in nan.
    """
    eigenvalues = torch.tensor([10 ** -rng.uniform(0.0, 1.2) for _ in range(8)] + [1.0], dtype=torch.float64)
    start, noise = 3.0 * rng.normal(9), rng.uniform(0.4, 1.2)
    rates = {"low": rng.uniform(0.001, 0.005), "good": rng.uniform(0.08, 0.12), "high": rng.uniform(1.88, 1.96),
             "diverges": rng.uniform(2.1, 2.6)}  # fmt: skip
    rate, draws = torch.tensor([[rate] for rate in rates.values()]).double(), rng.normal(steps, 4, 9)
    if near:
        rates["low"] = rng.uniform(0.006, 0.01)
        rate[0] = rates["low"]
        kept = (1 - rates["high"] * eigenvalues) ** 2
        stall = 0.5 * (eigenvalues * (rates["high"] * noise) ** 2 / (1 - kept)).sum()
        start = start * (1.3 * stall / (0.5 * (eigenvalues * start**2).sum())) ** 0.5
    offset, theta, losses = rng.uniform(0.0, 0.2), start.expand(4, 9), []
    for t in range(steps):
        losses.append(offset + 0.5 * (eigenvalues * theta**2).sum(1))
        theta = theta - rate * (eigenvalues * theta + noise * draws[t])
    made = dict(zip(rates, torch.stack(losses, 1)))
    if overflow:
        made["diverges"][rng.whole(steps // 2, steps - 1) :] = math.nan
    return made


def check_labels(kind):
    """The curves of one kind are found, in all sets but one, and nothing else is called so."""

    def check(answer, sets, truth):
        labels = answer.get("labels") if isinstance(answer, dict) else None
        if not isinstance(labels, list) or [len(row) for row in labels] != [4] * len(sets):
            return "it did not give four labels for four curves"
        if any(word not in LABELS for row in labels for word in row):
            return "it used another word than the four"
        wrong = sum((a == kind) != (b == kind) for row, true in zip(labels, truth) for a, b in zip(row, true))
        return None if wrong <= 2 else f"it was wrong about {wrong} curves of {4 * len(sets)}"

    return check


# --- the tasks -------------------------------------------------------------------------------------------------------

READY = ("dlopt.chains", "dlopt.noise", "dlopt.schedules")

HOMEWORK = Homework(
    skip=("experiment",),
    tasks=[
        Task(
            cell="test_moments",
            functions=["moments"],
            driver="drive_moments",
            forbidden=READY,
            requirements=[
                Requirement("the mean", 1, lambda r: [chain(r, r.whole(2, 30)), *freezing(r)],
                            check=only(moments, "mean"), hint="the noise has mean 0"),
                Requirement("the mean square", 1, lambda r: [chain(r, r.whole(2, 30)), *freezing(r)],
                            check=only(moments, "square"), hint="the noise of a step has variance (rate * noise)²"),
                Requirement("keeps float32, and leaves the rates as they were", 1,
                            lambda r: [chain(r, 9, torch.float32), chain(r, 1)],
                            check=only(moments, "mean", "square", "rates", rtol=1e-5)),
            ],
        ),
        Task(
            cell="test_schedule",
            functions=["schedule"],
            driver="drive_schedule",
            forbidden=READY,
            seconds=20,
            requirements=[
                Requirement("the sum of squares diverges: no decade adds less than the one before", 1, decades,
                            check=check_sum_of_squares),
                Requirement("the mean square falls below 0.02", 1, consecutive, check=check_mean_square),
                Requirement("single paths settle: the step size times ln t falls by a quarter or more each decade", 1,
                            decades, check=check_paths, hint="see the height of the excursions in the chapter"),
            ],
        ),
        Task(
            cell="test_bias",
            functions=["is_biased"],
            driver="drive_bias",
            forbidden=READY,
            requirements=[
                Requirement("leaves unbiased samplers in peace, whatever their kind and number of batches", 1,
                            lambda r: [c for _ in range(2) for c in fair(r)], check=check_bias,
                            hint="how long is the error of an average of n batches by chance alone?"),
                Requirement("catches a sorted file and a rebalanced class", 1, strong, check=check_bias),
                Requirement("catches examples that are never drawn, given many batches", 1, weak, check=check_bias,
                            hint="averaging removes chance and keeps bias"),
                Requirement("is not misled by the unit or the mean of the gradients", 1, scaled, check=check_bias),
            ],
        ),
        Task(
            cell="test_plan",
            functions=["plan"],
            driver="drive_plan",
            requirements=[
                Requirement("the batch grows at the given epochs", 1, lambda r: [request(r), request(r, growth=1.0)],
                            check=only(plan, "refused", "sizes", "whole numbers")),
                Requirement("a cap hands over to the rate: batch over rate is what it would have been without", 1,
                            lambda r: [request(r, most=r.whole(40, 60)), request(r, n=45, most=100)],
                            check=only(plan, "refused", "sizes", "factors")),
                Requirement("growth by a fraction rounds the batch down and lets the rate make up for it", 1,
                            lambda r: [request(r, growth=r.uniform(1.2, 1.9)) for _ in range(2)],
                            check=only(plan, "refused", "sizes", "factors", "whole numbers")),
                Requirement("refuses what makes no sense, and only that", 1, refusals, check=only(plan, "refused")),
            ],
        ),
        Task(
            cell="test_critical",
            functions=["critical_batch"],
            driver="drive_critical",
            requirements=[
                Requirement("exact on an exact hyperbola", 1, lambda r: [hyperbola(r) for _ in range(4)],
                            expected=best_hyperbola, rtol=1e-4),
                Requirement("near the best fit where every count is off by some per cent", 2,
                            lambda r: [hyperbola(r, 0.08) for _ in range(4)], check=check_noisy,
                            hint="a large count is not more trustworthy than a small one: errors are relative"),
            ],
        ),
        Task(
            cell="test_label",
            functions=["label"],
            driver="drive_label",
            requirements=[
                Requirement("finds the runs that diverge, with and without nan", 1, lambda r: [zoo(r)],
                            check=check_labels("diverges")),
                Requirement("finds the rates that are too low", 1, lambda r: [zoo(r)], check=check_labels("low"),
                            hint="what does the curve still do at its end?"),
                Requirement("tells a high rate from a good one", 2, lambda r: [zoo(r)], check=check_labels("high"),
                            hint="compare the ends of all four; the minimum of the loss need not be 0"),
            ],
        ),
    ],
)
