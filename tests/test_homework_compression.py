# ruff: noqa: E501  (a table of one-line edits)
"""Mutation tests of the graders: the reference earns everything, every wrong solution loses in what it breaks."""

import pytest
from homework_harness import Topic
from homework_harness import edit as edited

TOPIC = Topic("compression")
PARTS = {"test_factor": "factor", "test_rank": "factor", "test_huffman": "huffman", "test_mask": "mask",
         "test_budget": "budget"}


def edit(cell, *changes):
    return edited(TOPIC.sources[PARTS[cell]], *changes)


MUTANTS = {  # (task, name): (edits, requirements that must fail)
    ("test_factor", "singular values forgotten"): ([("root = S[:rank].sqrt()", "root = torch.ones_like(S[:rank])")], [0]),
    ("test_factor", "smallest instead of largest"): ([("U[:, :rank] * root, root[:, None] * Vh[:rank]", "U[:, -rank:] * S[-rank:].sqrt(), S[-rank:].sqrt()[:, None] * Vh[-rank:]")], [0]),
    ("test_factor", "all in one factor"): ([("root = S[:rank].sqrt()\n", "root = S[:rank].sqrt()\n    return U[:, :rank] * S[:rank], Vh[:rank]\n")], [1]),
    ("test_factor", "one rank too few"): ([("root = S[:rank].sqrt()", "root = S[:rank].sqrt() * (torch.arange(rank) < rank - 1)")], [0]),
    ("test_rank", "break-even counts as saving"): ([("(m * n - 1) // (m + n)", "(m * n) // (m + n)")], [0]),
    ("test_rank", "half the smaller side"): ([("(m * n - 1) // (m + n)", "min(m, n) // 2")], [0]),
    ("test_rank", "rounded"): ([("(m * n - 1) // (m + n)", "round(m * n / (m + n))")], [0]),
    ("test_huffman", "equal lengths"): ([("    heap = [", "    return {s: format(k, f'0{len(counts).bit_length()}b') for k, s in enumerate(counts)}\n    heap = [")], [1]),
    ("test_huffman", "unary"): ([("    heap = [", "    return {s: '1' * k + '0' for k, (s, _) in enumerate(counts.most_common())}\n    heap = [")], [1]),
    ("test_huffman", "one symbol, no bit"): ([('{symbols[0]: "0"}', '{symbols[0]: ""}')], [0]),
    ("test_huffman", "no prefix code"): ([("    heap = [", "    return {s: format(k, 'b') for k, s in enumerate(counts)}\n    heap = [")], [0, 1, 2]),
    ("test_huffman", "word kept after a symbol"): ([('            word = ""\n', "")], [2]),
    ("test_huffman", "most frequent joined"): ([("heapq.heapify(heap)", "heap = [(-n, k, d) for n, k, d in heap]\n    heapq.heapify(heap)")], [1]),
    ("test_mask", "velocity not masked"): ([("v = (mu * v + g) * mask\n    return (theta - lr * v) * mask, v", "v = mu * v + g\n    return theta - lr * v, v")], [1]),
    ("test_mask", "only the gradient masked"): ([("(mu * v + g) * mask\n    return (theta - lr * v) * mask, v", "mu * v + g * mask\n    return theta - lr * v, v")], [1]),
    ("test_mask", "largest removed"): ([("argsort()", "argsort(descending=True)")], [0]),
    ("test_mask", "by value, not magnitude"): ([("theta.abs().flatten().argsort()", "theta.flatten().argsort()")], [0]),
    ("test_mask", "no momentum"): ([("(mu * v + g) * mask", "g * mask")], [2]),
    ("test_mask", "velocity multiplied twice"): ([("theta - lr * v", "theta - lr * mu * v")], [2]),
    ("test_mask", "one removed too many"): ([("round(share * theta.numel())]", "round(share * theta.numel()) + 1]")], [0]),
    ("test_budget", "always eight bits"): ([("bits = 8 if budget >= 800 else 4 if budget >= 420 else 3", "bits = 8")], [1, 2]),
    ("test_budget", "always three bits, coarse clip"): ([("bits = 8 if budget >= 800 else 4 if budget >= 420 else 3", "bits = 2")], [0]),
    ("test_budget", "a list instead of bytes"): ([("    return data\n", "    return list(data)\n")], [0, 1, 2]),
    ("test_budget", "last net remembered"): ([("    return data\n", "    global kept\n    kept = weights\n    return b'x'\n"), ("    bits, steps = data[0]", "    return kept\n    bits, steps = data[0]")], [0, 1, 2]),
    ("test_budget", "biases dropped"): ([("out.append(step * f64(q).view(shape))", "out.append(step * f64(q).view(shape) * (len(shape) > 1) * torch.randn(shape, generator=torch.Generator().manual_seed(1)).double().sign())")], [0, 1, 2]),
}  # fmt: skip
EQUIVALENT = {
    "test_factor": [("root = S[:rank].sqrt()", "root = S[:rank] ** 0.5"), ("U[:, :rank] * root", "-U[:, :rank] * -root")],
    "test_rank": [("(m * n - 1) // (m + n)", "max(r for r in range(m * n) if r * (m + n) < m * n)")],
    "test_huffman": [('{s: "0" + w for s, w in left.items()} | {s: "1" + w for s, w in right.items()}', '{s: "1" + w for s, w in left.items()} | {s: "0" + w for s, w in right.items()}')],
    "test_mask": [("(mu * v + g) * mask", "mu * v * mask + mask * g")],
    "test_budget": [("(1.0, 0.9, 0.8, 0.7, 0.6)", "(0.95, 0.85, 0.75)")],
}  # fmt: skip


def test_the_visible_test_takes_float32_as_the_grader_does():
    space = {}
    floats = edit("test_budget", ("return out", "return [w.float() for w in out]"),
                  ("= rebuild(made)", "= (w.double() for w in rebuild(made))"))
    for part in (TOPIC.sources["setup"], floats, TOPIC.sources["test_budget"]):
        exec(part, space)
    assert space["rebuild"](space["data"])[0].dtype == space["torch"].float32


@pytest.mark.parametrize("cell", EQUIVALENT)
def test_a_different_right_solution_earns_everything(cell):
    TOPIC.check_right(cell, edit(cell, *EQUIVALENT[cell]), seeds=(b"1", b"2"))


@pytest.mark.parametrize("cell, name", MUTANTS)
def test_a_wrong_solution_loses_where_it_is_wrong(cell, name):
    changes, fails = MUTANTS[cell, name]
    TOPIC.check_wrong(cell, edit(cell, *changes), fails)
