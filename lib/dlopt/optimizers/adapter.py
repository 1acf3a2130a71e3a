"""Any rule as a ``torch.optim.Optimizer``."""

from collections import defaultdict
from functools import cache
from itertools import chain

import torch
from torch.nn.parameter import UninitializedTensorMixin
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from dlopt.checks import non_negative
from dlopt.optimizers.kernels import is_fixed, kernel
from dlopt.optimizers.packing import PACK_BELOW, Pack
from dlopt.rules.contract import RULES, check_hyperparameters, hyperparameters, state_names


class Optimizer(torch.optim.Optimizer):
    r"""Drives a rule by PyTorch's optimizer interface.

    Each step takes the gradients ``g`` of a group and applies

    .. math:: g \leftarrow \pm g + \lambda_{L2}\,\theta, \qquad
              \theta \leftarrow (1 - \eta\lambda)\,\theta + \Delta(g, \text{state})

    with the rule's step :math:`\Delta`. Parameters without a gradient are skipped, and their step count with them. The
    small parameters of a group are moved into one vector (:mod:`dlopt.optimizers.packing`), so take views of ``p.data``
    after the optimizer is made, not before. A model that is moved or cast later is noticed at the next step.

    Param groups hold the hyper-parameters under the rule's names, except for two that PyTorch's schedulers look for:
    ``mu`` is ``"momentum"``, and ``beta1`` and ``beta2`` are ``"betas"``. A group may have its own ``"rule"``, by name.
    ``state[p]`` holds the rule's state under the rule's names, in the shape of ``p``, and as ``"clock"`` the step count
    and the scalar states, which parameters share; :meth:`state_dict` writes them out as ``"t"`` and the rule's names.

    Args:
        params: parameters, (name, parameter) pairs or groups, as in ``torch.optim``.
        rule: a rule or its name.
        lr: step size, >= 0, a number or a tensor of one; None takes the rule's default.
        weight_decay: decoupled decay :math:`\lambda` per unit of ``lr``, >= 0 (AdamW's; applied to every parameter).
        l2: coefficient :math:`\lambda_{L2}` of the parameters added to the gradient, >= 0 (``weight_decay`` of
            ``torch.optim.SGD`` and ``torch.optim.Adam``).
        maximize: go up the gradient.
        compile: run the update through ``torch.compile``: faster from about a hundred thousand parameters, after some
            seconds of compiling; on a CPU it needs a C++ compiler.
        capturable: keep the step counts on the parameters' device and read nothing back, so that a step can be part of
            a CUDA graph.
        pack_below: elements from which on a parameter is left in its own memory; None chooses by device, 0 moves none.
        hyper: the rule's hyper-parameters by name; ``momentum`` and ``betas`` are understood too.

    Raises:
        ValueError: an unknown rule or hyper-parameter, or a value outside its range.
        TypeError: complex parameters.
    """

    def __init__(
        self, params, rule, lr=None, *, weight_decay=0.0, l2=0.0, maximize=False, compile=False, capturable=False,
        pack_below=None, **hyper,
    ):  # fmt: skip
        self.rules, self._packs = {}, {}
        self.compile, self.pack_below = compile, pack_below
        if callable(rule):
            self.rules[rule.__name__] = rule
            rule = rule.__name__
        hyper = hyper if lr is None else {"lr": lr, **hyper}
        options = {"weight_decay": weight_decay, "l2": l2, "maximize": maximize, "capturable": capturable}
        super().__init__(params, {**_to_group(self._rule(rule), hyper), **options, "rule": rule})

    @property
    def rule(self):
        """The rule of the groups that name no other."""
        return self._rule(self.defaults["rule"])

    def add_param_group(self, param_group):
        """Add a group, as in ``torch.optim``; its parameters start at step count zero."""
        group = dict(param_group)
        rule = self._rule(group.get("rule", self.defaults["rule"]))
        names = [name for name in (*hyperparameters(rule), "betas", "momentum") if name in group]
        given = {name: group.pop(name) for name in names}
        if rule is self.rule:
            given = {**_from_group(rule, self.defaults, False), **_from_group(rule, self.defaults, True), **given}
        super().add_param_group({**group, **_to_group(rule, given)})
        try:
            self._bind(len(self.param_groups) - 1)
        except (TypeError, ValueError):
            del self.param_groups[-1]
            raise

    @torch.compiler.disable
    def step(self, closure=None):
        """Take one step.

        Args:
            closure: recomputes the loss and its gradients; called once, with gradients enabled.

        Returns:
            The loss that the closure returned, or None.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        if _is_observed(self):
            return _observed_step(self, closure)
        return self._step(closure)

    step.hooked = True  # torch would wrap step to run hooks and to record it; _observed_step does, and only when needed

    def _step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for i, group in enumerate(self.param_groups):
                for pack in self._current_packs(i, group):
                    program = self._kernel(pack, group)
                    pack.step(program, _numbers(program.hyper, pack.rule, group))
        return loss

    # binding to memory

    def _rule(self, name):
        if name not in self.rules:
            if name not in RULES:
                raise ValueError(f"rule must be a rule or one of {', '.join(RULES)}; got {name!r}")
            self.rules[name] = RULES[name]
        return self.rules[name]

    def _current_packs(self, i, group):
        packs, n = self._packs.get(i, ((), -1))
        if n != len(group["params"]) or not all([pack.is_current() for pack in packs]):
            return self._bind(i)
        return packs

    def _bind(self, i):
        """(Re)build the packs of a group from where its parameters are now, with the state they have."""
        group = self.param_groups[i]
        rule = self._rule(group["rule"])
        _check_group(group, rule)
        kinds, n = defaultdict(list), 0
        for p in group["params"]:
            if not isinstance(p, UninitializedTensorMixin):  # else a lazy module's parameter: looked at again next time
                n += 1
                if p.is_floating_point():
                    kinds[p.device, p.dtype].append(p)
        packs = [self._pack(device, same, rule, group) for (device, _), same in kinds.items()]
        self._packs[i] = packs, n
        return packs

    def _pack(self, device, parameters, rule, group):
        below = PACK_BELOW.get(device.type, PACK_BELOW["cuda"]) if self.pack_below is None else self.pack_below
        on_device = group["capturable"] or (self.compile and device.type != "cpu")
        return Pack(parameters, rule, self.state, pack_below=below, on_device=on_device)

    def _kernel(self, pack, group):
        modes = ("capturable", "captured") if pack.on_device else ("eager", "compiled")
        fixed = _from_group(pack.rule, group, fixed=True)
        flags = bool(group["maximize"]), group["l2"] != 0, group["weight_decay"] != 0
        return kernel(pack.rule, modes[bool(self.compile)], tuple(fixed.items()), *flags)

    # saving

    def state_dict(self):
        """As in ``torch.optim``: per parameter, numbers and tensors with memory of their own."""
        saved, scalar = super().state_dict(), self._scalar_states()
        parameters = chain.from_iterable(group["params"] for group in self.param_groups)
        names = {i: scalar.get(p, ()) for i, p in enumerate(parameters)}
        return {**saved, "state": {i: _portable(entries, names.get(i, ())) for i, entries in saved["state"].items()}}

    def _scalar_states(self):
        return {p: self._rule(group["rule"]).scalar_state for group in self.param_groups for p in group["params"]}

    def load_state_dict(self, state_dict):
        """Take over what :meth:`state_dict` returned, exactly: the next steps are those that the saved optimizer took.

        Raises:
            ValueError: the groups do not fit, or the state belongs to another rule.
        """
        final = {}
        handle = self.register_load_state_dict_pre_hook(lambda _, loaded: final.update(loaded))  # after the user's own
        rules = [group["rule"] for group in self.param_groups]
        try:
            _check_loaded(state_dict, [self._rule(name) for name in rules])
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        ids = chain.from_iterable(group["params"] for group in final["param_groups"])
        parameters = chain.from_iterable(group["params"] for group in self.param_groups)
        self.state = defaultdict(dict)  # torch's has been cast to the parameters' dtype
        self.state.update({p: dict(final["state"][i]) for i, p in zip(ids, parameters) if i in final["state"]})
        for i in range(len(self.param_groups)):
            self._bind(i)

    def __getstate__(self):
        scalar = self._scalar_states()
        state = {p: _portable(entries, scalar.get(p, ())) for p, entries in self.state.items()}
        return {**super().__getstate__(), "state": state, "compile": self.compile, "pack_below": self.pack_below}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.state = defaultdict(dict, self.state)
        self._packs = {}
        self.__dict__.setdefault("rules", {})


_observed_step = torch.optim.Optimizer.profile_hook_step(Optimizer._step)


def _is_observed(optimizer):
    """Whether someone has hooked into the step or a profiler is running."""
    hooks = (
        optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks, _global_optimizer_post_hooks,
    )  # fmt: skip
    return any(hooks) or torch.autograd._profiler_enabled()


def _to_group(rule, given):
    """The rule's hyper-parameters, given or default, under the keys of a param group."""
    known, given = hyperparameters(rule), dict(given)
    if "betas" in given and "beta2" in known:
        given["beta1"], given["beta2"] = given.pop("betas")
    if "momentum" in given and "mu" in known:
        given["mu"] = given.pop("momentum")
    check_hyperparameters(rule, **given)
    values = {**known, **given}
    if "beta1" in values and "beta2" in values:
        values["betas"] = values.pop("beta1"), values.pop("beta2")
    if "mu" in values:
        values["momentum"] = values.pop("mu")
    return values


@cache
def _keys(rule, fixed):
    """Where a group keeps the rule's fixed (or other) hyper-parameters: name, key, and place in a tuple or None."""
    known = hyperparameters(rule)
    found = []
    for name in (name for name, default in known.items() if is_fixed(default) == fixed):
        if name in ("beta1", "beta2") and "beta1" in known and "beta2" in known:
            found.append((name, "betas", int(name == "beta2")))
        else:
            found.append((name, "momentum" if name == "mu" else name, None))
    return found


def _from_group(rule, group, fixed):
    """The rule's hyper-parameters that are (or are not) fixed parts of the program, by the rule's names."""
    return {name: group[key] if at is None else group[key][at] for name, key, at in _keys(rule, fixed)}


def _numbers(names, rule, group):
    """The hyper-parameters that a kernel takes, in its order; tensors are read unless the step must not wait."""
    values = _from_group(rule, group, fixed=False)
    values["l2"], values["weight_decay"] = group["l2"], group["weight_decay"]
    values = [values[name] for name in names]
    return values if group["capturable"] else [_number(names, v) if type(v) is not float else v for v in values]


def _number(names, value):
    if not torch.is_tensor(value):
        return value
    if value.device.type != "cpu":
        raise ValueError(f"one of {names} is a tensor on {value.device}; pass capturable=True, or a number")
    return value.item()


def _check_group(group, rule):
    values = {**_from_group(rule, group, fixed=False), **_from_group(rule, group, fixed=True)}
    check_hyperparameters(rule, **values)
    for name in ("weight_decay", "l2"):
        non_negative(name, group[name])
    for p in group["params"]:
        if p.is_complex():
            raise TypeError("parameters must be real, got complex ones; optimize torch.view_as_real(p) instead")
        if not rule.any_shape and p.dim() < 2:
            raise ValueError(
                f"{rule.__name__} needs parameters with >= 2 dimensions, got shape {tuple(p.shape)}; "
                'put vectors into a group of their own, for example {"params": vectors, "rule": "adam"}'
            )


def _check_loaded(state_dict, rules):
    for rule, group in zip(rules, state_dict["param_groups"]):
        if group.get("rule", rule.__name__) != rule.__name__:
            raise ValueError(f"the state was saved by the rule {group['rule']}, this group's rule is {rule.__name__}")
        for i in group["params"]:
            entries = state_dict["state"].get(i)
            if entries and (missing := {"t", *state_names(rule)} - set(entries)):
                held, needed = ", ".join(map(str, entries)), ", ".join(sorted(missing))
                raise ValueError(f"the state of parameter {i} holds {held}; {rule.__name__} needs {needed} too")


def _portable(entries, scalar_states):
    """State of one parameter with memory of its own, its clock as plain numbers."""
    entries = dict(entries)
    numbers = entries.pop("clock").numbers(scalar_states) if "clock" in entries else {}
    return {**numbers, **{name: v.clone() if torch.is_tensor(v) else v for name, v in entries.items()}}
