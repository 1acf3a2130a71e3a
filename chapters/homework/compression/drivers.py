"""How the graded functions of this homework are called. Runs in the sandbox: it holds no answer and no hidden input.

Every driver takes ``student`` (the student's functions by name) and plain data, and returns plain data.
"""


def drive_factor(student, W, rank):
    """Both factors."""
    A, B = student.factor(W, rank)
    return {"A": A, "B": B}


def drive_largest_rank(student, sizes):
    """The largest rank that saves, for several shapes."""
    return [int(student.largest_rank(m, n)) for m, n in sizes]


def drive_huffman(student, symbols):
    """The code of a text, its bits, and the text read back."""
    code = student.huffman_code(symbols)
    bits = "".join(code[s] for s in symbols)
    return {"code": [[int(s), str(word)] for s, word in code.items()], "back": list(student.decode(bits, code))}


def drive_prune(student, theta, share, rounds, lr, mu, velocity):
    """Prune once, then several steps under the mask with gradients that want every weight at one."""
    mask = student.prune_mask(theta, share)
    v, w, seen = velocity.clone(), theta * mask, []
    for _ in range(rounds):
        w, v = student.masked_step(w, v, w - 1.0, mask, lr, mu)
        seen.append(w.clone())
    return {"mask": mask.double(), "path": seen}


def drive_compress(student, nets, budget, hidden):
    """All nets are compressed before any is rebuilt; then their answers on hidden inputs."""
    files = []
    for net in nets:
        weights = [t.clone() for t in net["weights"]]
        files.append(student.compress(weights, net["x"].clone(), net["y"].clone(), budget))
    kinds = [isinstance(file, bytes) for file in files]
    answers = []
    for file, x in zip(files, hidden):
        W1, b1, W2, b2 = (t.double() for t in student.rebuild(bytes(file)))
        answers.append(((x @ W1.T + b1).relu() @ W2.T + b2).argmax(1))
    return {"bytes": [len(file) for file in files], "kinds": kinds, "answers": answers}
