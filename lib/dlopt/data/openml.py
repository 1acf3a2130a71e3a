"""Fashion-MNIST and CIFAR-10 from OpenML, on request only; everything else in the book needs no download."""

import contextlib
import shutil
import threading
import warnings
from urllib.error import URLError

import numpy as np
import torch
from sklearn.datasets import fetch_openml
from tqdm import tqdm

from dlopt.checks import whole
from dlopt.data import cache as file_cache
from dlopt.data.dataset import Dataset, split_indices
from dlopt.data.glyphs import glyphs

TABLES = {  # name here -> (name on OpenML, version, images, channels, side, megabytes to fetch, licence)
    "fashion_mnist": ("Fashion-MNIST", 1, 70_000, 1, 28, 35, "MIT (Zalando Research)"),
    "cifar10": ("CIFAR_10", 1, 60_000, 3, 32, 650, "no explicit licence (Krizhevsky, 2009); for research"),
}


def fashion_mnist(seed=0, *, fractions=(5 / 7, 1 / 7, 1 / 7), progress=True, dtype=torch.float32):
    """Fashion-MNIST: 70,000 gray images of clothes, 28 x 28, 10 classes. Downloads about 35 MB once.

    OpenML keeps one table; it is divided by ``seed`` here, so results are near, but not the same as, those on the
    official split.

    Args:
        seed: fixes the split; classes keep their proportions.
        fractions: shares of train, validation and test.
        progress: show how much has arrived.
        dtype: of the images.

    Returns:
        ``Dataset`` with images [n, 1, 28, 28], standardized with the training images.

    Raises:
        ConnectionError: offline and not yet downloaded; the message names the bundled alternative.
        ValueError: what arrived does not have the announced checksum or shape.
        OSError: no space left.

    Source: Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747.
    """
    return _dataset("fashion_mnist", seed, fractions, progress, dtype)


def cifar10(seed=0, *, fractions=(4 / 6, 1 / 6, 1 / 6), progress=True, dtype=torch.float32):
    """CIFAR-10: 60,000 color photographs, 32 x 32, 10 classes. Downloads several hundred MB once.

    Arguments, split and errors as for :func:`fashion_mnist`; images [n, 3, 32, 32], standardized per channel.

    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    return _dataset("cifar10", seed, fractions, progress, dtype)


def fashion_mnist_or_glyphs(seed=0, n=50_000, **settings):
    """Fashion-MNIST where it can be had, else as many glyphs: what a chapter trains on at ``full`` scale.

    Args:
        seed, settings: as for :func:`fashion_mnist`.
        n: training images of the substitute.

    Warns:
        UserWarning: OpenML cannot be reached and nothing was downloaded before; the message says what is used instead.
    """
    try:
        return fashion_mnist(seed, **settings)
    except ConnectionError as error:
        warnings.warn(f"{error}; going on with glyphs({n})", stacklevel=2)
        return glyphs(n, seed=seed)


def _dataset(name, seed, fractions, progress, dtype):
    images, labels = _load(name, progress)
    parts = split_indices(labels, whole("seed", seed, low=0), fractions)
    arrays, (mean, std) = {}, _channel_statistics(images[parts[0]])
    for split, rows in zip(("train", "val", "test"), parts):
        arrays[f"x_{split}"] = (images[rows].to(dtype) - mean.to(dtype)) / std.to(dtype)
        arrays[f"y_{split}"] = labels[rows]
    details = {"seed": seed, "mean": mean.flatten().tolist(), "std": std.flatten().tolist()}
    return Dataset(name, **arrays, n_classes=10, licence=TABLES[name][-1], details=details)


def _channel_statistics(images):
    """Mean and standard deviation of the gray values per channel, float64 [1, channels, 1, 1]; exact sums."""
    means, stds = [], []
    for channel in images.unbind(1):
        count = torch.bincount(channel.flatten().to(torch.int32), minlength=256).double()
        value = torch.arange(256, dtype=torch.float64)
        mean = (count * value).sum() / count.sum()
        means.append(mean)
        stds.append(((count * value * value).sum() / count.sum() - mean**2).sqrt())
    shape = (1, -1, 1, 1)
    return torch.stack(means).view(shape), torch.stack(stds).view(shape)


def _load(name, progress):
    """Images uint8 [n, channels, side, side] and labels int64 [n], from the cache or from OpenML."""
    title, version, *_ = TABLES[name]
    path = file_cache.path_for(f"openml-{name}", {"name": title, "version": version, "format": 1})
    stored = file_cache.load(path)
    if stored is None:
        stored = _fetch(name, progress)
        file_cache.store(path, stored)
    return torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"]).long()


def _fetch(name, progress):
    title, version, n, channels, side, megabytes, _ = TABLES[name]
    home = file_cache.folder() / "openml-download"
    alternative = f"use the bundled dlopt.data.glyphs(60_000{', size=32' if side == 32 else ''})"
    try:
        with warnings.catch_warnings(), _arrivals(home, name, progress):
            warnings.filterwarnings("ignore", "A network error occurred")  # scikit-learn announces each retry
            table = fetch_openml(title, version=version, data_home=home, as_frame=False, parser="liac-arff")
    except (URLError, TimeoutError, ConnectionError) as error:
        shutil.rmtree(home, ignore_errors=True)
        need = f"{name} must be downloaded once from OpenML (about {megabytes} MB)"
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"{need}, which cannot be reached ({reason}); {alternative}") from None
    except ValueError:
        shutil.rmtree(home, ignore_errors=True)  # a wrong checksum: nothing of it may be met again
        raise
    except OSError as error:
        shutil.rmtree(home, ignore_errors=True)
        if error.errno not in file_cache.FULL:
            raise
        message = f"no space for the {megabytes} MB of {name} in {home}; free some or set DLOPT_CACHE elsewhere"
        raise OSError(error.errno, message) from None
    shutil.rmtree(home, ignore_errors=True)  # the text form is several times larger than the pixels
    x, y = np.asarray(table.data), np.asarray(table.target)
    if x.shape != (n, channels * side * side) or x.min() < 0 or x.max() > 255 or len(set(y)) != 10:
        got = f"{x.shape} with values {x.min():g} ... {x.max():g} and {len(set(y))} classes"
        need = f"{n} x {channels * side * side} gray values 0 ... 255 in 10 classes"
        raise ValueError(f"{name} must be {need}, got {got}; {alternative}")
    labels = np.unique(y, return_inverse=True)[1].astype(np.uint8)
    return {"images": x.astype(np.uint8).reshape(n, channels, side, side), "labels": labels}


@contextlib.contextmanager
def _arrivals(home, name, progress):
    """Show how many bytes have arrived under ``home`` while the block runs."""
    done = threading.Event()
    total = TABLES[name][5] * 10**6

    def watch():
        with tqdm(desc=f"fetching {name}", total=total, unit="B", unit_scale=True, leave=False) as bar:
            while not done.wait(0.2):
                bar.update(min(total, _bytes_under(home)) - bar.n)
                busy = "fetching" if bar.n == 0 or list(home.rglob("tmp*")) else "parsing"
                bar.set_description(f"{busy} {name}", refresh=False)

    watcher = threading.Thread(target=watch, daemon=True)
    if progress:
        watcher.start()
    try:
        yield
    finally:
        done.set()
        if progress:
            watcher.join()


def _bytes_under(folder):
    total = 0
    for path in folder.rglob("*.gz"):
        with contextlib.suppress(OSError):  # moved away while we looked
            total += path.stat().st_size
    return total
