"""Canonical Huffman codes: optimal whole-bit code words that a list of lengths describes."""

import heapq

import numpy as np

from dlopt.checks import whole

LONGEST = 32  # bits; a code word of 33 bits would need more than 5 million symbols


def entropy(counts):
    r"""Shannon entropy of a distribution, :math:`H = -\sum_k p_k \log_2 p_k`, in bits per symbol.

    Args:
        counts: [K], non-negative, not all zero.
    """
    p = np.asarray(counts, dtype=np.float64)
    p = p[p > 0] / p.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0


def code_lengths(counts):
    """Length in bits of each symbol's Huffman code word; 0 for symbols that do not occur.

    The two rarest symbols differ in the last bit only, so they are joined to one symbol, and so on until one is left.

    Args:
        counts: how often each symbol occurs, [K].

    Returns:
        int array [K]. A single symbol gets one bit.

    Raises:
        ValueError: a negative count, no symbol at all, or a code word longer than 32 bits.

    Source: Huffman (1952).
    """
    counts = np.asarray(counts)
    present = np.flatnonzero(counts)
    if len(present) == 0 or (counts < 0).any():
        raise ValueError("counts must be non-negative, with at least one symbol that occurs")
    lengths = np.zeros(len(counts), dtype=np.int64)
    if len(present) == 1:
        lengths[present] = 1
        return lengths
    heap = [(int(counts[k]), int(k), [int(k)]) for k in present]
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, i, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[left] += 1
        lengths[right] += 1
        heapq.heappush(heap, (a + b, i, left + right))
    if lengths.max() > LONGEST:
        raise ValueError(f"code words must have at most {LONGEST} bits, got {lengths.max()}")
    return lengths


def canonical_codes(lengths):
    """Code words from their lengths: short ones first, equal lengths in the order of the symbols, counting upward.

    Args:
        lengths: [K], bits; 0 for symbols that do not occur.

    Returns:
        int array [K], the code words as numbers.

    Raises:
        ValueError: lengths that no prefix code has (Kraft's sum is not 1, or not 1/2 for a single symbol), or above 32.
    """
    lengths = check_lengths(lengths)
    codes, code, before = np.zeros(len(lengths), dtype=np.int64), 0, 0
    for k in np.lexsort((np.arange(len(lengths)), lengths)):
        if lengths[k]:
            code <<= int(lengths[k]) - before
            before, codes[k] = int(lengths[k]), code
            code += 1
    return codes


def check_lengths(lengths):
    """The lengths as int64, if they are those of a complete prefix code."""
    lengths = np.asarray(lengths, dtype=np.int64)
    used = lengths[lengths > 0]
    if (lengths < 0).any() or len(used) == 0 or used.max() > LONGEST:
        raise ValueError(f"code lengths must be in 0 ... {LONGEST}, at least one above 0")
    kraft = int((1 << (LONGEST - used)).sum())
    if kraft != 1 << LONGEST and not (len(used) == 1 and used[0] == 1):
        raise ValueError(f"code lengths must fill a prefix code: Kraft's sum must be 1, got {kraft / 2**LONGEST:g}")
    return lengths


def huffman_encode(symbols, lengths):
    """Symbols as a string of bits, packed into bytes, first bit highest; the last byte is filled up with zeros.

    Args:
        symbols: whole numbers in 0 ... K - 1, [n].
        lengths: of the code words, [K], as from `code_lengths`.

    Returns:
        bytes.

    Raises:
        ValueError: a symbol without a code word.
    """
    codes, lengths = canonical_codes(lengths), np.asarray(lengths, dtype=np.int64)
    symbols = np.asarray(symbols, dtype=np.int64)
    if len(symbols) and ((symbols < 0) | (symbols >= len(lengths))).any() or (lengths[symbols] == 0).any():
        raise ValueError("symbols must all have a code word")
    size, word = lengths[symbols], codes[symbols]
    starts = np.concatenate([[0], size.cumsum()])
    which = np.repeat(np.arange(len(symbols)), size)
    place = np.arange(starts[-1]) - starts[which]  # of the bit inside its word
    bits = (word[which] >> (size[which] - 1 - place)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def huffman_decode(data, n, lengths):
    """The ``n`` symbols that `huffman_encode` wrote.

    Needs memory for the bits of ``data`` and n symbols, whatever the lengths say.

    Args:
        data: bytes.
        n: number of symbols.
        lengths: of the code words, [K].

    Returns:
        int64 array [n].

    Raises:
        ValueError: lengths that no code has; data too short, too long or with bits that are no code word.
    """
    lengths = check_lengths(lengths)
    if whole("n", n, low=0) > 8 * len(data):
        raise ValueError(f"{len(data)} bytes cannot hold {n} symbols; the data are cut short")
    order = np.lexsort((np.arange(len(lengths)), lengths))
    order = order[lengths[order] > 0].tolist()
    per_length = np.bincount(lengths[lengths > 0], minlength=LONGEST + 2).tolist()
    bits, out, place, longest = np.unpackbits(np.frombuffer(data, np.uint8)).tolist(), [], 0, int(lengths.max())
    try:
        for _ in range(n):
            code, first, start = 0, 0, 0
            for length in range(1, longest + 1):
                code = 2 * code + bits[place]
                place += 1
                count = per_length[length]
                if code - first < count:
                    out.append(order[start + code - first])
                    break
                start, first = start + count, 2 * (first + count)
            else:
                raise ValueError("the data hold bits that are no code word")
    except IndexError:
        raise ValueError(f"the data end after {len(out)} of {n} symbols; they are cut short") from None
    if (place + 7) // 8 != len(data) or any(bits[place:]):
        raise ValueError("the data go on after the last symbol")
    return np.array(out, dtype=np.int64)
