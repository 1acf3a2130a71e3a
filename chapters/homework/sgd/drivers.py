"""How the graded functions of this homework are called. Runs in the sandbox: it holds no answer and no hidden input.

Every driver takes ``student`` (the student's functions by name) and plain data, and returns plain data.
"""

import torch


def drive_moments(student, rates, curvature, noise, start):
    """Mean and mean square after every step, and what became of the rates."""
    mean, square = student.moments(rates, curvature, noise, start)
    return {"mean": mean, "square": square, "rates": rates}


def drive_schedule(student, times, **grading):
    """The student's own step sizes, rounded by nothing, at whole numbers t; ``grading`` is for the grader."""
    return {"rates": torch.tensor([float(student.schedule(t)) for t in times], dtype=torch.float64)}


def drive_bias(student, gradients, batches, **grading):
    """One answer for each set of batches, and what became of the gradients; ``grading`` is for the grader."""
    answers = [student.is_biased(gradients, part) for part in batches]
    plain = all(isinstance(answer, bool) for answer in answers)
    return {"answers": answers, "plain bools": plain, "gradients": gradients}


def drive_plan(student, **arguments):
    """The two lists, or the refusal."""
    try:
        sizes, factors = student.plan(**arguments)
    except ValueError:
        return {"refused": True}
    whole = all(isinstance(size, int) for size in sizes)
    return {"refused": False, "sizes": list(sizes), "factors": [float(x) for x in factors], "whole numbers": whole}


def drive_critical(student, batches, steps):
    """The two constants of the hyperbola."""
    least, critical = student.critical_batch(batches, steps)
    return {"least": float(least), "critical": float(critical)}


def drive_label(student, sets, **grading):
    """The labels of several sets of curves; ``grading`` is for the grader."""
    return {"labels": [list(student.label(curves)) for curves in sets]}
