"""What the homework on distributed training grades: requirements, inputs and references. Never released.

Add a task: ``chapters/instructor.md``. The points of a task must equal those of its test cell in the notebook.
"""

import torch
from dlopt.homework import Homework, Requirement, Task
from dlopt.homework.spec import difference

# --- references -----------------------------------------------------------------------------------------------------


def server(theta, workers, versions, gradients, needed, lr):
    """What a synchronous server does."""
    theta, version, round_, dropped = theta.clone(), 0, [], []
    for i, (v, g) in enumerate(zip(versions, gradients)):
        if v < version or not torch.isfinite(g).all():
            dropped.append(i)
            continue
        round_.append(g)
        if len(round_) == needed:
            theta, version, round_ = theta - lr * torch.stack(round_).mean(0), version + 1, []
    return {"theta": theta, "version": version, "dropped": dropped, "inputs unchanged": True}


def stale(theta, workers, versions, gradients, lr):
    """What a staleness-aware server does."""
    theta, version, staleness = theta.clone(), 0, []
    for v, g in zip(versions, gradients):
        if torch.isfinite(g).all():
            tau = version - v
            theta, version = theta - lr / max(1, tau) * g, version + 1
            staleness.append(tau)
    return {"theta": theta, "staleness": staleness, "start unchanged": True}


def plan(layers, ranks, batch):
    """The cheaper way for each layer."""
    share, choices, total = 2 * (ranks - 1) / ranks, [], 0.0
    for parameters, inputs in layers:
        choices.append("replicate" if parameters <= batch * inputs else "cut")
        total += share * min(parameters, batch * inputs)
    return {"choices": choices, "sent": total}


def rounds(base, delay, workers, needed):
    """Expected time until the fastest ``needed`` are done."""
    return base + delay * sum(1 / i for i in range(workers - needed + 1, workers + 1))


def backups(base, delay, workers):
    """The number with the least time per used gradient."""
    return min(range(workers), key=lambda b: rounds(base, delay, workers, workers - b) / (workers - b))


def check_ring(*parts):
    """Sums, or numbers sent."""

    def check(answer, vectors):
        k, n = len(vectors), vectors[0].numel()
        want = {"sums": [sum(vectors)] * k, "sent": [2 * (k - 1) * n // k] * k}
        return difference(answer, {part: want[part] for part in parts}, 1e-9, 1e-12)

    return check


def only(reference, *parts):
    """Compare some entries of an answer."""

    def check(answer, **case):
        want = reference(**case)
        return difference(answer, {part: want[part] for part in parts}, 1e-9, 1e-12)

    return check


# --- inputs ---------------------------------------------------------------------------------------------------------


def arrivals(rng, workers, needed, rounds_, late=0, bad=0, left=0):
    """Messages of several rounds in random order, some late, some not finite, some of a round that does not end."""
    n, found, version = rng.whole(2, 5), [], 0
    for _ in range(rounds_ + (left > 0)):
        order = torch.randperm(workers, generator=rng.generator).tolist()
        count = needed if version < rounds_ else left
        fresh = [(w, version, rng.normal(n)) for w in order[:count]]
        extra = [(w, version, torch.full((n,), float("nan")).double()) for w in order[count : count + bad]]
        old = [(w, version - 1, rng.normal(n)) for w in order[count + bad : count + bad + late] if version]
        for message in extra + old:
            fresh.insert(rng.whole(0, len(fresh) - 1), message)  # never last: the round is still open
        found += fresh
        version += 1
    w, v, g = zip(*found)
    return {"theta": rng.normal(n), "workers": list(w), "versions": list(v), "gradients": list(g), "needed": needed,
            "lr": rng.uniform(0.05, 0.5)}


def asynchronous(rng, workers, updates, bad=False):
    """Messages of workers that fetch after each of their pushes."""
    n, at, found, version = rng.whole(2, 5), [0] * workers, [], 0
    for u in range(updates):
        w = rng.whole(0, workers - 1)
        g = rng.normal(n)
        if bad and u % 4 == 2:
            g[rng.whole(0, n - 1)] = float("inf")
        found.append((w, at[w], g))
        version += bool(torch.isfinite(g).all())
        at[w] = version
    w, v, g = zip(*found)
    return {"theta": rng.normal(n), "workers": list(w), "versions": list(v), "gradients": list(g),
            "lr": rng.uniform(0.05, 0.5)}


def future(rng):
    """The last message belongs to parameters that do not exist yet."""
    case = asynchronous(rng, 3, 6)
    case["workers"][-1], case["versions"][-1] = rng.whole(11, 99), 6 + rng.whole(0, 2)
    return case


def ring(rng, k, n):
    """One vector for each rank."""
    return {"vectors": [rng.normal(n) for _ in range(k)]}


def network(rng, count, even=False):
    """Layers on either side of break-even, and, if asked, exactly on it."""
    batch = rng.whole(16, 512)
    layers = [[rng.whole(10, 1000) * 100, rng.whole(1, 60)] for _ in range(count)]
    layers += [[batch * 40, 40]] if even else []
    return {"layers": layers, "ranks": rng.whole(2, 16), "batch": batch}


HOMEWORK = Homework(
    tasks=[
        Task("test_server", ["synchronous_server"], "drive_server", forbidden=["torch.distributed"], requirements=[
            Requirement("equals SGD with the batch of all workers", 2,
                        lambda r: [arrivals(r, 4, 4, 3), arrivals(r, 1, 1, 4), arrivals(r, 6, 6, 2)], server,
                        hint="the mean over the gradients that the round took"),
            Requirement("drops gradients that come too late, and says which", 2,
                        lambda r: [arrivals(r, 6, 4, 4, late=1), arrivals(r, 7, 3, 3, late=2)], server,
                        hint="too late means: computed at an older version"),
            Requirement("survives gradients that are not finite", 1,
                        lambda r: [arrivals(r, 6, 3, 3, bad=1), arrivals(r, 8, 4, 2, late=1, bad=2)], server),
            Requirement("does not move for a round that has not ended", 1,
                        lambda r: [arrivals(r, 5, 5, 2, left=3), arrivals(r, 4, 2, 3, late=1, left=1)], server),
        ]),
        Task("test_ring", ["ring_all_reduce"], "drive_ring", forbidden=["torch.distributed"], requirements=[
            Requirement("every rank ends with the sum", 2,
                        lambda r: [ring(r, 2, 6), ring(r, 4, 12), ring(r, 5, 20)], check=check_ring("sums")),
            Requirement("every rank sends 2(k-1)n/k numbers", 2,
                        lambda r: [ring(r, 3, 12), ring(r, 4, 40), ring(r, 7, 14)], check=check_ring("sums", "sent"),
                        hint="send one part at a time, not the vector"),
            Requirement("works where k does not divide n, and for one rank", 2,
                        lambda r: [ring(r, 3, 7), ring(r, 5, 13), ring(r, 1, 4)], check=check_ring("sums")),
        ]),
        Task("test_stale", ["staleness_aware_server"], "drive_stale", requirements=[
            Requirement("counts staleness in updates", 2,
                        lambda r: [asynchronous(r, 4, 12), asynchronous(r, 1, 5)],
                        check=only(stale, "staleness", "start unchanged")),
            Requirement("divides the rate by the staleness, and by 1 where there is none", 2,
                        lambda r: [asynchronous(r, 5, 15), asynchronous(r, 2, 8)], stale,
                        hint="what is the factor at staleness 0?"),
            Requirement("a gradient that is not finite makes no update", 1,
                        lambda r: [asynchronous(r, 4, 14, bad=True)], stale,
                        hint="and therefore makes nobody staler"),
        ]),
        Task("test_future", ["staleness_aware_server"], "drive_future", requirements=[
            Requirement("refuses a version from the future with a ValueError that names the worker", 1,
                        lambda r: [future(r), future(r)],
                        lambda **case: {"refused": True, "names the worker": True}),
        ]),
        Task("test_plan", ["plan"], "drive_plan", requirements=[
            Requirement("chooses the cheaper way for every layer", 2,
                        lambda r: [network(r, 8), network(r, 5)], check=only(plan, "choices"),
                        hint="compare parameters with batch times inputs"),
            Requirement("replicates on a tie, and counts what each rank sends", 2,
                        lambda r: [network(r, 6, even=True), network(r, 3)], plan),
        ]),
        Task("test_rounds", ["expected_round"], "drive_rounds", requirements=[
            Requirement("the expected time of the fastest N of M", 2,
                        lambda r: [{"base": r.uniform(0.1, 2.0), "delay": r.uniform(0.1, 2.0), "workers": M,
                                    "needed": N} for M, N in ((1, 1), (8, 8), (30, 27), (100, 60))], rounds),
        ]),
        Task("test_backups", ["best_backups"], "drive_backups", requirements=[
            Requirement("the number of backups with the least time per used gradient", 2,
                        lambda r: [{"base": b, "delay": d * r.uniform(0.9, 1.1), "workers": M} for b, d, M in
                                   ((1.0, 1.0, 20), (0.1, 1.0, 50), (1.0, 0.05, 40), (1.0, 3.0, 7))], backups),
        ]),
    ],
)
