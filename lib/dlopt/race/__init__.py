"""Fair comparison of update rules: equal budgets, chosen on validation, fresh seeds, paired intervals, ties as ties."""

from dlopt.race.protocol import Entry, race, tune
from dlopt.race.reference import Reference, reference_scores, train_reference
from dlopt.race.result import EntryResult, RaceResult

__all__ = ["Entry", "EntryResult", "RaceResult", "Reference", "race", "reference_scores",
           "train_reference", "tune"]
