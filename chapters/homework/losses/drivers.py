"""How the graded functions of this homework are called. Runs in the sandbox: it holds no answer and no hidden input.

Every driver takes ``student`` (the student's functions by name) and plain data, and returns plain data.
"""


def drive_cross_entropy(student, z, y):
    """Loss and gradient."""
    loss, gradient = student.cross_entropy(z, y)
    return {"loss": loss, "gradient": gradient}


def drive_huber(student, prediction, target, delta):
    """Loss and gradient, or the refusal."""
    try:
        loss, gradient = student.huber(prediction, target, delta)
    except ValueError:
        return {"refused": True}
    return {"refused": False, "loss": loss, "gradient": gradient}


def drive_location(student, sample, law, **parameters):
    """The estimate as a number."""
    return float(student.location(sample, law, **parameters))


def drive_gradients(student, x, y, W1, b1, W2, b2):
    """Loss and the four gradients by name."""
    loss, gradients = student.gradients(x, y, W1, b1, W2, b2)
    return {"loss": loss, **dict(zip(("W1", "b1", "W2", "b2"), gradients))}


def drive_stop(student, runs, **family):
    """For each run, the number of evaluations after which the rule stopped it (all of them if it never did).

    The rule sees the validation losses one after the other, as it would in training; ``family`` is for the grader.
    """
    stopped, honest = [], True
    for run in runs.tolist():
        for t in range(1, len(run) + 1):
            history = run[:t]
            answer = student.should_stop(history)
            honest = honest and isinstance(answer, bool) and len(history) == t
            if answer:
                break
        stopped.append(t)
    return {"stopped": stopped, "bool, and the list unchanged": honest}
