"""Answers and losses of K models at once: by hand for stacks of dense layers, by ``torch.func.vmap`` for the rest."""

import contextlib
import copy

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from dlopt import losses as our_losses

ELEMENTWISE = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Softplus, nn.ELU, nn.LeakyReLU, nn.Hardtanh, nn.Identity
)  # fmt: skip
CROSS_ENTROPIES = (functional.cross_entropy, our_losses.cross_entropy)
SQUARED_ERRORS = (functional.mse_loss, our_losses.mse)


class BatchedModel:
    """Parameters and buffers of K models of one architecture, stacked, and their common forward pass.

    Args:
        models: seed -> model; they must have the same parameters and buffers.
        seeds: K seeds; member k is a copy of ``models[seeds[k]]``.

    Attributes:
        plain: whether targets are class numbers only, none of them marked to be ignored (-100).
        theta: [K, P], all trainable parameters, one member a row.
        parameters: name -> view of ``theta``, [K, *shape].
        fixed: name -> frozen parameters and buffers, [K, *shape].
        shapes: name -> shape of one member's trainable parameter.
    """

    def __init__(self, models, seeds):
        template = next(iter(models.values()))
        trainable = {name: p for name, p in template.named_parameters() if p.requires_grad}
        if not trainable:
            raise ValueError("make_model must return a model with trainable parameters, it has none")
        kinds = {p.dtype for p in trainable.values()}
        if len(kinds) > 1:
            raise ValueError(f"all trainable parameters must have one dtype, got {', '.join(map(str, kinds))}")
        for seed, model in models.items():
            _same_architecture(template, model, seed)
        self.template, self.K = copy.deepcopy(template).requires_grad_(False), len(seeds)
        self.shapes = {name: p.shape for name, p in trainable.items()}
        rows = {seed: _flat(dict(model.named_parameters()), self.shapes) for seed, model in models.items()}
        self._bind(torch.stack([rows[seed] for seed in seeds]))
        self.fixed = {}
        for name in _fixed_tensors(template, trainable):
            values = {seed: _fixed_tensors(model, trainable)[name] for seed, model in models.items()}
            self.fixed[name] = torch.stack([values[seed].detach() for seed in seeds])
        self.pending, self.compiled, self.plain = {}, {}, True
        self.buffers = [name for name, _ in template.named_buffers() if name in self.fixed]
        self.dense = _dense_layers(self.template) if not self.fixed else None

    def _bind(self, theta):
        self.theta, self.parameters, start = theta, {}, 0
        for name, shape in self.shapes.items():
            size = shape.numel()
            view = theta[:, start : start + size].view(len(theta), *shape)
            self.parameters[name] = view.requires_grad_()
            start += size
        self.leaves = list(self.parameters.values())

    def rows(self, rows):
        """The members ``rows`` (a slice), sharing this memory."""
        part = copy.copy(self)
        part._bind(self.theta[rows])
        part.fixed = {name: tensor[rows] for name, tensor in self.fixed.items()}
        part.K = len(part.theta)
        return part

    def member(self, k):
        """A copy of member k as a module, in evaluation mode."""
        model = copy.deepcopy(self.template)
        with torch.no_grad():
            for name, tensor in {**self.parameters, **self.fixed}.items():
                _get(model, name).copy_(tensor[k])
        for name in self.shapes:
            _get(model, name).requires_grad_(True)
        return model.eval()

    def template_answer(self, x):
        """Member 0's answer in evaluation mode, [n, ...]."""
        with torch.no_grad():
            return self.member(0)(x)

    @torch.no_grad()
    def predict(self, x):
        """Answers of all members in evaluation mode: x [n, ...], shared -> [K, n, ...]."""
        return self._answers(x, self.parameters, self.fixed, shared=True, training=False)[0]

    def losses(self, loss, x, y):
        """Loss of each member on its own batch, [K], with a graph; x, y: [K, b, ...].

        Buffers that the model changes in training (running averages) follow when :meth:`follow` is called, which must
        wait for the backward pass.
        """
        losses, self.pending = self.functional_losses(loss, x, y, self.parameters, self.fixed)
        return losses

    def functional_losses(self, loss, x, y, parameters, fixed):
        """Losses [K] and new buffers, as a pure function of the tensors given."""
        prediction, buffers = self._answers(x, parameters, fixed, shared=False, training=True)
        return per_member(loss, prediction, y, self.plain), buffers

    def follow(self):
        """Take over the buffers of the last training pass."""
        for name, value in self.pending.items():
            self.fixed[name].copy_(value.detach())

    def _answers(self, x, parameters, fixed, shared, training):
        if self.dense is not None:
            return _dense_answers(self.dense, parameters, x, shared), {}
        self.template.train(training)

        def one(parameters, fixed, x):
            tensors = {**parameters, **fixed}
            answer = functional_call(self.template, tensors, (x,))
            return answer, {name: tensors[name] for name in self.buffers} if training else {}

        in_dims = (0, 0, None if shared else 0)
        try:
            with contextlib.nullcontext() if torch.compiler.is_compiling() else _batchable_attention():
                return vmap(one, in_dims=in_dims, randomness="different")(parameters, fixed, x)
        except RuntimeError as error:
            if "Batching rule not implemented" not in str(error):
                raise
            operator = str(error).split("for ")[-1].split(".")[0]
            raise ValueError(
                f"make_model must return a model of operators that torch.func.vmap can batch, it uses {operator}; "
                "the layers of dlopt.models are such"
            ) from None


@contextlib.contextmanager
def _batchable_attention():
    """Attention from its elementary operators: the fused ones cannot be batched over models."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def per_member(function, prediction, target, plain=True):
    """A loss or metric of each member, [K]. Class numbers must have been checked to be in range.

    Args:
        function: ``function(prediction, target)``, a mean over examples.
        prediction: [K, n, ...]; target: [K, n, ...].
        plain: whether no class number is negative; else the function itself must know what that means.
    """
    fits = plain and prediction.ndim == 3 and target.ndim == 2 and not target.is_floating_point()
    if function in CROSS_ENTROPIES and fits:
        if torch.compiler.is_compiling():
            return (prediction.logsumexp(-1) - prediction.gather(-1, target.unsqueeze(-1)).squeeze(-1)).mean(1)
        return _CrossEntropy.apply(prediction, target)
    if function in SQUARED_ERRORS and prediction.shape == target.shape:
        return (prediction - target).square().flatten(1).mean(1)
    return vmap(function)(prediction, target)


def _plain_linear(x, weight, bias):
    return torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight.mT)


class _Linear(torch.autograd.Function):
    """x W^T + b for every member: [K, b, d_in], [K, d_out, d_in], [K, d_out] -> [K, b, d_out].

    Gradients come out contiguous, which keeps the elementwise operations after them fast.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        if bias is None:
            return torch.bmm(x, weight.mT)
        if weight.shape[1] < x.shape[1]:  # the longer axis last: faster, above all for the loss
            return torch.baddbmm(bias.unsqueeze(2), weight, x.mT).mT
        return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        needs_x, _, needs_bias = ctx.needs_input_grad
        return (
            torch.bmm(grad, weight) if needs_x else None,
            torch.bmm(grad.mT, x),
            grad.sum(1) if needs_bias else None,
        )


class _CrossEntropy(torch.autograd.Function):
    """Mean cross-entropy per member, [K, n, C] and [K, n] -> [K]; the gradient is kept instead of the softmax."""

    @staticmethod
    def forward(ctx, logits, target):
        place = target.unsqueeze(-1)
        top = logits.amax(-1, keepdim=True)
        p = (logits - top).exp_()
        total = p.sum(-1, keepdim=True)
        nll = (top + total.log() - logits.gather(-1, place)).squeeze(-1)
        p.div_(total).scatter_add_(-1, place, p.new_full((), -1.0).expand(place.shape))
        ctx.save_for_backward(p)
        return nll.mean(1)

    @staticmethod
    def backward(ctx, grad):
        (p,) = ctx.saved_tensors
        return p * (grad / p.shape[1])[:, None, None], None


def _dense_layers(model):
    """The layers of a stack of ``Linear`` and elementwise ones as (module, name); None for any other model."""
    if type(model) is not nn.Sequential:
        return None
    layers, names = [], {id(module): name for name, module in model.named_modules()}
    for module in model.children():
        if type(module) is nn.Flatten and module.start_dim == 1 and module.end_dim == -1 and not layers:
            layers.append((module, ""))
        elif type(module) is nn.Linear or type(module) in ELEMENTWISE:
            layers.append((module, names[id(module)]))
        else:
            return None
    linear = [name for module, name in layers if type(module) is nn.Linear]
    return layers if linear and len(set(linear)) == len(linear) and not _hooked(model) else None


def _hooked(model):
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _dense_answers(layers, parameters, x, shared):
    """x: [K, b, ...], or [n, ...] shared by the members; -> [K, n, d_out]."""
    for module, name in layers:
        if type(module) is nn.Linear:
            weight = parameters[f"{name}.weight"]
            x = x.expand(len(weight), *x.shape) if shared else x
            shared = False
            bias = None if module.bias is None else parameters[f"{name}.bias"]
            x = _plain_linear(x, weight, bias) if torch.compiler.is_compiling() else _Linear.apply(x, weight, bias)
        elif type(module) is nn.Flatten:
            x = x.flatten(1 if shared else 2)
        else:
            x = module(x)
    return x


def _same_architecture(template, model, seed):
    ours = {name: tensor.shape for name, tensor in model.state_dict().items()}
    theirs = {name: tensor.shape for name, tensor in template.state_dict().items()}
    if ours != theirs:
        raise ValueError(f"make_model must return one architecture for every seed, seed {seed} gives another one")


def _fixed_tensors(model, trainable):
    frozen = {name: p for name, p in model.named_parameters() if name not in trainable}
    return {**frozen, **dict(model.named_buffers())}


def _flat(tensors, shapes):
    return torch.cat([tensors[name].detach().flatten() for name in shapes])


def _get(model, name):
    for part in name.split("."):
        model = getattr(model, part)
    return model
