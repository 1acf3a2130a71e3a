"""The pages on data: their worked numbers and the theorem on context, against independent computations."""

import ast
import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from dlopt.data import Dataset, zipf_text

CHAPTERS = Path(__file__).parents[1] / "chapters"


def page(stem):
    notebook = nbformat.read(CHAPTERS / f"{stem}.ipynb", as_version=4)
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    return code, "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def function(stem, name):
    """One function of a page, with the page's imports."""
    code, _ = page(stem)
    space = {}
    exec(code[0], space)
    for node in (node for source in code for node in ast.parse(source).body):
        if getattr(node, "name", None) == name:
            exec(compile(ast.Module([node], []), stem, "exec"), space)
    return space[name]


def entropies(p, longest):
    """H_0, H_1, ...: of the next symbol given the last k, for a stationary chain with transitions p [a, a]."""
    values, vectors = np.linalg.eig(p.T)
    share = np.real(vectors[:, np.argmax(values.real)])
    words = {(i,): q for i, q in enumerate(share / share.sum())}
    blocks = [0.0]
    for _ in range(longest + 1):
        blocks.append(-sum(q * math.log(q) for q in words.values()))
        words = {(*w, j): q * p[w[-1], j] for w, q in words.items() for j in range(len(p))}
    return np.diff(blocks)


def test_the_exercise_on_pairs_has_the_entropies_that_it_states():
    h = entropies(np.array([[0.1, 0.9], [0.9, 0.1]]), 2)
    assert h == pytest.approx([0.693, 0.325, 0.325], abs=5e-4)
    assert all(f"{x:.3f}" in page("sequence_data")[1] for x in h)


def test_entropies_fall_with_context_on_a_random_source():
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=3)
    h = entropies(p, 4)
    assert (np.diff(h) < 1e-12).all() and h[0] > h[1] + 1e-3


def test_counted_is_the_mean_surprise_of_smoothed_frequencies():
    counted = function("sequence_data", "counted")
    x, y = torch.tensor([[0, 1, 0]]), torch.tensor([[1, 0, 2]])
    parts = (x, y, x, y, torch.tensor([[0, 2]]), torch.tensor([[1, 1]]))
    data = Dataset("three symbols", *parts, n_classes=3)
    assert counted(data, pairs=True) == pytest.approx(-(math.log(1.1 / 2.3) + math.log(0.1 / 0.3)) / 2)
    assert counted(data, pairs=False) == pytest.approx(-math.log(1.3 / 3.9))


def test_no_table_of_pairs_goes_below_the_perfect_model_of_the_grammar():
    data, counted = zipf_text(20_000, 1.0, 3, words=100), function("sequence_data", "counted")
    assert data.details["best_loss"]["test"] < counted(data, pairs=True) < counted(data, pairs=False)


def test_the_exercise_on_paired_examples_has_the_numbers_that_the_theorem_gives():
    _, prose = page("data")
    delta = 0.01
    assert "1{,}536" in prose and 3.84 * 0.04 / delta**2 == pytest.approx(1536)
    apart = 0.03 * 0.97 + 0.02 * 0.98
    assert "0.0487" in prose and apart == pytest.approx(0.0487)
    assert "1,870" in prose and round(3.84 * apart / delta**2, -1) == 1870
    assert "461" in prose and round(3.84 * 0.012 / delta**2) == 461


def test_a_comparison_of_known_shares_resolves_at_the_size_that_the_theorem_states():
    g, q, delta = torch.Generator().manual_seed(0), 0.05, 0.02
    n = round(3.84 * q / delta**2)
    u = torch.rand(4000, n, generator=g)
    d = (u < (q + delta) / 2).double() - (u > 1 - (q - delta) / 2).double()
    seen = (d.mean(1) > 1.96 * math.sqrt(q / n)).double().mean().item()
    assert seen == pytest.approx(0.5, abs=0.05)  # at this n about every second time, as the page says
