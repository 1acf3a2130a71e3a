"""What the homework on losses grades: requirements, inputs and references. Never released.

Add a task: ``chapters/instructor.md``. The points of a task must equal those of its test cell in the notebook.
"""

import math

import torch
from dlopt.homework import Homework, Requirement, Task, difference

# --- references: another way than the one that the notebook asks for ------------------------------------------------


def cross_entropy(z, y):
    """Torch's own loss and autograd, over the examples whose class is not -1."""
    leaf = z.double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(leaf, y, ignore_index=-1)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return {"loss": loss.detach().to(z.dtype), "gradient": gradient.to(z.dtype), "arguments unchanged": True}


def huber(prediction, target, delta):
    """Torch's own loss and autograd; refusal where shapes differ or a target is nan."""
    if prediction.shape != target.shape or torch.isnan(target).any():
        return {"refused": True}
    leaf = prediction.double().requires_grad_()
    loss = torch.nn.functional.huber_loss(leaf, target.double(), delta=delta)
    (gradient,) = torch.autograd.grad(loss, leaf)
    values = {"loss": loss.detach().to(prediction.dtype), "gradient": gradient.to(prediction.dtype)}
    return {"refused": False, "arguments unchanged": True} | values


def cost(law, sample, c, q=None):
    """Negative log-likelihood of the location ``c`` (an array of candidates [k]), up to constants: [k]."""
    r = sample - c[:, None]
    if law == "gaussian":
        return (r**2).sum(1)
    if law == "laplace":
        return r.abs().sum(1)
    if law == "asymmetric laplace":
        return torch.maximum(q * r, (q - 1) * r).sum(1)
    if law == "uniform":
        return r.abs().amax(1)
    return torch.log1p(r**2).sum(1)  # cauchy


def check_location(answer, sample, law, q=None):
    """Compare the likelihood of the answer with the best one found by search."""
    if isinstance(answer, bool) or not isinstance(answer, float) or not math.isfinite(answer):
        return f"it returned {answer!r}, which is no finite number"
    low, high = sample.min().item(), sample.max().item()
    candidates = torch.cat([sample, torch.linspace(low, high, 4001, dtype=torch.float64), sample.mean()[None],
                            (sample.min() + sample.max())[None] / 2])  # fmt: skip
    for _ in range(3):
        best = candidates[cost(law, sample, candidates, q).argmin()]
        width = (high - low) / 1000
        candidates = torch.cat([candidates, best + torch.linspace(-width, width, 2001, dtype=torch.float64)])
        low, high = (best - width).item(), (best + width).item()
    least = cost(law, sample, candidates, q).min().item()
    mine = cost(law, sample, torch.tensor([answer], dtype=torch.float64), q).item()
    close = mine <= least + 1e-7 * max(1.0, abs(least))
    return None if close else f"it returned {answer:.4g}; there is a location under which the sample is likelier"


def gradients(x, y, W1, b1, W2, b2):
    """Autograd in float64."""
    leaves = [t.double().requires_grad_() for t in (W1, b1, W2, b2)]
    output = torch.tanh(x.double() @ leaves[0].T + leaves[1]) @ leaves[2].T + leaves[3]
    loss = 0.5 * (output - y.double()).square().sum(1).mean()
    values = dict(zip(("W1", "b1", "W2", "b2"), torch.autograd.grad(loss, leaves)))
    answer = {name: g.to(x.dtype) for name, g in values.items()}
    return answer | {"loss": loss.detach().to(x.dtype), "arguments unchanged": True}


def only(reference, *parts, rtol=1e-9):
    """A check of some entries of a reference's answer."""

    def check(answer, **case):
        expected = reference(**case)
        return difference(answer, {k: expected[k] for k in parts if k in expected}, rtol, 1e-12)

    return check


# --- inputs ---------------------------------------------------------------------------------------------------------


def scores(rng, scale=2.0, dtype=torch.float64, ignored=False):
    """Logits of several examples with their classes; some classes are -1 where ``ignored``."""
    n, k = rng.whole(3, 7), rng.whole(2, 6)
    y = torch.tensor([rng.whole(0, k - 1) for _ in range(n)])
    if ignored:
        y[rng.whole(0, n - 1)] = -1
        y[0] = 0 if bool((y == -1).all()) else y[0]
    return {"z": (scale * rng.normal(n, k)).to(dtype), "y": y}


def extreme_scores(rng):
    """Logits of size ten thousand: all far below zero, all far above, and both, right and wrong."""
    n, k = rng.whole(3, 5), rng.whole(3, 5)
    y = torch.tensor([rng.whole(0, k - 1) for _ in range(n)])
    far = torch.full((n, k), 1e4, dtype=torch.float64)
    mixed = torch.where(rng.uniform(0, 1, n, k) < 0.5, 1e4, -1e4)
    moderate = scores(rng)
    return [{"z": rng.normal(n, k) - far, "y": y}, {"z": rng.normal(n, k) + far, "y": y},
            {"z": mixed + rng.normal(n, k), "y": y}, moderate]  # fmt: skip


def residuals(rng, low, high, dtype=torch.float64):
    """Predictions whose residuals lie between ``low`` and ``high`` times delta, with both signs."""
    n, d, delta = rng.whole(2, 5), rng.whole(2, 4), rng.uniform(0.3, 2.0)
    target = rng.normal(n, d)
    sign = torch.where(rng.uniform(0, 1, n, d) < 0.5, -1.0, 1.0)
    prediction = target + sign * delta * rng.uniform(low, high, n, d)
    return {"prediction": prediction.to(dtype), "target": target.to(dtype), "delta": delta}


def unfit(rng):
    """Shapes that would broadcast, targets with nan, and proper ones."""
    n, good = rng.whole(3, 6), residuals(rng, 0.1, 3.0)
    column = {"prediction": rng.normal(n, 1), "target": rng.normal(n), "delta": 1.0}
    missing = residuals(rng, 0.1, 3.0)
    missing["target"][0, 0] = math.nan
    return [column, missing, good, {"prediction": rng.normal(n), "target": rng.normal(1), "delta": 1.0}]


def sample(rng, law, n, **parameters):
    """A skewed sample, on which mean, median, quantiles and midrange differ."""
    return {"sample": rng.uniform(-3.0, 3.0) + rng.uniform(0.5, 2.0) * rng.normal(n).exp(), "law": law, **parameters}


def two_clumps(rng):
    """Two clumps: two peaks of the likelihood, the larger clump makes the higher one; a stray record moves the mean."""
    n, side = rng.whole(5, 7), 1.0 if rng.uniform(0, 1) < 0.5 else -1.0
    stray = torch.tensor([side * 120.0], dtype=torch.float64)
    values = torch.cat([0.3 * rng.normal(n), side * 12.0 + 0.3 * rng.normal(n - 2), stray])
    return {"sample": values + rng.uniform(-2.0, 2.0), "law": "cauchy"}


def network(rng, n=None, dtype=torch.float64, scale=0.7):
    """A batch and the parameters of a network with one hidden layer."""
    n, d, h, k = rng.whole(4, 8) if n is None else n, rng.whole(2, 4), rng.whole(5, 7), rng.whole(2, 3)
    shapes = {"x": (n, d), "y": (n, k), "W1": (h, d), "b1": (h,), "W2": (k, h), "b2": (k,)}
    return {name: (scale * rng.normal(*shape)).to(dtype) for name, shape in shapes.items()}


def saturated(rng):
    """One network whose hidden units are certain, one that is not."""
    case = network(rng)
    return [case | {"b1": case["b1"] * 2000.0}, network(rng)]


EVALUATIONS = 60


def clean(tau, start, rise):
    """Validation losses without noise, [number, 60]: they fall with time constant tau, and rise from ``start`` on."""
    t = torch.arange(EVALUATIONS, dtype=torch.float64)
    return (-t / tau).exp() + rise * (t - start).clamp(min=0) + 0.5


def noisy(rng, noise, **family):
    """The case: runs with noise, and what they are without."""
    runs = clean(**family)
    return {"runs": runs + noise * rng.normal(*runs.shape), **family}


def turning(rng, number=20):
    """Runs that fall and then rise."""
    ends = {"tau": (3.0, 6.0), "start": (12.0, 25.0), "rise": (0.01, 0.03)}
    return noisy(rng, 0.04, **{name: rng.uniform(*pair, number, 1) for name, pair in ends.items()})


def falling(rng, number=20):
    """Runs that fall slowly to the end."""
    still = torch.zeros(number, 1, dtype=torch.float64)
    return noisy(rng, 0.03, tau=rng.uniform(18.0, 28.0, number, 1), start=still, rise=still)


def flat(rng):
    """Runs that stand still."""
    return {"runs": torch.full((2, EVALUATIONS), rng.uniform(0.5, 1.5), dtype=torch.float64)}


def regret(stopped, runs, **family):
    """Mean loss in excess of the best, of the models that were kept: each run's lowest noisy loss up to its stop."""
    kept = torch.tensor([run[:t].argmin() for run, t in zip(runs, stopped)])
    losses = clean(**family)
    return (losses.gather(1, kept[:, None])[:, 0] - losses.amin(1)).mean().item()


def check_turning(answer, runs, **family):
    """Good models kept, and time saved."""
    found = well_formed(answer, runs)
    if found:
        return found
    excess, used = regret(answer["stopped"], runs, **family), sum(answer["stopped"]) / (len(runs) * EVALUATIONS)
    if excess > 0.06:
        return f"the models it kept are {excess:.2f} worse than the best ones; it stopped too soon"
    return None if used < 0.75 else f"it used {used:.0%} of the evaluations on runs that had long turned"


def check_falling(answer, runs, **family):
    """Runs that still improve go on; runs that stand still end."""
    found = well_formed(answer, runs)
    if found:
        return found
    if not family:
        late = max(answer["stopped"]) >= EVALUATIONS
        return "a run whose loss never changes was not stopped" if late else None
    excess = regret(answer["stopped"], runs, **family)
    return None if excess < 0.09 else f"it stopped runs that still improved; the kept models are {excess:.2f} worse"


def check_broken(answer, runs, **family):
    """Stopped exactly where the loss ceased to be a number."""
    found = well_formed(answer, runs)
    due = [int((~torch.isfinite(run)).nonzero()[0]) + 1 for run in runs]
    return found or (None if answer["stopped"] == due else f"it stopped after {answer['stopped']} evaluations")


def well_formed(answer, runs):
    """Why the driver's answer cannot be judged, or None."""
    stopped = answer.get("stopped") if isinstance(answer, dict) else None
    whole = isinstance(stopped, list) and len(stopped) == len(runs) and all(type(t) is int for t in stopped)
    return None if whole and all(1 <= t <= EVALUATIONS for t in stopped) else "it gave no decision"


def check_honest(answer, runs, **family):
    """Plain booleans, from the first evaluation on, and an unchanged list; and neither always yes nor always no."""
    found = well_formed(answer, runs) or difference(answer, {"bool, and the list unchanged": True}, 0, 0)
    if found:
        return found
    return None if 1 < sum(answer["stopped"]) / len(runs) < EVALUATIONS else "it always gives the same answer"


def broken(rng):
    """Falling runs that become nan or infinite at some place."""
    runs = falling(rng, 4)["runs"]
    for i, value in enumerate((math.nan, math.inf, math.nan, math.inf)):
        runs[i, rng.whole(0, 5) if i < 2 else rng.whole(3, 6) :] = value
    return [{"runs": runs}]


# --- the tasks ------------------------------------------------------------------------------------------------------

READY = ("torch.nn.functional", "torch.nn.modules", "torch.autograd.grad", "torch.autograd.backward", "torch.func",
         "torch.autograd.functional", "torch.Tensor.backward", "dlopt.losses")  # fmt: skip
SOFTMAX = (*READY, "torch.softmax", "torch.log_softmax", "torch.logsumexp", "torch.special", "torch.logaddexp",
           "torch.Tensor.softmax", "torch.Tensor.log_softmax", "torch.Tensor.logsumexp", "torch.Tensor.logaddexp",
           "scipy.special")  # fmt: skip

HOMEWORK = Homework(
    tasks=[
        Task(
            cell="test_cross_entropy",
            functions=["cross_entropy"],
            driver="drive_cross_entropy",
            forbidden=SOFTMAX,
            requirements=[
                Requirement(
                    "the loss is the mean negative log-probability",
                    1,
                    lambda r: [scores(r), scores(r, 0.5)],
                    check=only(cross_entropy, "loss"),
                ),
                Requirement(
                    "the gradient is that of the mean",
                    1,
                    lambda r: [scores(r), scores(r, 0.5)],
                    check=only(cross_entropy, "gradient"),
                    hint="p minus the one-hot class, and the mean has a factor",
                ),
                Requirement(
                    "loss and gradient are right for logits of size 10 000",
                    1,
                    extreme_scores,
                    check=only(cross_entropy, "loss", "gradient"),
                    hint="subtract the largest logit of each example first; never take the logarithm of a probability",
                ),
                Requirement(
                    "examples of class −1 count neither in the loss nor in the gradient",
                    1,
                    lambda r: [scores(r, ignored=True) for _ in range(3)],
                    check=only(cross_entropy, "loss", "gradient"),
                    hint="the mean is over the examples that count",
                ),
                Requirement(
                    "keeps float32, and leaves z and y as they were",
                    1,
                    lambda r: [scores(r, dtype=torch.float32), scores(r)],
                    check=only(cross_entropy, "loss", "gradient", "arguments unchanged", rtol=1e-5),
                ),
            ],
        ),
        Task(
            cell="test_huber",
            functions=["huber"],
            driver="drive_huber",
            forbidden=READY,
            requirements=[
                Requirement(
                    "the loss is right on both sides of δ",
                    1,
                    lambda r: [residuals(r, 0.1, 0.9), residuals(r, 1.1, 5.0), residuals(r, 0.2, 3.0)],
                    check=only(huber, "refused", "loss"),
                    hint="the two branches meet at δ",
                ),
                Requirement(
                    "the gradient with respect to the prediction is right on both sides of δ",
                    1,
                    lambda r: [residuals(r, 0.1, 0.9), residuals(r, 1.1, 5.0), residuals(r, 0.2, 3.0)],
                    check=only(huber, "refused", "gradient"),
                    hint="its sign is that of prediction minus target",
                ),
                Requirement("refuses shapes that differ and targets that are nan, nothing else", 1, unfit,
                            check=only(huber, "refused")),
                Requirement(
                    "keeps float32, and leaves its arguments as they were",
                    1,
                    lambda r: [residuals(r, 0.2, 3.0, torch.float32), residuals(r, 0.2, 3.0)],
                    check=only(huber, "refused", "loss", "gradient", "arguments unchanged", rtol=1e-5),
                ),
            ],
        ),
        Task(
            cell="test_location",
            functions=["location"],
            driver="drive_location",
            requirements=[
                Requirement(
                    "Gaussian and Laplace noise",
                    1,
                    lambda r: [sample(r, law, n) for law in ("gaussian", "laplace")
                               for n in (2 * r.whole(3, 6) + 1, 8)],
                    check=check_location,
                ),
                Requirement(
                    "asymmetric Laplace noise of any level",
                    1,
                    lambda r: [sample(r, "asymmetric laplace", r.whole(15, 40), q=r.uniform(low, low + 0.25))
                               for low in (0.05, 0.35, 0.7)],
                    check=check_location,
                    hint="which quantile of the sample?",
                ),
                Requirement(
                    "uniform noise of unknown width",
                    1,
                    lambda r: [sample(r, "uniform", r.whole(6, 15)) for _ in range(2)],
                    check=check_location,
                    hint="the likelihood is zero if a record lies outside; the narrowest law that holds all wins",
                ),
                Requirement(
                    "Cauchy noise, also where the likelihood has several peaks",
                    1,
                    lambda r: [two_clumps(r), two_clumps(r), sample(r, "cauchy", r.whole(6, 12))],
                    check=check_location,
                    hint="a search from one start finds one peak",
                ),
            ],
        ),
        Task(
            cell="test_gradients",
            functions=["gradients"],
            driver="drive_gradients",
            forbidden=READY,
            requirements=[
                Requirement("the loss", 1, lambda r: [network(r), network(r, 1)], check=only(gradients, "loss")),
                Requirement(
                    "the gradients of the output layer",
                    1,
                    lambda r: [network(r), network(r, 1)],
                    check=only(gradients, "W2", "b2"),
                    hint="the mean is over examples, not over elements",
                ),
                Requirement(
                    "the gradients of the hidden layer, also where units are saturated",
                    2,
                    lambda r: [network(r), network(r, 1), *saturated(r)],
                    check=only(gradients, "W1", "b1"),
                    hint="δ passes back through the transpose of W2 and the derivative of tanh",
                ),
                Requirement(
                    "keeps float32, and leaves the arguments as they were",
                    1,
                    lambda r: [network(r, dtype=torch.float32), network(r)],
                    check=only(gradients, "loss", "W1", "b1", "W2", "b2", "arguments unchanged", rtol=1e-5),
                ),
            ],
        ),
        Task(
            cell="test_stop",
            functions=["should_stop"],
            driver="drive_stop",
            requirements=[
                Requirement(
                    "on noisy runs that turn, it keeps good models and saves time",
                    2,
                    lambda r: [turning(r)],
                    check=check_turning,
                    hint="one rise is noise, many evaluations without a new best are not",
                ),
                Requirement(
                    "lets slow runs go on, and ends runs that stand still",
                    1,
                    lambda r: [falling(r), flat(r)],
                    check=check_falling,
                ),
                Requirement("stops at once where the loss is nan or infinite", 1, broken, check=check_broken),
                Requirement(
                    "answers True or False from the first evaluation on, and leaves the list as it was",
                    1,
                    lambda r: [turning(r, 3)],
                    check=check_honest,
                ),
            ],
        ),
    ],
)
