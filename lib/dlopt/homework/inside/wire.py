"""The only language between the grader and the sandbox: length-prefixed JSON with arrays as bytes. No pickle.

A frame is an 8-byte big-endian length and that many bytes of JSON. Whatever a frame claims, decoding it yields numbers,
text, lists, dicts and tensors, or raises ``ValueError``.
"""

import base64
import hashlib
import json
import math
import struct

import numpy as np
import torch

MAX_FRAME = 4 * 2**20  # bytes; an answer beyond this is no answer
MAX_DEPTH = 6
INT_BITS = 64
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_T = torch.Tensor
_DETACH, _CPU, _DENSE = _T.detach, _T.cpu, _T.contiguous  # as torch defines them, whatever a student does to them
_FLAT, _VIEW, _NUMPY = _T.flatten, _T.view, _T.numpy


def _pack_array(x):
    with torch._C.DisableTorchFunction():  # what a student's subclass or patch says of itself does not count
        x = _DENSE(_CPU(_DETACH(x)))
        raw = _NUMPY(_VIEW(_FLAT(x), torch.uint8)).tobytes() if math.prod(x.shape) else b""
    return {"__array__": [str(x.dtype).removeprefix("torch."), list(x.shape), base64.b64encode(raw).decode()]}


def marks(arguments):
    """What a call's arguments are: a digest of each by name, and whether a tensor asks for or holds a gradient."""
    return {name: [hashlib.sha256(json.dumps(pack(value)).encode()).hexdigest(), _traced(value)]
            for name, value in arguments.items()}  # fmt: skip


def _traced(value):
    return isinstance(value, torch.Tensor) and (value.requires_grad or value.grad is not None)


def pack(value, depth=0):
    """``value`` as plain JSON data; what is neither number, text, container nor array becomes its type's name."""
    if depth > MAX_DEPTH:
        return {"__other__": "nested too deeply"}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        short = isinstance(value, float) or abs(value) < 2 ** (INT_BITS - 1)
        return value if short else {"__other__": f"int beyond {INT_BITS} bits"}
    if isinstance(value, np.ndarray | np.generic):
        value = torch.as_tensor(np.array(value)) if value.dtype.kind in "fiub" else str(value)
    if isinstance(value, torch.Tensor) and str(value.dtype).removeprefix("torch.") in DTYPES:
        return _pack_array(value)
    if isinstance(value, (list, tuple)):
        return [pack(v, depth + 1) for v in value]
    if isinstance(value, dict):
        return {str(k): pack(v, depth + 1) for k, v in value.items()}
    return value if isinstance(value, str) else {"__other__": type(value).__name__}


def _unpack_array(spec):
    dtype, shape, text = spec
    if dtype not in DTYPES or not isinstance(shape, list) or len(shape) > 8:
        raise ValueError(f"not an array: dtype {dtype!r}, shape {shape!r}")
    if not all(type(n) is int and 0 <= n <= MAX_FRAME for n in shape):
        raise ValueError(f"not a shape: {shape!r}")
    dtype, raw = getattr(torch, dtype), base64.b64decode(text, validate=True)
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(raw)} bytes do not fill shape {shape}")
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)


class Other:
    """An answer that is not data: only the name of its type crossed the pipe."""

    def __init__(self, name):
        self.name = str(name)[:80]

    def __repr__(self):
        return f"<{self.name}>"


def unpack(data):
    """Rebuild numbers, text, lists, dicts and tensors from ``pack``'s data; raises ``ValueError`` on anything else."""
    if isinstance(data, list):
        return [unpack(v) for v in data]
    if isinstance(data, dict):
        if set(data) == {"__array__"} and isinstance(data["__array__"], list) and len(data["__array__"]) == 3:
            return _unpack_array(data["__array__"])
        if set(data) == {"__other__"}:
            return Other(data["__other__"])
        return {k: unpack(v) for k, v in data.items()}
    if type(data) is int and abs(data) >= 2 ** (INT_BITS - 1):
        raise ValueError(f"an int beyond {INT_BITS} bits")
    return data


def dump(message):
    """One frame as bytes."""
    body = json.dumps(message).encode()
    return struct.pack(">Q", len(body)) + body


def load(body):
    """The message of a frame's body; raises ``ValueError`` if it is not a JSON object."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a message: {error}") from None
    if not isinstance(message, dict):
        raise ValueError("not a message: a frame must hold a JSON object")
    return message


class Frames:
    """Cut a stream of bytes into frames; refuses a frame longer than ``limit``."""

    def __init__(self, limit=MAX_FRAME):
        self.limit, self.buffer = limit, bytearray()

    def feed(self, data):
        """Add bytes, return the bodies of the frames that are now complete."""
        self.buffer += data
        bodies = []
        while len(self.buffer) >= 8:
            (length,) = struct.unpack(">Q", self.buffer[:8])
            if length > self.limit:
                raise ValueError(f"a frame of {length} bytes is beyond the limit of {self.limit}")
            if len(self.buffer) < 8 + length:
                break
            bodies.append(bytes(self.buffer[8 : 8 + length]))
            del self.buffer[: 8 + length]
        return bodies
