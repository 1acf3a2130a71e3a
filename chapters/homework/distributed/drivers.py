"""How the graded functions of this homework are called. Runs in the sandbox: it holds no answer and no hidden input.

Every driver takes ``student`` (the student's functions by name) and plain data, and returns plain data.
"""


def messages(workers, versions, gradients):
    """What arrives at a server, as the student's functions take it."""
    return [(w, v, g.clone()) for w, v, g in zip(workers, versions, gradients)]


def drive_server(student, theta, workers, versions, gradients, needed, lr):
    """A synchronous server hears some messages."""
    start, heard = theta.clone(), messages(workers, versions, gradients)
    moved, version, dropped = student.synchronous_server(start, heard, needed, lr)
    same = all(bool((a == b).all()) or bool((b != b).any()) for (_, _, a), b in zip(heard, gradients))
    return {"theta": moved, "version": int(version), "dropped": [int(i) for i in dropped],
            "inputs unchanged": bool((start == theta).all()) and same}


def drive_ring(student, vectors):
    """All ranks of a ring, one exchange after the other: what each yields goes to its right neighbor."""
    k = len(vectors)
    ranks = [student.ring_all_reduce(rank, k, x.clone()) for rank, x in enumerate(vectors)]
    sent, results, inbox = [0] * k, [None] * k, [None] * k
    for _ in range(4 * k + 4):
        out = [None] * k
        for rank, program in enumerate(ranks):
            if results[rank] is None:
                try:
                    out[rank] = program.send(inbox[rank])
                    sent[rank] += out[rank].numel()
                except StopIteration as end:
                    results[rank] = end.value
        if all(r is not None for r in results):
            break
        inbox = [None if out[rank - 1] is None else out[rank - 1].clone() for rank in range(k)]
    return {"sums": results, "sent": sent}


def drive_stale(student, theta, workers, versions, gradients, lr):
    """An asynchronous server hears some messages."""
    start = theta.clone()
    moved, staleness = student.staleness_aware_server(start, messages(workers, versions, gradients), lr)
    return {"theta": moved, "staleness": [int(t) for t in staleness], "start unchanged": bool((start == theta).all())}


def drive_future(student, theta, workers, versions, gradients, lr):
    """Whether a gradient at parameters that do not exist yet is refused, and by which error."""
    try:
        student.staleness_aware_server(theta.clone(), messages(workers, versions, gradients), lr)
    except ValueError as error:
        return {"refused": True, "names the worker": str(workers[-1]) in str(error)}
    return {"refused": False, "names the worker": False}


def drive_plan(student, layers, ranks, batch):
    """The choices and the numbers sent."""
    choices, sent = student.plan([tuple(layer) for layer in layers], ranks, batch)
    return {"choices": [str(c) for c in choices], "sent": float(sent)}


def drive_rounds(student, base, delay, workers, needed):
    """The expected time of a round."""
    return float(student.expected_round(base, delay, workers, needed))


def drive_backups(student, base, delay, workers):
    """The best number of backups."""
    return int(student.best_backups(base, delay, workers))
