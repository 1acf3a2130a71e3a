"""What the homework on gradient descent grades: requirements, inputs and references. Never released.

Add a task: ``chapters/instructor.md``. The points of a task must equal those of its test cell in the notebook.
"""

import math

import torch
from dlopt.homework import Homework, Requirement, Task, difference, drivers_of

drivers = drivers_of(__file__)
VALUES = ("minimum", "maximum", "saddle", "degenerate", "not critical")


# --- references: closed forms, or another way than the one that the notebook asks for --------------------------------


def gradient(theta, kind, A=None, b=None, c=0.0, p=0.0):
    """Closed-form gradient of the families in ``drivers.make``."""
    y = theta - p
    if kind == "linear":
        return b
    if kind == "chain":
        d = torch.diff(theta)
        return torch.cat([-d[:1], d[:-1] - d[1:], d[-1:]]) + c * theta**3
    return A @ y + c * y**3 + (-b if kind == "quartic" else b)


def hessian_times(theta, v, kind, A=None, b=None, c=0.0, p=0.0):
    """Closed-form Hessian-vector product of the same families."""
    if kind == "linear":
        return torch.zeros_like(v)
    curved = 3 * c * (theta - p) ** 2 * v
    if kind == "chain":
        d = torch.diff(v)
        return torch.cat([-d[:1], d[:-1] - d[1:], d[-1:]]) + curved
    return A @ v + curved


def power(A, v0, steps):
    """The iterate from the eigen-decomposition: exact powers instead of repeated products."""
    values, vectors = torch.linalg.eigh(A)
    coefficients = (values / values.abs().max()) ** steps * (vectors.T @ v0)
    v = vectors @ (coefficients / coefficients.norm())
    return v @ (A @ v), v


def kind_of(theta, tol, kind, A, b, c, p):
    """What the point is, from closed-form gradient and Hessian."""
    if gradient(theta, kind, A, b, c, p).abs().max() > tol:
        return "not critical"
    values = torch.linalg.eigvalsh(A + torch.diag(3 * c * (theta - p) ** 2))
    up, down = bool((values > tol).any()), bool((values < -tol).any())
    if up and down:
        return "saddle"
    return "degenerate" if bool((values.abs() <= tol).any()) else "minimum" if up else "maximum"


def clipped(values, gradients, max_norm):
    """Norm before clipping, gradients after it, and the parameters as they were."""
    norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients if g is not None))
    factor = min(1.0, max_norm / norm) if norm else 1.0
    after = [None if g is None else g * factor for g in gradients]
    return {"norm": norm, "gradients": after, "in place": True, "parameters": values}


def descent(theta, eta, steps, max_norm, **family):
    """The trajectory with closed-form gradients."""
    path = [theta]
    for _ in range(steps):
        g = gradient(path[-1], **family)
        path.append(path[-1] - eta * g * (1.0 if max_norm is None else min(1.0, max_norm / float(g.norm()))))
    return {"path": torch.stack(path), "arguments unchanged": True}


def flops(name, arguments):
    """The three counts; ``break_even`` by bisection over whole condition numbers."""

    def steps(kappa, eps):
        rate = (kappa - 1) / (kappa + 1)
        return 1 if rate <= eps else math.ceil(math.log(eps) / math.log(rate))

    def total(n, kappa, eps):
        return steps(kappa, eps) * (2 * n**2 + 2 * n)

    def newton(n):
        return n**3 / 3 + 4 * n**2 + n

    def break_even(n, eps):
        low, high = 1, 10**9
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if total(n, middle, eps) <= newton(n) else (low, middle)
        return low

    return {"gd_steps": steps, "gd_flops": total, "newton_flops": newton, "break_even": break_even}[name](*arguments)


# --- inputs ----------------------------------------------------------------------------------------------------------


def quartic(rng, n, low=-2.0, high=3.0, c=None, dtype=torch.float64):
    """A random member of the quartic family in n dimensions."""
    A = rng.symmetric([rng.uniform(low, high) for _ in range(n)])
    return {
        "kind": "quartic",
        "A": A.to(dtype),
        "b": rng.normal(n, dtype=dtype),
        "c": rng.uniform(0.5, 1.5) if c is None else c,
    }


def hvp_cases(rng, sizes, dtype=torch.float64):
    """Curved functions of several sizes."""
    return [
        {"theta": rng.normal(n, dtype=dtype), "v": rng.normal(n, dtype=dtype), **quartic(rng, n, dtype=dtype)}
        for n in sizes
    ]


def hvp_large(rng):
    """A long chain: an n x n matrix would need 80 GB."""
    n = 100_000
    return [{"theta": rng.normal(n), "v": rng.normal(n), "kind": "chain", "c": rng.uniform(0.5, 1.5)}]


def hvp_linear(rng):
    """A linear function, whose gradient does not depend on theta, and a curved one beside it."""
    n = rng.whole(2, 5)
    return [{"theta": rng.normal(n), "v": rng.normal(n), "kind": "linear", "b": rng.normal(n)}, *hvp_cases(rng, [n])]


def hvp_answer(**case):
    """Expected answer of ``drive_hvp``, and the promise on its arguments."""
    return {"Hv": hessian_times(**case), "arguments unchanged": True}


def power_cases(rng, steps, top):
    """Symmetric matrices whose dominant eigenvalue is ``top`` times the next one, with both signs."""
    made = []
    for sign in (1.0, -1.0):
        n = rng.whole(3, 6)
        values = [sign * top, *[rng.uniform(-1.0, 1.0) for _ in range(n - 1)]]
        made.append({"A": rng.symmetric(values) * rng.uniform(0.5, 20.0), "v0": rng.normal(n), "steps": steps})
    return made


def check_power(answer, A, v0, steps, parts, rtol=1e-6):
    """Compare an eigenpair with the exact iterate, whatever the sign of the vector."""
    value, vector = power(A, v0, steps)
    if "vector" in parts and isinstance(answer, dict) and isinstance(answer.get("vector"), torch.Tensor):
        given = answer["vector"]
        vector = -vector if given.shape == vector.shape and given.double() @ vector < 0 else vector
    expected = {"value": value, "vector": vector, "arguments unchanged": True}
    found = difference(answer, {k: expected[k] for k in parts}, rtol, 1e-12)
    if not found and answer["products"] > steps + 1:
        return f"it took {answer['products']} products where {steps + 1} are enough"
    return found


def around(rng, values, tilt=0.0, away=0.0, c=0.0):
    """A function with a critical point of these Hessian eigenvalues (``tilt`` makes it not quite critical)."""
    n = len(values)
    p, direction = rng.normal(n), rng.normal(n)
    b = tilt * direction / direction.abs().max()
    return {"kind": "around", "A": rng.symmetric(values), "b": b, "c": c, "p": p, "theta": p + away, "tol": 1e-6}


def positive(rng, n):
    """n eigenvalues between 0.5 and 3."""
    return [rng.uniform(0.5, 3.0) for _ in range(n)]


def extrema(rng):
    """Minima and maxima."""
    up, down = positive(rng, 3), [-x for x in positive(rng, 4)]
    return [around(rng, up), around(rng, down), around(rng, positive(rng, 1))]


def saddles(rng):
    """One negative eigenvalue among many, one positive among many, none."""
    return [
        around(rng, [*positive(rng, 5), -0.01]),
        around(rng, [*[-x for x in positive(rng, 4)], 0.02]),
        around(rng, positive(rng, 6)),
    ]


def flat(rng):
    """A zero eigenvalue beside positive, beside negative and beside both signs, and a strict minimum."""
    ups, downs = positive(rng, 2), [-x for x in positive(rng, 2)]
    return [
        around(rng, [*ups, 0.0], c=1.0),
        around(rng, [*downs, 0.0]),
        around(rng, [ups[0], downs[0], 0.0]),
        around(rng, ups),
    ]


def slopes(rng):
    """Points with a slope above and below the tolerance, of both tolerances."""
    steep, gentle = around(rng, positive(rng, 3), tilt=1e-3), around(rng, positive(rng, 3), tilt=1e-3) | {"tol": 1e-2}
    return [steep, gentle, around(rng, positive(rng, 2), away=0.1), around(rng, [1.0, -1.0], tilt=-0.5)]


def gradients(rng, missing=False, dtype=torch.float64):
    """Three parameters of different shapes and their gradients, some of them missing."""
    shapes = [(rng.whole(2, 4), 3), (rng.whole(2, 5),), (1,)]
    made = [rng.normal(*s, dtype=dtype) * rng.uniform(1.0, 4.0) for s in shapes]
    return {
        "values": [rng.normal(*s, dtype=dtype) for s in shapes],
        "gradients": [None if missing and i == 1 else g for i, g in enumerate(made)],
    }


def norm_of(case):
    """The global norm of a case's gradients."""
    return clipped(**case, max_norm=1.0)["norm"]


def long_ones(rng, missing=False, dtype=torch.float64):
    """Gradients longer than the bound, in two strengths."""
    cases = [gradients(rng, missing, dtype) for _ in range(2)]
    return [c | {"max_norm": norm_of(c) * f} for c, f in zip(cases, (0.9, 0.05))]


def short_ones(rng):
    """Gradients shorter than the bound (must stay as they are), one at zero, and a long one."""
    small, zero, large = gradients(rng), gradients(rng), gradients(rng)
    zero["gradients"] = [torch.zeros_like(g) for g in zero["gradients"]]
    return [
        small | {"max_norm": norm_of(small) * 1.5},
        zero | {"max_norm": 1.0},
        large | {"max_norm": norm_of(large) * 0.5},
    ]


def without_some(rng):
    """A parameter that received no gradient; no gradient at all."""
    nothing = gradients(rng)
    nothing["gradients"] = [None] * 3
    return [*long_ones(rng, missing=True), nothing | {"max_norm": 1.0}]


def check_only(*parts, rtol=1e-5):
    """Compare some entries of the clipping answer."""

    def check(answer, **case):
        expected = clipped(**case)
        return difference(answer, {k: expected[k] for k in parts}, rtol, 1e-12)

    return check


def walk(rng, steps, max_norm=None, dtype=torch.float64, c=0.0):
    """A descent on a convex member of the family with a stable step size."""
    n = rng.whole(2, 4)
    family = quartic(rng, n, low=0.5, high=3.0, c=c, dtype=dtype)
    return {
        "theta": rng.normal(n, dtype=dtype),
        "eta": rng.uniform(0.05, 0.25),
        "steps": steps,
        "max_norm": max_norm,
        **family,
    }


def count(name, *arguments):
    """A call of one counting function."""
    return {"name": name, "arguments": list(arguments)}


def step_counts(rng):
    """Condition numbers from 1 to a million; 1 needs one step."""
    kappas = [1.0, rng.uniform(1.5, 4.0), rng.uniform(20.0, 60.0), rng.uniform(1e3, 1e4), rng.uniform(1e5, 1e6)]
    return [count("gd_steps", k, 10.0 ** -rng.uniform(1.2, 8.0)) for k in kappas]


def flop_counts(rng):
    """Both totals at random sizes."""
    sizes = [3 * rng.whole(1, 3) - 1, rng.whole(50, 900), rng.whole(10_000, 90_000)]  # the first is no multiple of 3
    return [
        *[count("gd_flops", n, rng.uniform(5.0, 500.0), 1e-3) for n in sizes],
        *[count("newton_flops", n) for n in sizes],
    ]


def crossings(rng, low, high):
    """Break-even condition numbers for sizes between low and high."""
    return [count("break_even", rng.whole(low, high), 10.0 ** -rng.uniform(1.5, 6.0)) for _ in range(3)]


# --- the tasks -------------------------------------------------------------------------------------------------------

EIGEN = ("torch.linalg.eig", "torch.linalg.eigh", "torch.linalg.eigvals", "torch.linalg.eigvalsh", "torch.linalg.svd",
         "torch.linalg.svdvals",
         "torch.Tensor.svd", "torch.svd", "torch.lobpcg", "torch.svd_lowrank", "numpy.linalg", "scipy.linalg",
         "scipy.sparse.linalg")  # fmt: skip
HESSIANS = ("torch.autograd.functional", "torch.func.hessian", "torch.func.jacrev", "torch.func.jacfwd")
CLIPPING = ("torch.nn.utils.clip_grad_norm_", "torch.nn.utils.clip_grad_norm", "torch.nn.utils.clip_grad",
            "torch.nn.utils.get_total_norm", "torch.nn.utils.clip_grads_with_norm_")  # fmt: skip

HOMEWORK = Homework(
    skip=("experiment",),
    tasks=[
        Task(
            cell="test_hvp",
            functions=["hvp"],
            driver="drive_hvp",
            forbidden=HESSIANS,
            requirements=[
                Requirement(
                    "equals H(θ)v where the curvature changes with θ",
                    1,
                    lambda r: hvp_cases(r, [1, 3, 6]),
                    hvp_answer,
                    hint="differentiate g·v with respect to θ; v is a constant",
                ),
                Requirement(
                    "works with 100 000 parameters: no n × n matrix, no loop over coordinates", 1, hvp_large, hvp_answer
                ),
                Requirement(
                    "returns zeros where f is linear, and is right beside it",
                    1,
                    hvp_linear,
                    hvp_answer,
                    hint="a gradient that does not depend on θ has no graph to differentiate",
                ),
                Requirement(
                    "keeps float32, and leaves θ and v as they were",
                    1,
                    lambda r: hvp_cases(r, [4], torch.float32),
                    hvp_answer,
                    rtol=1e-4,
                ),
            ],
        ),
        Task(
            cell="test_power",
            functions=["power_iteration"],
            driver="drive_power",
            forbidden=EIGEN,
            requirements=[
                Requirement(
                    "finds the eigenvalue of largest size with its sign",
                    2,
                    lambda r: power_cases(r, 200, 1.5),
                    check=lambda a, **c: check_power(a, **c, parts=["value"]),
                    hint="the Rayleigh quotient has a sign, a norm has none",
                ),
                Requirement(
                    "the vector is the unit eigenvector, up to sign, and v0 is left as it was",
                    1,
                    lambda r: power_cases(r, 200, 1.5),
                    check=lambda a, **c: check_power(a, **c, parts=["vector", "arguments unchanged"]),
                ),
                Requirement(
                    "returns the pair that belongs to the stated number of steps",
                    1,
                    lambda r: [*power_cases(r, 3, 1.2), *power_cases(r, 1, 1.2)],
                    check=lambda a, **c: check_power(a, **c, parts=["value", "vector"]),
                    hint="count the steps; the quotient belongs to the returned vector",
                ),
            ],
        ),
        Task(
            cell="test_classify",
            functions=["classify"],
            driver="drive_classify",
            requirements=[
                Requirement("tells minima from maxima", 1, extrema, kind_of),
                Requirement(
                    "sees a saddle by a single eigenvalue of the other sign",
                    1,
                    saddles,
                    kind_of,
                    hint="the sign of the determinant or of the trace is not enough",
                ),
                Requirement(
                    "calls a point degenerate if an eigenvalue is zero and no two have opposite signs", 1, flat, kind_of
                ),
                Requirement("tests the gradient first, against tol", 1, slopes, kind_of),
            ],
        ),
        Task(
            cell="test_clip",
            functions=["clip_gradients"],
            driver="drive_clip",
            forbidden=CLIPPING,
            requirements=[
                Requirement(
                    "scales all gradients by one common factor to the length max_norm",
                    1,
                    long_ones,
                    check=check_only("gradients"),
                    hint="one norm over all parameters, not one per parameter",
                ),
                Requirement(
                    "leaves gradients that are short enough as they are", 1, short_ones, check=check_only("gradients")
                ),
                Requirement(
                    "skips parameters without a gradient",
                    1,
                    without_some,
                    check=check_only("norm", "gradients"),
                    hint="p.grad is None until backward has reached p",
                ),
                Requirement(
                    "returns the norm before clipping and changes the gradients, not the parameters, in place",
                    1,
                    lambda r: long_ones(r) + long_ones(r, dtype=torch.float32),
                    check=check_only("norm", "gradients", "in place", "parameters"),
                ),
            ],
        ),
        Task(
            cell="test_descent",
            functions=["gradient_descent"],
            driver="drive_descent",
            forbidden=("torch.optim",),
            requirements=[
                Requirement(
                    "every row follows from the one before by θ − η∇f(θ)",
                    1,
                    lambda r: [walk(r, 12), walk(r, 7, c=0.3)],
                    descent,
                    rtol=1e-8,
                ),
                Requirement(
                    "with max_norm, the gradient is clipped before the step",
                    1,
                    lambda r: [walk(r, 9, 0.3), walk(r, 9, 1e3), walk(r, 5)],
                    descent,
                    rtol=1e-6,
                ),
                Requirement(
                    "returns steps + 1 rows, the start first, and leaves the start as it was",
                    1,
                    lambda r: [walk(r, 0), walk(r, 1), walk(r, 6)],
                    descent,
                    hint="rows must be copies: an in-place step changes what was stored",
                ),
                Requirement(
                    "keeps float32",
                    1,
                    lambda r: [walk(r, 5, dtype=torch.float32), walk(r, 5, 0.5, torch.float32)],
                    descent,
                    rtol=1e-4,
                ),
            ],
        ),
        Task(
            cell="test_flops",
            functions=["gd_steps", "gd_flops", "newton_flops", "break_even"],
            driver="drive_flops",
            requirements=[
                Requirement("gd_steps is the smallest sufficient number of steps", 2, step_counts, flops, rtol=1e-12),
                Requirement("gd_flops and newton_flops count as the text does", 1, flop_counts, flops, rtol=1e-12),
                Requirement(
                    "break_even is the largest whole κ for moderate n",
                    1,
                    lambda r: crossings(r, 20, 400),
                    flops,
                    rtol=1e-12,
                ),
                Requirement(
                    "break_even is right and fast for n up to a million",
                    1,
                    lambda r: crossings(r, 10_000, 1_000_000),
                    flops,
                    rtol=1e-12,
                    hint="bisect on κ, or solve for it; do not try every κ",
                ),
            ],
        ),
    ],
)
