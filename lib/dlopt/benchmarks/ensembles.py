"""A sweep trained as one ensemble, against a fair loop over its members: 8 learning rates x 5 seeds by default."""

import torch
from torch.nn import functional

from dlopt import data, losses, models
from dlopt.benchmarks.measuring import interleaved, ratio
from dlopt.device import device as best_device
from dlopt.ensemble import Ensemble

BATCH = 32
RATES = [0.001 * 1.5**k for k in range(8)]
TORCH = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    "adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
}
PROBLEMS = {  # model, training set, our loss, torch's loss, rules, updates per program
    "digits MLP 64-128-10": (
        lambda seed: models.mlp([64, 128, 10], seed=seed), lambda: data.digits().train,
        losses.cross_entropy, functional.cross_entropy, ("sgd", "momentum", "adam"), 40,
    ),
    "digits small CNN": (
        lambda seed: models.small_cnn(side=8, seed=seed), lambda: data.digits(flat=False).train,
        losses.cross_entropy, functional.cross_entropy, ("momentum",), 4,
    ),
    "adding GRU, 20 steps": (
        lambda seed: models.gru(2, 32, 1, seed=seed), lambda: data.adding(500, 20).train,
        losses.mse, functional.mse_loss, ("adam",), 4,
    ),
}  # fmt: skip


def run(seconds=100.0, problems=PROBLEMS, seeds=None, blocks=5):
    """Measure every problem.

    The loop is the fastest that plain torch has to offer for a single model: resident data, one permutation an epoch,
    indexing, torch's own optimizer, no bookkeeping. One member is run and its time multiplied by their number, with all
    its data in cache. The ensemble is measured as it is used, its set-up and its record included.

    Args:
        seconds: about how long the measurements take.
        problems: as ``PROBLEMS``.
        seeds: seeds per learning rate; None: 5, on a GPU also 50.
        blocks: number of ratios.

    Returns:
        ``{"rows": [...]}``: ``speedup`` of the ensemble over the loop, and microseconds per update of all members.
    """
    where = best_device()
    sizes = [seeds] if seeds is not None else [5] if where.type == "cpu" else [5, 50]
    cases = [(name, rule, n) for name, problem in problems.items() for rule in problem[4] for n in sizes]
    rows = [_compare(name, problems[name], rule, n, seconds / len(cases), where, blocks) for name, rule, n in cases]
    return {"statistic": "least time of each block, median ratio and range over the blocks", "rows": rows}


def lines(result):
    """The rows as a table."""
    out = [f"{'problem':22} {'rule':9} {'members':>7} {'speedup':>8}  {'range':13} {'us/update':>10} {'loop, us':>10}"]
    for row in result["rows"]:
        r = row["speedup"]
        span = f"{r['low']:.2f} to {r['high']:.2f}"
        head = f"{row['problem']:22} {row['rule']:9} {row['members']:7d}"
        out.append(f"{head} {r['median']:8.2f}  {span:13} {row['us']:10.0f} {row['loop_us']:10.0f}")
    return out


def _compare(name, problem, rule, n_seeds, seconds, where, blocks):
    make, load, ours, theirs, _, updates = problem
    x, y = (tensor.to(where) for tensor in load())
    K = len(RATES) * n_seeds
    hyper = {"lr": [rate for rate in RATES for _ in range(n_seeds)]}
    ensemble = Ensemble(make, seeds=list(range(n_seeds)) * len(RATES), rule=rule, hyper=hyper, loss=ours, device=where)
    programs = {
        "loop": _loop(make(seed=0).to(where), x, y, theirs, TORCH[rule], updates),
        "ensemble": lambda: ensemble.train((x, y), steps=updates, batch_size=BATCH, evaluate_every=0),
    }
    times = interleaved(programs, seconds=seconds, blocks=blocks, device=where)
    loop = [K * t for t in times["loop"]]
    return {
        "problem": name, "rule": rule, "members": K, "speedup": ratio(loop, times["ensemble"]),
        "us": 1e6 * min(times["ensemble"]) / updates, "loop_us": 1e6 * min(loop) / updates,
    }  # fmt: skip


def _loop(model, x, y, loss, make_optimizer, updates):
    """The loop over batches that a careful reader would write."""
    optimizer = make_optimizer(model.parameters(), RATES[0])

    def program():
        order, start = torch.randperm(len(x)).to(x.device), 0
        for _ in range(updates):
            if start + BATCH > len(x):
                order, start = torch.randperm(len(x)).to(x.device), 0
            index = order[start : start + BATCH]
            start += BATCH
            optimizer.zero_grad()
            loss(model(x[index]), y[index]).backward()
            optimizer.step()

    return program
