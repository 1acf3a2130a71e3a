"""The file format: bit for bit, as small as it says, and deaf to whatever a hostile file claims."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from dlopt import compression as c
from dlopt import models
from dlopt.compression.encodings import FLOAT16, FLOAT32, INT8_ROWS, SHARED, SPARSE, SPARSE_FLOAT32, Reader, encode
from dlopt.losses import cross_entropy
from torch import nn


def small(seed=0):
    return models.mlp([12, 10, 8, 3], seed=seed)


def compressed(seed=0, share=0.7, bits=2):
    return c.kmeans_share(c.magnitude_prune(small(seed), share), bits)


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[k].view(torch.int32), b[k].view(torch.int32)) for k in a)


def seal(body):
    return body + struct.pack("<I", zlib.crc32(body))


VARIANTS = {
    "dense": small, "masked": lambda: c.magnitude_prune(small(), 0.7), "shared": lambda: c.kmeans_share(small(), 4),
    "both": compressed, "int8": lambda: c.round_weights(small(), 8), "one value": lambda: compressed(bits=1),
    "convolution": lambda: c.kmeans_share(c.magnitude_prune(models.lenet(8), 0.8), 3),
    "normalized": lambda: models.small_cnn(8, widths=(3, 4)), "scalar": lambda: nn.PReLU(),
    "almost empty": lambda: c.magnitude_prune(small(), 0.99),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_saved_comes_back_bit_for_bit(name, tmp_path):
    model = VARIANTS[name]()
    size = c.save_compressed(model, tmp_path / "model.dloc")
    assert size == (tmp_path / "model.dloc").stat().st_size
    plain = c.bake(model)
    target = c.bake(VARIANTS[name]())
    with torch.no_grad():
        for p in target.parameters():
            p.fill_(0.5)
    assert same(c.load_compressed(tmp_path / "model.dloc", target).state_dict(), plain.state_dict())


@pytest.mark.parametrize("w, kind", [
    (np.random.default_rng(0).normal(size=(20, 30)), FLOAT32), (np.arange(700).reshape(2, -1) / 4, FLOAT16),
    (np.random.default_rng(0).integers(0, 4, (30, 40)) * 0.1, SHARED),
    (np.where(np.random.default_rng(0).random((60, 50)) < 0.05, 0.1, 0.0), SPARSE),
    (np.where(np.arange(50) % 5 == 0, np.random.default_rng(0).normal(size=(60, 50)), 0.0), SPARSE_FLOAT32),
])
def test_the_shortest_encoding_is_chosen(w, kind):
    assert encode(w.astype(np.float32))[0] == kind


def test_int8_rows_are_recognized():
    model = c.round_weights(models.mlp([300, 200, 10]), 8)
    assert encode(model.linear1.weight.detach().numpy())[0] == INT8_ROWS
    assert len(c.to_bytes(model)) < 0.27 * c.raw_bytes(model)


def test_negative_zero_is_kept_and_pruning_leaves_none():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[-0.0, 1.0], [0.0, 1.0]])
    back = c.from_bytes(c.to_bytes(layer))["weight"]
    assert torch.equal(torch.signbit(back), torch.signbit(layer.weight))
    pruned = c.bake(c.magnitude_prune(small(), 0.9))
    assert not any(torch.signbit(layer.weight[layer.weight == 0]).any() for layer in c.prunable(pruned).values())


def test_the_pipeline_is_smaller_than_xz_of_the_same_tensors():
    model = c.kmeans_share(c.magnitude_prune(models.lenet_300_100(), 0.92), 4)
    size = len(c.to_bytes(model))
    assert size < 0.6 * c.xz_bytes(model) and c.raw_bytes(model) == 4 * 266_610
    assert c.raw_bytes(model) / size > 35


# --- refusals

def test_cut_changed_and_foreign_files_are_refused():
    data = c.to_bytes(compressed())
    for k in range(len(data)):
        with pytest.raises(ValueError, match="checksum|must begin"):
            c.from_bytes(data[:k])
    with pytest.raises(ValueError, match="checksum"):
        c.from_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(ValueError, match="no compressed model"):
        c.from_bytes(b"PK\x03\x04" + data[4:])
    with pytest.raises(ValueError, match="version must be 1, got 2"):
        c.from_bytes(seal(data[:4] + b"\x02" + data[5:-4]))
    with pytest.raises(ValueError, match="1 bytes too many"):
        c.from_bytes(seal(data[:-4] + b"\0"))


def test_a_file_of_another_model_is_refused_and_the_model_is_left_alone(tmp_path):
    c.save_compressed(compressed(), tmp_path / "a")
    other = models.mlp([12, 9, 8, 3])
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(ValueError, match="belongs to another model: linear1.bias differs"):
        c.load_compressed(tmp_path / "a", other)
    assert same(other.state_dict(), before)


def hostile(kind, shape, payload):
    header = struct.pack(f"<BB{len(shape)}I", kind, len(shape), *shape)
    return seal(b"DLOC" + struct.pack("<BHB", 1, 1, 1) + b"w" + header + struct.pack("<I", len(payload)) + payload)


CODE = bytes([1, 1]) + struct.pack("<I", 1) + b"\0"
BOMBS = {
    "sizes that lie": (hostile(SHARED, (2**31, 2**31), b""), "claims 4611686018427387904 numbers"),
    "many axes": (hostile(0, (65535,) * 8, b""), "claims"),
    "zeros that explode": (hostile(SPARSE, (2**30,), b""), "claims"),
    "a table that explodes": (hostile(SHARED, (4,), struct.pack("<H", 65535)), "codebook must have"),
    "lengths that explode": (hostile(SHARED, (4,), struct.pack("<H", 2) + b"\0" * 8 + b"\xff\xff"
                                     + struct.pack("<I", 1) + b"\0"), "code lengths"),
    "gaps that explode": (hostile(SPARSE, (4,), struct.pack("<IIB", 1, 1, 200)), "gaps must have"),
    "gaps past the end": (hostile(SPARSE, (4,), struct.pack("<IIB", 1, 1, 3) + bytes([0] * 6 + [1, 1])
                                  + struct.pack("<I", 1) + b"\0"), "do not lead"),
    "more weights than places": (hostile(SPARSE, (4,), struct.pack("<IIB", 9, 9, 3)), "impossible"),
    "fewer numbers than places": (hostile(SPARSE_FLOAT32, (4,), struct.pack("<IIB", 1, 1, 3) + bytes([1, 1] + [0] * 6)
                                          + struct.pack("<I", 1) + b"\0" * 3), "too early"),
    "an unknown kind": (hostile(77, (1,), b"\0" * 4), "kind of encoding"),
    "nan": (hostile(0, (1,), struct.pack("<f", float("nan"))), "nan or infinite"),
    "infinite codebook": (hostile(SHARED, (1,), struct.pack("<Hff", 2, float("inf"), 0) + CODE), "nan or infinite"),
    "more symbols than bits": (hostile(SHARED, (2**20,), struct.pack("<Hff", 2, 1, 0) + CODE), "cannot hold"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_file_is_refused_without_memory(name):
    data, message = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            c.from_bytes(data)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def mutated(data, rng):
    """A file changed in one of five ways; half of them with a checksum that fits."""
    body = bytearray(data[:-4])
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(4, len(body)))
        way = rng.integers(5)
        if way == 0:
            body[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            body[place : place + 4] = struct.pack("<I", int(rng.choice([0, 1, 255, 2**16, 2**31, 2**32 - 1])))
        elif way == 2:
            del body[place : place + int(rng.integers(1, 9))]
        elif way == 3:
            body[place:place] = rng.bytes(int(rng.integers(1, 9)))
        else:
            body[place] = int(rng.choice([0, 1, 2, 3, 4, 5, 127, 255]))
        body = body if len(body) > 8 else bytearray(data[:-4])
    return seal(bytes(body)) if rng.random() < 0.8 else bytes(body) + data[-4:]


def test_ten_thousand_fuzzed_files_are_refused_or_decoded_within_bounded_memory():
    rng, model = np.random.default_rng(0), c.bake(small())
    shapes = {name: t.shape for name, t in model.state_dict().items()}
    files = [c.to_bytes(m) for m in (small(), compressed(), c.round_weights(small(), 8), c.kmeans_share(small(), 3),
                                     c.magnitude_prune(small(), 0.9))]
    decoded = refused = 0
    tracemalloc.start()
    try:
        for k in range(10_000):
            try:
                found = c.from_bytes(mutated(files[k % 5], rng), model if k % 2 else None, max_weights=1000)
            except ValueError:
                refused += 1
                continue
            decoded += 1
            assert all(t.isfinite().all() and t.dtype == torch.float32 for t in found.values())
            assert k % 2 == 0 or {name: t.shape for name, t in found.items()} == shapes
            assert sum(t.numel() for t in found.values()) <= 1000
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
    assert decoded > 500 and refused > 5000


def test_tensors_that_the_format_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="must be float32, weight is torch.float64"):
        c.to_bytes(nn.Linear(2, 2).double())
    bad = nn.Linear(2, 2)
    bad.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="must be finite"):
        c.to_bytes(bad)


def test_the_reader_does_not_go_past_the_end():
    with pytest.raises(ValueError, match="3 bytes too early"):
        Reader(b"a").array(1, np.float32)


# --- trade-offs

def test_an_account_is_the_length_of_a_file_that_came_back_and_notices_one_that_did_not(monkeypatch):
    model = compressed()
    found = c.account(model)
    assert found.bytes == len(c.to_bytes(model)) and found.exact
    assert found.ratio == c.raw_bytes(model) / found.bytes and found.xz_ratio == c.raw_bytes(model) / c.xz_bytes(model)
    monkeypatch.setattr(c.files, "load_compressed", lambda path, empty: empty)  # a reader that does nothing
    assert not c.account(model).exact


def test_pareto_keeps_what_nothing_beats():
    costs = [[1, 5], [2, 2], [5, 1], [2, 3], [2, 2], [6, 6]]
    assert c.pareto(costs).tolist() == [True, True, True, False, True, False]


def test_speedup_is_above_one_for_less_work():
    dense, less, x = models.mlp([500, 900, 900, 10]), models.mlp([500, 30, 10]), torch.randn(64, 500)
    assert c.speedup(less, dense, x, rounds=5).low > 1.5


def test_a_sparse_copy_answers_the_same():
    model, x = c.bake(c.magnitude_prune(small(), 0.8)), torch.randn(6, 12)
    torch.testing.assert_close(c.sparse_copy(model)(x), model(x).detach(), rtol=1e-5, atol=1e-6)


def test_two_of_four_keeps_the_two_largest_of_any_four():
    W = torch.tensor([[3.0, -4.0, 1.0, 0.5, 0.1, 0.2, -0.3, 0.0]])
    assert c.two_four_mask(W).tolist() == [[1, 1, 0, 0, 0, 1, 1, 0]]
    with pytest.raises(ValueError, match="multiple of 4"):
        c.two_four_mask(torch.ones(2, 6))


def test_two_four_pruning_masks_rows_of_the_layers_matrices_and_retraining_keeps_the_zeros():
    model = c.two_four_prune(models.lenet(8, widths=(4, 8), hidden=10))
    by_rows = {name: layer.weight.detach().flatten(1) for name, layer in c.prunable(model).items()}
    nonzero = {name: [int(g.count_nonzero(-1).max()) for g in W.unflatten(-1, (-1, 4))]
               for name, W in by_rows.items() if W.shape[1] % 4 == 0}
    assert set(nonzero) == {"3", "7"} and all(k == 2 for rows in nonzero.values() for k in rows)
    assert all(int((by_rows[name] == 0).sum()) == 0 for name in ("0", "9"))  # rows of 9 and of 10: left dense
    x = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    after = c.retrain([model], (x, torch.arange(40) % 10), loss=cross_entropy, steps=3, batch_size=20, lr=0.01)[0]
    for name, layer in c.prunable(after).items():
        assert torch.equal(layer.weight.flatten(1) == 0, by_rows[name] == 0)


def test_two_four_is_timed_where_the_hardware_has_it_and_only_there():
    got = c.two_four_speedup(d=512, batch=512, rounds=3)
    able = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    assert (got is not None) == able
