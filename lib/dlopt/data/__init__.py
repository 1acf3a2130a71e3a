"""Testbeds that need no download: real tables, rendered glyphs, text, sequences."""

from dlopt.data.dataset import Dataset, split_indices, stream
from dlopt.data.glyphs import GlyphSource, Risk, glyphs
from dlopt.data.grammar import ZipfGrammar, zipf_text
from dlopt.data.openml import cifar10, fashion_mnist
from dlopt.data.sampler import BatchSampler
from dlopt.data.sequences import adding, adding_batch, copy_memory, copy_memory_batch
from dlopt.data.sparse import zipf_features
from dlopt.data.tabular import breast_cancer, diabetes, digits
from dlopt.data.text import Vocabulary, text, topics, windows

__all__ = [
    "BatchSampler",
    "Dataset",
    "GlyphSource",
    "Risk",
    "Vocabulary",
    "ZipfGrammar",
    "adding",
    "adding_batch",
    "breast_cancer",
    "cifar10",
    "copy_memory",
    "copy_memory_batch",
    "diabetes",
    "digits",
    "fashion_mnist",
    "glyphs",
    "split_indices",
    "stream",
    "text",
    "topics",
    "windows",
    "zipf_features",
    "zipf_text",
]
