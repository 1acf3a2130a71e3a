"""Text from Python's own documentation and from a grammar whose best loss is known."""

import math

import pytest
import torch
from dlopt.data import Vocabulary, ZipfGrammar, stream, text, topics, windows, zipf_text
from dlopt.data.text import UNKNOWN

# --- pydoc topics -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    return text(length=64, seed=0)


def test_whole_topics_go_to_one_part_each_and_none_twice(data):
    groups = data.details["topics"]
    titles = [title for group in groups.values() for title in group]
    assert len(titles) == len(set(titles)) and set(titles) == set(topics())
    bodies = topics()
    assert len({bodies[title] for title in titles}) == len(titles)  # no text under two titles


def test_each_part_holds_about_its_share_of_the_characters(data):
    sizes = data.details["characters"]
    total = sum(sizes.values())
    longest = max(map(len, topics().values()))
    for split, share in (("val", 0.1), ("test", 0.1)):
        assert share * total - 200 < sizes[split] < share * total + longest + 200
    assert total > 300_000


def test_the_target_is_the_next_character(data):
    x, y = data.train
    assert x.shape == y.shape and x.shape[1] == 64 and x.dtype == torch.int64
    assert torch.equal(x[:, 1:], y[:, :-1]) and torch.equal(x[1:, 0], y[:-1, -1])


def test_decoding_gives_the_topics_back(data):
    start = data.details["vocabulary"].decode(data.x_train.flatten()[:200].tolist())
    assert topics()[data.details["topics"]["train"][0]].startswith(start)


def test_the_vocabulary_comes_from_training_text_only():
    vocabulary = Vocabulary.of("abba")
    assert vocabulary.characters == UNKNOWN + "ab" and len(vocabulary) == 3
    assert vocabulary.encode("abc").tolist() == [1, 2, 0]
    assert vocabulary.decode([2, 1, 0]) == "ba" + UNKNOWN


def test_the_seed_fixes_the_division(data):
    assert data.details["topics"] == text(seed=0).details["topics"]
    assert data.details["topics"] != text(seed=1).details["topics"]


def test_limit_cuts_every_part():
    assert set(text(limit=5000).details["characters"].values()) == {5000}


@pytest.mark.parametrize("arguments, message", [
    ({"length": 0}, "length must be a whole number >= 1, got 0"),
    ({"fractions": (0.8, 0.2, 0.0)}, "fractions must be three shares > 0 that add to 1"),
    ({"fractions": (0.8, 0.2)}, "fractions must be three shares"),
    ({"limit": 0}, "limit must be"),
    ({"length": 600, "limit": 600}, "length must be < the number of tokens 600, got 600"),
])
def test_impossible_texts_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        text(**arguments)


def test_windows_cover_the_tokens_without_overlap():
    x, y = windows(torch.arange(11), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]] and y.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


# --- Zipf grammar -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [0.0, 1.0, 1.5])
def test_word_frequencies_in_a_class_fall_as_the_rank_to_the_tail(tail):
    grammar = ZipfGrammar(words=60, tail=tail)
    words, _ = grammar.sample(60_000, stream("test", 0))
    start, size = grammar.classes["noun0"]
    counts = words.bincount(minlength=60)[start : start + size].double()
    weights = torch.arange(1, size + 1, dtype=torch.float64) ** -tail
    expected = counts.sum() * weights / weights.sum()
    statistic, freedom = ((counts - expected) ** 2 / expected).sum(), size - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_words_form_sentences_whose_verb_agrees_with_the_first_noun():
    grammar = ZipfGrammar(words=100)
    spelled = " ".join(grammar.spell(int(w)) for w in grammar.sample(20_000, stream("test", 1))[0])
    sentences = [s.split() for s in spelled.split(" . ")[:-1]]
    assert len(sentences) > 1000
    phrased = 0
    for sentence in sentences:
        genders = [word[4] for word in sentence if word.startswith("noun")]
        articles = [word[3] for word in sentence if word.startswith("the")]
        (verb,) = [word[4] for word in sentence if word.startswith("verb")]
        assert verb == genders[0] and articles == genders
        phrased += "of" in sentence
        assert len(genders) == (3 if "of" in sentence else 2)
    assert abs(phrased / len(sentences) - 0.3) < 0.05


def test_the_stated_probabilities_are_those_of_an_independent_count():
    grammar = ZipfGrammar(words=40, tail=1.0)
    words, log_p = grammar.sample(400_000, stream("test", 2))
    previous, word = words[:-1], words[1:]
    for first in (1, 2):  # after an article: adjective with 0.4, else the noun of its gender
        after = previous == first
        for candidate in word[after].unique().tolist():
            chosen = after & (word == candidate)
            share, stated = chosen.sum() / after.sum(), log_p[1:][chosen].exp()
            error = (stated[0] * (1 - stated[0]) / after.sum()) ** 0.5
            assert stated.std() < 1e-12 and abs(share - stated[0]) < 5 * error


def test_probabilities_of_the_next_word_add_to_one():
    grammar = ZipfGrammar(words=50)
    words, log_p = grammar.sample(300_000, stream("test", 3))
    after = words[:-1] == 1
    distinct = {int(w): float(p) for w, p in zip(words[1:][after], log_p[1:][after])}
    assert abs(sum(math.exp(p) for p in distinct.values()) - 1) < 1e-9


def test_the_best_loss_is_the_mean_of_the_true_log_probabilities_and_a_unigram_model_pays_more():
    data = zipf_text(20_000, seed=0, words=200)
    y = data.y_train.flatten()
    frequencies = y.bincount(minlength=200).double() / len(y)
    unigram = -frequencies[y].log().mean().item()
    assert 1 < data.details["best_loss"]["train"] < unigram - 1
    assert abs(data.details["best_loss"]["train"] - data.details["best_loss"]["test"]) < 0.1


def test_a_heavier_exponent_leaves_fewer_words_for_the_same_text():
    used = [len(zipf_text(5000, tail=tail, words=500).y_train.unique()) for tail in (0.0, 1.0, 2.0)]
    assert used[0] > used[1] > used[2]


FIRST_WORDS = [1, 605, 3, 2, 851, 302, 2, 807, 0, 1, 18, 600]


def test_the_first_words_are_the_same_on_every_machine():
    words = ZipfGrammar().sample(12, stream("grammar", 0, 0))[0]
    assert words.tolist() == FIRST_WORDS


@pytest.mark.parametrize("arguments, message", [
    ({"words": 39}, "words must be a whole number >= 40, got 39"),
    ({"tail": -1.0}, "tail must be >= 0, got -1.0"),
    ({"n": 5}, "n must be a whole number >= 10, got 5"),
    ({"n": 100, "length": 50}, "length must be < the number of tokens 20, got 50"),
])
def test_impossible_grammars_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        zipf_text(**arguments)
