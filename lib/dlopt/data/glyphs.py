"""Glyphs: characters from bundled fonts under random disturbances; unlimited, adjustable, with known risk."""

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from dlopt.checks import in_closed, in_half_open, one_of, positive, whole
from dlopt.data import cache as file_cache
from dlopt.data import fonts as typefaces
from dlopt.data.dataset import Dataset, stream
from dlopt.data.rendering import N_UNIFORM, Strength, render

CHUNK = 500  # images rendered together; image number i belongs to chunk i // CHUNK
SPLITS = ("train", "val", "test", "population")
WORTH_CACHING = 4000  # images; fewer are rendered faster than they are found


class Risk(NamedTuple):
    """An estimate of a population mean: ``mean`` with ``standard_error`` from ``n`` fresh independent examples."""

    mean: float
    standard_error: float
    n: int


@dataclass(frozen=True)
class GlyphSource:
    """The population that ``glyphs`` draws from: every image has a number, and any of them can be rendered any time.

    Image ``i`` of a split depends on the knobs and ``i`` only: asking for more images never changes the first ones.

    Args:
        difficulty: in [0, 1]; scales rotation, zoom, shear, shift, stroke, blur, contrast, clutter and noise together.
        seed: whole number >= 0.
        size: image side in pixels, 16 ... 64.
        alphabet: ``"digits"`` (10 classes) or ``"letters"`` (A ... Z, 26 classes).
        imbalance: how many times rarer the last class is than the first, >= 1; the shares fall geometrically, in all
            splits.
        label_noise: share of *training* labels replaced by another class, in [0, 1).
        fonts: number of fonts in use, chosen by ``seed``; None takes all that are not held out.
        held_out_fonts: number of further fonts that appear only in the test split and the population.

    Raises:
        ValueError: a knob outside its range, or more fonts than there are (16).
    """

    difficulty: float = 0.5
    seed: int = 0
    size: int = 28
    alphabet: str = "digits"
    imbalance: float = 1.0
    label_noise: float = 0.0
    fonts: int | None = None
    held_out_fonts: int = 0

    def __post_init__(self):
        in_closed("difficulty", self.difficulty)
        whole("seed", self.seed, low=0)
        if not 16 <= whole("size", self.size) <= 64:
            raise ValueError(f"size must be in 16 ... 64 pixels, got {self.size}")
        one_of("alphabet", self.alphabet, typefaces.ALPHABETS)
        if positive("imbalance", self.imbalance) < 1:
            raise ValueError(f"imbalance must be >= 1 (first class : last class), got {self.imbalance}")
        in_half_open("label_noise", self.label_noise)
        held, have = whole("held_out_fonts", self.held_out_fonts, low=0), len(typefaces.FONTS)
        used = whole("fonts", self.fonts) if self.fonts is not None else max(1, have - held)
        if used + held > have:
            raise ValueError(f"fonts + held_out_fonts must be <= {have}, the fonts there are, got {used} + {held}")

    @property
    def n_classes(self):
        """10 or 26."""
        return len(typefaces.ALPHABETS[self.alphabet])

    @cached_property
    def class_shares(self):
        """Probability of every class, float64 [n_classes]."""
        position = torch.arange(self.n_classes, dtype=torch.float64) / (self.n_classes - 1)
        shares = torch.tensor([float(self.imbalance) ** -p for p in position.tolist()], dtype=torch.float64)
        return shares / shares.sum()

    def font_numbers(self, split):
        """Numbers (places in ``typefaces.FONTS``) of the fonts that ``split`` uses."""
        order = torch.randperm(len(typefaces.FONTS), generator=stream("fonts", self.seed)).tolist()
        held = order[: self.held_out_fonts]
        if held and split in ("test", "population"):
            return sorted(held)
        return sorted(order[len(held) :][: self.fonts])

    def chunk(self, split, number, device="cpu"):
        """Chunk ``number`` of a split: images uint8 [CHUNK, size, size], labels and font numbers int64 [CHUNK].

        On the CPU the result is the same on every machine; a GPU draws its own, equally distributed, pixel noise.
        """
        key = (self.seed, SPLITS.index(one_of("split", split, SPLITS)), number)
        g = stream("glyphs", *key)
        labels = torch.bucketize(torch.rand(CHUNK, generator=g, dtype=torch.float64), self.class_shares.cumsum(0))
        labels = labels.clamp_(max=self.n_classes - 1)
        numbers = torch.tensor(self.font_numbers(split))
        font = numbers[torch.randint(len(numbers), (CHUNK,), generator=g)]
        u = torch.rand(CHUNK, N_UNIFORM, generator=g).to(device)
        noise = g if torch.device(device).type == "cpu" else _device_generator(key, device)
        fields = typefaces.masters(self.alphabet).flatten(0, 1).to(device)
        which = (font * self.n_classes + labels).to(device)
        images = render(fields, which, u, self.size, Strength.of(self.difficulty), noise)
        return images, labels.to(device), font.to(device)

    def images(self, split, n, start=0, device="cpu"):
        """Images number ``start`` ... ``start + n - 1`` of a split: (uint8 [n, size, size], labels, font numbers)."""
        first, last = start // CHUNK, (start + whole("n", n) - 1) // CHUNK
        parts = [self.chunk(split, k, device) for k in range(first, last + 1)]
        low = start - first * CHUNK
        return tuple(torch.cat(column)[low : low + n] for column in zip(*parts))

    @cached_property
    def scaling(self):
        """Mean and standard deviation of the gray values, from the first 2,000 training images, exact."""
        pixels = self.images("train", 4 * CHUNK)[0].to(torch.int64)
        mean = pixels.sum().item() / pixels.numel()
        return mean, ((pixels * pixels).sum().item() / pixels.numel() - mean**2) ** 0.5

    def standardize(self, images, dtype=torch.float32):
        """uint8 [n, size, size] -> floating point [n, 1, size, size] with about mean 0 and variance 1."""
        mean, std = self.scaling
        return ((images.to(dtype) - mean) / std).unsqueeze(1)

    def noisy_labels(self, labels, start=0):
        """Training labels with the share ``label_noise`` replaced by another class, uniformly."""
        if self.label_noise == 0:
            return labels
        first, last = start // CHUNK, (start + len(labels) - 1) // CHUNK
        generators = [stream("label noise", self.seed, k) for k in range(first, last + 1)]
        u = torch.cat([torch.rand(CHUNK, 2, generator=g) for g in generators])
        u = u[start - first * CHUNK :][: len(labels)].to(labels.device)
        other = (labels + 1 + (u[:, 1] * (self.n_classes - 1)).long()) % self.n_classes
        return torch.where(u[:, 0] < self.label_noise, other, labels)

    def stream(self, batch_size, split="train", start=0, device="cpu", dtype=torch.float32):
        """Endless iterator of fresh batches (x [b, 1, size, size], y [b]); no image comes twice.

        Args:
            batch_size: images per batch.
            split: ``"train"``, ``"val"``, ``"test"`` or ``"population"``: four independent sequences.
            start: number of the first image; to go on where a run stopped, give the images already used.
            device, dtype: of the result.
        """
        batch_size = whole("batch_size", batch_size)
        position, end, held = whole("start", start, low=0), start, None
        while True:
            while held is None or end - position < batch_size:
                x, y, _ = self.images(split, CHUNK - end % CHUNK, end, device)
                y = self.noisy_labels(y, end) if split == "train" else y
                end += len(y)
                held = (x, y) if held is None else (torch.cat([held[0], x]), torch.cat([held[1], y]))
            yield self.standardize(held[0][:batch_size], dtype), held[1][:batch_size]
            held, position = (held[0][batch_size:], held[1][batch_size:]), position + batch_size

    def population_risk(self, score, n=10_000, batch_size=1000, start=0, device="cpu", dtype=torch.float32):
        """Expected score on the population, from ``n`` fresh images that no split contains.

        Args:
            score: function (x [b, 1, size, size], y [b]) -> [b]: a loss per example, or 1 for right and 0 for wrong.
            n: images drawn; the standard error falls as 1 / sqrt(n).
            batch_size: images per call of ``score``.
            start: number of the first image (other numbers, an independent estimate).

        Returns:
            ``Risk(mean, standard_error, n)``.
        """
        n, scores = whole("n", n, low=2), []
        batches = self.stream(min(batch_size, n), "population", start, device, dtype)
        with torch.no_grad():
            while sum(map(len, scores)) < n:
                x, y = next(batches)
                scores.append(score(x, y).to(torch.float64).cpu())
        scores = torch.cat(scores)[:n]
        return Risk(scores.mean().item(), scores.std().item() / n**0.5, n)


def _device_generator(key, device):
    seed = torch.randint(2**62, (), generator=stream("pixel noise", *key)).item()
    return torch.Generator(device).manual_seed(seed)


def _render_all(source, sizes, device):
    images = {split: source.images(split, n, device=device) for split, n in sizes.items()}
    return {f"{name}_{split}": t for split, parts in images.items() for name, t in zip("xyf", parts)}


@lru_cache
def _code_version():
    """SHA-256 of the source of everything that decides a pixel or a label: an edit never meets an old cache."""
    digest = hashlib.sha256()
    for module in ("dataset.py", "fonts.py", "glyphs.py", "rendering.py"):
        digest.update(Path(__file__).with_name(module).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _cached(source, sizes):
    """All splits from the cache, or rendered and put there."""
    key = {"code": _code_version(), "fonts": typefaces.fingerprint(), **asdict(source), **sizes}
    key.pop("label_noise")  # applied after rendering
    path = file_cache.path_for("glyphs", key)
    stored = file_cache.load(path)
    if stored is None:
        tensors = _render_all(source, sizes, "cpu")
        file_cache.store(path, {name: t.numpy() for name, t in tensors.items()})
        return tensors
    return {name: torch.from_numpy(array) for name, array in stored.items()}


def glyphs(n=12_000, difficulty=0.5, seed=0, *, size=28, alphabet="digits", imbalance=1.0, label_noise=0.0, fonts=None,
           held_out_fonts=0, n_val=None, n_test=None, device="cpu", dtype=torch.float32, cache=True):  # fmt: skip
    """A classification problem of rendered characters, as hard and as large as wanted.

    The same arguments give the same tensors on every machine (on the CPU). Each image is independent; ``n`` only says
    how many there are: the first 1,000 images of ``glyphs(1000)`` and ``glyphs(60_000)`` are the same.

    Args:
        n: number of training images.
        difficulty, seed, size, alphabet, imbalance, label_noise, fonts, held_out_fonts: see ``GlyphSource``.
        n_val, n_test: numbers of validation and test images; None means the larger of 2,000 and n / 6.
        device: a GPU renders on its own and is not cached.
        dtype: of the images.
        cache: keep the images in ``dlopt.data.cache.folder()`` (only from 4,000 images on).

    Returns:
        ``Dataset`` with images [n, 1, size, size], standardized with training images, and labels [n]. ``details`` holds
        ``source`` (a ``GlyphSource``: fresh samples, population risk), ``fonts_train`` and ``fonts_test`` (font number
        of every image) and ``y_train_clean`` (labels before label noise; validation and test labels are always clean).

    Raises:
        ValueError: n < 1, a knob outside its range, more fonts than there are.
        OSError: no space left for the cache.

    Licence of the fonts: DejaVu, Bitstream Vera terms; STIX, SIL Open Font License 1.1.
    """
    source = GlyphSource(difficulty, seed, size, alphabet, imbalance, label_noise, fonts, held_out_fonts)
    n, default = whole("n", n), max(2000, int(n) // 6)
    sizes = {"train": n, "val": default if n_val is None else whole("n_val", n_val)}
    sizes["test"] = default if n_test is None else whole("n_test", n_test)
    on_cpu = torch.device(device).type == "cpu"
    large = sum(sizes.values()) >= WORTH_CACHING
    raw = _cached(source, sizes) if cache and on_cpu and large else _render_all(source, sizes, device)
    x = {f"x_{split}": source.standardize(raw[f"x_{split}"], dtype) for split in sizes}
    y = {f"y_{split}": raw[f"y_{split}"] for split in sizes}
    details = {"source": source, "fonts_train": raw["f_train"], "fonts_test": raw["f_test"]}
    details["y_train_clean"] = y["y_train"]
    y["y_train"] = source.noisy_labels(y["y_train"])
    name = f"glyphs ({alphabet}, {size} px, difficulty {difficulty:g})"
    return Dataset(name, **x, **y, n_classes=source.n_classes, licence=typefaces.LICENCE, details=details)

