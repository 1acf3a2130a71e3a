"""Real data bundled with scikit-learn: ``digits``, ``diabetes``, ``breast_cancer``."""

import torch
from sklearn import datasets

from dlopt.checks import whole
from dlopt.data.dataset import FRACTIONS, Dataset, split_indices


def _assemble(name, x, y, parts, **rest):
    arrays = {f"x_{s}": x[i] for s, i in zip(("train", "val", "test"), parts)}
    arrays |= {f"y_{s}": y[i] for s, i in zip(("train", "val", "test"), parts)}
    return Dataset(name=name, **arrays, **rest)


def _standardized(x, rows):
    """``x`` with mean 0 and variance 1 per column over ``rows``; constant columns become 0."""
    mean, std = x[rows].mean(0), x[rows].std(0, correction=0)
    return (x - mean) / torch.where(std > 0, std, 1.0), mean, std


def digits(seed=0, *, fractions=FRACTIONS, flat=True, dtype=torch.float32):
    """1,797 handwritten digits of 8 x 8 pixels; small, real, and too easy to rank optimizers by test accuracy.

    All pixels share one mean and one standard deviation (those of the training rows): border pixels are almost always
    0, and a scale of their own would turn one stray gray value into an outlier.

    Args:
        seed: fixes the split; classes keep their proportions in each part.
        fractions: shares of train, validation, test.
        flat: inputs [n, 64]; else images [n, 1, 8, 8].
        dtype: of the inputs.

    Returns:
        ``Dataset`` with 10 classes.

    Source: Alpaydin and Kaynak (1998), UCI; CC BY 4.0; bundled with scikit-learn.
    """
    x, y = datasets.load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.int64)
    parts = split_indices(y, whole("seed", seed, low=0), fractions)
    mean, std = x[parts[0]].mean(), x[parts[0]].std(correction=0)
    x = ((x - mean) / std).to(dtype)
    x = x if flat else x.view(-1, 1, 8, 8)
    details = {"seed": seed, "mean": float(mean), "std": float(std)}
    return _assemble("digits", x, y, parts, n_classes=10, licence="CC BY 4.0 (UCI)", details=details)


def diabetes(seed=0, *, fractions=FRACTIONS, raw=False, dtype=torch.float32):
    """Progression of diabetes after one year from ten measurements: 442 patients, regression.

    Args:
        seed: fixes the split.
        fractions: shares of train, validation, test.
        raw: leave inputs in their own units (years, mm Hg, mg/dl), which makes the problem ill-conditioned; else every
            column is standardized with the training rows. The target is standardized in both cases, so that a mean
            squared error of 1 is what predicting the training mean costs.
        dtype: of inputs and targets.

    Returns:
        ``Dataset`` with inputs [n, 10], targets [n, 1]; ``details`` has the target's mean and std in score points.

    Source: Efron, Hastie, Johnstone and Tibshirani (2004), Least angle regression; bundled with scikit-learn.
    """
    bunch = datasets.load_diabetes(scaled=False)
    x = torch.tensor(bunch.data, dtype=torch.float64)
    y = torch.tensor(bunch.target, dtype=torch.float64)[:, None]
    parts = split_indices(y[:, 0], whole("seed", seed, low=0), fractions, stratify=False)
    if not raw:
        x, _, _ = _standardized(x, parts[0])
    y, mean, std = _standardized(y, parts[0])
    details = {"seed": seed, "feature_names": list(bunch.feature_names), "y_mean": float(mean), "y_std": float(std)}
    name = "diabetes, raw units" if raw else "diabetes"
    licence = "published with the paper, no explicit terms; bundled with scikit-learn"
    return _assemble(name, x.to(dtype), y.to(dtype), parts, licence=licence, details=details)


def breast_cancer(seed=0, *, fractions=FRACTIONS, raw=False, dtype=torch.float32):
    """Malignant (0) or benign (1) from 30 measurements of cell nuclei: 569 patients.

    Args:
        seed: fixes the split; classes keep their proportions in each part.
        fractions: shares of train, validation, test.
        raw: leave inputs in their own units; else every column is standardized with the training rows.
        dtype: of the inputs.

    Returns:
        ``Dataset`` with 2 classes, inputs [n, 30].

    Source: Wolberg, Mangasarian, Street and Street (1993), UCI; CC BY 4.0; bundled with scikit-learn.
    """
    bunch = datasets.load_breast_cancer()
    x, y = torch.tensor(bunch.data, dtype=torch.float64), torch.tensor(bunch.target, dtype=torch.int64)
    parts = split_indices(y, whole("seed", seed, low=0), fractions)
    if not raw:
        x, _, _ = _standardized(x, parts[0])
    details = {"seed": seed, "feature_names": [str(name) for name in bunch.feature_names]}
    name = "breast_cancer, raw units" if raw else "breast_cancer"
    return _assemble(name, x.to(dtype), y, parts, n_classes=2, licence="CC BY 4.0 (UCI)", details=details)
