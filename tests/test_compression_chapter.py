"""The pages on compression: the items they owe, the numbers in their prose, and their worked examples."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from dlopt import compression as c
from dlopt.models import lenet5, lenet_300_100

FOLDER = Path(__file__).parents[1] / "chapters"
PAGES = {stem: nbformat.read(FOLDER / f"{stem}.ipynb", as_version=4)
         for stem in ("compression", "low_rank", "deep_compression") if (FOLDER / f"{stem}.ipynb").exists()}
OWED = {"compression": {"S75", "S79", "E26"}, "low_rank": {"S77", "S78", "E24", "E25"},
        "deep_compression": {"S76", "S79"}}


def prose(stem):
    return "\n".join(cell.source for cell in PAGES[stem].cells if cell.cell_type == "markdown")


def code(stem):
    return [cell.source for cell in PAGES[stem].cells if cell.cell_type == "code"]


def claims(stem):
    calls = [node for source in code(stem) for node in ast.walk(ast.parse(source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"]
    part = lambda call: next((k.value.value for k in call.keywords if k.arg == "part"), None)  # noqa: E731
    return [(call.args[0].value, part(call)) for call in calls]


@pytest.mark.parametrize("stem", PAGES)
def test_every_item_that_the_page_owes_is_claimed_and_no_part_twice(stem):
    found = claims(stem)
    assert {item for item, _ in found} == OWED[stem] and len(found) == len(set(found))


@pytest.mark.parametrize("stem", PAGES)
def test_every_number_in_prose_is_glued(stem):
    used = set(re.findall(r"\{glue:text\}`([\w.-]+)`", prose(stem)))
    text = "\n".join(code(stem))
    said = set(re.findall(r'glue(?:_interval)?\("([\w.-]+)"(?! \+)', text))
    for prefix in re.findall(r'glue(?:_interval)?\("([\w.-]+)" \+', text):
        said |= {name for name in used if name.startswith(prefix) and f'"{name[len(prefix):]}"' in text}
    said |= {key for key in used if f'"{key}"' in text}
    assert used <= said


def test_the_worked_pruning_example_is_what_the_library_does():
    layer = torch.nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[0.9, -0.1, 0.4, 0.05]])
    pruned = c.bake(c.magnitude_prune(torch.nn.Sequential(layer), 0.5))[0].weight.detach()
    assert pruned.tolist() == [[pytest.approx(0.9), 0.0, pytest.approx(0.4), 0.0]]
    assert 0.1**2 + 0.05**2 == pytest.approx(0.0125) and "0.0125" in prose("compression")
    assert 0.5 * 100 * 0.1**2 == pytest.approx(0.5) and 0.5 * 0.4**2 == pytest.approx(0.08)


def test_the_share_of_the_weights_that_goes_with_seven_units_in_ten():
    count = lambda model: sum(layer.weight.numel() for layer in c.prunable(model).values())  # noqa: E731
    whole = lenet_300_100()
    small = c.shrink(whole, 0.7)
    assert (count(whole), count(small)) == (266_200, 73_560) and sum(p.numel() for p in whole.parameters()) == 266_610
    assert round(1 - count(small) / count(whole), 2) == 0.72 and "{,}560$, so 72 %" in prose("compression")
    assert [layer.out_features for layer in c.prunable(small).values()] == [90, 30, 10]
    assert sum(p.numel() for p in lenet5().parameters()) == 61_706
    assert sum(p.numel() for p in lenet_300_100(64).parameters()) == 50_610


def test_a_weight_set_to_zero_once_moves_nine_steps_by_momentum():
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.grad = torch.tensor([1.0], dtype=torch.float64)
    optimizer.step()  # v = 1
    weight.data.zero_()
    for _ in range(400):
        weight.grad.zero_()
        optimizer.step()
    assert float(weight.detach()) == pytest.approx(-0.1 * 0.9 / (1 - 0.9))
    assert "nine steps' worth" in prose("compression")


@pytest.mark.skipif("low_rank" not in PAGES, reason="not written yet")
def test_the_worked_break_even_ranks():
    assert c.break_even_rank(300, 784) == pytest.approx(216.97, abs=0.005) and "216.97" in prose("low_rank")
    assert 4608 / (32 + 16 + 3 + 3) == pytest.approx(85.3, abs=0.05) and 20 * (300 + 784) == 21_680


@pytest.mark.skipif("low_rank" not in PAGES, reason="not written yet")
def test_the_projection_of_the_inputs_norm_is_never_beaten_by_the_plain_svd():
    g = torch.Generator().manual_seed(0)
    W = torch.randn(8, 12, generator=g).double()
    X = torch.randn(12, 40, generator=g).double() * torch.arange(1, 13)[:, None]
    U = torch.linalg.svd(W @ X, full_matrices=False)[0][:, :3]
    A, B = c.truncated_svd(W, 3)
    best, plain = ((W - U @ (U.T @ W)) @ X).norm(), ((W - A @ B) @ X).norm()
    tail = torch.linalg.svdvals(W @ X)[3:].norm()
    assert float(best) == pytest.approx(float(tail)) and float(plain) > float(best)


@pytest.mark.skipif("low_rank" not in PAGES, reason="not written yet")
def test_the_tensor_of_the_proposition_has_slices_that_do_not_diagonalize_and_the_expansion_is_right():
    e, f = torch.eye(2).double()
    outer = lambda *v: torch.einsum("i,j,k->ijk", *v)  # noqa: E731
    T = outer(e, e, f) + outer(e, f, e) + outer(f, e, e)
    assert T[:, :, 0].tolist() == [[0, 1], [1, 0]] and T[:, :, 1].tolist() == [[1, 0], [0, 0]]
    product = T[:, :, 1] @ torch.linalg.inv(T[:, :, 0])
    assert product.tolist() == [[0, 1], [0, 0]]  # a Jordan block
    n = 7.0
    got = n * outer(*[e + f / n] * 3) - n * outer(e, e, e)
    want = T + (outer(e, f, f) + outer(f, e, f) + outer(f, f, e)) / n + outer(f, f, f) / n**2
    torch.testing.assert_close(got, want)


@pytest.mark.skipif("deep_compression" not in PAGES, reason="not written yet")
def test_the_worked_huffman_example():
    counts = [5, 3, 1, 1]
    lengths = c.code_lengths(counts)
    assert lengths.tolist() == [1, 2, 3, 3] and int(np.dot(counts, lengths)) == 17
    assert c.entropy(counts) == pytest.approx(1.685, abs=5e-4)
    assert [format(w, f"0{n}b") for w, n in zip(c.canonical_codes(lengths), lengths)] == ["0", "10", "110", "111"]


@pytest.mark.skipif("low_rank" not in PAGES, reason="not written yet")
def test_the_numbers_of_weights_in_the_solution_on_flattened_kernels():
    kernel = torch.nn.Conv2d(16, 32, 3, bias=False)
    count = lambda layers: sum(p.numel() for p in layers.parameters())  # noqa: E731
    assert [count(c.tucker_factorize(kernel, share).layers) for share in (0.5, 0.25)] == [1792, 608]
    assert [rank * (32 + 16 * 9) for rank in (10, 3)] == [1760, 528]
    assert all(text in prose("low_rank") for text in ("1,792", "1,760", "608", "528"))
