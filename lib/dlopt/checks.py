"""Argument checks: every refusal states the rule, the value and, where there is one, the way out."""

import math
from collections.abc import Iterable


def finite(name, value):
    """Return ``value`` if it is a finite number, else raise ``ValueError``."""
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    return value


def positive(name, value):
    """Return ``value`` if it is finite and > 0, else raise ``ValueError``."""
    if not finite(name, value) > 0:
        raise ValueError(f"{name} must be > 0, got {value}")
    return value


def non_negative(name, value):
    """Return ``value`` if it is finite and >= 0, else raise ``ValueError``."""
    if not finite(name, value) >= 0:
        raise ValueError(f"{name} must be >= 0, got {value}")
    return value


def in_half_open(name, value, low=0.0, high=1.0):
    """Return ``value`` if it lies in [low, high), else raise ``ValueError``."""
    if not low <= finite(name, value) < high:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}), got {value}")
    return value


def in_closed(name, value, low=0.0, high=1.0):
    """Return ``value`` if it lies in [low, high], else raise ``ValueError``."""
    if not low <= finite(name, value) <= high:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}], got {value}")
    return value


def whole(name, value, low=1):
    """Return ``value`` as an ``int`` if it is a whole number >= low, else raise ``ValueError``."""
    if isinstance(value, bool) or value != int(finite(name, value)) or value < low:
        raise ValueError(f"{name} must be a whole number >= {low}, got {value}")
    return int(value)


def one_of(name, value, allowed: Iterable):
    """Return ``value`` if it is among ``allowed``, else raise ``ValueError`` that lists what is allowed."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}; got {value!r}")
    return value
