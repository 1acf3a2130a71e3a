"""Text that every Python carries: the topics of ``help()``."""

from dataclasses import dataclass

import torch

from dlopt.checks import whole
from dlopt.data.dataset import Dataset, stream

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
PSF = "Python documentation: PSF License Agreement, Version 2, or Zero-Clause BSD"


@dataclass(frozen=True)
class Vocabulary:
    """Characters and their numbers. Number 0 stands for every character that training text does not contain.

    Attributes:
        characters: all characters, ``characters[i]`` has number ``i``.
    """

    characters: str

    @classmethod
    def of(cls, text):
        """The characters of ``text`` in code order, after the sign for the unknown."""
        return cls(UNKNOWN + "".join(sorted(set(text) - {UNKNOWN})))

    def __len__(self):
        return len(self.characters)

    def encode(self, text):
        """int64 [len(text)]."""
        number = {c: i for i, c in enumerate(self.characters)}
        return torch.tensor([number.get(c, 0) for c in text], dtype=torch.int64)

    def decode(self, numbers):
        """The text behind a vector of numbers."""
        return "".join(self.characters[i] for i in numbers)


def topics():
    """The help topics of the running Python: title -> text, sorted by title, each text once.

    They change from version to version (Python 3.11.7: 79 topics, 464,970 characters), so results on this text are
    comparable within one Python version only.
    """
    from pydoc_data.topics import topics as texts

    first = {body: title for title, body in sorted(texts.items(), reverse=True)}
    return {title: body for body, title in sorted(first.items(), key=lambda item: item[1])}


def divide(lengths, fractions, seed):
    """Numbers of the topics of train, validation and test: random topics until a part has its share of characters.

    Args:
        lengths: characters of each topic.
        fractions: shares of train, validation and test.
        seed: whole number >= 0.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be three shares > 0 that add to 1, got {fractions}")
    left = torch.randperm(len(lengths), generator=stream("topics", whole("seed", seed, low=0))).tolist()
    parts = []
    for share in fractions[1:]:
        part, size = [], 0
        while size < share * sum(lengths) and len(left) > 1:
            part.append(left.pop())
            size += lengths[part[-1]]
        parts.append(part)
    return left, *parts


def windows(tokens, length):
    """Cut a stream of tokens into examples for next-token prediction.

    Args:
        tokens: int64 [m].
        length: tokens per example.

    Returns:
        Two int64 tensors x and y, [(m - 1) // length, length]; ``y[i, t]`` is the token after ``x[i, t]``.
    """
    n = (len(tokens) - 1) // length
    if n < 1:
        raise ValueError(f"length must be < the number of tokens {len(tokens)}, got {length}")
    return tokens[: n * length].view(n, length), tokens[1 : n * length + 1].view(n, length)


def _dataset(name, texts, length, vocabulary, licence, details):
    arrays = {}
    for split, text in texts.items():
        arrays[f"x_{split}"], arrays[f"y_{split}"] = windows(vocabulary.encode(text), length)
    details |= {"vocabulary": vocabulary, "characters": {k: len(v) for k, v in texts.items()}}
    return Dataset(name, **arrays, n_classes=len(vocabulary), licence=licence, details=details)


def text(length=64, seed=0, *, fractions=(0.8, 0.1, 0.1), limit=None):
    """Next-character prediction on CPython's own help topics, ``pydoc_data.topics``.

    Whole topics go to training, validation or test, so that no sentence is in two of them (topics do quote each other).

    Args:
        length: characters per example.
        seed: fixes which topic goes where.
        fractions: shares of train, validation and test in characters; a part gets whole topics until it has its share.
        limit: keep at most this many characters per split; None keeps all.

    Returns:
        ``Dataset`` with x, y int64 [n, length]; ``details["vocabulary"]`` (from the training text) encodes and decodes.
        Differs between Python versions, because the documentation does.

    Licence: Python documentation, PSF License Agreement version 2 or Zero-Clause BSD.
    """
    length, texts = whole("length", length), topics()
    titles, limit = list(texts), None if limit is None else whole("limit", limit)
    parts = divide([len(texts[title]) for title in titles], fractions, seed)
    groups = {split: [titles[i] for i in part] for split, part in zip(("train", "val", "test"), parts)}
    bodies = {split: "\n\n".join(texts[title] for title in group)[:limit] for split, group in groups.items()}
    details = {"seed": seed, "topics": groups}
    return _dataset("text (pydoc topics)", bodies, length, Vocabulary.of(bodies["train"]), PSF, details)
