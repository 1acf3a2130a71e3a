"""From a rule to a program: what depends on the step count alone is separated from what touches every coordinate.

A rule is called once with symbols in place of numbers (``torch.fx``), wrapped in what the engine adds to it (weight
decay, sign). The recorded graph is then split in two: the *scalar part*, such as ``1 - beta1**t``, is evaluated once a
step on plain numbers; the *vector part* receives the results as coefficients and runs over the parameters. Nothing of a
particular rule is written down here, so a reader's own rule gains the same speed.
"""

import operator
from dataclasses import dataclass

import torch
from torch import fx

from dlopt.rules.contract import hyperparameters, state_names, where

THETA, GRADIENT = "theta", "g"


class Untraceable(TypeError):
    """The rule cannot be recorded as a graph: it branches on its arguments, or calls what torch does not know."""


@dataclass(frozen=True)
class Trace:
    """One update ``theta, g, state -> theta, state`` as a graph.

    Attributes:
        graph: placeholders are ``theta``, ``g``, the states and the scalars; outputs are the new theta and states.
        vectors: names of the placeholders that have one entry per coordinate, ``theta`` and ``g`` first.
        scalar_states: names of the states that are one number.
        scalars: names of the scalar arguments (``t``, ``lr``, ...).
        inputs: the placeholder of each name.
        results: the node of the new theta and of each new state, by name.
    """

    graph: fx.Graph
    vectors: tuple
    scalar_states: tuple
    scalars: tuple
    inputs: dict
    results: dict


def update_function(rule, *, maximize=False, l2=False, weight_decay=False):
    """The whole update as a function of vectors: the rule, and what an engine adds around it.

    Args:
        rule: a rule.
        maximize: go up the gradient.
        l2, weight_decay: whether the function takes the argument of that name (L2 adds ``l2 * theta`` to the gradient;
            decoupled decay scales ``theta`` by ``1 - lr * weight_decay`` before the step).

    Returns:
        ``update(theta, g, *state, t, lr, [l2], [weight_decay], **hyper) -> theta, *state``.
    """

    def update(theta, g, *state, t, lr, **hyper):
        l2_factor, decay = hyper.pop("l2", None), hyper.pop("weight_decay", None)
        g = -g if maximize else g
        g = g + l2_factor * theta if l2 else g
        step, *state = rule(g, *state, t=t, lr=lr, **hyper)
        theta = theta * (1 - lr * decay) if weight_decay else theta
        return theta + step, *state

    return update


def trace(rule, fixed, **options):
    """Record the update of a rule as a graph.

    Args:
        rule: an elementwise rule.
        fixed: hyper-parameters that are no numbers (flags, names), by name; they are part of the program.
        options: as in :func:`update_function`.

    Raises:
        Untraceable: the rule branches on its arguments, or calls something that takes no symbols.
    """
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    scalars = ["t", *(name for name in hyperparameters(rule) if name not in fixed)]
    scalars += [name for name in ("l2", "weight_decay") if options.get(name)]
    names = [THETA, GRADIENT, *state_names(rule), *scalars]
    proxy = {name: fx.Proxy(graph.placeholder(name), tracer) for name in names}
    update = update_function(rule, **options)
    arguments = [proxy[name] for name in (THETA, GRADIENT, *state_names(rule))]
    try:
        outputs = update(*arguments, **{name: proxy[name] for name in scalars}, **fixed)
        results = {name: out.node for name, out in zip((THETA, *state_names(rule)), outputs, strict=True)}
        graph.output(tuple(results.values()))
    except Exception as error:  # whatever a rule may do with a symbol that is no number
        raise Untraceable(f"{rule.__name__} cannot be recorded: {error}") from error
    graph.eliminate_dead_code()
    vectors = tuple(name for name in (THETA, GRADIENT, *state_names(rule)) if name not in rule.scalar_state)
    inputs = {node.target: node for node in graph.nodes if node.op == "placeholder"}
    return Trace(graph, vectors, tuple(rule.scalar_state), tuple(scalars), inputs, results)


def vector_nodes(trace):
    """The nodes of the graph whose value has one entry per coordinate."""
    found = set()
    for node in trace.graph.nodes:
        if node.op == "placeholder" and node.target in trace.vectors:
            found.add(node)
        elif node.op in ("call_function", "call_method") and found.intersection(node.all_input_nodes):
            found.add(node)
    return found


class ScalarPart:
    """Collects the scalar computations of a trace into one function of the scalars."""

    def __init__(self, trace):
        self.graph, self.copies, self.coefficients = fx.Graph(), {}, []
        for name in (*trace.scalars, *trace.scalar_states):
            self.copies[trace.inputs[name]] = self.graph.placeholder(name)

    def copy(self, value):
        """The scalar graph's own node for a scalar node of the trace; plain numbers stay."""
        if not isinstance(value, fx.Node):
            return value
        if value not in self.copies:
            self.copies[value] = self.graph.node_copy(value, self.copy)
            if self.copies[value].target is torch.where:
                self.copies[value].target = where
        return self.copies[value]

    def call(self, function, *arguments):
        """``function`` of nodes of this graph and numbers; numbers alone are folded."""
        if not any(isinstance(a, fx.Node) for a in arguments):
            return function(*arguments)
        return self.graph.call_function(function, arguments)

    def coefficient(self, node):
        """The position at which the value of a node of this graph is handed to the vector part."""
        if node not in self.coefficients:
            self.coefficients.append(node)
        return self.coefficients.index(node)

    def finish(self, new_states):
        """The function ``(*scalars, *scalar_states) -> (coefficients, new scalar states)``."""
        self.graph.output((tuple(self.coefficients), tuple(new_states)))
        return fx.GraphModule(torch.nn.Module(), self.graph).forward


def split_functional(trace):
    """The vector part as written, for a compiler or for coefficients that are tensors.

    Returns:
        ``scalars(*scalars, *scalar_states) -> (coefficients, new scalar states)`` and
        ``vectors(*vectors, coefficients)``, which overwrites theta and the states.
    """
    is_vector, part, graph = vector_nodes(trace), ScalarPart(trace), fx.Graph()
    copies = {node: graph.placeholder(node.target) for node in trace.inputs.values() if node in is_vector}
    handed = graph.placeholder("coefficients")

    def copied(value):
        if not isinstance(value, fx.Node) or value in copies:
            return copies.get(value, value) if isinstance(value, fx.Node) else value
        position = part.coefficient(part.copy(value))
        return graph.call_function(operator.getitem, (handed, position))

    for node in trace.graph.nodes:
        if node in is_vector and node.op != "placeholder":
            copies[node] = graph.node_copy(node, copied)
    sources = {name: copied(result) for name, result in trace.results.items() if name not in trace.scalar_states}
    for name, source in sources.items():
        if source.op == "placeholder":  # another vector, which may be overwritten before it is read
            sources[name] = graph.call_method("clone", (source,))
    for name, source in sources.items():
        graph.call_method("copy_", (copies[trace.inputs[name]], source))
    graph.output(None)
    scalars = part.finish([part.copy(trace.results[name]) for name in trace.scalar_states])
    return scalars, fx.GraphModule(torch.nn.Module(), graph).forward
