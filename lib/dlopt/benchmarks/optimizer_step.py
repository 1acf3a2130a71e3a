"""One optimizer step, gathering of the gradients included, against the best of torch's own implementations."""

import math

import torch

from dlopt.benchmarks.measuring import interleaved, ratio
from dlopt.device import device as best_device
from dlopt.optimizers import Optimizer

TWINS = {
    "sgd": (torch.optim.SGD, {"lr": 0.01}),
    "momentum": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "adam": (torch.optim.Adam, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
}
FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad)


def mobilenet_v2(classes=1000):
    """Shapes of the parameters of MobileNetV2 (Sandler et al. 2018): 3.5 million in 158 tensors."""
    shapes, width = [(32, 3, 3, 3), (32,), (32,)], 32
    stages = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
    for expansion, out, repeats in stages:
        for _ in range(repeats):
            hidden = width * expansion
            shapes += [(hidden, width, 1, 1), (hidden,), (hidden,)] if expansion > 1 else []
            shapes += [(hidden, 1, 3, 3), (hidden,), (hidden,), (out, hidden, 1, 1), (out,), (out,)]
            width = out
    return [*shapes, (1280, width, 1, 1), (1280,), (1280,), (classes, 1280), (classes,)]


NETWORKS = {
    "MLP 64-128-10": [(128, 64), (128,), (10, 128), (10,)],
    "LeNet-5": [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)],
    "MobileNetV2": mobilenet_v2(),
    "one vector of 25M": [(25_000_000,)],
}


def run(seconds=100.0, networks=NETWORKS, rules=tuple(TWINS), compiled=True):
    """Measure every rule on every network.

    Args:
        seconds: about how long the measurements take; compiling comes on top.
        networks: shapes of the parameters, by name.
        rules: names of rules with a twin in torch.
        compiled: also measure ``compile=True``.

    Returns:
        ``{"rows": [...]}``, a row for each network, rule and mode: ``ratio`` to the best of torch's, which one that
        is, and microseconds.
    """
    where = best_device()
    share = seconds / len(networks) / len(rules)
    rows = []
    for network, shapes in networks.items():
        for rule in rules:
            rows += _compare(network, shapes, rule, share, where, compiled)
    return {"statistic": "least time of each block, median ratio and range over 5 blocks", "rows": rows}


def lines(result):
    """The rows as a table, one line for each rule and network."""
    out = [f"{'network':18} {'rule':9} {'mode':9} {'ratio':>6}  {'range':13} {'us':>9}  {'best of torch':>20}"]
    for row in result["rows"]:
        r = row["ratio"]
        span = f"{r['low']:.2f} to {r['high']:.2f}"
        best = f"{row['reference']} {row['reference_us']:.0f}"
        mode = f"{row['network']:18} {row['rule']:9} {row['mode']:9}"
        out.append(f"{mode} {r['median']:6.2f}  {span:13} {row['us']:9.0f}  {best:>20}")
    return out


def _compare(network, shapes, rule, seconds, where, compiled):
    gradients = [torch.randn(shape, device=where) * 0.1 for shape in shapes]
    programs = {name: _theirs(rule, options, gradients) for name, options in _variants(rule, where).items()}
    theirs = list(programs)
    modes = ["eager"] if sum(g.numel() for g in gradients) < 10_000_000 or not compiled else []
    modes += ["compiled"] if compiled else []
    memory = {mode: programs.setdefault(mode, None) for mode in modes}
    for mode in modes:
        optimizer = Optimizer(_parameters(gradients), rule, lr=TWINS[rule][1].get("lr"), compile=mode == "compiled")
        programs[mode], memory[mode] = optimizer.step, _extra(optimizer)
    times = interleaved(programs, seconds=seconds, device=where)
    best = min(theirs, key=lambda name: min(times[name]))
    reference = [min(times[name][block] for name in theirs) for block in range(len(times[best]))]
    return [
        {
            "network": network, "parameters": sum(g.numel() for g in gradients), "rule": rule, "mode": mode,
            "ratio": ratio(times[mode], reference), "us": 1e6 * min(times[mode]),
            "reference": best, "reference_us": 1e6 * min(reference), "extra_per_parameter": memory[mode],
        }
        for mode in modes
    ]  # fmt: skip


def _variants(rule, where):
    variants = {"for": {"foreach": False}, "foreach": {"foreach": True}}
    if TWINS[rule][0] in FUSED and (where.type == "cpu" or TWINS[rule][0] is not torch.optim.Adagrad):
        variants["fused"] = {"fused": True}
    return variants


def _theirs(rule, options, gradients):
    kind, arguments = TWINS[rule]
    return kind(_parameters(gradients), **arguments, **options).step


def _parameters(gradients):
    parameters = [torch.nn.Parameter(torch.randn_like(g) * 0.1) for g in gradients]
    for p, g in zip(parameters, gradients):
        p.grad = g
    return parameters


def _extra(optimizer):
    """Numbers that the optimizer keeps for each parameter: state, and the vector that gradients are gathered in."""
    (packs, _), = optimizer._packs.values()  # fmt: skip
    held = sum(s.numel() for pack in packs for slot in pack.slots for s in slot.states)
    held += sum(pack.gradient.numel() for pack in packs if pack.packed)
    return held / math.fsum(p.numel() for p in optimizer.param_groups[0]["params"])
