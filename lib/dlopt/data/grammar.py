"""Sentences from a small grammar whose words follow Zipf's law, with the loss that no model can beat."""

import bisect
import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import torch

from dlopt.checks import non_negative, whole
from dlopt.data.dataset import Dataset, stream
from dlopt.data.text import windows

ADJECTIVE, PHRASE = 0.4, 0.3  # probability of one more adjective; of a prepositional phrase after the subject
SHARES = {"adjective": 0.3, "noun": 0.4, "verb": 0.3}  # of the open words
LOG = {p: math.log(p) for p in (0.5, ADJECTIVE, 1 - ADJECTIVE, PHRASE, 1 - PHRASE)}
CLOSED = (".", "the0", "the1", "of")


@dataclass(frozen=True)
class ZipfGrammar:
    r"""Sentences ``the* adjective* noun [of the* adjective* noun] verb the* adjective* noun .`` in two genders.

    Articles, nouns and verbs come in gender 0 and 1; an article fixes the gender of its noun, and the verb agrees with
    the *first* noun, across the phrase between them. Within a word class the word of rank r has probability
    :math:`r^{-\text{tail}} / \sum_k k^{-\text{tail}}`.

    A prefix determines the state of the grammar, so the probability of every next word is known, and with it the
    cross-entropy of the perfect model.

    Args:
        words: number of different words, >= 40.
        tail: Zipf exponent >= 0; 0 makes the words of a class equally frequent, 1 is the law of natural language.
    """

    words: int = 1000
    tail: float = 1.0

    def __post_init__(self):
        whole("words", self.words, low=40)
        non_negative("tail", self.tail)

    @cached_property
    def classes(self):
        """Word class -> (first word number, number of words); gendered classes carry their gender, as in ``noun0``."""
        open_words = self.words - len(CLOSED)
        sizes = {"adjective": int(SHARES["adjective"] * open_words)}
        sizes |= {f"verb{g}": int(SHARES["verb"] * open_words) // 2 for g in (0, 1)}
        sizes["noun0"] = (open_words - sum(sizes.values())) // 2
        sizes["noun1"] = open_words - sum(sizes.values())
        starts = itertools.accumulate(sizes.values(), initial=len(CLOSED))
        return {name: (start, size) for (name, size), start in zip(sizes.items(), starts)}

    @cached_property
    def log_p(self):
        """Natural logarithm of a word's probability within its class, float64 [words]; closed words have one each."""
        result = torch.zeros(self.words, dtype=torch.float64)
        for start, size in self.classes.values():
            weights = torch.arange(1, size + 1, dtype=torch.float64).log() * -self.tail
            result[start : start + size] = weights - weights.logsumexp(0)
        return result

    @cached_property
    def _cumulative(self):
        ends = {name: self.log_p[a : a + k].exp().cumsum(0).tolist() for name, (a, k) in self.classes.items()}
        return {name: (self.classes[name][0], steps[:-1]) for name, steps in ends.items()}

    def spell(self, number):
        """A word as text: ``noun1_17`` is the 17th most frequent noun of gender 1."""
        if number < len(CLOSED):
            return CLOSED[number]
        name, (start, _) = next((n, c) for n, c in self.classes.items() if c[0] <= number < c[0] + c[1])
        return f"{name}_{number - start + 1}"

    def sample(self, n, generator):
        """``n`` words of running text.

        Returns:
            The words, int64 [n], and the true log-probability of each given all before it, float64 [n], in nats.
        """
        uniform, out = iter(torch.rand(8 * n + 200, generator=generator, dtype=torch.float64).tolist()), []
        while len(out) < n:
            self._sentence(uniform, out)
        words, log_p = zip(*out[:n])
        words = torch.tensor(words)
        return words, torch.tensor(log_p, dtype=torch.float64) + self.log_p[words]

    def _word(self, name, uniform):
        start, steps = self._cumulative[name]
        return start + bisect.bisect_right(steps, next(uniform))

    def _noun_phrase(self, uniform, out, before):
        """Article, adjectives, noun; appends (word, log-probability of its class); ``before``: the article's."""
        gender, log_more, log_end = int(next(uniform) < 0.5), LOG[ADJECTIVE], LOG[1 - ADJECTIVE]
        out.append((1 + gender, before + LOG[0.5]))
        while next(uniform) < ADJECTIVE:
            out.append((self._word("adjective", uniform), log_more))
        out.append((self._word(f"noun{gender}", uniform), log_end))
        return gender

    def _sentence(self, uniform, out):
        gender = self._noun_phrase(uniform, out, 0.0)
        phrase = next(uniform) < PHRASE
        if phrase:
            out.append((CLOSED.index("of"), LOG[PHRASE]))
            self._noun_phrase(uniform, out, 0.0)
        out.append((self._word(f"verb{gender}", uniform), 0.0 if phrase else LOG[1 - PHRASE]))
        self._noun_phrase(uniform, out, 0.0)
        out.append((CLOSED.index("."), 0.0))


def zipf_text(n=100_000, tail=1.0, seed=0, *, words=1000, length=32):
    """Next-word prediction on sentences of :class:`ZipfGrammar`: few frequent words, many rare ones, known best loss.

    Args:
        n: words of training text; validation and test have a fifth of that each.
        tail: Zipf exponent >= 0 (0: no tail; 1: natural language; above: even fewer words make up the text).
        seed: whole number >= 0.
        words: number of different words.
        length: words per example.

    Returns:
        ``Dataset`` with x, y int64 [examples, length]. ``details``: ``grammar``, and ``best_loss``, the perfect model's
        cross-entropy in nats per word on each split (it knows all earlier words; a model sees at most ``length``).
    """
    grammar, arrays, best = ZipfGrammar(words, tail), {}, {}
    length, n = whole("length", length), whole("n", n, low=10)
    seed = whole("seed", seed, low=0)
    for k, (split, m) in enumerate({"train": n, "val": n // 5, "test": n // 5}.items()):
        tokens, log_p = grammar.sample(m, stream("grammar", seed, k))
        arrays[f"x_{split}"], y = windows(tokens, length)
        arrays[f"y_{split}"] = y
        best[split] = -log_p[1 : y.numel() + 1].mean().item()
    details = {"seed": seed, "grammar": grammar, "best_loss": best}
    licence = "generated by this book, MIT"
    return Dataset(f"Zipf grammar, tail {tail:g}", **arrays, n_classes=words, licence=licence, details=details)
