"""One training loop for every model, loss, optimizer and schedule; its record; its checkpoints."""

from dlopt.training.batches import Batches
from dlopt.training.checkpoint import read_checkpoint
from dlopt.training.evaluation import accuracy, evaluate, predict
from dlopt.training.history import EarlyStopping, History
from dlopt.training.loop import train

__all__ = ["Batches", "EarlyStopping", "History", "accuracy", "evaluate", "predict", "read_checkpoint", "train"]
