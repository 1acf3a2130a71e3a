"""Checkpoints: bit-exact resume, also after the process was killed, and nothing lost by a bad file or directory."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from dlopt import losses
from dlopt.data import Dataset, digits
from dlopt.models import mlp
from dlopt.optimizers import Adam, NAdam
from dlopt.training import EarlyStopping, read_checkpoint, train
from dlopt.training.checkpoint import check_writable, write_checkpoint
from torch import nn

FULL = digits(dtype=torch.float64)
DATA = Dataset("small", *(t[:60] for t in (*FULL.train, *FULL.val, *FULL.test)), n_classes=10)


def net(hidden=12):
    """With dropout and batch normalization: whatever state a model can have."""
    model = mlp([64, hidden, 10], normalization="batch").double()
    return nn.Sequential(model[:4], nn.Dropout(0.3), model[4:])


def fit(path=None, steps=23, hidden=12, kind=torch.optim.Adam, scheduler=None, **keywords):
    model = net(hidden)
    optimizer = kind(model.parameters(), lr=0.01)
    if scheduler is not None:
        keywords["schedule"] = scheduler(optimizer)
    keywords = {"batch_size": 16, "evaluate_every": 5, "clip_norm": 1.0, "seed": 3, "checkpoint": path, **keywords}
    history = train(model, DATA, optimizer=optimizer, loss=losses.cross_entropy, steps=steps, **keywords)
    return model, history, optimizer


def assert_same(run, other):
    (model, history, optimizer), (model2, history2, optimizer2) = run, other
    for (name, a), b in zip(model.state_dict().items(), model2.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for a, b in zip(optimizer.state_dict()["state"].values(), optimizer2.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)
    assert history.loss.tolist() == history2.loss.tolist() and history.lr.tolist() == history2.lr.tolist()
    assert history.eval_step.tolist() == history2.eval_step.tolist()
    assert {k: v.tolist() for k, v in history.evaluations.items()} == {
        k: v.tolist() for k, v in history2.evaluations.items()
    }


SCHEDULES = {
    "none": {},
    "function": {"schedule": lambda t: 1 / (1 + t)},
    "onecycle": {"scheduler": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.02, total_steps=40)},
    "plateau": {"scheduler": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.5)},
    "early": {"early_stopping": EarlyStopping(4, monitor="val_accuracy")},
    "growing": {"batch_size": lambda epoch: 12 if epoch < 2 else 30},
    "replacement": {"replacement": True},
}


@pytest.mark.parametrize("stop", [10, 11])  # where an evaluation is due, and where not (in the middle of an epoch)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_resumed_in_the_middle_equals_one_never_stopped_bit_for_bit(tmp_path, name, stop):
    straight = fit(**SCHEDULES[name])
    fit(tmp_path / "run.pt", steps=stop, **SCHEDULES[name])
    torch.randn(7)  # another state of the global generator
    assert_same(straight, fit(tmp_path / "run.pt", resume=True, **SCHEDULES[name]))


def test_a_run_interrupted_from_the_keyboard_resumes_as_if_it_had_not_been(tmp_path, keyboard):
    def press(run):
        if run.step == 13:
            os.kill(os.getpid(), signal.SIGINT)

    assert fit(tmp_path / "run.pt", callback=press)[1].interrupted
    assert_same(fit(), fit(tmp_path / "run.pt", resume=True))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RAdam, Adam, NAdam])
def test_resume_is_exact_for_other_optimizers(tmp_path, kind):
    fit(tmp_path / "run.pt", steps=8, kind=kind)
    assert_same(fit(kind=kind), fit(tmp_path / "run.pt", resume=True, kind=kind))


def test_a_finished_run_resumed_returns_its_record_and_trains_no_more(tmp_path):
    first = fit(tmp_path / "run.pt", steps=10)
    assert_same(first, fit(tmp_path / "run.pt", steps=10, resume=True, callback=lambda run: pytest.fail("trained")))


def test_a_run_stopped_early_stays_stopped(tmp_path):
    keywords = {"early_stopping": EarlyStopping(1, min_delta=100.0)}
    first = fit(tmp_path / "run.pt", **keywords)
    again = fit(tmp_path / "run.pt", resume=True, **keywords)
    assert first[1].stopped_early and again[1].stopped_early
    assert_same(first, again)


def test_seconds_of_a_resumed_run_add_up(tmp_path):
    first = fit(tmp_path / "run.pt", steps=10)[1]
    again = fit(tmp_path / "run.pt", resume=True)[1]
    assert (again.seconds[:10] == first.seconds).all() and (again.seconds[10:] > first.seconds[-1]).all()


SCRIPT = """
import sys, time
sys.path.insert(0, {folder!r})
from test_checkpoint import fit
def slow(run):
    print(run.step, flush=True)
    time.sleep(0.02)
fit({path!r}, steps=40, resume=True, checkpoint_every=3, callback=slow)
print("done", flush=True)
"""


@pytest.mark.slow
def test_resume_is_bit_exact_after_a_real_kill_9(tmp_path):
    path, folder = str(tmp_path / "run.pt"), os.path.dirname(__file__)
    steps_seen = []
    for kill_at in (7, 20, None):
        command = [sys.executable, "-c", SCRIPT.format(folder=folder, path=path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.strip().isdigit():
                steps_seen.append(int(line))
            if kill_at is not None and line.strip().isdigit() and int(line) >= kill_at:
                time.sleep(0.005)
                process.kill()
                break
        process.stdout.close()
        assert process.wait(timeout=60) == (0 if kill_at is None else -signal.SIGKILL)
    assert len(steps_seen) > len(set(steps_seen)) - 1 and max(steps_seen) == 40
    assert_same(fit(steps=40), fit(path, steps=40, resume=True))


def test_an_existing_checkpoint_is_not_overwritten_by_a_fresh_run(tmp_path):
    fit(tmp_path / "run.pt", steps=5)
    before = (tmp_path / "run.pt").read_bytes()
    with pytest.raises(FileExistsError, match="run.pt exists; give resume=True or another path"):
        fit(tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before


@pytest.mark.parametrize(("keywords", "message"), [
    ({"hidden": 13}, r"is from another model: 0.linear1.weight is \[12, 64\] float64 there and \[13, 64\] "),
    ({"kind": torch.optim.SGD}, "made with Adam over 1 group.s., this run uses SGD over 1"),
    ({"seed": 4}, "the saved run has seed = 3, this one 4"),
    ({"replacement": True}, "the saved run has replacement = False, this one True"),
    ({"batch_size": 15}, "batch_size"),
    ({"early_stopping": 2}, "made without early stopping, this run is with"),
    ({"scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 2)}, "made without a torch lr_scheduler"),
])  # fmt: skip
def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path, keywords, message):
    fit(tmp_path / "run.pt", steps=5)
    before = (tmp_path / "run.pt").read_bytes()
    with pytest.raises(ValueError, match=message):
        fit(tmp_path / "run.pt", resume=True, **keywords)
    assert (tmp_path / "run.pt").read_bytes() == before


@pytest.mark.parametrize("damage", ["half", "empty", "one byte", "text", "other pickle"])
def test_a_damaged_file_is_refused_and_kept(tmp_path, damage):
    path = tmp_path / "run.pt"
    fit(path, steps=5)
    good = path.read_bytes()
    other = io.BytesIO()
    torch.save({"weights": torch.zeros(3)}, other)
    middle = len(good) // 3
    bad = {
        "half": good[: len(good) // 2],
        "empty": b"",
        "one byte": good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :],
        "text": b"not a checkpoint",
        "other pickle": other.getvalue(),
    }[damage]
    path.write_bytes(bad)
    with pytest.raises(ValueError, match="is truncated or damaged|must be a checkpoint of format"):
        fit(path, resume=True)
    assert path.read_bytes() == bad


def test_no_code_in_a_checkpoint_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"format": 1, "model": Trap()}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_checkpoint(tmp_path / "run.pt")
    assert not (tmp_path / "trapped").exists()


def test_a_missing_checkpoint_to_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.pt"):
        read_checkpoint(tmp_path / "none.pt")


def test_a_directory_that_cannot_be_written_is_found_out_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="checkpoint directory .*file.* cannot be written .*; choose another path"):
        fit(tmp_path / "file" / "run.pt", callback=lambda run: pytest.fail("trained"))

    def denied(**keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\); choose another path"):
        check_writable(tmp_path / "run.pt")


def test_a_full_disk_leaves_the_old_checkpoint_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    write_checkpoint(path, {"value": 1})

    def full(payload, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, {"value": 2})
    monkeypatch.undo()
    assert read_checkpoint(path)["value"] == 1 and os.listdir(tmp_path) == ["run.pt"]


def test_a_diverged_run_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    fit(path, steps=10)
    before = path.read_bytes()
    nan = {"schedule": lambda t: 1.0 if t < 10 else 1e300, "clip_norm": None}
    with pytest.raises(FloatingPointError):
        fit(path, steps=30, resume=True, **nan)
    assert path.read_bytes() == before


def test_an_error_in_the_middle_of_an_update_leaves_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    calls = []

    def failing(prediction, target):
        calls.append(None)
        if len(calls) > 12:
            raise RuntimeError("out of memory")
        return losses.cross_entropy(prediction, target)

    with pytest.raises(RuntimeError, match="out of memory"):
        train(net(), DATA.train, optimizer=lambda p: torch.optim.Adam(p, lr=0.01), loss=failing, steps=23,
              batch_size=16, checkpoint=path, checkpoint_every=5)  # fmt: skip
    assert len(read_checkpoint(path)["record"]["curves"]["loss"]) == 10
