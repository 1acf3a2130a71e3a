"""Glyphs: the same everywhere, as disturbed as asked, with known risk, and never half-written."""

import hashlib
import math
import os
import subprocess
import sys
import time

import pytest
import torch
from dlopt import models
from dlopt.data import GlyphSource, glyphs
from dlopt.data import fonts as typefaces
from dlopt.data.rendering import CLUTTER, N_UNIFORM, Strength, render

HASHES = {  # SHA-256, 40 digits of it, of images and labels of the first 500 training images
    "default": ({}, "6e80464d28b84875dcbe379bddc6ea1693eab6e2"),
    "hard letters": ({"difficulty": 1.0, "alphabet": "letters", "seed": 3}, "0eabcc077f528c1f909bf5402e2f0f24cebe6956"),
    "large, rare": ({"size": 64, "imbalance": 10.0, "fonts": 3, "seed": 1}, "ae641b62b9f1ec704a9b9327299427c35f13b491"),
}


def sha(*tensors):
    digest = hashlib.sha256()
    for t in tensors:
        digest.update(t.contiguous().numpy().tobytes())
    return digest.hexdigest()[:40]


def first_images(knobs):
    return sha(*GlyphSource(**knobs).images("train", 500)[:2])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DLOPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- the same tensors on every machine --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HASHES)
def test_images_and_labels_have_the_recorded_hash(name):
    knobs, expected = HASHES[name]
    assert first_images(knobs) == expected


DELIVERED = "b06bedf0aeecad6c702b09a8d126f1d96834dc2c"


def test_the_delivered_floating_point_tensors_have_the_recorded_hash():
    data = glyphs(300, n_val=50, n_test=50, cache=False)
    assert sha(*data.train, *data.val, *data.test) == DELIVERED


@pytest.mark.parametrize("setting", [{"ATEN_CPU_CAPABILITY": "default"}, {"OMP_NUM_THREADS": "2"}])
def test_neither_the_vector_unit_nor_the_number_of_threads_changes_a_bit(setting):
    code = "import sys; sys.path.insert(0, 'tests'); from test_data_glyphs import *; print(first_images({}))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **setting}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == HASHES["default"][1]


def test_more_images_never_change_the_first_ones():
    few, many = GlyphSource().images("train", 300), GlyphSource().images("train", 1200)
    assert all(torch.equal(a, b[:300]) for a, b in zip(few, many))
    late = GlyphSource().images("train", 250, start=700)
    assert all(torch.equal(a, b[700:950]) for a, b in zip(late, many))


def test_seeds_and_splits_give_other_images():
    images = [GlyphSource(seed=s).images(split, 100)[0] for s in (0, 1) for split in ("train", "val", "test")]
    assert len({sha(x) for x in images}) == 6


# --- rendering --------------------------------------------------------------------------------------------------------


def test_the_signed_distance_of_a_square_is_exact():
    corners = torch.tensor([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)
    field = typefaces.distance_field(torch.stack([corners, corners.roll(-1, 0)], 1).numpy())
    axis = (torch.arange(typefaces.SIDE) / (typefaces.SIDE - 1) * 2 - 1) * typefaces.REACH
    x, y = axis[None, :].abs() - 0.5, axis[:, None].abs() - 0.5
    expected = -(torch.hypot(x.clamp(min=0), y.clamp(min=0)) + torch.maximum(x, y).clamp(max=0))
    assert (field - expected).abs().max() < 1 / 4096


def test_the_hole_of_a_zero_is_outside_and_its_stroke_inside():
    fields = typefaces.masters("digits")
    sans, middle = typefaces.FONTS.index("DejaVuSans"), typefaces.SIDE // 2
    assert fields[sans, 0, middle, middle] < -0.1
    assert fields[sans, 0, middle].max() > 0.03 and fields[sans, 8, middle, middle] > 0


def test_without_disturbance_the_ink_is_the_area_inside_the_outline():
    fields = typefaces.masters("digits").flatten(0, 1)
    u = torch.full((160, N_UNIFORM), 0.5)
    u[:, 1] = 0.6  # the middle size
    images = render(fields, torch.arange(160), u, 64, Strength.of(0.0), torch.Generator())
    ink = ((images.double() / 255 - 0.1) / 0.8).sum((1, 2)) / (1.3 * 32) ** 2  # in squares of the character's height
    area = (fields > 0).double().sum((1, 2)) * (2 * typefaces.REACH / (typefaces.SIDE - 1)) ** 2
    assert (ink / area - 1).abs().max() < 0.06


def rendered(u, strength):
    fields = typefaces.masters("digits").flatten(0, 1)
    images = render(fields, torch.full((len(u),), 8), u, 64, strength, torch.Generator().manual_seed(0))
    return images.double() - images.min()


def moments(image):
    axis = torch.arange(64, dtype=torch.float64) * 2 / 64 + 1 / 64 - 1
    mass = image / image.sum()
    x, y = (mass.sum(0) * axis).sum(), (mass.sum(1) * axis).sum()
    dx, dy = axis[None, :] - x, axis[:, None] - y
    xx, yy, xy = (mass * dx**2).sum(), (mass * dy**2).sum(), (mass * dx * dy).sum()
    return x, y, xx, yy, xy


def strengths(**changes):
    none = dict(turn=0, zoom=0, shear=0, shift=0, stroke=0, blur=0.6, fade=0, clutter=0, noise=0)
    return Strength(**{**none, **changes})


def neutral(**columns):
    u = torch.full((1, N_UNIFORM), 0.5)
    u[:, 1] = 0.6
    for column, value in columns.items():
        u[:, int(column[1:])] = value
    return u


def test_shift_moves_the_character_by_the_stated_length():
    before = moments(rendered(neutral(), strengths())[0])
    after = moments(rendered(neutral(_4=1.0, _5=0.0), strengths(shift=0.2))[0])
    assert abs(after[0] - before[0] - 0.2) < 2e-3 and abs(after[1] - before[1] + 0.2) < 2e-3


def test_turn_rotates_by_the_stated_angle():
    angle = lambda m: 0.5 * math.atan2(2 * m[4], m[2] - m[3])  # noqa: E731
    before = angle(moments(rendered(neutral(), strengths())[0]))
    after = angle(moments(rendered(neutral(_0=1.0), strengths(turn=0.4))[0]))
    assert abs(abs((after - before + math.pi / 2) % math.pi - math.pi / 2) - 0.4) < 0.01


def test_zoom_scales_the_spread():
    before = moments(rendered(neutral(), strengths())[0])
    after = moments(rendered(neutral(_1=0.1), strengths(zoom=0.5))[0])
    assert abs((after[3] / before[3]).sqrt() - 0.75) < 0.02


def test_stroke_makes_the_character_bolder_or_thinner():
    thin, normal, bold = (rendered(neutral(_6=v), strengths(stroke=0.03))[0].sum() for v in (0.0, 0.5, 1.0))
    assert thin < 0.85 * normal and bold > 1.15 * normal


def test_blur_keeps_the_ink_and_widens_the_edges():
    sharp, soft = (rendered(neutral(_7=v), strengths(blur=2.0))[0] for v in (0.0, 1.0))
    between = [((x > 20) & (x < 180)).sum() for x in (sharp, soft)]
    assert between[1] > 1.5 * between[0] and abs(soft.sum() / sharp.sum() - 1) < 0.1


def test_fade_lowers_the_contrast_by_the_stated_share():
    full, faded = (rendered(neutral(_8=v), strengths(fade=0.5))[0].max() for v in (0.0, 1.0))
    assert abs(faded / full - 0.5) < 0.01


def test_clutter_comes_with_the_stated_probability():
    u = neutral().repeat(2000, 1)
    u[:, 12:] = torch.rand(2000, 6 * CLUTTER, generator=torch.Generator().manual_seed(0))
    clean = rendered(neutral(), strengths())[0]
    touched = (rendered(u, strengths(clutter=0.3)) > clean + 5).flatten(1).any(1).double().mean()
    expected = 1 - 0.7**CLUTTER  # a few strokes hide behind the character
    assert expected - 0.08 < touched <= expected + 0.03


def test_noise_has_the_stated_standard_deviation():
    fields = torch.full((1, typefaces.SIDE, typefaces.SIDE), 0.0)  # on the edge everywhere: gray 0.5, nothing clipped
    images = render(fields, torch.zeros(200, dtype=torch.int64), neutral().repeat(200, 1), 32, strengths(noise=0.08),
                    torch.Generator().manual_seed(0))  # fmt: skip
    assert abs(images.double().std() / 255 / 0.08 - 1) < 0.01
    assert abs(images.double().mean() / 255 - 0.5) < 0.002


# --- knobs ------------------------------------------------------------------------------------------------------------


def test_classes_are_balanced_unless_asked_otherwise():
    labels = GlyphSource().images("train", 5000)[1].bincount(minlength=10)
    assert ((labels - 500) ** 2 / 500).sum() < 27.9  # chi-square with 9 degrees of freedom, 99.9 %


def test_imbalance_is_the_ratio_of_the_first_to_the_last_class():
    source = GlyphSource(imbalance=20.0)
    assert abs(source.class_shares[0] / source.class_shares[-1] - 20) < 1e-9
    expected, got = 20_000 * source.class_shares, source.images("train", 20_000)[1].bincount(minlength=10)
    assert ((got - expected) ** 2 / expected).sum() < 27.9


def test_label_noise_changes_the_stated_share_of_training_labels_to_other_classes_uniformly():
    data = glyphs(6000, label_noise=0.3, n_val=10, n_test=10)
    wrong = data.y_train != data.details["y_train_clean"]
    assert abs(wrong.double().mean() - 0.3) < 4 * (0.21 / 6000) ** 0.5
    offsets = ((data.y_train - data.details["y_train_clean"]) % 10)[wrong].bincount(minlength=10)
    assert offsets[0] == 0 and ((offsets[1:] - wrong.sum() / 9) ** 2 / (wrong.sum() / 9)).sum() < 26.1
    clean = glyphs(6000, n_val=10, n_test=10)
    assert torch.equal(clean.y_train, data.details["y_train_clean"]) and torch.equal(clean.x_train, data.x_train)


def test_held_out_fonts_appear_in_the_test_split_only():
    data = glyphs(3000, n_val=500, n_test=500, held_out_fonts=4)
    source, train, test = data.details["source"], data.details["fonts_train"], data.details["fonts_test"]
    assert len(test.unique()) == 4 and len(train.unique()) == 12
    assert not set(train.tolist()) & set(test.tolist())
    assert not set(source.images("val", 500)[2].tolist()) & set(test.tolist())
    assert set(source.images("population", 500)[2].tolist()) == set(test.tolist())


def test_the_number_of_fonts_can_be_limited():
    assert len(glyphs(500, n_val=10, n_test=10, fonts=2).details["fonts_train"].unique()) == 2
    assert len(GlyphSource().images("train", 2000)[2].unique()) == len(typefaces.FONTS) == 16


@pytest.mark.parametrize("size", [16, 33, 64])
def test_every_allowed_size_works_and_is_standardized(size):
    data = glyphs(2000, size=size, n_val=10, n_test=10, alphabet="letters")
    assert data.x_train.shape == (2000, 1, size, size) and data.n_classes == 26
    assert abs(data.x_train.mean()) < 1e-3 and abs(data.x_train.std() - 1) < 1e-3


def test_a_linear_model_finds_harder_what_is_called_harder():
    scores = []
    for difficulty in (0.0, 0.5, 1.0):
        data = glyphs(3000, difficulty, n_val=10, n_test=1000).flat()
        model = models.linear(784, 10)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for start in range(0, 9000, 100):
            x, y = (t[start % 3000 : start % 3000 + 100] for t in data.train)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        scores.append((model(data.x_test).argmax(1) == data.y_test).double().mean().item())
    assert scores[0] > 0.97 and 0.4 < scores[1] < 0.85 and 0.1 < scores[2] < 0.4


# --- streaming and population risk ------------------------------------------------------------------------------------


def test_a_stream_delivers_the_images_in_order_whatever_the_batch_size():
    source = GlyphSource(label_noise=0.2)
    x, y, _ = source.images("train", 900)
    y = source.noisy_labels(y)
    for size in (64, 450):
        batches = source.stream(size)
        parts = [next(batches) for _ in range(900 // size)]
        n = size * len(parts)
        assert torch.equal(torch.cat([b for b, _ in parts]), source.standardize(x[:n]))
        assert torch.equal(torch.cat([c for _, c in parts]), y[:n])


def test_a_stream_goes_on_from_any_image():
    whole, late = GlyphSource().stream(70, "val"), GlyphSource().stream(70, "val", start=700)
    for _ in range(10):
        next(whole)
    for _ in range(12):
        assert all(torch.equal(a, b) for a, b in zip(next(whole), next(late)))


def test_the_population_risk_of_a_known_score_is_known():
    source = GlyphSource(imbalance=4.0)
    share = source.class_shares[0].item()
    risk = source.population_risk(lambda x, y: (y == 0).double(), n=8000, batch_size=700)
    assert risk.n == 8000 and abs(risk.mean - share) < 4 * risk.standard_error
    assert abs(risk.standard_error / (share * (1 - share) / 8000) ** 0.5 - 1) < 0.05


def test_population_images_are_in_no_split():
    source = GlyphSource(difficulty=0.3)
    seen = {sha(image) for split in ("train", "val", "test") for image in source.images(split, 500)[0]}
    assert not seen & {sha(image) for image in source.images("population", 500)[0]}


# --- speed and cache --------------------------------------------------------------------------------------------------


def test_sixty_thousand_images_would_take_less_than_fifteen_seconds_of_one_core():
    source = GlyphSource()
    source.images("train", 500)
    start = time.thread_time()
    source.images("train", 3000, start=500)
    assert (time.thread_time() - start) * 20 < 15


def test_a_large_request_is_cached_and_read_back_identically(own_cache):
    first = glyphs(4000, n_val=10, n_test=10)
    (file,) = own_cache.iterdir()
    stamp = file.stat().st_ino
    again = glyphs(4000, n_val=10, n_test=10, label_noise=0.1)  # label noise comes after the images: same entry
    assert torch.equal(first.x_train, again.x_train) and file.stat().st_ino == stamp
    assert [f.name for f in own_cache.iterdir()] == [file.name]


@pytest.mark.parametrize("knobs", [{"seed": 1}, {"difficulty": 0.4}, {"size": 29}, {"alphabet": "letters"},
                                   {"imbalance": 2.0}, {"fonts": 3}, {"held_out_fonts": 1}, {"n_test": 11}])
def test_every_knob_is_part_of_the_cache_key(own_cache, knobs):
    glyphs(4000, n_val=10, n_test=10)
    data = glyphs(4000, **{"n_val": 10, "n_test": 10, **knobs})
    assert len(list(own_cache.iterdir())) == 2
    fresh = glyphs(4000, **{"n_val": 10, "n_test": 10, **knobs}, cache=False)
    assert torch.equal(data.x_train, fresh.x_train) and torch.equal(data.y_test, fresh.y_test)


def test_other_code_means_another_cache_entry(own_cache, monkeypatch):
    glyphs(4000, n_val=10, n_test=10)
    module = sys.modules["dlopt.data.glyphs"]
    monkeypatch.setattr(module, "_code_version", lambda: "another")
    glyphs(4000, n_val=10, n_test=10)
    assert len(list(own_cache.iterdir())) == 2


def test_a_damaged_cache_entry_is_rendered_again_with_a_warning(own_cache):
    first = glyphs(4000, n_val=10, n_test=10)
    (file,) = own_cache.iterdir()
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.warns(UserWarning, match="was damaged; it is removed and made again"):
        again = glyphs(4000, n_val=10, n_test=10)
    assert torch.equal(first.x_train, again.x_train)
    glyphs(4000, n_val=10, n_test=10)  # mended: no warning


def test_small_requests_and_cache_false_write_nothing(own_cache):
    glyphs(500, n_val=10, n_test=10)
    glyphs(4000, n_val=10, n_test=10, cache=False)
    assert not own_cache.exists()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, message", [
    ({"n": 0}, "n must be a whole number >= 1, got 0"),
    ({"n": -5}, "n must be a whole number >= 1, got -5"),
    ({"n": 10, "n_test": 0}, "n_test must be a whole number >= 1"),
    ({"difficulty": 2}, r"difficulty must be in \[0, 1\], got 2"),
    ({"difficulty": math.nan}, "difficulty must be a finite number"),
    ({"size": 15}, "size must be in 16 ... 64 pixels, got 15"),
    ({"size": 65}, "size must be in 16 ... 64 pixels, got 65"),
    ({"alphabet": "runes"}, "alphabet must be one of digits, letters; got 'runes'"),
    ({"imbalance": 0.5}, "imbalance must be >= 1"),
    ({"label_noise": 1.0}, r"label_noise must be in \[0, 1\), got 1.0"),
    ({"fonts": 17}, r"fonts \+ held_out_fonts must be <= 16, the fonts there are, got 17 \+ 0"),
    ({"held_out_fonts": 16}, r"fonts \+ held_out_fonts must be <= 16, .* got 1 \+ 16"),
    ({"fonts": 10, "held_out_fonts": 7}, r"got 10 \+ 7"),
    ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
])
def test_impossible_requests_are_refused_and_write_nothing(own_cache, arguments, message):
    with pytest.raises(ValueError, match=message):
        glyphs(**{"n": 5000, **arguments})
    assert not own_cache.exists()


def test_unknown_knobs_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'dificulty'"):
        glyphs(100, dificulty=0.5)
    with pytest.raises(ValueError, match="split must be one of train, val, test, population; got 'dev'"):
        GlyphSource().images("dev", 10)


def test_a_missing_font_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="matplotlib must bring the font DejaVuSans.ttf"):
        typefaces.font_path("DejaVuSans")
    with pytest.raises(ValueError, match="font must be one of"):
        typefaces.font_path("cmr10")


def test_only_fonts_whose_licence_ships_with_them_are_used():
    folder = typefaces.font_path("DejaVuSans").parent
    assert (folder / "LICENSE_DEJAVU").is_file() and (folder / "LICENSE_STIX").is_file()
    assert all(name.startswith(("DejaVu", "STIX")) for name in typefaces.FONTS)
