"""One training loop for every model, loss, optimizer and schedule; its record; its checkpoints."""

from dlopt.training.accumulation import accumulate_gradient
from dlopt.training.batches import Batches, staged
from dlopt.training.checkpoint import read_checkpoint
from dlopt.training.evaluation import accuracy, evaluate, predict
from dlopt.training.history import EarlyStopping, History
from dlopt.training.loop import train
from dlopt.training.range_test import RangeTest, lr_range_test

__all__ = ["Batches", "EarlyStopping", "History", "RangeTest", "accumulate_gradient", "accuracy", "evaluate",
           "lr_range_test", "predict", "read_checkpoint", "staged", "train"]
