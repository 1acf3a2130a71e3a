"""Many models trained at once: K seeds and hyper-parameters for little more than the price of a few."""

from dlopt.ensemble.engine import Ensemble, EnsembleHistory
from dlopt.ensemble.sweeps import Sweep, sweep

__all__ = ["Ensemble", "EnsembleHistory", "Sweep", "sweep"]
