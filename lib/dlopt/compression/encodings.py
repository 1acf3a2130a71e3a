"""How one tensor becomes bytes and comes back bit for bit: six encodings, each tried, the shortest kept.

=====  ==========================  ====================================================================================
kind   name                        payload (little-endian)
=====  ==========================  ====================================================================================
0      float32                     the numbers
1      float16                     the numbers; only where all of them are float16 numbers
2      int8 rows                   a float32 step per row, then int8 multiples of it, one byte each
3      shared                      codebook; Huffman code of the index of every weight
4      sparse, shared              the same for the nonzero weights; Huffman code of the gaps between them
5      sparse, float32             Huffman code of the gaps between nonzero weights; the numbers
=====  ==========================  ====================================================================================

A codebook is u16 K, then K float32 values. A Huffman code of n symbols out of K is K bytes of code lengths, u32 length
of the data, the data; n is known from the shape, or precedes it. Kinds 4 and 5: u32 number of nonzero weights, u32
number of gap symbols, u8 b, the code of the gaps (2^b symbols: the last one means "go 2^b - 1 positions on, there is no
weight", the others g mean "skip g zeros, then comes a weight"); then codebook and code of the indices, or the numbers.
"""

import struct

import numpy as np

from dlopt.compression.huffman import code_lengths, huffman_decode, huffman_encode

FLOAT32, FLOAT16, INT8_ROWS, SHARED, SPARSE, SPARSE_FLOAT32 = range(6)
CODEBOOK = 4096  # values at most
GAP_BITS = range(3, 9)


class Reader:
    """Bytes taken from the front; asking for more than there are is refused."""

    def __init__(self, data):
        self.data, self.place = memoryview(data), 0

    def take(self, n):
        """The next n bytes."""
        if n > len(self.data) - self.place:
            raise ValueError(f"the file ends {n - len(self.data) + self.place} bytes too early; it is cut short")
        self.place += n
        return self.data[self.place - n : self.place]

    def number(self, kind):
        """The next number: ``"B"``, ``"H"`` or ``"I"``."""
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def array(self, n, dtype):
        """The next n numbers as an array of its own."""
        return np.frombuffer(self.take(n * np.dtype(dtype).itemsize), np.dtype(dtype).newbyteorder("<")).astype(dtype)

    def end(self):
        """Refuse what is left over."""
        if self.place != len(self.data):
            raise ValueError(f"the file has {len(self.data) - self.place} bytes too many")


def encode(w):
    """The shortest encoding of a float32 array: (kind, payload)."""
    found = [(FLOAT32, w.astype("<f4").tobytes())]
    found += [e for e in (_float16(w), _int8_rows(w), *_shared(w)) if e is not None]
    return min(found, key=lambda e: len(e[1]))


def decode(kind, shape, payload):
    """The array that `encode` was given; needs memory for the array and a few times the payload.

    Raises:
        ValueError: a payload that `encode` did not write.
    """
    n, r = int(np.prod(shape, dtype=np.int64)), Reader(payload)
    if kind == FLOAT32:
        flat = r.array(n, np.float32)
    elif kind == FLOAT16:
        flat = r.array(n, np.float16).astype(np.float32)
    elif kind == INT8_ROWS:
        rows = shape[0] if shape else 1
        scale = r.array(rows, np.float32)
        if not np.isfinite(scale).all():
            raise ValueError("the file holds steps that are nan or infinite")
        with np.errstate(over="ignore"):
            flat = (r.array(n, np.int8).reshape(rows, -1).astype(np.float32) * scale[:, None]).ravel()
    elif kind == SHARED:
        codebook = _read_codebook(r)
        flat = codebook[_read_code(r, n, len(codebook))]
    elif kind in (SPARSE, SPARSE_FLOAT32):
        flat = _read_sparse(r, n, kind)
    else:
        raise ValueError(f"kind of encoding must be 0 ... 5, got {kind}")
    r.end()
    if not np.isfinite(flat).all():
        raise ValueError("the file holds weights that are nan or infinite")
    return flat.reshape(shape)


def same_bits(a, b):
    """Whether two float32 arrays agree in every bit."""
    return np.array_equal(np.asarray(a, np.float32).view(np.int32), np.asarray(b, np.float32).view(np.int32))


def _float16(w):
    with np.errstate(over="ignore"):
        half = w.astype(np.float16)
    return (FLOAT16, half.astype("<f2").tobytes()) if same_bits(half.astype(np.float32), w) else None


def _int8_rows(w):
    if w.ndim < 2 or w.size == 0:
        return None
    rows = w.reshape(len(w), -1)
    top = np.abs(rows).max(1)
    guess = np.where(top > 0, top / np.float32(127), np.float32(1)).astype(np.float32)
    scale, left = guess.copy(), np.ones(len(rows), bool)
    for step in (guess, np.nextafter(guess, np.float32(0)), np.nextafter(guess, np.float32(np.inf))):
        q = np.round(rows / step[:, None])  # 127 steps and a division by 127 may miss the step by its last bit
        right = ((q.astype(np.float32) * step[:, None]).view(np.int32) == rows.view(np.int32)).all(1)
        scale, left = np.where(left & right, step, scale), left & ~right
    if left.any():
        return None
    q = np.round(rows / scale[:, None]).astype(np.int8)
    return INT8_ROWS, scale.astype("<f4").tobytes() + q.tobytes()


def _shared(w):
    bits = w.ravel().view(np.int32)
    if w.size == 0:
        return
    values, index = np.unique(bits, return_inverse=True)
    if len(values) <= CODEBOOK:
        yield SHARED, _codebook(values) + _code(index, len(values))
    alive = np.flatnonzero(bits)
    if 0 < len(alive) < w.size:
        places = struct.pack("<I", len(alive)) + min((_gaps(alive, b) for b in GAP_BITS), key=len)
        values, index = np.unique(bits[alive], return_inverse=True)
        yield SPARSE_FLOAT32, places + bits[alive].astype("<i4").tobytes()
        if len(values) <= CODEBOOK:
            yield SPARSE, places + _codebook(values) + _code(index, len(values))


def _codebook(values):
    return struct.pack("<H", len(values)) + values.astype("<i4").tobytes()


def _read_codebook(r):
    K = r.number("H")
    if not 1 <= K <= CODEBOOK:
        raise ValueError(f"a codebook must have 1 ... {CODEBOOK} values, got {K}")
    return r.array(K, np.float32)


def _code(symbols, K):
    lengths = code_lengths(np.bincount(symbols, minlength=K))
    data = huffman_encode(symbols, lengths)
    return lengths.astype(np.uint8).tobytes() + struct.pack("<I", len(data)) + data


def _read_code(r, n, K):
    lengths = r.array(K, np.uint8)
    return huffman_decode(bytes(r.take(r.number("I"))), n, lengths)


def _gaps(alive, b):
    """The positions of the nonzero weights as gaps below 2^b - 1 and escapes."""
    escape = 2**b - 1
    skipped = np.diff(alive, prepend=-1) - 1
    escapes = skipped // escape
    symbols = np.full(len(alive) + int(escapes.sum()), escape)
    symbols[np.cumsum(escapes + 1) - 1] = skipped % escape
    return struct.pack("<IB", len(symbols), b) + _code(symbols, 2**b)


def _read_sparse(r, n, kind):
    alive, count, b = r.number("I"), r.number("I"), r.number("B")
    if b not in GAP_BITS:
        raise ValueError(f"gaps must have {GAP_BITS.start} ... {GAP_BITS.stop - 1} bits, got {b}")
    if not 1 <= alive <= n or alive > count:
        raise ValueError(f"{alive} nonzero weights of {n} in {count} gaps are impossible")
    symbols, escape = _read_code(r, count, 2**b), 2**b - 1
    here = symbols != escape
    places = np.cumsum(np.where(here, symbols + 1, escape))[here] - 1
    if len(places) != alive or not here[-1] or places[-1] >= n:
        raise ValueError("the gaps do not lead to as many weights as the tensor has")
    flat = np.zeros(n, np.float32)
    if kind == SPARSE_FLOAT32:
        flat[places] = r.array(alive, np.float32)
    else:
        codebook = _read_codebook(r)
        flat[places] = codebook[_read_code(r, alive, len(codebook))]
    return flat
