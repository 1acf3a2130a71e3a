"""Compression: which of a network's parameters are needed, and what the rest costs in bytes and in time."""

from dlopt.compression.distillation import distillation_loss, soft_loss, with_teacher
from dlopt.compression.files import (
    Account,
    account,
    from_bytes,
    load_compressed,
    raw_bytes,
    save_compressed,
    to_bytes,
    xz_bytes,
)
from dlopt.compression.huffman import canonical_codes, code_lengths, entropy, huffman_decode, huffman_encode
from dlopt.compression.low_rank import break_even_rank, factorize_layers, svd_factorize, truncated_svd
from dlopt.compression.measuring import pareto, sparse_copy, speedup, two_four_mask, two_four_speedup
from dlopt.compression.protocol import ARMS, retrain_pruned
from dlopt.compression.pruning import (
    Mask,
    bake,
    geometric_stages,
    iterative_prune,
    magnitude_prune,
    masks,
    prunable,
    rewind,
    shuffle_masks,
    sparsity,
)
from dlopt.compression.sharing import Shared, codes, kmeans, kmeans_share, train_shared
from dlopt.compression.structured import shrink, two_four_prune, unit_norms
from dlopt.compression.tensors import Factorized, cp_factorize, tucker_factorize
from dlopt.compression.together import accuracies, masked_adam, retrain
from dlopt.compression.uniform import (
    FakeQuantize,
    Int8Conv2d,
    Int8Linear,
    fake_quantize,
    quantize,
    quantize_int8,
    round_weights,
    symmetric_scale,
)

__all__ = ["ARMS", "Account", "Factorized", "FakeQuantize", "Int8Conv2d", "Int8Linear", "Mask", "Shared", "account",
           "accuracies", "bake", "break_even_rank", "canonical_codes", "code_lengths", "codes", "cp_factorize",
           "distillation_loss", "entropy", "factorize_layers", "fake_quantize", "from_bytes", "geometric_stages",
           "huffman_decode", "huffman_encode", "iterative_prune", "kmeans", "kmeans_share", "load_compressed",
           "magnitude_prune", "masked_adam", "masks", "pareto", "prunable", "quantize", "quantize_int8", "raw_bytes",
           "retrain", "retrain_pruned", "rewind", "round_weights", "save_compressed", "shrink", "shuffle_masks",
           "soft_loss", "sparse_copy", "sparsity", "speedup", "svd_factorize", "symmetric_scale", "to_bytes",
           "train_shared", "truncated_svd", "tucker_factorize", "two_four_mask", "two_four_prune", "two_four_speedup",
           "unit_norms", "with_teacher", "xz_bytes"]
