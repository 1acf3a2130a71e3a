"""Low rank: nothing of that rank is closer, the factors compute what they approximate, and tensors differ."""

import numpy as np
import pytest
import torch
from dlopt import compression as c
from dlopt import models
from torch import nn


def matrix(m=12, n=9, seed=0):
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_distances_are_the_tails_of_the_singular_values(rank):
    W = matrix()
    A, B = c.truncated_svd(W, rank)
    sigma = np.linalg.svd(W.numpy(), compute_uv=False)
    tail = np.append(sigma[rank:], 0.0)
    assert float((W - A @ B).norm()) == pytest.approx(np.sqrt((tail**2).sum()), abs=1e-12)
    assert float(torch.linalg.matrix_norm(W - A @ B, 2)) == pytest.approx(tail[0], abs=1e-12)


def test_descent_on_the_factors_finds_nothing_closer():
    W = matrix()
    A, B = c.truncated_svd(W, 3)
    best = float((W - A @ B).norm())
    g = torch.Generator().manual_seed(1)
    for _ in range(5):
        A = torch.randn(12, 3, dtype=torch.float64, generator=g)
        for _ in range(300):  # alternating least squares
            B = torch.linalg.lstsq(A, W).solution
            A = torch.linalg.lstsq(B.T, W.T).solution.T
        assert float((W - A @ B).norm()) >= best - 1e-9


@pytest.mark.parametrize("m, n", [(300, 784), (10, 10), (7, 3)])
def test_factors_are_smaller_exactly_below_the_break_even_rank(m, n):
    for rank in range(1, min(m, n) + 1):
        assert (rank * (m + n) < m * n) == (rank < c.break_even_rank(m, n))


def test_a_layer_of_full_rank_computes_the_same_and_a_thin_one_has_so_many_weights():
    layer, x = nn.Linear(9, 12), torch.randn(5, 9)
    torch.testing.assert_close(c.svd_factorize(layer, 9)(x), layer(x), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in c.svd_factorize(layer, 2).parameters()) == 2 * (9 + 12) + 12
    with pytest.raises(ValueError, match="rank must be at most 9, got 10"):
        c.svd_factorize(layer, 10)


def test_with_inputs_the_error_on_them_is_the_tail_of_the_outputs_and_descent_finds_nothing_better():
    W, g = matrix(), torch.Generator().manual_seed(2)
    X = torch.arange(1, 10)[:, None] * torch.randn(9, 40, dtype=torch.float64, generator=g)
    A, B = c.truncated_svd(W, 3, X)
    best, tail = ((W - A @ B) @ X).norm(), torch.linalg.svdvals(W @ X)[3:].norm()
    torch.testing.assert_close(best, tail)
    for _ in range(5):
        A = torch.randn(12, 3, dtype=torch.float64, generator=g)
        for _ in range(300):  # alternating least squares for the outputs
            B = torch.linalg.lstsq(X.T, torch.linalg.lstsq(A, W @ X).solution.T).solution.T
            A = torch.linalg.lstsq((B @ X).T, (W @ X).T).solution.T
        assert ((W - A @ B) @ X).norm() >= best - 1e-9


def test_a_model_factorized_where_its_inputs_lie_keeps_a_layer_that_they_span():
    model = models.lenet_300_100(seed=0)
    x = torch.randn(10, 784, generator=torch.Generator().manual_seed(0))  # ten examples span ten directions
    kept, plain = c.factorize_layers(model, 10, inputs=x), c.factorize_layers(model, 10)
    torch.testing.assert_close(kept(x), model(x), rtol=1e-3, atol=1e-4)
    assert (plain(x) - model(x)).abs().max() > 0.01
    assert all(p.requires_grad for p in kept.parameters())


def test_factorizing_a_model_spares_its_last_layer_and_layers_that_would_grow():
    model = models.lenet_300_100()
    thin = c.factorize_layers(model, 20)
    sizes = [tuple(layer.weight.shape) for layer in thin if isinstance(layer, nn.Linear)]
    assert sizes == [(20, 784), (300, 20), (20, 300), (100, 20), (10, 100)]
    fat = c.factorize_layers(model, 80)
    assert [tuple(layer.weight.shape) for layer in fat if isinstance(layer, nn.Linear)][-2:] == [(100, 300), (10, 100)]
    fat[-1].weight.data.zero_()
    assert model.linear3.weight.abs().sum() > 0


# --- convolutions

def kernel(rank=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(6, 8, 5, padding=2, stride=2)
    if rank is not None:
        a, b, c_, d = (torch.randn(size, rank, generator=g) for size in (8, 6, 5, 5))
        conv.weight.data = torch.einsum("or,ir,hr,wr->oihw", a, b, c_, d)
    else:
        conv.weight.data = torch.randn(8, 6, 5, 5, generator=g)
    return conv


def test_the_cp_chain_of_a_rank_two_kernel_is_the_convolution():
    conv, x = kernel(rank=2), torch.randn(3, 6, 12, 12)
    made = c.cp_factorize(conv, 2, l2=0.0, iterations=500)
    assert made.relative_error < 1e-4
    torch.testing.assert_close(made.layers(x), conv(x), rtol=1e-2, atol=2e-2)
    assert sum(p.numel() for p in made.layers.parameters()) == 2 * (8 + 6 + 5 + 5) + 8


def test_cp_s_error_is_that_of_the_kernel_its_chain_applies_and_its_factors_are_balanced():
    conv = kernel()
    made = c.cp_factorize(conv, 4)
    impulse = torch.zeros(6, 6, 15, 15)
    impulse[range(6), range(6), 7, 7] = 1.0
    bias = conv.bias.detach()[:, None, None]
    dense = nn.Sequential(*made.layers)
    dense[1].stride = dense[2].stride = (1, 1)
    response = dense(impulse).detach() - bias
    W = response[:, :, 5:10, 5:10].flip(2, 3).transpose(0, 1)  # the kernel, flipped
    kernel_ = conv.weight.detach()
    assert float((W - kernel_).norm() / kernel_.norm()) == pytest.approx(made.relative_error, abs=1e-5)
    norms = [made.layers[0].weight.flatten(1).norm(dim=1), made.layers[1].weight.flatten(1).norm(dim=1),
             made.layers[3].weight.flatten(1).norm(dim=0)]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norms[0], norms[2], rtol=1e-4, atol=1e-5)
    assert 0 < made.largest_term < 5


def test_tucker_of_full_rank_is_the_convolution_and_of_half_rank_is_smaller():
    conv, x = kernel(), torch.randn(3, 6, 12, 12)
    whole = c.tucker_factorize(conv, (8, 6))
    assert whole.relative_error < 1e-6
    torch.testing.assert_close(whole.layers(x), conv(x), rtol=1e-3, atol=1e-4)
    half = c.tucker_factorize(conv, 0.5)
    assert [tuple(layer.weight.shape) for layer in half.layers] == [(3, 6, 1, 1), (4, 3, 5, 5), (8, 4, 1, 1)]
    assert half.layers(x).shape == conv(x).shape and 0 < half.relative_error < 1


def test_tensorly_leaves_its_backend_as_it_was():
    import tensorly
    before = tensorly.get_backend()
    c.tucker_factorize(kernel(), 0.5)
    assert tensorly.get_backend() == before


@pytest.mark.parametrize("call, message", [
    (lambda: c.cp_factorize(nn.Conv2d(4, 4, 3, groups=2), 2), "groups=1"),
    (lambda: c.cp_factorize(nn.Conv2d(4, 4, 3), 0), "rank must be a whole number >= 1"),
    (lambda: c.tucker_factorize(nn.Conv2d(4, 4, 3), (5, 2)), r"ranks must be at most \(4, 4\)"),
    (lambda: c.tucker_factorize(nn.Conv2d(4, 4, 3), 1.5), "ranks must be a share"),
    (lambda: c.tucker_factorize(nn.Conv2d(4, 4, 3, padding="same"), 0.5), "padding in numbers"),
])
def test_impossible_factorizations_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_w_tensor_has_no_best_approximation_of_rank_two():
    """De Silva and Lim's example: errors go to zero, the terms to infinity, and rank 2 is never reached."""
    e, f = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    outer = lambda a, b, d: torch.einsum("i,j,k->ijk", a, b, d)  # noqa: E731
    W = outer(e, e, f) + outer(e, f, e) + outer(f, e, e)
    errors, sizes = [], []
    for n in (1.0, 10.0, 100.0, 1000.0):
        u = e + f / n
        term = n * outer(u, u, u)
        errors.append(float((W - (term - n * outer(e, e, e))).norm()))
        sizes.append(float(term.norm()))
    assert all(b < a / 5 for a, b in zip(errors, errors[1:])) and errors[-1] < 2e-3 and sizes[-1] > 900
