"""The file of a compressed model: what is on the disk is what is counted, and nothing in it is executed.

Format, little-endian: the bytes ``DLOC``, u8 version (1), u16 number of tensors; per tensor u8 length of its name, the
name (UTF-8), u8 kind of encoding (`dlopt.compression.encodings`), u8 number of axes, u32 each of the sizes, u32 length
of the payload, the payload; at the end u32 CRC-32 of everything before.
"""

import copy
import lzma
import math
import struct
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dlopt.checks import whole
from dlopt.compression.encodings import Reader, decode, encode, same_bits
from dlopt.compression.pruning import bake

MAGIC, VERSION, AXES = b"DLOC", 1, 8


def to_bytes(model):
    """The file of a model as bytes.

    Args:
        model: module with float32 parameters and buffers; masks and codebooks are taken as the weights they stand for.

    Raises:
        ValueError: a tensor of another type, with nan or infinite entries, with more than 8 axes, or a name above 255
            bytes.
    """
    parts = [MAGIC, struct.pack("<BH", VERSION, len(state := bake(copy.deepcopy(model)).state_dict()))]
    for name, tensor in state.items():
        _check(name, tensor)
        w = tensor.detach().cpu().contiguous().numpy()
        kind, payload = encode(w)
        label = name.encode()
        parts += [struct.pack("<B", len(label)), label, struct.pack(f"<BB{w.ndim}I", kind, w.ndim, *w.shape),
                  struct.pack("<I", len(payload)), payload]
    body = b"".join(parts)
    return body + struct.pack("<I", zlib.crc32(body))


def from_bytes(data, model=None, *, max_weights=2**24):
    """The tensors of a file, name -> float32 tensor, bit for bit.

    Before anything is decoded, all headers are read, the sizes are added up and (if a model is given) compared with
    the model's. A file that claims more than it may costs nothing.

    Args:
        data: bytes.
        model: whose names and shapes the file must have; None: any.
        max_weights: numbers in all tensors together, at most.

    Raises:
        ValueError: not such a file, another version, cut short, changed on the way, or too large.
    """
    tensors = _headers(data)
    total = sum(math.prod(shape) for _, shape, _ in tensors.values())
    if total > whole("max_weights", max_weights):
        raise ValueError(f"the file claims {total} numbers, at most {max_weights} are allowed; raise max_weights")
    if model is not None:
        theirs = {name: tuple(shape) for name, (_, shape, _) in tensors.items()}
        mine = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        if theirs != mine:
            other = sorted(set(theirs.items()) ^ set(mine.items()))[0][0]
            raise ValueError(f"the file belongs to another model: {other} differs")
    return {name: torch.from_numpy(np.ascontiguousarray(decode(*tensor))) for name, tensor in tensors.items()}


def save_compressed(model, path):
    """Write a model's file and return its length in bytes; arguments and refusals as for `to_bytes`."""
    data = to_bytes(model)
    Path(path).write_bytes(data)
    return len(data)


def load_compressed(path, model, *, max_weights=2**24):
    """Read a file into a model of the same names and shapes.

    Args:
        path: the file.
        model: plain module; changed in place only if the whole file is sound.
        max_weights: as in `from_bytes`; a file longer than this many float32 numbers can need is not even read.

    Returns:
        The model.
    """
    path, limit = Path(path), 8 * whole("max_weights", max_weights) + 2**20
    if path.stat().st_size > limit:
        raise ValueError(f"the file has {path.stat().st_size} bytes, {max_weights} weights need less than {limit}")
    model.load_state_dict(from_bytes(path.read_bytes(), model, max_weights=max_weights))
    return model


class Account(NamedTuple):
    """A model on the disk: bytes, whether it came back bit for bit, float32 over the file, float32 over xz."""

    bytes: int
    exact: bool
    ratio: float
    xz_ratio: float


def account(model):
    """Write a model to a file, read the file into an empty copy, compare, and hold the length against float32.

    Args:
        model: as for `to_bytes`; not changed.

    Returns:
        `Account`; its ratios are `raw_bytes` over the length of the file, and over `xz_bytes`.
    """
    plain = bake(copy.deepcopy(model)).cpu()
    empty = copy.deepcopy(plain)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for tensor in empty.state_dict().values():
            tensor.zero_()
        path = Path(folder, "model.dloc")
        save_compressed(model, path)
        size, found = path.stat().st_size, load_compressed(path, empty).state_dict()
    exact = all(same_bits(tensor.numpy(), found[name].numpy()) for name, tensor in plain.state_dict().items())
    return Account(size, exact, raw_bytes(model) / size, raw_bytes(model) / xz_bytes(model))


def raw_bytes(model):
    """Four bytes for each parameter: what the ratios of compression are relative to."""
    return 4 * sum(p.numel() for p in bake(copy.deepcopy(model)).parameters())


def xz_bytes(model):
    """Length of the model's float32 parameters after xz, the general-purpose compressor: the bar to pass."""
    tensors = [p.detach().cpu().numpy().tobytes() for p in bake(copy.deepcopy(model)).parameters()]
    return len(lzma.compress(b"".join(tensors), preset=9))


def _check(name, tensor):
    if tensor.dtype != torch.float32:
        raise ValueError(f"tensors must be float32, {name} is {tensor.dtype}; convert the model with .float()")
    if not tensor.isfinite().all():
        raise ValueError(f"tensors must be finite, {name} is not")
    if tensor.ndim > AXES or len(name.encode()) > 255:
        raise ValueError(f"tensors must have at most {AXES} axes and names of 255 bytes, got "
                         f"{name} {list(tensor.shape)}")


def _headers(data):
    """name -> (kind, shape, payload), after the magic, the checksum and the version have been checked."""
    if bytes(data[:4]) != MAGIC:
        raise ValueError(f"the file must begin with {MAGIC!r}, got {bytes(data[:4])!r}; it is no compressed model")
    if len(data) < 11 or struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
        raise ValueError("the checksum is wrong: the file was cut short or changed")
    r = Reader(memoryview(data)[4:-4])
    if (version := r.number("B")) != VERSION:
        raise ValueError(f"version must be {VERSION}, got {version}; use the library that wrote the file")
    tensors = {}
    for _ in range(r.number("H")):
        try:
            name = bytes(r.take(r.number("B"))).decode()
        except UnicodeDecodeError:
            raise ValueError("the file holds a name that is no text") from None
        kind, ndim = r.number("B"), r.number("B")
        if ndim > AXES or name in tensors:
            raise ValueError(f"tensors must have at most {AXES} axes and different names, got {ndim} for {name!r}")
        shape = tuple(r.number("I") for _ in range(ndim))
        tensors[name] = kind, shape, r.take(r.number("I"))
    r.end()
    return tensors
