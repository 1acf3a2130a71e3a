"""The device: what was asked for, or what there is; never a silent substitute."""

import pytest
import torch
from dlopt.device import describe, device, synchronize


def test_without_a_wish_the_gpu_if_there_is_one_else_the_cpu(monkeypatch):
    monkeypatch.delenv("DLOPT_DEVICE", raising=False)
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_environment_chooses_and_an_argument_overrides_it(monkeypatch):
    monkeypatch.setenv("DLOPT_DEVICE", "meta")
    assert device().type == "meta"
    assert device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_with_a_way_out(name):
    with pytest.raises(ValueError, match=f"device must be one that this machine has, got '{name}' .*; use 'cpu'"):
        device(name)


def test_what_the_environment_names_is_checked_too(monkeypatch):
    monkeypatch.setenv("DLOPT_DEVICE", "nowhere")
    with pytest.raises(ValueError, match="got 'nowhere'"):
        device()


def test_a_tensor_can_be_made_and_waited_for_on_the_device():
    where = device()
    total = torch.ones(3, device=where).sum()
    synchronize(where)
    assert total.item() == 3


def test_the_description_names_the_processor():
    assert describe("cpu") == f"CPU, {torch.get_num_threads()} thread(s)"
    assert describe(torch.device("cpu")) == describe("cpu")
