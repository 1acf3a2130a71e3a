"""The adapter honors torch's contract, derives the same numbers in every mode, and never trains a dead copy."""

import copy
import io
import pickle

import pytest
import torch
from dlopt import rules
from dlopt.distributed import launch
from dlopt.optimizers import SGD, Adam, AdamW, Lion, Momentum, Muon, NAdam, Optimizer, RAdam, named
from dlopt.optimizers.inplace import InPlace
from dlopt.optimizers.kernels import CHUNK, is_fixed, kernel
from dlopt.optimizers.packing import PACK_BELOW
from dlopt.optimizers.tracing import Untraceable, split_functional, trace, update_function
from dlopt.rules import RULES, hyperparameters, initial_state, rule
from torch import nn
from torch.nn.functional import cross_entropy

L = torch.optim.lr_scheduler
X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randint(3, (32,), generator=torch.Generator().manual_seed(1))
ELEMENTWISE = sorted({fn.__name__ for fn in RULES.values() if fn.elementwise})


def net(dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def step(model, optimizer, set_to_none=True):
    optimizer.zero_grad(set_to_none=set_to_none)
    loss = cross_entropy(model(X.to(next(model.parameters()).dtype)), Y)
    loss.backward()
    optimizer.step()
    return loss.item()


def train(model, optimizer, steps=20, **options):
    for _ in range(steps):
        step(model, optimizer, **options)
    return flat(model)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def pair(make, theirs, dtype=torch.float64, steps=20, **options):
    """Largest difference of the parameters after training twice from the same start."""
    a, b = net(dtype), net(dtype)
    ours = train(a, make(a.parameters()), steps, **options)
    return (ours - train(b, theirs(b.parameters()), steps, **options)).abs().max()


TWINS = [
    (lambda p: SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1)),
    (lambda p: Momentum(p, 0.1), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
    (lambda p: named.Nesterov(p, 0.1), lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True)),
    (named.AdaGrad, torch.optim.Adagrad), (named.RMSProp, torch.optim.RMSprop), (named.AdaDelta, torch.optim.Adadelta),
    (Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW),
    (named.AMSGrad, lambda p: torch.optim.Adam(p, amsgrad=True)), (RAdam, torch.optim.RAdam),
    (lambda p: Adam(p, l2=0.1), lambda p: torch.optim.Adam(p, weight_decay=0.1)),
    (lambda p: Momentum(p, 0.1, l2=0.1), lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.1)),
    (lambda p: AdamW(p, betas=(0.8, 0.9)), lambda p: torch.optim.AdamW(p, betas=(0.8, 0.9))),
    (lambda p: Adam(p, maximize=True), lambda p: torch.optim.Adam(p, maximize=True)),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(TWINS)))
def test_optimizer_equals_its_twin_in_float64_and_float32(case):
    make, theirs = TWINS[case]
    assert pair(make, theirs, steps=200) < 1e-12
    assert pair(make, theirs, torch.float32, steps=200) < 1e-5


def test_nadam_equals_its_twin_once_torch_keeps_its_product_in_float64():
    torch.set_default_dtype(torch.float64)
    try:
        assert pair(NAdam, torch.optim.NAdam, steps=200) < 1e-12
    finally:
        torch.set_default_dtype(torch.float32)


# the derived forms


@pytest.mark.parametrize("flags", [{}, {"maximize": True}, {"l2": True, "weight_decay": True}])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_in_place_and_functional_form_equal_the_rule_as_written(name, flags):
    fn = RULES[name]
    fixed = {key: value for key, value in hyperparameters(fn).items() if is_fixed(value)}
    recorded = trace(fn, fixed, **flags)
    form, (scalars, vectors) = InPlace(recorded), split_functional(recorded)
    hyper = {**hyperparameters(fn), **{key: 0.03 for key in ("l2", "weight_decay") if key in flags}}
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(7, generator=generator, dtype=torch.float64)
    plain, runs = [theta, initial_state(fn, theta)], []
    runs.append((form.scalars, lambda *v: form.vectors(*v[:-1], list(torch.empty(form.n_scratch, 7).double()), v[-1])))
    runs.append((scalars, vectors))
    copies = [[theta.clone(), {k: v.clone() for k, v in plain[1].items()}] for _ in runs]
    for t in range(1, 10):
        g = torch.randn(7, generator=generator, dtype=torch.float64)
        new, *state = update_function(fn, **flags)(plain[0], g, *plain[1].values(), t=t, **hyper)
        plain = [new, dict(zip(plain[1], state))]
        for (numbers, program), mine in zip(runs, copies):
            values = [hyper[key] for key in recorded.scalars[1:]]
            coefficients, scalar = numbers(t, *values, *(mine[1][s].item() for s in fn.scalar_state))
            program(mine[0], g, *(mine[1][s] for s in recorded.vectors[2:]), coefficients)
            for key, value in zip(fn.scalar_state, scalar):
                mine[1][key].fill_(value)
            assert (mine[0] - new).abs().max() < 1e-13
            assert all((mine[1][key] - value).abs().max() < 1e-12 for key, value in plain[1].items())


def swap(g, a, b, *, t, lr=0.1):
    return -lr * (a + g), b, a + g


def previous(g, last, *, t, lr=0.1):
    return -lr * (2 * g - last), g


def reversed_divisions(g, m, *, t, lr=0.1, beta=0.5):
    m = g * m * beta + m - (1 - beta) * g * g
    return lr / (2 + m**2) - 3 * lr / (1 + abs(g)) + (m / (1 + t)) ** 2, m


def unusual_functions(g, m, *, t, lr=0.1):
    m = torch.tanh(m + g).clamp(min=-0.5) + torch.minimum(m, 2 * g)
    return -lr * torch.exp(-m) * 2.0**m, m


@pytest.mark.parametrize("function", [swap, previous, reversed_divisions, unusual_functions])
def test_in_place_form_never_overwrites_what_is_still_read(function, monkeypatch):
    monkeypatch.setattr(rules.contract, "RULES", {})
    fn = rule(function)
    a, b = net(), net()
    train(a, Optimizer(a.parameters(), fn))
    state = {p: initial_state(fn, p.detach()) for p in b.parameters()}
    for t in range(1, 21):
        b.zero_grad()
        cross_entropy(b(X), Y).backward()
        for p in b.parameters():
            delta, *new = fn(p.grad, *state[p].values(), t=t)
            state[p] = dict(zip(state[p], new))
            p.data += delta
    assert (flat(a) - flat(b)).abs().max() < 1e-12


def branching(g, v, *, t, lr=0.1):
    v = g if t == 1 else 0.5 * v + g
    return -lr * v, v


def test_a_rule_that_branches_on_t_cannot_be_recorded_and_is_called_as_it_stands(monkeypatch):
    monkeypatch.setattr(rules.contract, "RULES", {})
    fn = rule(branching)
    with pytest.raises(Untraceable, match="branching cannot be recorded"):
        trace(fn, {})
    theirs = lambda p: torch.optim.SGD(p, 0.1, 0.5)  # noqa: E731
    assert pair(lambda p: Optimizer(p, fn), theirs) < 1e-13


def test_in_place_adam_takes_six_passes_and_one_scratch_vector():
    form = InPlace(trace(rules.adam, {}))
    assert form.n_passes == 6 and form.n_scratch == 1


@pytest.mark.parametrize("options", [{"capturable": True}, {"pack_below": 0}])
@pytest.mark.parametrize("name", ["momentum", "adam", "nadam", "radam", "adadelta"])
def test_other_modes_equal_the_eager_one(name, options):
    assert pair(lambda p: Optimizer(p, name), lambda p: Optimizer(p, name, **options)) < 1e-13


def test_a_capturable_step_reads_no_number_back_and_keeps_its_clock_in_place(monkeypatch):
    model = net()
    optimizer = Adam(model.parameters(), torch.tensor(0.01), capturable=True)
    step(model, optimizer)
    clock = optimizer.state[model[0].weight]["clock"]
    address = clock.t.data_ptr()
    monkeypatch.setattr(torch.Tensor, "item", None)  # what a capture forbids
    monkeypatch.setattr(torch.Tensor, "tolist", None)
    monkeypatch.setattr(torch.Tensor, "__float__", None)
    optimizer.step()
    monkeypatch.undo()
    assert clock.t.item() == 2 and clock.t.data_ptr() == address


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own, in its compiler
@pytest.mark.parametrize("name", ["adam", "radam"])
def test_compiled_step_equals_the_eager_one(name):
    assert pair(lambda p: Optimizer(p, name), lambda p: Optimizer(p, name, compile=True)) < 1e-13


def test_a_user_may_compile_the_step():
    a, b = net(), net()
    ours, plain = Adam(a.parameters()), Adam(b.parameters())
    compiled = torch.compile(ours.step, backend="eager")
    for _ in range(3):
        a.zero_grad()
        cross_entropy(a(X), Y).backward()
        compiled()
        step(b, plain)
    assert torch.equal(flat(a), flat(b))


def test_vectors_longer_than_a_chunk_equal_torch():
    g = torch.randn(2 * CHUNK + 17, dtype=torch.float64)
    a, b = nn.Parameter(torch.zeros_like(g)), nn.Parameter(torch.zeros_like(g))
    ours, theirs = Adam([a]), torch.optim.Adam([b])
    for scale in (1.0, -0.3, 2.0):
        a.grad, b.grad = scale * g, scale * g
        ours.step(), theirs.step()
    assert (a - b).abs().max() < 1e-14


# param groups


def test_groups_have_their_own_hyperparameters():
    def groups(model, momentum):
        return [{"params": model[0].parameters(), "lr": 0.2}, {"params": model[2].parameters(), momentum: 0.5}]

    a, b = net(), net()
    ours = train(a, Momentum(groups(a, "momentum"), 0.05))
    theirs = train(b, torch.optim.SGD(groups(b, "momentum"), 0.05, 0.9))
    assert (ours - theirs).abs().max() < 1e-13
    c = net()
    assert torch.equal(train(c, Momentum(groups(c, "mu"), 0.05)), ours)  # the rule's own name does too


def test_groups_may_have_their_own_rule():
    a, b = net(), net()
    matrices, vectors = [p for p in a.parameters() if p.dim() == 2], [p for p in a.parameters() if p.dim() < 2]
    both = Muon([{"params": matrices}, {"params": vectors, "rule": "adam", "lr": 1e-3}], lr=0.02)
    apart = [
        Muon([p for p in b.parameters() if p.dim() == 2], lr=0.02), Adam([p for p in b.parameters() if p.dim() < 2])
    ]  # fmt: skip
    for _ in range(10):
        step(a, both)
        b.zero_grad()
        cross_entropy(b(X), Y).backward()
        [optimizer.step() for optimizer in apart]
    assert torch.equal(flat(a), flat(b))


def test_late_groups_start_at_step_one():
    a, b = net(), net()
    results = []
    for model, make in ((a, Adam), (b, torch.optim.Adam)):
        optimizer = make(model[0].parameters())
        train(model, optimizer, 3)
        optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.01})
        results.append(train(model, optimizer, 5))
    assert (results[0] - results[1]).abs().max() < 1e-13


def test_named_parameters_are_accepted():
    model = net()
    optimizer = Adam(model.named_parameters())
    step(model, optimizer)
    assert optimizer.state_dict()["param_groups"][0]["param_names"][0] == "0.weight"


# gradients that are missing, sparse, shared


@pytest.mark.parametrize("make, theirs", [(Adam, torch.optim.Adam), (RAdam, torch.optim.RAdam)])
def test_parameters_without_gradient_are_skipped_with_their_step_count(make, theirs):
    def run(make):
        model = net()
        optimizer = make(model.parameters())
        for i in range(12):
            optimizer.zero_grad()
            cross_entropy(model(X), Y).backward()
            if i % 3 == 1:
                model[2].weight.grad = None
            if i % 4 == 2:
                model[0].weight.grad = model[0].bias.grad = None
            optimizer.step()
        return flat(model)

    assert (run(make) - run(theirs)).abs().max() < 1e-13


def test_frozen_parameters_stay_and_can_be_released():
    a, b = net(), net()
    results = []
    for model, make in ((a, Adam), (b, torch.optim.Adam)):
        model[2].requires_grad_(False)
        before = model[2].weight.clone()
        optimizer = make(model.parameters())
        train(model, optimizer, 4)
        assert torch.equal(model[2].weight, before)
        model[2].requires_grad_(True)
        results.append(train(model, optimizer, 4))
    assert (results[0] - results[1]).abs().max() < 1e-13


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_may_be_cleared_either_way(set_to_none):
    assert pair(Adam, torch.optim.Adam, set_to_none=set_to_none) < 1e-13


def test_tied_weights_are_stepped_once():
    def tied():
        model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3)).double()
        for p in model.parameters():
            nn.init.constant_(p, 0.1)
        model[2].weight = model[0].weight
        return model

    a, b = tied(), tied()
    assert (train(a, Adam(a.parameters())) - train(b, torch.optim.Adam(b.parameters()))).abs().max() < 1e-13
    assert a[0].weight is a[2].weight and a[0].weight.data_ptr() == a[2].weight.data_ptr()


def test_parameters_that_share_memory_keep_sharing_it():
    a, b = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    b.data = a.data
    optimizer = SGD([a, b, nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))], 0.1)
    a.grad, b.grad = torch.ones(4), torch.ones(4)
    optimizer.step()
    assert torch.allclose(a, torch.full((4,), 0.8)) and a.data_ptr() == b.data_ptr()


def test_memory_shared_between_processes_is_not_left():
    model = net().share_memory()
    before = [p.data_ptr() for p in model.parameters()]
    step(model, Adam(model.parameters()))
    assert [p.data_ptr() for p in model.parameters()] == before


def test_sparse_gradients_are_refused():
    embedding = nn.Embedding(5, 3, sparse=True)
    optimizer = SGD(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sgd needs dense gradients, got a sparse one of shape \\(5, 3\\)"):
        optimizer.step()


def test_complex_parameters_are_refused():
    with pytest.raises(TypeError, match="real, got complex ones; optimize torch.view_as_real"):
        Adam([nn.Parameter(torch.zeros(2, dtype=torch.complex64))])


# dtypes, devices, memory layout, moved models


def test_mixed_dtypes_equal_torch():
    def run(make):
        model = net()
        model[0].float()
        optimizer = make(model.parameters())
        for _ in range(10):
            optimizer.zero_grad()
            cross_entropy(model[2:](torch.tanh(model[0](X.float())).double()), Y).backward()
            optimizer.step()
        return torch.cat([p.detach().double().flatten() for p in model.parameters()])

    assert (run(Adam) - run(torch.optim.Adam)).abs().max() < 1e-6


def test_bfloat16_parameters_have_float32_state_and_follow_the_rule_rounded_once():
    p = nn.Parameter(torch.linspace(-1, 1, 50, dtype=torch.bfloat16))
    q = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = Adam([p, q], lr=0.01)
    theta, m, v = p.detach().clone(), torch.zeros(50), torch.zeros(50)
    for t in range(1, 30):
        p.grad, q.grad = (p.detach() * 0.3).clone(), torch.zeros_like(q)
        optimizer.step()
        delta, m, v = rules.adam((theta * 0.3).float(), m, v, t=t, lr=0.01)
        theta = (theta.float() + delta).to(torch.bfloat16)
    assert optimizer.state[p]["m"].dtype == torch.float32
    assert torch.equal(theta, p.detach())


def test_a_model_cast_after_construction_is_noticed():
    a, b = net(), net()
    results = []
    for model, make in ((a, Adam), (b, Adam)):
        optimizer = make(model.parameters())
        train(model, optimizer, 3)
        if model is a:
            model.float()
            model.double()  # every parameter has new memory
        results.append(train(model, optimizer, 5))
    assert (results[0] - results[1]).abs().max() < 1e-6
    assert not torch.equal(results[0], flat(net()))


def test_a_model_moved_to_another_dtype_goes_on_there_with_its_state():
    model = net(torch.float32)
    optimizer = Adam(model.parameters())
    train(model, optimizer, 3)
    before = optimizer.state[model[0].weight]["m"].clone()
    model.double()
    model.zero_grad()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    moved = flat(model)
    optimizer.step()
    state = optimizer.state[model[0].weight]
    assert state["m"].dtype == torch.float64 and torch.allclose(state["m"], 0.9 * before.double())
    assert state["clock"].t == 4 and not torch.equal(flat(model), moved)


def test_channels_last_and_transposed_memory_is_kept():
    a, b = nn.Conv2d(3, 4, 3).double(), nn.Conv2d(3, 4, 3).double()
    b.load_state_dict(a.state_dict())
    a.to(memory_format=torch.channels_last)
    ours, theirs = Adam(a.parameters()), torch.optim.Adam(b.parameters())
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    for _ in range(5):
        for model, optimizer in ((a, ours), (b, theirs)):
            optimizer.zero_grad()
            model(x).pow(2).sum().backward()
            optimizer.step()
    assert a.weight.is_contiguous(memory_format=torch.channels_last)
    assert (a.weight - b.weight).abs().max() < 1e-13
    assert ours.state[a.weight]["m"].shape == a.weight.shape


def test_gradients_laid_out_otherwise_than_their_parameter_are_understood():
    a, b = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(4, 3))
    g = torch.randn(4, 3)
    ours, theirs = Adam([a], pack_below=0), torch.optim.Adam([b])
    for _ in range(3):
        a.grad, b.grad = g.t().contiguous().t(), g.clone()
        ours.step(), theirs.step()
    assert torch.allclose(a, b)


def test_parameters_with_holes_in_their_memory_are_trained():
    a, b = nn.Parameter(torch.ones(4, 6)[:, ::2]), nn.Parameter(torch.ones(4, 3))
    ours, theirs = Adam([a]), torch.optim.Adam([b])
    g = torch.randn(4, 3)
    for _ in range(3):
        a.grad, b.grad = g.clone(), g.clone()
        ours.step(), theirs.step()
    assert torch.allclose(a, b)


def test_a_second_optimizer_on_the_same_parameters_does_not_move_them():
    model = net()
    first, second = Adam(model.parameters()), Momentum(model.parameters(), 0.1)
    places = [p.data_ptr() for p in model.parameters()]
    step(model, first), step(model, second), step(model, first)
    assert [p.data_ptr() for p in model.parameters()] == places


def test_lazy_modules_are_taken_up_once_they_have_a_shape():
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 3)).double()
    optimizer = Adam(model.parameters())
    model(X)
    before = model[0].weight.detach().clone()
    step(model, optimizer)
    assert not torch.equal(model[0].weight, before)


# schedulers, closures, scaling, clipping, hooks

SCHEDULERS = {
    "LambdaLR": lambda o: L.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o: L.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o: L.StepLR(o, 3), "MultiStepLR": lambda o: L.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: L.ConstantLR(o), "LinearLR": lambda o: L.LinearLR(o),
    "ExponentialLR": lambda o: L.ExponentialLR(o, 0.9), "PolynomialLR": lambda o: L.PolynomialLR(o, 10),
    "CosineAnnealingLR": lambda o: L.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: L.CosineAnnealingWarmRestarts(o, 4),
    "CyclicLR": lambda o: L.CyclicLR(o, 0.001, 0.1, step_size_up=3),
    "OneCycleLR": lambda o: L.OneCycleLR(o, 0.1, total_steps=20),
    "ReduceLROnPlateau": lambda o: L.ReduceLROnPlateau(o, patience=1, threshold=0.1),
    "SequentialLR": lambda o: L.SequentialLR(o, [L.ConstantLR(o), L.ExponentialLR(o, 0.9)], [3]),
    "ChainedScheduler": lambda o: L.ChainedScheduler([L.ConstantLR(o), L.ExponentialLR(o, 0.9)], o),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05),
}  # fmt: skip


def test_every_scheduler_of_torch_is_in_the_table():
    ours = set(SCHEDULERS) - {"SWALR"}
    assert ours == {name for name in L.__all__ if name not in ("LRScheduler", "_LRScheduler")}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("ours, theirs", [(Momentum, lambda p: torch.optim.SGD(p, 0.01, 0.9)), (Adam, TWINS[6][1])])
def test_scheduler_moves_rate_and_momentum_as_with_torch(name, ours, theirs):
    def run(make):
        model = net()
        optimizer = make(model.parameters())
        scheduler = SCHEDULERS[name](optimizer)
        for _ in range(15):
            loss = step(model, optimizer)
            scheduler.step(*([loss] if name == "ReduceLROnPlateau" else []))
        return flat(model)

    assert (run(ours) - run(theirs)).abs().max() < 1e-12


def test_rate_may_be_a_tensor():
    assert pair(lambda p: Adam(p, torch.tensor(0.01, dtype=torch.float64)), lambda p: torch.optim.Adam(p, 0.01)) < 1e-13


def test_closure_is_called_with_gradients_enabled_and_its_loss_returned():
    model = net()
    optimizer = Adam(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model(X), Y)
        loss.backward()
        return loss

    with torch.no_grad():
        first = optimizer.step(closure)
    assert first.requires_grad and optimizer.step(closure) < first


def test_clipping_and_gradient_scaling():
    def run(make):
        model = net(torch.float32)
        optimizer, scaler = make(model.parameters()), torch.amp.GradScaler("cpu", init_scale=1024.0)
        for i in range(8):
            optimizer.zero_grad()
            scaler.scale(cross_entropy(model(X.float()) * (float("inf") if i == 3 else 1.0), Y)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            scaler.step(optimizer)
            scaler.update()
        return flat(model), scaler.get_scale()

    (ours, scale), (theirs, same) = run(Adam), run(torch.optim.Adam)
    assert ours.isfinite().all() and (ours - theirs).abs().max() < 1e-6 and scale == same < 1024.0


def test_hooks_and_the_profiler_see_a_step_once():
    model, seen = net(), []
    optimizer = Adam(model.parameters())
    before = optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    after = optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    step(model, optimizer)
    before.remove(), after.remove()
    assert seen == ["before", "after"]
    with torch.profiler.profile() as profile:
        step(model, optimizer)
    assert sum(e.count for e in profile.key_averages() if e.key == "Optimizer.step#Adam.step") == 1


def test_functional_call_and_averaged_model_go_on_working():
    model = net()
    optimizer = Adam(model.parameters())
    average = torch.optim.swa_utils.AveragedModel(model)
    for _ in range(3):
        step(model, optimizer)
        average.update_parameters(model)
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert torch.equal(torch.func.functional_call(model, parameters, X), model(X))
    assert not torch.equal(flat(average.module), flat(model))


# saving


@pytest.mark.parametrize("make", [Adam, NAdam, Momentum, Lion, lambda p: Adam(p, capturable=True)])
def test_resuming_from_a_file_is_bit_exact(make):
    model = net()
    optimizer = make(model.parameters())
    train(model, optimizer, 4)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = train(model, optimizer, 5)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh = net(seed=1)
    resumed = make(fresh.parameters())
    train(fresh, resumed, 1)
    fresh.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert torch.equal(train(fresh, resumed, 5), expected)


def test_resuming_bfloat16_keeps_the_float32_state():
    p = nn.Parameter(torch.randn(20).bfloat16())
    optimizer = Adam([p])
    p.grad = torch.randn(20).bfloat16()
    optimizer.step()
    other = Adam([nn.Parameter(p.detach().clone())])
    other.load_state_dict(optimizer.state_dict())
    (state,) = other.state.values()
    assert state["m"].dtype == torch.float32 and torch.equal(state["m"], optimizer.state[p]["m"])


def test_saved_state_is_per_parameter_and_shares_no_memory():
    model = net()
    optimizer = Adam(model.parameters())
    step(model, optimizer)
    saved = optimizer.state_dict()["state"]
    assert sorted(saved) == [0, 1, 2, 3, 4, 5]
    assert saved[0]["t"] == 1 and saved[0]["m"].shape == (8, 6)
    tensors = [v for entry in saved.values() for v in entry.values() if torch.is_tensor(v)]
    assert all(v.untyped_storage().nbytes() == v.numel() * v.element_size() for v in tensors)
    assert len({v.untyped_storage().data_ptr() for v in tensors}) == len(tensors) == 12


def test_load_hooks_may_change_what_is_loaded():
    model = net()
    optimizer = Adam(model.parameters())
    step(model, optimizer)
    saved = optimizer.state_dict()

    def double(_, state_dict):
        for entry in state_dict["state"].values():
            entry["m"] = 2 * entry["m"]

    other = Adam(net().parameters())
    other.register_load_state_dict_pre_hook(double)
    other.load_state_dict(copy.deepcopy(saved))
    assert torch.equal(next(iter(other.state.values()))["m"], 2 * saved["state"][0]["m"])


def test_state_of_another_rule_is_refused():
    model = net()
    with pytest.raises(ValueError, match="saved by the rule momentum, this group's rule is adam"):
        Adam(model.parameters()).load_state_dict(Momentum(model.parameters()).state_dict())
    theirs = torch.optim.Adam(net().parameters())
    for p in theirs.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    theirs.step()
    with pytest.raises(ValueError, match="parameter 0 holds step, exp_avg, exp_avg_sq; adam needs m, t, v too"):
        Adam(net().parameters()).load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_or_pickled_optimizer_goes_on_alike_and_apart(clone):
    model = net()
    optimizer = NAdam(model.parameters())
    train(model, optimizer, 3)
    twin, twins_optimizer = clone((model, optimizer))
    assert {p.data_ptr() for p in twin.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())
    before = flat(model)
    theirs = train(twin, twins_optimizer, 5)
    assert torch.equal(flat(model), before)
    assert torch.equal(theirs, train(model, optimizer, 5))


# refusals


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda p: Adam(p, beta2=1.0), ValueError, r"beta2 must be in \[0, 1\), got 1.0"),
        (lambda p: Adam(p, lr=-1.0), ValueError, "lr must be >= 0, got -1.0"),
        (lambda p: Adam(p, weight_decay=-1.0), ValueError, "weight_decay must be >= 0, got -1.0"),
        (lambda p: Optimizer(p, "adam", gamma=1.0), ValueError, "adam has no hyper-parameter 'gamma'"),
        (lambda p: Optimizer(p, "adm"), ValueError, "rule must be a rule or one of .*adam.*; got 'adm'"),
        (lambda p: Muon(p), ValueError, "muon needs parameters with >= 2 dimensions, got shape .*own"),
        (lambda p: Adam([]), ValueError, "empty parameter list"),
    ],
)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make(net().parameters())


def test_a_refused_group_leaves_the_optimizer_as_it_was():
    model = net()
    optimizer = Adam(model[0].parameters())
    with pytest.raises(ValueError, match="weight_decay"):
        optimizer.add_param_group({"params": list(model[2].parameters()), "weight_decay": -1.0})
    assert len(optimizer.param_groups) == 1
    step(model, optimizer)


def test_memory_kept_is_the_state_and_one_gradient_of_the_small_parameters():
    big, small = nn.Parameter(torch.zeros(PACK_BELOW["cpu"])), [nn.Parameter(torch.zeros(10)) for _ in range(3)]
    optimizer = Adam([big, *small])
    ((pack,), _) = optimizer._packs[0]
    assert pack.gradient.numel() == 30 and optimizer.state[big]["m"].numel() == big.numel()
    assert kernel(rules.adam, "eager") is kernel(rules.adam, "eager")  # one scratch for all optimizers


def _data_parallel():
    rank, results = torch.distributed.get_rank(), []
    for make in (Adam, torch.optim.Adam):
        model = net()
        optimizer = make(model.parameters())
        parallel = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        for _ in range(5):
            optimizer.zero_grad()
            cross_entropy(parallel(X[rank::2]), Y[rank::2]).backward()
            optimizer.step()
        results.append(flat(model).tolist())
    return results


@pytest.mark.slow
def test_distributed_data_parallel_with_two_processes_equals_one_process_on_all_data():
    results = [torch.tensor(r, dtype=torch.float64) for r in launch(_data_parallel, 2, timeout=90)]
    alone = net()
    train(alone, Adam(alone.parameters()), 5)
    for ours, theirs in results:
        assert (ours - theirs).abs().max() < 1e-12 and (ours - flat(alone)).abs().max() < 1e-12
