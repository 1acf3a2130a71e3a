"""Data sets, splits, batches and sequences."""

import pytest
import torch
from dlopt.data import (
    BatchSampler,
    Dataset,
    adding,
    breast_cancer,
    copy_memory,
    diabetes,
    digits,
    split_indices,
    stream,
)
from sklearn import datasets

TABLES = [digits, diabetes, breast_cancer]


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load, n, d", [(digits, 1797, 64), (diabetes, 442, 10), (breast_cancer, 569, 30)])
def test_the_three_splits_together_are_scikit_learns_table(load, n, d):
    data = load(seed=3, dtype=torch.float64)
    x = torch.cat([data.x_train, data.x_val, data.x_test])
    assert x.shape == (n, d)
    raw = {"digits": datasets.load_digits, "diabetes": lambda: datasets.load_diabetes(scaled=False),
           "breast_cancer": datasets.load_breast_cancer}[load.__name__]().data  # fmt: skip
    raw = torch.tensor(raw, dtype=torch.float64)
    for column in (0, d // 2, d - 1):  # same values up to the affine map of standardization
        a, b = x[:, column].sort().values, raw[:, column].sort().values
        scale = (a[-1] - a[0]) / (b[-1] - b[0]) if b[-1] > b[0] else 1.0
        torch.testing.assert_close(a - a[0], scale * (b - b[0]))


@pytest.mark.parametrize("load", TABLES)
def test_a_seed_fixes_the_split_and_another_seed_changes_it(load):
    a, b, c = load(seed=1), load(seed=1), load(seed=2)
    assert torch.equal(a.x_train, b.x_train) and torch.equal(a.y_test, b.y_test)
    assert not torch.equal(a.x_train, c.x_train)


@pytest.mark.parametrize("load", [diabetes, breast_cancer])
def test_columns_are_standardized_with_training_rows_only(load):
    data = load(seed=0, dtype=torch.float64)
    torch.testing.assert_close(data.x_train.mean(0), torch.zeros(data.x_train.shape[1], dtype=torch.float64))
    torch.testing.assert_close(data.x_train.std(0, correction=0), torch.ones_like(data.x_train[0]))
    assert data.x_val.mean(0).abs().max() > 1e-3  # were they in the statistics, this would be balanced


def test_digits_share_one_scale_over_all_pixels():
    data = digits(seed=0, dtype=torch.float64)
    assert abs(data.x_train.mean()) < 1e-12 and abs(data.x_train.std(correction=0) - 1) < 1e-12
    assert digits(flat=False).x_train.shape[1:] == (1, 8, 8)


def test_diabetes_target_has_variance_one_so_the_mean_costs_one():
    _, y = diabetes(dtype=torch.float64).train
    assert y.shape[1] == 1 and abs((y**2).mean() - 1) < 1e-12


def test_raw_units_keep_the_ill_conditioning():
    condition = [torch.linalg.cond(load.x_train.T @ load.x_train) for load in (diabetes(raw=True), diabetes())]
    assert condition[0] > 1000 * condition[1]


def test_classes_keep_their_proportions_in_every_part():
    y = torch.tensor([0] * 700 + [1] * 200 + [2] * 100)
    parts = split_indices(y, seed=0)
    assert torch.cat(parts).sort().values.equal(torch.arange(1000))
    for part, share in zip(parts, (0.6, 0.2, 0.2)):
        assert y[part].bincount().tolist() == [round(700 * share), round(200 * share), round(100 * share)]


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5)])
def test_fractions_that_are_no_shares_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions must be|each of fractions must"):
        digits(fractions=fractions)


@pytest.mark.parametrize("load", TABLES)
def test_a_negative_seed_is_refused(load):
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, got -1"):
        load(seed=-1)


# --- Dataset ----------------------------------------------------------------------------------------------------------


def small(**changes):
    x, y = torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])
    parts = dict(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y, n_classes=2)
    return Dataset("small", **{**parts, **changes})


def test_to_changes_floating_point_tensors_only():
    data = small().to(dtype=torch.float64)
    assert data.x_train.dtype == torch.float64 and data.y_train.dtype == torch.int64
    assert data.to("meta").x_val.device.type == "meta"


def test_repr_tells_sizes_shape_and_kind():
    assert repr(small()) == "Dataset('small', 4 + 4 + 4 examples of shape (3,), 2 classes)"


@pytest.mark.parametrize("changes, message", [
    ({"y_train": torch.tensor([0, 1])}, "x_train and y_train must be equally long and not empty, got 4 and 2"),
    ({"x_val": torch.zeros(0, 3), "y_val": torch.zeros(0, dtype=torch.int64)}, "x_val and y_val .* got 0 and 0"),
    ({"y_test": torch.tensor([0, 1, 2, 0])}, "y_test must lie in 0 ... 1, got 0 ... 2"),
])
def test_a_dataset_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_streams_with_different_keys_differ_and_equal_keys_agree():
    keys = [("a", 0, 1), ("a", 0, 1), ("a", 1, 0), ("a", 0, 1, 0), ("b", 0, 1)]
    first, again, *others = [torch.rand(3, generator=stream(*key)) for key in keys]
    assert torch.equal(first, again)
    assert not any(torch.equal(first, other) for other in others)


# --- BatchSampler -----------------------------------------------------------------------------------------------------


def test_every_epoch_visits_each_example_once_in_another_order():
    sampler = BatchSampler(10, 3, seed=0)
    epochs = [torch.cat([next(sampler) for _ in range(4)]) for _ in range(2)]
    assert all(epoch.sort().values.equal(torch.arange(10)) for epoch in epochs)
    assert not torch.equal(*epochs) and sampler.epoch == 2


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("taken", [0, 1, 2, 3, 7])
def test_a_restored_sampler_goes_on_with_exactly_the_batches_that_would_have_come(taken, replacement):
    sampler = BatchSampler(11, 4, seed=5, replacement=replacement)
    for _ in range(taken):
        next(sampler)
    other = BatchSampler(11, 4, seed=5, replacement=replacement)
    other.load_state_dict(sampler.state_dict())
    assert all(torch.equal(next(sampler), next(other)) for _ in range(9))


def test_with_replacement_draws_are_independent_and_uniform():
    sampler = BatchSampler(4, 8, seed=0, replacement=True)
    drawn = torch.cat([next(sampler) for _ in range(1000)])
    assert len(drawn) == 8000
    expected = 2000  # chi-square with 3 degrees of freedom: 16.3 is the 99.9 % point
    assert ((drawn.bincount(minlength=4) - expected) ** 2 / expected).sum() < 16.3


def test_drop_last_leaves_only_full_batches():
    sampler = BatchSampler(10, 4, drop_last=True)
    assert [len(next(sampler)) for _ in range(4)] == [4, 4, 4, 4] and sampler.epoch == 2
    assert [len(next(BatchSampler(10, 10))) for _ in range(2)] == [10, 10]


FIRST_BATCH = [375, 467, 868, 417, 507, 341, 371, 98, 568, 128]


def test_the_first_batches_are_the_same_on_every_machine():
    sampler = BatchSampler(1000, 10, seed=0)
    assert next(sampler).tolist() == FIRST_BATCH


@pytest.mark.parametrize("arguments, message", [
    ((10, 11), "batch_size must be <= n = 10, got 11; batch_size=10 is the full batch"),
    ((0, 1), "n must be a whole number >= 1, got 0"),
    ((10, 0), "batch_size must be a whole number >= 1, got 0"),
    ((10, 2.5), "batch_size must be a whole number >= 1, got 2.5"),
])
def test_impossible_batches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BatchSampler(*arguments)


@pytest.mark.parametrize("name, value", [("n", 12), ("batch_size", 3), ("seed", 1), ("replacement", True)])
def test_the_state_of_another_sampler_is_refused(name, value):
    state = {**BatchSampler(11, 4, seed=0).state_dict(), name: value}
    with pytest.raises(ValueError, match=f"the saved sampler has {name} = {value}"):
        BatchSampler(11, 4, seed=0).load_state_dict(state)


def test_a_position_beyond_the_epoch_is_refused():
    with pytest.raises(ValueError, match="position must be < 3, got 3"):
        BatchSampler(11, 4).load_state_dict({**BatchSampler(11, 4).state_dict(), "position": 3})


# --- sequences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 7, 50])
def test_the_adding_target_is_the_sum_of_two_marked_numbers_one_in_each_half(length):
    x, y = adding(200, length, seed=1, dtype=torch.float64).train
    marks = x[..., 1]
    assert torch.equal(marks.sum(1), torch.full((200,), 2.0, dtype=torch.float64))
    assert torch.equal(marks[:, : length // 2].sum(1), torch.ones(200, dtype=torch.float64))
    torch.testing.assert_close(y[:, 0], (x[..., 0] * marks).sum(1))


def test_answering_one_to_the_adding_problem_costs_a_sixth():
    data = adding(20_000, 10, seed=0)
    error = (data.y_train - 1) ** 2
    assert abs(error.mean() - data.details["baseline_mse"]) < 4 * error.std() / 20_000**0.5


def test_copy_memory_asks_for_the_word_after_the_delay():
    data = copy_memory(50, delay=12, seed=0, symbols=4, alphabet=6, one_hot=False)
    x, y = data.train
    assert x.shape == y.shape == (50, 20)
    assert torch.equal(y[:, -4:], x[:, :4]) and (y[:, :-4] == 0).all()
    assert (x[:, 4:16] == 0).all() and (x[:, 16] == 7).all() and (x[:, 17:] == 0).all()
    assert x[:, :4].min() >= 1 and x[:, :4].max() <= 6 and data.n_classes == 7


def test_the_memoryless_loss_of_copy_memory_is_that_of_guessing_the_word_uniformly():
    data = copy_memory(2000, delay=10, seed=0)
    y = data.y_train
    known = torch.zeros(y.shape[1], 9).scatter_(1, torch.zeros(y.shape[1], 1, dtype=torch.int64), 1.0)
    known[-5:] = torch.tensor([0.0] + [1 / 8] * 8)
    loss = -known.log().expand(len(y), -1, -1).gather(2, y[..., None]).mean()
    assert abs(loss - data.details["baseline_loss"]) < 1e-5


def test_one_hot_and_symbol_numbers_are_the_same_data():
    a, b = copy_memory(20, 5, seed=3), copy_memory(20, 5, seed=3, one_hot=False)
    assert torch.equal(a.x_train.argmax(-1), b.x_train) and torch.equal(a.y_train, b.y_train)


def test_splits_of_a_sequence_problem_are_independent():
    data = adding(100, 10, seed=0)
    assert not torch.equal(data.x_val, data.x_test) and not torch.equal(data.x_train[:25], data.x_val)


@pytest.mark.parametrize("make, message", [
    (lambda: adding(0), "n must be a whole number >= 1, got 0"),
    (lambda: adding(10, length=1), "length must be a whole number >= 2, got 1"),
    (lambda: copy_memory(10, delay=-1), "delay must be a whole number >= 0, got -1"),
    (lambda: copy_memory(10, symbols=0), "symbols must be"),
    (lambda: copy_memory(10, alphabet=1), "alphabet must be a whole number >= 2"),
])
def test_impossible_sequences_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_knobs_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'lenght'"):
        adding(10, lenght=5)
