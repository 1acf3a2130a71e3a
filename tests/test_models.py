"""Networks: shapes, seeds, equality with torch's layers, torch.func, learning, refusals."""


import pytest
import torch
from dlopt import data, models
from dlopt.models.recurrent import GRU, LSTM, Elman
from dlopt.models.residual import KINDS
from dlopt.normalization import BatchNorm, normalization
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

IMAGE, SEQUENCE, VECTOR = torch.randn(4, 1, 28, 28), torch.randn(4, 9, 2), torch.randn(4, 12)
TOKENS = torch.randint(11, (4, 8))
ZOO = {  # name -> (make(seed), input, output shape)
    "linear": (lambda seed: models.linear(12, 3, seed=seed), VECTOR, (4, 3)),
    "mlp": (lambda seed: models.mlp([12, 8, 7, 3], seed=seed), VECTOR, (4, 3)),
    "mlp, batch": (lambda seed: models.mlp([12, 8, 3], "tanh", "glorot", "batch", seed=seed), VECTOR, (4, 3)),
    "mlp, layer": (lambda seed: models.mlp([12, 8, 3], normalization="layer", seed=seed), VECTOR, (4, 3)),
    "lenet_300_100": (lambda seed: models.lenet_300_100(seed=seed), IMAGE, (4, 10)),
    "lenet5": (lambda seed: models.lenet5(seed=seed), IMAGE, (4, 10)),
    "lenet5_caffe": (lambda seed: models.lenet5_caffe(seed=seed), IMAGE, (4, 10)),
    "lenet": (lambda seed: models.lenet(28, seed=seed), IMAGE, (4, 10)),
    "small_cnn": (lambda seed: models.small_cnn(seed=seed), IMAGE, (4, 10)),
    "small_cnn, group": (lambda seed: models.small_cnn(normalization="group", seed=seed), IMAGE, (4, 10)),
    "autoencoder": (lambda seed: models.autoencoder([784, 16, 4], seed=seed), IMAGE, (4, 1, 28, 28)),
    "elman": (lambda seed: models.elman(2, 5, 3, seed=seed), SEQUENCE, (4, 3)),
    "lstm": (lambda seed: models.lstm(2, 5, 3, every_step=True, seed=seed), SEQUENCE, (4, 9, 3)),
    "gru": (lambda seed: models.gru(2, 5, 3, seed=seed), SEQUENCE, (4, 3)),
    "transformer, pre": (lambda seed: models.transformer(11, 8, 16, 2, 2, seed=seed), TOKENS, (4, 8, 11)),
    "transformer, post": (lambda seed: models.transformer(11, 8, 16, 2, norm="post", seed=seed), TOKENS, (4, 8, 11)),
}
for kind in KINDS:
    ZOO[f"residual_mlp, {kind}"] = (lambda seed, kind=kind: models.residual_mlp(12, 8, 5, 3, kind=kind, seed=seed),
                                    VECTOR, (4, 3))  # fmt: skip
    ZOO[f"residual_cnn, {kind}"] = (lambda seed, kind=kind: models.residual_cnn(width=4, depth=3, kind=kind, seed=seed),
                                    IMAGE, (4, 10))  # fmt: skip

# --- all models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ZOO)
def test_answers_have_the_documented_shape_and_every_parameter_a_gradient(name):
    make, x, shape = ZOO[name]
    model = make(0)
    answer = model(x)
    assert answer.shape == shape
    (answer * torch.randn(shape)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.numel() > 0)


@pytest.mark.parametrize("name", ZOO)
def test_a_seed_fixes_all_weights_and_the_global_random_state_stays(name):
    make, _, _ = ZOO[name]
    before = torch.get_rng_state()
    a, b, c = make(1), make(1), make(2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)  # nor does it matter
    d = make(1)
    for p, q, r in zip(a.parameters(), b.parameters(), d.parameters()):
        assert torch.equal(p, q) and torch.equal(p, r)
    assert any(not torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters()))


@pytest.mark.parametrize("name", ZOO)
def test_vmap_over_models_gives_each_models_own_gradient(name):
    make, x, _ = ZOO[name]
    nets = [make(seed).double() for seed in range(3)]
    x = x.double() if x.is_floating_point() else x
    parameters, buffers = stack_module_state(nets)

    def loss(parameters, buffers):
        tensors = {**parameters, **buffers}
        answer = functional_call(nets[0], tensors, (x,))
        return (answer**2).mean(), {k: tensors[k] for k in buffers}

    found, new_buffers = vmap(grad(loss, has_aux=True))(parameters, buffers)
    for k, net in enumerate(nets):
        (net(x) ** 2).mean().backward()
        for key, p in net.named_parameters():
            torch.testing.assert_close(found[key][k], p.grad)
        for key, b in net.named_buffers():
            torch.testing.assert_close(new_buffers[key][k], b)


@pytest.mark.parametrize("name", ZOO)
def test_second_derivatives_exist(name):
    make, x, _ = ZOO[name]
    model = make(0).eval()
    (g,) = torch.autograd.grad((model(x) ** 2).mean(), [next(model.parameters())], create_graph=True)
    (g**2).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# --- dense ------------------------------------------------------------------------------------------------------------


def test_the_mlp_is_the_written_out_composition():
    model = models.mlp([12, 8, 7, 3], "tanh").double()
    x, w = VECTOR.double(), dict(model.named_parameters())
    h = torch.tanh(x @ w["linear1.weight"].T + w["linear1.bias"])
    h = torch.tanh(h @ w["linear2.weight"].T + w["linear2.bias"])
    torch.testing.assert_close(model(x), h @ w["linear3.weight"].T + w["linear3.bias"])


def test_layers_before_a_batch_normalization_have_no_bias():
    names = dict(models.mlp([4, 6, 2], normalization="batch").named_parameters())
    assert set(names) == {"linear1.weight", "norm1.weight", "norm1.bias", "linear2.weight", "linear2.bias"}


def test_init_reaches_every_layer():
    model = models.mlp([5, 4, 3], init="constant")
    assert all((p == (0.1 if p.ndim == 2 else 0)).all() for p in model.parameters())


# --- normalization ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, theirs", [((16, 5), nn.BatchNorm1d), ((8, 5, 4, 3), nn.BatchNorm2d)])
def test_batch_norm_equals_torchs_in_training_evaluation_and_running_averages_but_for_the_variance_estimate(
    shape, theirs
):
    ours, theirs = BatchNorm(shape[1]).double(), theirs(shape[1]).double()
    for seed in range(3):
        x = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        torch.testing.assert_close(ours(a), theirs(b))
        (ours.eval()(a) ** 2).sum(), ours.train()
        (ga,), (gb,) = torch.autograd.grad((ours.eval()(a) ** 3).sum(), a), torch.autograd.grad(
            (theirs.eval()(b) ** 3).sum(), b)  # fmt: skip
        ours.train(), theirs.train()
        torch.testing.assert_close(ga, gb)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_batch_norm_refuses_one_value_per_channel():
    with pytest.raises(ValueError, match="needs at least 2 values per channel"):
        BatchNorm(5)(torch.zeros(1, 5))


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_layer_and_group_normalization_do_not_look_at_other_examples(kind):
    norm, x = normalization(kind, 12), torch.randn(5, 12, 3, 3)
    torch.testing.assert_close(norm(x)[:2], norm(x[:2]))
    torch.testing.assert_close(norm(x).flatten(1).mean(1), torch.zeros(5), atol=1e-5, rtol=0)


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="normalization must be one of None, batch, layer, group; got 'instance'"):
        normalization("instance", 4)


# --- recurrent --------------------------------------------------------------------------------------------------------


def torchs(kind, net):
    """torch's layer with the same weights; our one bias is its input bias."""
    layer = {Elman: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}[type(net)](2, 5, batch_first=True).double()
    with torch.no_grad():
        layer.weight_ih_l0.copy_(net.weight_in)
        layer.weight_hh_l0.copy_(net.weight_rec)
        layer.bias_ih_l0.copy_(net.bias)
        layer.bias_hh_l0.zero_()
        if kind == "gru":
            layer.bias_hh_l0[10:].copy_(net.bias_new)
    return layer


@pytest.mark.parametrize("kind", ["elman", "lstm", "gru"])
def test_recurrent_nets_equal_torchs_layers(kind):
    net = getattr(models, kind)(2, 5, 3).double()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.5, generator=torch.Generator().manual_seed(p.numel()))
    x = SEQUENCE.double()
    torch.testing.assert_close(net.states(x), torchs(kind, net)(x)[0])
    torch.testing.assert_close(net(x), net.readout(net.states(x)[:, -1]))


def test_every_block_of_the_recurrent_matrix_starts_orthogonal_and_the_forget_gate_open():
    net = models.lstm(3, 6, 1, forget_bias=2.0)
    for block in net.weight_rec.detach().chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(6), atol=1e-5, rtol=0)
    assert net.bias.tolist() == [0.0] * 6 + [2.0] * 6 + [0.0] * 12


def test_a_linear_recurrence_is_a_matrix_power():
    net = models.elman(1, 4, 1, nonlinearity="identity").double()
    x = torch.zeros(1, 6, 1, dtype=torch.float64)
    x[0, 0] = 1.0
    expected = torch.linalg.matrix_power(net.weight_rec, 5) @ net.weight_in[:, 0]
    torch.testing.assert_close(net.states(x)[0, -1], expected)


# --- transformer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_no_position_sees_the_future(norm):
    model = models.transformer(11, 8, 16, 2, 2, norm=norm, std=0.3)
    other = TOKENS.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    a, b = model(TOKENS), model(other)
    torch.testing.assert_close(a[:, :5], b[:, :5])
    assert (a[:, 5:] - b[:, 5:]).abs().amax((0, 2)).min() > 1e-3
    torch.testing.assert_close(model(TOKENS[:, :3]), a[:, :3])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_block_equals_torchs_encoder_layer_with_a_causal_mask(norm):
    model = models.transformer(11, 8, 16, 2, 1, norm=norm, std=0.4).double()
    block = model.blocks[0]
    layer = nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=norm == "pre").double()
    pairs = {"self_attn.in_proj_": block.attention.qkv, "self_attn.out_proj.": block.attention.out,
             "linear1.": block.feed_in, "linear2.": block.feed_out, "norm1.": block.norm1, "norm2.": block.norm2}
    layer.load_state_dict({f"{a}{k}": v for a, module in pairs.items() for k, v in module.state_dict().items()})
    x = torch.randn(3, 8, 16, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(8, dtype=torch.float64)
    torch.testing.assert_close(block(x), layer(x, src_mask=mask))


def test_token_cross_entropy_is_the_mean_over_positions():
    logits, y = torch.randn(3, 5, 7, dtype=torch.float64), torch.randint(7, (3, 5))
    expected = -logits.log_softmax(-1).gather(2, y[..., None])[..., 0]
    torch.testing.assert_close(models.token_cross_entropy(logits, y), expected.mean())
    torch.testing.assert_close(models.token_cross_entropy(logits, y, "none"), expected)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_tiny_transformer_learns_a_text_far_beyond_letter_frequencies(norm):
    corpus = data.zipf_text(20_000, words=50, length=16)
    model = models.transformer(50, 16, 32, 2, 1, norm=norm, seed=0)
    optimizer, batches = torch.optim.Adam(model.parameters(), lr=1e-2), data.BatchSampler(len(corpus.x_train), 32)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 30)
        rows = next(batches)
        optimizer.zero_grad()
        models.token_cross_entropy(model(corpus.x_train[rows]), corpus.y_train[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        loss = models.token_cross_entropy(model(corpus.x_test), corpus.y_test).item()
    frequency = corpus.y_train.flatten().bincount(minlength=50).double()
    unigram = -(frequency / frequency.sum()).log()[corpus.y_test].mean().item()
    best = corpus.details["best_loss"]["test"]
    assert best < loss < best + 0.3 * (unigram - best)


def test_sampled_text_continues_the_prompt_reproducibly():
    model = models.transformer(11, 8, 16, 2)
    texts = [model.continue_text(TOKENS[0], 12, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert len(texts[0]) == 20 and torch.equal(texts[0][:8], TOKENS[0])
    assert torch.equal(texts[0], texts[1]) and not torch.equal(texts[0], texts[2])


# --- residual ---------------------------------------------------------------------------------------------------------


def test_blocks_are_their_formulas():
    x, phi = torch.randn(6, 8), torch.relu
    blocks = {kind: models.residual_mlp(12, 8, 4, 3, kind=kind, normalization="layer")[2][0] for kind in KINDS}
    w, n = blocks["plain"].layer, blocks["plain"].norm
    torch.testing.assert_close(blocks["plain"](x), phi(n(w(x))))
    torch.testing.assert_close(blocks["post"](x), phi(x + 0.5 * n(w(x))))  # depth 4: the branch counts half
    torch.testing.assert_close(blocks["pre"](x), x + 0.5 * w(phi(n(x))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_survives_forty_residual_blocks_but_not_forty_plain_ones(kind):
    blocks = models.residual_mlp(12, 32, 40, 3, kind=kind, init="glorot")[2]
    x = torch.relu(torch.randn(64, 32))
    lost = (x.norm() / blocks(x).norm()).log10().item()
    assert (lost > 4) if kind == "plain" else abs(lost) < 1


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, message", [
    (lambda: models.mlp([5]), r"sizes must have at least an input and an output width, got \[5\]"),
    (lambda: models.mlp([5, 0, 2]), "each of sizes must be a whole number >= 1, got 0"),
    (lambda: models.mlp([5, 4, 2], "swish"), "activation must be one of relu, .*; got 'swish'"),
    (lambda: models.mlp([5, 4, 2], init="xavier"), "init must be one of"),
    (lambda: models.mlp([5, 4, 2], normalization="bn"), "normalization must be one of"),
    (lambda: models.linear(5, 2, seed=-1), "seed must be a whole number >= 0, got -1"),
    (lambda: models.lenet5(8), "side must be a whole number >= 16, got 8"),
    (lambda: models.small_cnn(3), "side must be a whole number >= 4, got 3"),
    (lambda: models.elman(2, 0, 1), "hidden must be a whole number >= 1, got 0"),
    (lambda: models.elman(2, 4, 1, nonlinearity="step"), "nonlinearity must be one of tanh, relu, identity"),
    (lambda: models.transformer(10, width=30, heads=4), "width must be divisible by heads, got 30 and 4"),
    (lambda: models.transformer(10, norm="none"), "norm must be one of pre, post; got 'none'"),
    (lambda: models.transformer(10, 4, 8, 2)(torch.zeros(1, 5, dtype=torch.int64)), "must have <= 4 tokens, got 5"),
    (lambda: models.residual_mlp(4, 8, 0, 2), "depth must be a whole number >= 1, got 0"),
    (lambda: models.residual_cnn(kind="dense"), "kind must be one of plain, pre, post; got 'dense'"),
])
def test_impossible_models_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
