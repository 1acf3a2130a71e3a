"""In-place form of a rule, derived from its equation: few passes over memory, no new tensors.

The vector part of a traced update is rewritten into calls that write into the state, theta or scratch vectors. Some
identities shorten it: scalar factors are carried along instead of applied (``-lr * m / c`` is ``m`` with the
coefficient ``-lr / c``); products and quotients that feed a sum become ``addcmul`` and ``addcdiv``;
``w * x + (1 - w) * y`` becomes ``lerp``; and a divisor under a root is moved out of it. Adam comes out as six passes::

    m.lerp_(g, c0); v.mul_(c1); v.addcmul_(g, g, value=c2)
    s = v.sqrt(); s.add_(c3); theta.addcdiv_(m, s, value=c4)
"""

import operator
from dataclasses import dataclass, replace

import torch
from torch import fx

from dlopt.optimizers.tracing import ScalarPart, vector_nodes

NAMES = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "pow": operator.pow, "square": torch.square, "sqrt": torch.sqrt, "sign": torch.sign, "abs": torch.abs,
    torch.add: operator.add, torch.sub: operator.sub, torch.mul: operator.mul, torch.div: operator.truediv,
    torch.neg: operator.neg, torch.pow: operator.pow,
}  # fmt: skip
ONE_PASS = {torch.sqrt, torch.sign, torch.abs, torch.maximum, torch.minimum}


@dataclass(frozen=True)
class Term:
    """A value that need not be in memory: ``coefficient * x``, ``coefficient * x * y`` or ``coefficient * x / y``."""

    x: fx.Node
    kind: str = "id"  # "id", "mul" or "div"
    y: fx.Node = None
    coefficient: object = 1.0  # a number or a node of the scalar part

    def reads(self):
        return {self.x, self.y} - {None}

    def is_plain(self):
        return self.kind == "id" and self.coefficient == 1.0


class InPlace:
    """Rewrites one trace.

    Attributes:
        scalars: ``(*scalars, *scalar_states) -> (coefficients, new scalar states)``.
        vectors: a module ``(*vectors, scratch, coefficients)`` that overwrites theta and the states; its ``code`` is
            readable.
        n_scratch: how many scratch vectors, of the length of theta, it needs in the list ``scratch``.
        n_passes: calls that go over the vectors once each.
    """

    def __init__(self, trace):
        self.trace, self.part, self.graph = trace, ScalarPart(trace), fx.Graph()
        self.is_vector = vector_nodes(trace)
        self.uses = {node: len(node.users) for node in self.is_vector}
        buffers = {name: self.graph.placeholder(name) for name in trace.vectors}
        self.scratch_list, self.handed = map(self.graph.placeholder, ("scratch", "coefficients"))
        self.scratch, self.positive = [], set()
        self.homes = {trace.results[name]: buffers[name] for name in trace.results if name in buffers}
        self.terms = {trace.inputs[name]: Term(buffers[name]) for name in trace.vectors}  # those still to be read
        for node in trace.graph.nodes:
            if node in self.is_vector and node.op != "placeholder":
                self._lower(node)
        self._deliver(buffers)
        self.scalars = self.part.finish([self.part.copy(trace.results[name]) for name in trace.scalar_states])
        self.vectors = fx.GraphModule(torch.nn.Module(), self.graph)
        self.n_scratch = len(self.scratch)
        self.n_passes = sum(n.op == "call_method" or "out" in n.kwargs for n in self.graph.nodes)

    def _lower(self, node):
        """Turn one node of the trace into a term, computing what cannot stay a term."""
        inputs = {n: self.terms[n] if n in self.is_vector else self.part.copy(n) for n in node.all_input_nodes}
        arguments = [inputs[a] if isinstance(a, fx.Node) else a for a in node.args]
        for used in self.is_vector.intersection(node.all_input_nodes):
            self.uses[used] -= 1
            if not self.uses[used]:
                del self.terms[used]
        operation = NAMES.get(node.target, node.target)
        lower = {
            operator.neg: self._negate, operator.mul: self._multiply, operator.truediv: self._divide,
            operator.pow: self._power, torch.square: self._square,
            operator.add: self._add, operator.sub: self._subtract,
        }.get(operation)  # fmt: skip
        if lower and not node.kwargs:
            term = lower(node, *arguments)
        elif operation in ONE_PASS and not node.kwargs:
            term = self._emit(operation, *self._all_in_memory(arguments), out=self._target(node))
        else:
            term = self._call(node, inputs)
        if self.uses[node] > 1 or node in self.homes:
            term = self._compute(term, self._target(node)) if not term.is_plain() else term
        self.terms[node] = term

    # arithmetic

    def _negate(self, node, a):
        return self._scaled(a, -1.0)

    def _multiply(self, node, a, b):
        if not isinstance(b, Term):
            return self._scaled(a, b)
        if not isinstance(a, Term):
            return self._scaled(b, a)
        return self._pair("mul", operator.mul, a, b)

    def _divide(self, node, a, b):
        if not isinstance(b, Term):
            return replace(a, coefficient=self.part.call(operator.truediv, a.coefficient, b))
        if isinstance(a, Term):
            return self._pair("div", operator.truediv, a, b)
        (x,) = self._all_in_memory([replace(b, coefficient=1.0)])
        inverse = self._emit(torch.reciprocal, x, out=self._target(node))
        return self._scaled(inverse, self.part.call(operator.truediv, a, b.coefficient))

    def _square(self, node, a):
        return self._pair("mul", operator.mul, a, a)

    def _power(self, node, a, exponent):
        if isinstance(a, Term) and exponent == 2:
            return self._square(node, a)
        if not isinstance(a, Term) or isinstance(exponent, Term):
            return self._emit_call(torch.pow, *self._all_in_memory([a, exponent]))
        if exponent == 0.5 and self._is_divided(a):  # the root of x / c is the root of x, over that of c
            root = self.part.call(operator.pow, a.coefficient, 0.5)
            self.positive.add(root)
            return replace(self._emit(torch.sqrt, a.x, out=self._target(node)), coefficient=root)
        (x,) = self._all_in_memory([a])
        if exponent == 0.5:
            return self._emit(torch.sqrt, x, out=self._target(node))
        return self._emit(torch.pow, x, self._number(exponent), out=self._target(node))

    def _subtract(self, node, a, b):
        if isinstance(b, Term):
            return self._add(node, a, self._scaled(b, -1.0))
        return self._add(node, a, self.part.call(operator.neg, b))

    def _add(self, node, a, b):
        if not isinstance(a, Term) or not isinstance(b, Term):
            term, number = (a, b) if isinstance(a, Term) else (b, a)
            out = self._target(node)
            if term.coefficient in self.positive:  # k * x + c is k * (x + c / k)
                number = self._number(self.part.call(operator.truediv, number, term.coefficient))
                return replace(self._emit(torch.add, term.x, number, out=out), coefficient=term.coefficient)
            term = term if term.is_plain() else self._compute(term, out)
            return self._emit(torch.add, term.x, self._number(number), out=out)
        if self._are_complements(a, b):
            return self._emit(torch.lerp, a.x, b.x, self._number(b.coefficient), out=self._target(node))
        out = self._target(node)
        if b.is_plain() or (b.kind == "id" and not a.is_plain() and a.x is not out):
            a, b = b, a
        if not a.is_plain():
            out = out if out not in b.reads() else self._unused(b.reads())
            a = self._compute(a, out)
            out = self._target(node) if node in self.homes else out
        return self._emit_sum(a.x, b, out)

    def _emit_sum(self, x, b, out):
        """``x + b``, where ``b`` is any term, in one pass."""
        if b.kind == "id":
            keywords = {} if b.coefficient == 1.0 else {"alpha": self._number(b.coefficient)}
            return self._emit(torch.add, x, b.x, out=out, **keywords)
        function = torch.addcmul if b.kind == "mul" else torch.addcdiv
        return self._emit(function, x, b.x, b.y, value=self._number(b.coefficient), out=out)

    def _are_complements(self, a, b):
        """Whether ``a + b`` is ``(1 - w) * x + w * y``."""
        weight = b.coefficient
        is_one_minus = isinstance(weight, fx.Node) and weight.target is operator.sub
        return a.kind == b.kind == "id" and is_one_minus and weight.args == (1, a.coefficient)

    def _is_divided(self, term):
        """Whether the term is a vector over a number, such as ``v / (1 - beta2**t)``."""
        factor = term.coefficient
        return term.kind == "id" and isinstance(factor, fx.Node) and factor.target is operator.truediv

    def _scaled(self, term, factor):
        if term.coefficient == 1.0:
            return replace(term, coefficient=factor)
        return replace(term, coefficient=self.part.call(operator.mul, term.coefficient, factor))

    def _pair(self, kind, operation, a, b):
        x, y = self._all_in_memory([replace(t, coefficient=1.0) for t in (a, b)])
        return Term(x, kind, y, self.part.call(operation, a.coefficient, b.coefficient))

    # memory

    def _all_in_memory(self, arguments):
        """The arguments as buffers or numbers; terms are computed into scratch vectors."""
        done, busy = [], set().union(*(a.reads() for a in arguments if isinstance(a, Term)))
        for a in arguments:
            if isinstance(a, Term):
                a = (a if a.is_plain() else self._compute(a, self._unused(busy))).x
                busy.add(a)
            else:
                a = self._number(a)
            done.append(a)
        return done

    def _compute(self, term, out):
        """Write a term into ``out``; only the first pass reads the operands, so ``out`` may be one of them."""
        if term.kind == "id":
            return self._emit(torch.mul, term.x, self._number(term.coefficient), out=out)
        result = self._emit(torch.mul if term.kind == "mul" else torch.div, term.x, term.y, out=out)
        return result if term.coefficient == 1.0 else self._compute(replace(result, coefficient=term.coefficient), out)

    def _target(self, node):
        """Where to write a node's value: its home, unless what is there will still be read; else a scratch vector."""
        home = self.homes.get(node)
        return home if home is not None and home not in self._live() else self._unused(set())

    def _live(self):
        return set().union(*(term.reads() for term in self.terms.values()))

    def _unused(self, busy):
        taken = self._live() | busy
        for vector in self.scratch:
            if vector not in taken:
                return vector
        with self.graph.inserting_after(self.scratch[-1] if self.scratch else self.handed):
            self.scratch.append(self.graph.call_function(operator.getitem, (self.scratch_list, len(self.scratch))))
        return self.scratch[-1]

    def _deliver(self, buffers):
        """Copy what could not be written to its home at once, because the old content was still read."""
        late = {name: self.terms[self.trace.results[name]].x for name in buffers if name in self.trace.results}
        late = {name: source for name, source in late.items() if source is not buffers[name]}
        for name, source in late.items():
            if source in buffers.values():
                late[name] = self.graph.call_method("clone", (source,))
        for name, source in late.items():
            self.graph.call_method("copy_", (buffers[name], source))
        self.graph.output(None)

    # output

    def _number(self, value):
        if not isinstance(value, fx.Node):
            return value
        return self.graph.call_function(operator.getitem, (self.handed, self.part.coefficient(value)))

    def _emit(self, function, *arguments, out, **keywords):
        """One call that writes into ``out``; a method that works in place if ``out`` is its first argument."""
        if function is torch.add and arguments[1] is out and not keywords:
            arguments = arguments[::-1]
        if arguments[0] is out and function not in (torch.maximum, torch.minimum):
            self.graph.call_method(function.__name__ + "_", arguments, keywords)
        else:
            self.graph.call_function(function, arguments, {**keywords, "out": out})
        return Term(out)

    def _emit_call(self, function, *arguments):
        return Term(self.graph.call_function(function, arguments))

    def _call(self, node, inputs):
        """Any other function of torch, as it was called; its result is a new tensor."""
        memory = dict(zip(inputs, self._all_in_memory(list(inputs.values()))))
        return Term(self.graph.node_copy(node, memory.__getitem__))
