"""Objectives with closed-form truth, networks as objectives, and the toy engine that runs a rule along them."""

from dlopt.objectives.objective import Objective, flat_parameters, from_model
from dlopt.objectives.surfaces import (
    beale,
    cliff,
    himmelblau,
    plateau,
    quadratic,
    ripple,
    rosenbrock,
    rotation_matrix,
    saddle,
)
from dlopt.objectives.trajectories import Trajectory, clipped, newton, noisy, trajectory

__all__ = ["Objective", "Trajectory", "beale", "cliff", "clipped", "flat_parameters", "from_model", "himmelblau",
           "newton", "noisy", "plateau", "quadratic", "ripple", "rosenbrock", "rotation_matrix", "saddle", "trajectory"]
