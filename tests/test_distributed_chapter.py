"""The pages on distributed training: worked numbers, equations against what runs, the items they owe."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from dlopt.distributed import cost, staleness, stragglers
from dlopt.distributed.simulate import asynchronous, synchronous
from dlopt.distributed.stragglers import Law

CHAPTERS = Path(__file__).parents[1] / "chapters"
OWED = {"distributed": {"S70", "S71", "S72", "S73", "E19", "E20", "E23"},
        "parallelism": {"S74", "E21", "E38"}}


def page(name):
    return nbformat.read(CHAPTERS / f"{name}.ipynb", as_version=4)


def prose(name):
    return "\n".join(cell.source for cell in page(name).cells if cell.cell_type == "markdown")


def code(name):
    return [cell.source for cell in page(name).cells if cell.cell_type == "code"]


def claims(name):
    calls = [node for source in code(name) for node in ast.walk(ast.parse(source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"]
    part = lambda call: next((k.value.value for k in call.keywords if k.arg == "part"), None)  # noqa: E731
    return [(call.args[0].value, part(call)) for call in calls]


@pytest.mark.parametrize("name", OWED)
def test_every_item_that_the_page_owes_is_claimed_and_no_part_twice(name):
    assert {item for item, _ in claims(name)} == OWED[name]
    assert len(claims(name)) == len(set(claims(name)))


@pytest.mark.parametrize("name", OWED)
def test_every_number_in_prose_is_glued_by_the_run(name):
    source = "\n".join(code(name))
    said = set(re.findall(r'glue(?:_interval)?\(f?"([\w.-]+)', source))
    stems = {stem for stem in said if stem.endswith("-")}
    used = set(re.findall(r"\{glue:text\}`([\w.-]+)`", prose(name)))
    assert used and all(key in said or any(key.startswith(stem) for stem in stems) for key in used)
    assert said - stems <= used


# --- the page on waiting and not waiting

def test_the_predicted_rounds_of_the_processes_are_the_law_s():
    law = Law("occasional", base=4, delay=250, chance=0.1)
    assert round(law.expected_round(4), 1) == 90.0 and "=90.0$ ms" in prose("distributed")
    assert round(law.expected_round(4, 3), 1) == 17.1 and "=17.1$ ms" in prose("distributed")
    assert round(1 - 0.9**10, 2) == 0.65 and "hits two rounds in three once $M=10$" in prose("distributed")


def test_the_last_worker_costs_as_much_as_the_first_63_percent_together():
    M = 10_000
    head = sum(1 / i for i in range(M - round(0.63 * M) + 1, M + 1))
    assert head == pytest.approx(1, abs=0.01) and r"first $0.63\,M$ together" in prose("distributed")
    assert sum(1 / i for i in range(1, 1001)) == pytest.approx(np.log(1000) + 0.58, abs=0.01)


def test_the_solution_on_waiting_has_the_library_s_numbers():
    law = Law("exponential", 0.1, 0.05)
    assert 1000 * law.expected_round(100) == pytest.approx(359, abs=0.6)
    assert 1000 * law.expected_round(100, 94) == pytest.approx(237, abs=0.6)
    assert law.expected_round(100) / law.mean == pytest.approx(2.4, abs=0.03)
    assert law.expected_round(100, 94) / law.mean == pytest.approx(1.6, abs=0.03)


@pytest.mark.parametrize("law", [Law("pareto", delay=2.0, shape=1.5), Law("constant"), Law("occasional", delay=30.0)])
def test_the_mean_staleness_is_m_minus_one_up_to_the_gradients_under_way(law):
    M = 6
    trace = asynchronous(law, M, until=80, seed=1)
    U, last = len(trace.times), {}
    for u, m in enumerate(trace.workers[:, 0]):
        last[m] = u
    pending = sum(U - 1 - last.get(m, -1) for m in range(M))  # updates since each worker's fetch
    assert trace.staleness.sum() == (M - 1) * U - pending


def test_the_edge_of_stability_is_about_pi_over_two_tau_plus_one():
    for tau in (10, 100):
        assert staleness.largest_stable_rate(tau) == pytest.approx(np.pi / (2 * tau + 1), rel=1e-2)
    assert staleness.largest_stable_rate(0) == 2


def test_a_fit_of_measured_times_answers_the_exercise():
    law = stragglers.fit_exponential(Law("exponential", 0.1, 0.05).sample(np.random.default_rng(0), 1000))
    assert law.expected_round(8) == pytest.approx(0.1 + 0.05 * 2.718, rel=0.05)


# --- what the solutions say of the library

def test_with_bound_zero_all_compute_at_the_same_parameters_and_are_applied_one_after_the_other():
    trace = asynchronous(Law(), 4, until=30, seed=0, bound=0)
    whole = len(trace.times) // 4 * 4
    assert (trace.versions[:whole, 0] % 4 == 0).all()
    assert (trace.staleness[:whole, 0].reshape(-1, 4) == [0, 1, 2, 3]).all()


def test_the_implied_momentum_starts_with_a_plain_step_and_then_follows_the_theorem_s_recursion():
    M, rate = 5, 0.3
    x = staleness.implied_momentum(M, rate, 20)
    steps = np.diff(x)
    assert steps[0] == pytest.approx(-rate) and r"\Delta_1 = -\eta\lambda x_0" in prose("distributed")
    np.testing.assert_allclose(steps[1:], (1 - 1 / M) * steps[:-1] - rate / M * x[1:-1])


def test_late_workers_make_a_round_with_a_backup_longer_than_the_order_statistic():
    law = Law("occasional", base=4, delay=250, chance=0.1)
    busy = synchronous(law, 4, until=200_000, seed=0, backups=1)
    assert 2 * law.expected_round(4, 3) < busy.times[-1] / len(busy.times) < law.expected_round(4)


def test_the_speedup_of_eight_exponential_workers_lies_between_the_solution_s_ends():
    laws = Law("exponential", 1e-9, 1.0), Law("exponential", 1.0, 0.0)
    ends = [8 * law.mean / law.expected_round(8) for law in laws]
    assert ends == pytest.approx([2.94, 8.0], abs=0.01) and "between 2.9" in prose("distributed")


# --- the page on parallelism

LAYERS = [cost.dense("fc6", 9216, 4096), cost.dense("fc7", 4096, 4096), cost.dense("fc8", 4096, 1000)]
CONVOLUTIONS = [cost.convolution("conv1", 3, 96, 11, 224, 4), cost.convolution("conv2", 96, 256, 5, 27),
                cost.convolution("conv3", 256, 384, 3, 13), cost.convolution("conv4", 384, 384, 3, 13),
                cost.convolution("conv5", 384, 256, 3, 13)]


def test_alexnet_s_dense_layers_hold_most_parameters_and_do_little_computing():
    everything = LAYERS + CONVOLUTIONS
    n, work = sum(x.parameters for x in everything), sum(x.flops for x in everything)
    assert round(n / 1e6) == 62 and round(sum(x.parameters for x in LAYERS) / 1e6) == 59
    assert sum(x.parameters for x in LAYERS) / n == pytest.approx(0.94, abs=0.005)
    assert sum(x.flops for x in LAYERS) / work == pytest.approx(0.05, abs=0.005)


def test_the_break_even_batches_are_outputs_for_dense_layers_and_far_below_practice_for_convolutions():
    assert [round(cost.break_even_batch(layer)) for layer in LAYERS] == [4096, 4097, 1000]
    assert max(cost.break_even_batch(layer) for layer in CONVOLUTIONS) < 30


def test_the_solutions_have_the_library_s_numbers():
    tokens, k = 64 * 2048, 8
    n = 2 * 4096 * 16384
    assert cost.ring_elements(n, k) == pytest.approx(2.3e8, rel=0.03)
    assert 2 * cost.ring_elements(tokens * 4096, k) == pytest.approx(1.9e9, rel=0.03)
    assert n / (2 * 4096) == 16_384 and cost.pipeline_bubble(16, 136) < 0.1 <= cost.pipeline_bubble(16, 135)


def test_a_row_and_a_column_block_make_the_page_s_sum():
    rng = np.random.default_rng(0)
    W, V, x = rng.normal(size=(8, 5)), rng.normal(size=(3, 8)), rng.normal(size=5)
    parts = [V[:, r : r + 2] @ np.tanh(W[r : r + 2] @ x) for r in range(0, 8, 2)]
    np.testing.assert_allclose(sum(parts), V @ np.tanh(W @ x))


def test_the_commands_of_the_page_name_the_script_and_options_that_exist():
    from dlopt.distributed.train import arguments

    assert arguments(["--checkpoints", "runs/a"]).checkpoints == "runs/a"
    assert prose("parallelism").count("-m dlopt.distributed.train") == 4


def test_the_worst_convolutions_to_cut_are_those_of_the_page_s_limits():
    limits = [cost.break_even_batch(layer) for layer in CONVOLUTIONS]
    sent = [(cost.tensor_parallel_elements(x, 8, 512), cost.data_parallel_elements(x, 8)) for x in CONVOLUTIONS]
    ratio = [cut / whole for cut, whole in sent]
    assert ratio == pytest.approx([512 / limit for limit in limits]) and min(ratio) == pytest.approx(25, abs=1)


def test_recursive_halving_and_doubling_beats_ring_and_tree_as_the_solution_says():
    network = cost.Network(1e-4, 2e-9)
    for k in (4, 64, 1024):
        for n in (1e2, 1e5, 1e9):
            halving = 2 * np.log2(k) * network.alpha + 2 * network.beta * n * (k - 1) / k
            assert halving < min(cost.ring_time(network, n, k), cost.tree_time(network, n, k))
