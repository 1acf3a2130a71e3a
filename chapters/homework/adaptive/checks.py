"""What the homework on adaptive optimizers grades: requirements, inputs and references. Never released.

Add a task: ``chapters/instructor.md``. The points of a task must equal those of its test cell in the notebook.
"""

import math

import torch
from dlopt import rules
from dlopt.homework import Homework, Requirement, Task, drivers_of

drivers = drivers_of(__file__)
ERRORS = ("correct", "sign", "no correction", "constant correction", "epsilon inside", "no root")


# --- references: the library's rules, which equal PyTorch's ----------------------------------------------------------


def walk(name, theta, numbers, **family):
    """The trajectory by the rule of ``dlopt.rules``."""
    numbers = dict(numbers)
    steps, decay = numbers.pop("steps"), numbers.pop("decay", 0.0)
    decoupled = numbers.pop("decoupled", True)
    rule, gradient = getattr(rules, name), drivers.slope(**family)
    state, path = list(rules.initial_state(rule, theta).values()), [theta]
    for t in range(1, steps + 1):
        now = path[-1]
        g = gradient(now) + (0.0 if decoupled else decay * now)
        step, *state = rule(g, *state, t=t, **numbers)
        path.append((now * (1 - numbers.get("lr", 0.0) * decay) if decoupled else now) + step)
    return {"path": torch.stack(path), "start unchanged": True}


def words(errors, **_):
    """The machines' own names."""
    return list(errors)


def well_formed(answer, centers, **_):
    """Why the answer of ``drive_tune`` cannot be judged, or None."""
    if not isinstance(answer, dict) or len(answer.get("rate", [])) != len(centers):
        return "it gave no answer"
    numbers = [x for key in ("rate", "low", "high") for x in answer[key]]
    if not all(math.isfinite(x) for x in numbers) or min(answer["rate"]) <= 0:
        return "it returned numbers that are not finite, or a rate that is not positive"
    return None


def check_budget(answer, budget, **case):
    """No problem may cost more calls than the budget."""
    found = well_formed(answer, **case)
    most = found or max(answer["calls"])
    return found or (None if most <= budget else f"it trained {most:.0f} times where {budget} are allowed")


def check_choice(answer, budget, centers, **case):
    """The chosen rates are near the best ones."""
    found = well_formed(answer, centers=centers)
    if found:
        return found
    misses = [abs(math.log10(r) - c) for r, c in zip(answer["rate"], centers.tolist())]
    typical = sum(misses) / len(misses)
    return None if typical < 0.35 else f"its rates are off by {typical:.2f} decades on average"


def check_interval(answer, centers, floors, noise, budget, seed):
    """The intervals contain the true mean at the chosen rate about as often as they say, and are not idle."""
    found = well_formed(answer, centers=centers)
    if found:
        return found
    truth = [f + 0.4 * (math.log10(r) - c) ** 2 for r, c, f in zip(answer["rate"], centers.tolist(), floors.tolist())]
    covered = sum(lo <= x <= hi for lo, x, hi in zip(answer["low"], truth, answer["high"])) / len(truth)
    widths = sorted(hi - lo for lo, hi in zip(answer["low"], answer["high"]))
    if covered < 0.82:
        return f"its intervals contain the true loss in {covered:.0%} of the problems"
    if widths[len(widths) // 2] > 5 * noise:
        return f"its intervals are {widths[len(widths) // 2] / noise:.1f} standard deviations of one run wide"
    return None


def check_fresh(answer, **case):
    """At least five runs of the chosen rate have seeds that no other rate has used."""
    found = well_formed(answer, centers=case["centers"])
    if found:
        return found
    fewest = min(answer["fresh"])
    return None if fewest >= 5 else f"only {fewest:.0f} runs at the chosen rate have seeds that were not used in tuning"


# --- inputs ----------------------------------------------------------------------------------------------------------


def curved(rng, name, steps, dtype=torch.float64, scale=1.0, n=None, **numbers):
    """A run of an optimizer on a curved bowl; ``scale`` multiplies the gradient."""
    n = rng.whole(2, 4) if n is None else n
    A = scale * rng.symmetric([rng.uniform(0.5, 3.0) for _ in range(n)])
    b, c = (scale * rng.normal(n)).to(dtype), scale * rng.uniform(0.1, 0.5)
    family = {"kind": "curved", "A": A.to(dtype), "b": b, "c": c}
    return {"name": name, "theta": rng.normal(n, dtype=dtype), "numbers": {"steps": steps, **numbers}, **family}


def constant(rng, name, steps, size, **numbers):
    """A run under a constant gradient of this size, with both signs."""
    sign = torch.where(rng.uniform(0, 1, 3) < 0.5, -1.0, 1.0)
    b = sign * size * rng.uniform(0.5, 2.0, 3)
    return {"name": name, "theta": rng.normal(3), "numbers": {"steps": steps, **numbers}, "kind": "constant", "b": b}


def betas(rng):
    """Decay rates unlike the defaults."""
    return {"beta1": rng.uniform(0.6, 0.95), "beta2": rng.uniform(0.9, 0.995)}


def adams(rng, **rest):
    """Adam's numbers."""
    return {"lr": rng.uniform(0.01, 0.1), **betas(rng), "eps": 1e-8, **rest}


def radams(rng, threshold, beta2=None):
    """RAdam's numbers."""
    return adams(rng, threshold=threshold) | ({} if beta2 is None else {"beta2": beta2})


def machines(rng, *wanted):
    """Machines with the wanted errors, a correct one among them, in random order, twice with other numbers."""
    cases = []
    for _ in range(2):
        errors = [*wanted, "correct", *wanted]
        order = torch.randperm(len(errors), generator=rng.generator).tolist()
        cases.append({"errors": [errors[i] for i in order], **betas(rng), "eps": 10.0 ** -rng.uniform(5.0, 8.0)})
    return cases


def problems(rng, number=60):
    """Validation loss as a noisy parabola of the logarithm of the rate; the best rate lies anywhere in 1e-4 ... 1."""
    return [{"centers": rng.uniform(-3.5, -0.5, number), "floors": rng.uniform(0.2, 2.0, number), "noise": 0.05,
             "budget": 30, "seed": rng.whole(0, 10**6)}]  # fmt: skip


# --- the tasks -------------------------------------------------------------------------------------------------------

READY = ("torch.optim", "dlopt.rules", "dlopt.optimizers")


THRESHOLDS = (4.0, 5.0)


def task(name, *requirements):
    """One optimizer: its test cell, and its requirements as (says, points, cases, hint)."""
    return Task(cell=f"test_{name}", functions=[name], driver="drive_path", forbidden=READY, requirements=[
        Requirement(says, points, cases, walk, hint=hint, rtol=1e-4 if "float32" in says else 1e-7)
        for says, points, cases, hint in requirements])  # fmt: skip


def decayed(rng, decoupled, steps=30):
    """A run of Adam with weight decay on a curved bowl."""
    return curved(rng, "adamw", steps, **adams(rng, decay=rng.uniform(0.2, 2.0), decoupled=decoupled))


def first_steps(rng, size):
    """One step of AdaDelta under a constant gradient."""
    return constant(rng, "adadelta", 1, size, rho=rng.uniform(0.8, 0.97), eps=10.0 ** -rng.uniform(3, 7))


HOMEWORK = Homework(
    skip=("own_rule", "escape"),
    tasks=[
        task(
            "adam",
            ("the first step has length lr in every coordinate, whatever the gradient's size", 1,
             lambda r: [constant(r, "adam", 1, size, **adams(r)) for size in (1e-2, 1.0, 1e3)],
             "both averages start at zero"),
            ("the trajectory is right for other decay rates", 1,
             lambda r: [curved(r, "adam", k, **adams(r)) for k in (7, 40)],
             "the corrections change with t"),
            ("epsilon stands outside of the root", 1,
             lambda r: [constant(r, "adam", 3, 1e-5, **adams(r) | {"eps": 1e-6}) for _ in range(2)],
             "try gradients that are as small as eps"),
            ("keeps float32 and the start; steps = 0 is one row", 1,
             lambda r: [curved(r, "adam", k, torch.float32, **adams(r)) for k in (5, 0)], ""),
        ),
        task(
            "radam",
            ("takes unscaled steps while rho does not exceed the threshold", 1,
             lambda r: [curved(r, "radam", 4, **radams(r, k)) for k in THRESHOLDS],
             "the unscaled step still has the corrected first moment"),
            ("starts scaling in the right step, for both thresholds", 1,
             lambda r: [curved(r, "radam", 6, **radams(r, k, 0.99)) for k in THRESHOLDS], ""),
            ("the trajectory is right once r is close to 1", 1,
             lambda r: [curved(r, "radam", 150, **radams(r, k, 0.95)) for k in THRESHOLDS],
             "r has a square root"),
            ("never scales where beta2 is so small that rho stays below the threshold", 1,
             lambda r: [curved(r, "radam", 30, **radams(r, k, r.uniform(0.3, 0.55))) for k in THRESHOLDS],
             "there must be no nan"),
        ),
        task(
            "adadelta",
            ("goes down, and epsilon sets the first step", 1,
             lambda r: [first_steps(r, size) for size in (1.0, 50.0)],
             "nothing else is known of past steps yet"),
            ("the trajectory is right", 1,
             lambda r: [curved(r, "adadelta", k, rho=r.uniform(0.8, 0.97), eps=10**-r.uniform(2, 4)) for k in (3, 60)],
             "the numerator holds past steps only; the average is of steps, not of gradients"),
            ("keeps float32 and the start", 1,
             lambda r: [curved(r, "adadelta", 8, torch.float32, rho=0.9, eps=1e-3)], ""),
        ),
        task(
            "adamw",
            ("decoupled decay shrinks a parameter without gradient by 1 - lr * decay in each step", 1,
             lambda r: [constant(r, "adamw", 5, 0.0, **adams(r, decay=r.uniform(0.5, 2.0), decoupled=True))], ""),
            ("the trajectory with decoupled decay is right", 1, lambda r: [decayed(r, True)],
             "the decay must not pass through the averages"),
            ("the trajectory with L2 is right", 1, lambda r: [decayed(r, False)],
             "the penalty's gradient passes through both averages"),
            ("without decay both are Adam", 1,
             lambda r: [curved(r, "adamw", 12, **adams(r, decay=0.0, decoupled=d)) for d in (True, False)], ""),
        ),
        Task(
            cell="test_diagnose",
            functions=["diagnose"],
            driver="drive_diagnose",
            requirements=[
                Requirement("tells the correct machine from one that climbs", 1, lambda r: machines(r, "sign"), words),
                Requirement("sees a missing correction", 1, lambda r: machines(r, "no correction"), words,
                            hint="what is the first step?"),
                Requirement("sees a correction that does not change with t", 1,
                            lambda r: machines(r, "constant correction"), words, hint="at t = 2 it is right"),
                Requirement("sees epsilon under the root", 1, lambda r: machines(r, "epsilon inside"), words,
                            hint="send gradients of the size of eps"),
                Requirement("sees a missing root", 1, lambda r: machines(r, "no root"), words,
                            hint="double the gradients"),
            ],
        ),
        Task(
            cell="test_tune",
            functions=["tune"],
            driver="drive_tune",
            seconds=20,
            requirements=[
                Requirement("keeps to the budget", 1, problems, check=check_budget),
                Requirement("chooses rates near the best ones", 1, problems, check=check_choice,
                            hint="the best rate may lie anywhere between 1e-4 and 1, on a logarithmic scale"),
                Requirement("its 95 % intervals contain the true loss at the chosen rate, and are of use", 1, problems,
                            check=check_interval, hint="the runs that chose the rate are luckier than others"),
                Requirement("rests the interval on at least five fresh seeds", 1, problems, check=check_fresh),
            ],
        ),
    ],
)  # fmt: skip
