"""What a rule is, and the questions that an engine may ask about one.

A rule is a pure function of a gradient and a state, written exactly once and driven by every engine of the book::

    step, *state = adam(g, m, v, t=t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8)

- Positional arguments: the gradient ``g``, then the state under the names of the equation.
- Keyword-only arguments: the step count ``t`` (from 1) and the hyper-parameters, each with a default, ``lr`` first.
- Returned: a tuple of the step *to add* to the parameters and the new state, in the order of the arguments.
- No ``if`` on data or on ``t``, and no ``math`` functions: hyper-parameters and ``t`` may be numbers or 0-d tensors
  (float64; an ensemble has one value per member), so powers and roots are written ``**`` and choices :func:`where`.

The decorator :func:`rule` registers the function and attaches what the signature cannot say. It does not wrap it.
"""

import inspect

import torch

from dlopt.checks import finite, in_closed, in_half_open, non_negative, whole

RULES = {}
"""Every registered rule by name."""

RANGES = {
    "lr": non_negative,
    "mu": in_closed,
    "rho": in_half_open,
    "beta1": in_half_open,
    "beta2": in_half_open,
    "eps": non_negative,
    "momentum_decay": non_negative,
    "threshold": lambda name, value: in_half_open(name, value, 4.0, float("inf")),
    "ns_steps": whole,
}
"""What the usual hyper-parameters may be; a rule adds its own with ``@rule(ranges={"name": check})``."""


def rule(function=None, *, elementwise=True, any_shape=False, scalar_state=(), initial=None, ranges=None):
    """Register a function as a rule and attach its metadata; usable bare or with arguments.

    Args:
        function: the rule, of the form described at the top of this module.
        elementwise: whether each coordinate's step depends on that coordinate alone. Engines run such rules on one flat
            vector, the others on each parameter in its own shape.
        any_shape: whether a rule that is not elementwise also takes vectors (it may look at ``g.dim()``); else
            parameters with fewer than two dimensions are refused.
        scalar_state: names of states that are one number per model instead of one per coordinate.
        initial: start values of states that do not start at zero, by name.
        ranges: checks ``check(name, value)`` of hyper-parameters that are not in ``RANGES``, by name.

    Returns:
        The same function, with attributes ``elementwise``, ``any_shape``, ``scalar_state``, ``initial`` and ``ranges``.

    Raises:
        TypeError: the signature is not that of a rule.
    """
    if function is None:
        given = {"scalar_state": scalar_state, "initial": initial, "ranges": ranges}
        return lambda f: rule(f, elementwise=elementwise, any_shape=any_shape, **given)
    function.elementwise, function.any_shape = elementwise, elementwise or any_shape
    function.scalar_state = (scalar_state,) if isinstance(scalar_state, str) else tuple(scalar_state)
    function.initial = dict(initial or {})
    function.ranges = dict(ranges or {})
    _check_signature(function)
    RULES[function.__name__] = function
    return function


def state_names(fn):
    """Names of the rule's state, in the order of its arguments: ``("m", "v")`` for Adam."""
    positional = [p.name for p in inspect.signature(fn).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    return tuple(positional[1:])


def hyperparameters(fn):
    """The rule's hyper-parameters and their defaults, in order: ``{"lr": 1e-3, ...}``."""
    keywords = [p for p in inspect.signature(fn).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: p.default for p in keywords if p.name != "t"}


def initial_state(fn, theta):
    """The state before the first step.

    Args:
        fn: a rule.
        theta: parameters of any shape; the state takes their device and dtype (at least float32).

    Returns:
        A dict name -> tensor, in the order of the rule's arguments. The tensors hold zeros (or the rule's own start
        value) in the shape of ``theta``, those that the rule declares scalar are 0-d and float64.
    """
    wide = torch.promote_types(theta.dtype, torch.float32)
    kind = {name: ((), torch.float64) if name in fn.scalar_state else (theta.shape, wide) for name in state_names(fn)}
    return {
        name: torch.full(shape, float(fn.initial.get(name, 0.0)), dtype=dtype, device=theta.device)
        for name, (shape, dtype) in kind.items()
    }


def check_hyperparameters(fn, **hyper):
    """Refuse unknown hyper-parameters and values outside their range.

    Values may be numbers or tensors (every element is checked).

    Raises:
        ValueError: for example ``beta2 must be in [0, 1), got 1.0``.
    """
    known = hyperparameters(fn)
    for name, value in hyper.items():
        if name not in known:
            raise ValueError(f"{fn.__name__} has no hyper-parameter {name!r}; it has {', '.join(known)}")
        if not isinstance(known[name], (int, float)) or isinstance(known[name], bool):
            continue
        check = fn.ranges.get(name, RANGES.get(name, finite))
        for number in value.flatten().tolist() if torch.is_tensor(value) else [value]:
            check(name, number)


def where(condition, a, b):
    """``a`` where the condition holds, else ``b``, for plain booleans as for tensors: a rule needs no ``if``."""
    if isinstance(condition, bool):
        return a if condition else b
    return torch.where(condition, a, b)


def _check_signature(fn):
    names = list(hyperparameters(fn))
    keywords = inspect.signature(fn).parameters
    if "t" not in keywords or keywords["t"].kind is not inspect.Parameter.KEYWORD_ONLY:
        raise TypeError(f"a rule takes the step count as keyword-only argument t; {fn.__name__} does not")
    if not names or names[0] != "lr":
        raise TypeError(f"a rule's first hyper-parameter is lr; {fn.__name__} has {names}")
    if missing := [name for name, default in hyperparameters(fn).items() if default is inspect.Parameter.empty]:
        raise TypeError(f"every hyper-parameter has a default; {fn.__name__} gives none to {', '.join(missing)}")
    _subset("scalar_state", fn.scalar_state, state_names(fn), fn)
    _subset("initial", fn.initial, state_names(fn), fn)
    _subset("ranges", fn.ranges, names, fn)


def _subset(what, given, allowed, fn):
    if unknown := [name for name in given if name not in allowed]:
        raise TypeError(f"{what} of {fn.__name__} names {', '.join(unknown)}; known are {', '.join(allowed)}")
