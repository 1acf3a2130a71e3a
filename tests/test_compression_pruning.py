"""Pruning: the masks are the nearest ones and survive every optimizer; shrunken layers compute what they should."""

import copy

import pytest
import torch
from dlopt import compression as c
from dlopt import models
from dlopt.losses import cross_entropy
from dlopt.training import train
from torch import nn
from torch.nn.utils import prune


def small(seed=0):
    return models.mlp([12, 10, 8, 3], seed=seed)


def task(n=96, d=12, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g)
    return x, (x @ torch.randn(d, classes, generator=g)).argmax(1)


def weights(model):
    return torch.cat([layer.weight.detach().flatten() for layer in c.prunable(model).values()])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_global_magnitude_pruning_is_the_nearest_point_with_so_many_nonzero_weights(share):
    model = small()
    before = weights(model)
    c.magnitude_prune(model, share)
    k = before.numel() - round(share * before.numel())
    threshold = before.abs().sort(descending=True).values[k - 1]
    torch.testing.assert_close(weights(model), torch.where(before.abs() >= threshold, before, 0 * before))
    other = before[torch.randperm(before.numel(), generator=torch.Generator().manual_seed(1))[:k]]
    assert (weights(model) ** 2).sum() >= (other**2).sum()


def test_the_masks_are_those_of_torch_prune():
    model, theirs = small(), small()
    c.magnitude_prune(model, 0.7)
    layers = [(layer, "weight") for layer in c.prunable(theirs).values()]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=0.7)
    for name, layer in c.prunable(theirs).items():
        assert torch.equal(c.masks(model)[name], layer.weight_mask.bool())


def test_per_layer_pruning_gives_every_layer_the_same_share():
    model = c.magnitude_prune(small(), 0.5, "layer")
    assert [mask.float().mean().item() for mask in c.masks(model).values()] == [0.5, 0.5, 0.5]


def test_pruned_weights_stay_pruned_and_count():
    model = c.magnitude_prune(small(), 0.5)
    first = c.masks(model)
    c.magnitude_prune(model, 0.75, criterion="random", seed=3)
    assert c.sparsity(model) == 0.75
    assert all(not (mask & ~first[name]).any() for name, mask in c.masks(model).items())
    with pytest.raises(ValueError, match="sparsity must be at least the present 0.75"):
        c.magnitude_prune(model, 0.6)


def test_random_pruning_follows_its_seed_and_not_the_global_one():
    a, b, other = (c.magnitude_prune(small(), 0.5, criterion="random", seed=s) for s in (1, 1, 2))
    assert torch.equal(weights(a), weights(b)) and not torch.equal(weights(a), weights(other))


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
                                  lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.3)])
def test_the_mask_survives_momentum_and_decay(make):
    model, data = small(), task()
    train(model, data, optimizer=make, loss=cross_entropy, steps=20, evaluate_every=0)
    optimizer = make(model.parameters())  # an optimizer with a past
    train(model, data, optimizer=optimizer, loss=cross_entropy, steps=20, evaluate_every=0)
    c.magnitude_prune(model, 0.8)
    gone = {name: ~mask for name, mask in c.masks(model).items()}
    before = weights(model)
    train(model, data, optimizer=make, loss=cross_entropy, steps=30, evaluate_every=0)
    for name, layer in c.prunable(model).items():
        assert (layer.weight[gone[name]] == 0).all()
    assert not torch.equal(weights(model), before)


def test_zeroing_once_does_not_survive_momentum():  # what the mask is for: the control of the test above
    model, data = small(), task()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train(model, data, optimizer=optimizer, loss=cross_entropy, steps=20, evaluate_every=0)
    c.bake(c.magnitude_prune(model, 0.8))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train(model, data, optimizer=optimizer, loss=cross_entropy, steps=1, evaluate_every=0)
    assert c.sparsity(model) < 0.5


def test_iterative_pruning_prunes_then_retrains_at_every_stage():
    seen, model = [], small()
    c.iterative_prune(model, [0.5, 0.75], lambda m, s: seen.append((s, c.sparsity(m))))
    assert seen == [(0.5, 0.5), (0.75, 0.75)]
    with pytest.raises(ValueError, match="stages must rise"):
        c.iterative_prune(small(), [0.5, 0.5], print)


def test_geometric_stages_keep_the_same_share_each_time():
    left = [1 - s for s in c.geometric_stages(0.9, 4)]
    assert left[-1] == pytest.approx(0.1)
    assert [b / a for a, b in zip([1, *left], left)] == pytest.approx([0.1**0.25] * 4)


def test_shuffled_masks_keep_as_many_weights_in_every_layer_but_others():
    model = c.magnitude_prune(small(), 0.7)
    before = c.masks(model)
    after = c.masks(c.shuffle_masks(model, seed=3))
    assert {n: int(m.sum()) for n, m in before.items()} == {n: int(m.sum()) for n, m in after.items()}
    assert all(not torch.equal(before[n], after[n]) for n in before)
    assert c.sparsity(model) == pytest.approx(0.7, abs=0.01)
    again = c.masks(c.shuffle_masks(c.magnitude_prune(small(), 0.7), seed=3))
    assert all(torch.equal(after[n], again[n]) for n in after)


def test_rewinding_restores_the_survivors_and_only_them():
    start = small()
    model = c.magnitude_prune(copy.deepcopy(start), 0.6)
    train(model, task(), optimizer=lambda p: torch.optim.SGD(p, 0.1), loss=cross_entropy, steps=5, evaluate_every=0)
    kept = torch.cat([mask.flatten() for mask in c.masks(model).values()])
    c.rewind(model, start)
    assert torch.equal(weights(model), weights(start) * kept)
    assert torch.equal(model.linear1.bias, start.linear1.bias)
    with pytest.raises(ValueError, match="start must have a parameter linear1.bias of shape"):
        c.rewind(model, models.mlp([12, 9, 8, 3]))


def test_baking_leaves_plain_parameters_and_the_same_answers():
    model, x = c.magnitude_prune(small(), 0.6), task()[0]
    before = model(x)
    assert list(c.bake(model).state_dict()) == list(small().state_dict())
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("argument, message", [({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0"),
                                               ({"sparsity": 0.5, "scope": "unit"}, "scope must be one of"),
                                               ({"sparsity": 0.5, "criterion": "luck"}, "criterion must be one of")])
def test_impossible_prunings_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        c.magnitude_prune(small(), **argument)


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValueError, match="must have a linear or convolutional layer"):
        c.magnitude_prune(nn.ReLU(), 0.5)


# --- many at once

@pytest.mark.parametrize("make", [small, lambda seed: nn.Sequential(nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 4, 2),
                                                                    nn.Flatten(), models.mlp([24, 3], seed=seed)[1])])
def test_retraining_together_is_training_one_by_one_under_the_mask(make):
    data = task()
    pruned = [c.magnitude_prune(make(seed), share) for seed, share in ((0, 0.5), (1, 0.8), (2, 0.8))]
    together = c.retrain(pruned, data, loss=cross_entropy, steps=25, lr=0.01, batch_size=16, seeds=[4, 5, 6])
    for model, fleet, seed in zip(pruned, together, (4, 5, 6)):
        alone = copy.deepcopy(model)
        train(alone, data, optimizer=lambda p: torch.optim.Adam(p, 0.01), loss=cross_entropy, steps=25, batch_size=16,
              seed=seed, evaluate_every=0)
        torch.testing.assert_close(weights(fleet), weights(alone), rtol=1e-3, atol=2e-5)
        assert c.sparsity(fleet) == c.sparsity(model)
        assert not torch.equal(weights(fleet), weights(model))


def test_other_rules_and_dense_controls_go_the_general_way():
    data, dense = task(), [small(0), small(1)]
    control = c.retrain(dense, data, loss=cross_entropy, steps=5, lr=0.1, rule="momentum", hyper={"mu": 0.9})
    assert not torch.equal(weights(control[0]), weights(dense[0]))
    masked = c.retrain([c.magnitude_prune(copy.deepcopy(dense[0]), 0.5)], data, loss=cross_entropy, steps=5, lr=0.1,
                       rule="momentum", hyper={"mu": 0.9})
    assert c.sparsity(masked[0]) == 0.5
    with pytest.raises(ValueError, match="models must hold at least one model"):
        c.retrain([], data, loss=cross_entropy, steps=5, lr=0.1)


def test_accuracies_count_right_answers():
    x, y = task()
    model = small()
    want = (model(x).argmax(1) == y).double().mean().item()
    assert c.accuracies([model, model], x, y, batch_size=7).tolist() == [want, want]


@pytest.mark.parametrize("arm, sparsity", [("dense", 0.0), ("one-shot", 0.8), ("iterative", 0.8), ("random", 0.8)])
def test_every_arm_takes_the_same_number_of_steps(arm, sparsity, monkeypatch):
    from dlopt.compression import protocol

    taken = []
    monkeypatch.setattr(protocol, "retrain", lambda models, data, steps: taken.append(steps) or models)
    out = protocol.retrain_pruned([small(0), small(1)], None, 0.8, arm=arm, steps=101)
    assert sum(taken) == 101 and len(taken) == (4 if arm == "iterative" else 1)
    assert [round(c.sparsity(model), 2) for model in out] == [sparsity] * 2
    with pytest.raises(ValueError, match="at least the number of stages, 4, got 3"):
        protocol.retrain_pruned([small()], None, 0.8, arm="iterative", steps=3)


# --- structured

def images(n=5):
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def units_off(model, small_model):
    """The big model with the removed units' weights and biases set to zero: an independent way to the same answers."""
    big = copy.deepcopy(model)
    layers = [m for m in big if isinstance(m, nn.Linear | nn.Conv2d)]
    smaller = [m for m in small_model if isinstance(m, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for layer, after in zip(layers[:-1], smaller[:-1]):
            gone = c.unit_norms(layer).argsort()[: len(layer.weight) - len(after.weight)]
            layer.weight[gone], layer.bias[gone] = 0.0, 0.0
    return big


@pytest.mark.parametrize("make, x", [(lambda: models.lenet5(16), images()), (lambda: small(), task()[0]),
                                     (lambda: models.lenet(16), images())])
def test_a_shrunken_net_answers_as_the_whole_one_with_those_units_silenced(make, x):
    model = make()
    with torch.no_grad():
        for layer in c.prunable(model).values():
            layer.bias.uniform_(-1, 1)
    small_model = c.shrink(model, 0.5)
    silenced = units_off(model, small_model)
    torch.testing.assert_close(small_model(x), silenced(x), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in small_model.parameters()) < 0.5 * sum(p.numel() for p in model.parameters())


def test_batch_normalization_shrinks_with_its_convolution():
    model = models.small_cnn(16, widths=(8, 6))
    with torch.no_grad():
        model.norm1.running_mean.copy_(torch.arange(8.0))
    kept = c.unit_norms(model.conv1).topk(4).indices.sort().values
    small_model = c.shrink(model, 0.5).eval()
    assert torch.equal(small_model.norm1.running_mean, kept.float())
    assert small_model(images()).shape == (5, 10) and small_model.conv2.weight.shape == (3, 4, 3, 3)


def test_layers_that_shrink_does_not_know_are_refused():
    with pytest.raises(ValueError, match="shrink knows linear"):
        c.shrink(nn.Sequential(nn.Linear(2, 2), nn.Softmax(1), nn.Linear(2, 2)), 0.5)
    with pytest.raises(ValueError, match="groups=1"):
        c.shrink(nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)), 0.5)
    with pytest.raises(ValueError, match="must be an nn.Sequential"):
        c.shrink(nn.Linear(2, 2), 0.5)
