"""What the homework on compression grades: requirements, inputs and references. Never released.

Add a task: ``chapters/instructor.md``. The points of a task must equal those of its test cell in the notebook.
"""

import heapq
from collections import Counter

import torch
from dlopt.homework import Homework, Requirement, Task

# --- checks ---------------------------------------------------------------------------------------------------------


def check_factor(answer, W, rank):
    """The product is as close as anything of that rank, and the shapes save what they should."""
    A, B = answer["A"], answer["B"]
    if tuple(A.shape) != (W.shape[0], rank) or tuple(B.shape) != (rank, W.shape[1]):
        return f"the factors have shapes {list(A.shape)} and {list(B.shape)}, expected [m, R] and [R, n]"
    sigma = torch.linalg.svdvals(W)
    tail = sigma[rank:].square().sum().sqrt().item()
    found = (W - A @ B).norm().item()
    close = found <= tail + 1e-8 * sigma[0].item()
    return None if close else f"the product is {found:.6g} away from W; another one of that rank is closer"


def check_balance(answer, W, rank):
    """Both factors have the same norm for each of their terms."""
    a, b = answer["A"].norm(dim=0), answer["B"].norm(dim=1)
    return None if torch.allclose(a, b, rtol=1e-6, atol=1e-9) else "column r of A and row r of B must be equally long"


def check_ranks(answer, sizes):
    """The largest R with R (m + n) < m n."""
    for found, (m, n) in zip(answer, sizes):
        want = (m * n - 1) // (m + n)
        if found != want:
            return f"for one of the shapes it returned {found}; R (m + n) must be below m n, and R + 1 must not be"
    return None


def least_bits(symbols):
    """Bits of an optimal code: the sum of all inner nodes' weights."""
    heap = list(Counter(symbols).values())
    heapq.heapify(heap)
    if len(heap) == 1:
        return heap[0]
    total = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        total += pair
        heapq.heappush(heap, pair)
    return total


def check_prefix(answer, symbols):
    """A code word of zeros and ones for every symbol, none the beginning of another."""
    code = dict(map(tuple, answer["code"]))
    if set(code) != set(symbols):
        return "every symbol that occurs needs a code word, and no other"
    words = sorted(code.values())
    if any(not word or set(word) - {"0", "1"} for word in words):
        return "code words are non-empty strings of 0 and 1"
    clash = any(b.startswith(a) for a, b in zip(words, words[1:]))
    return "one code word is the beginning of another" if clash else None


def check_length(answer, symbols):
    """As short as any prefix code."""
    fault, code = check_prefix(answer, symbols), dict(map(tuple, answer["code"]))
    found = sum(len(code.get(s, "")) for s in symbols)
    return fault or (None if found == least_bits(symbols) else f"the text takes {found} bits; fewer are possible")


def check_back(answer, symbols):
    """What is decoded is the text."""
    return None if answer["back"] == list(symbols) else "the decoded text is not the text"


def check_mask(answer, theta, share, **rest):
    """The share of smallest magnitudes is gone."""
    mask = answer["mask"]
    if tuple(mask.shape) != tuple(theta.shape) or set(mask.unique().tolist()) - {0.0, 1.0}:
        return "the mask must have the shape of theta and hold zeros and ones only"
    gone = round(share * theta.numel())
    if int((mask == 0).sum()) != gone:
        return f"{int((mask == 0).sum())} weights are gone, expected {gone} of {theta.numel()}"
    largest_gone = (theta.abs() * (1 - mask)).max()
    least_kept = (theta.abs() + 1e9 * (1 - mask)).min()
    return None if gone == 0 or largest_gone <= least_kept else "a larger weight was removed"


def check_dead(answer, **rest):
    """Removed weights are zero after every step."""
    for w in answer["path"]:
        if bool((w[answer["mask"] == 0] != 0).any()):
            return "a removed weight moved; what does the velocity hold for it?"
    return None


def check_alive(answer, theta, share, rounds, lr, mu, velocity):
    """The others follow v <- mu v + g, theta <- theta - lr v."""
    mask = answer["mask"]
    w, v = theta * mask, velocity * mask
    for found in answer["path"]:
        v = mu * v + (w - 1.0) * mask
        w = w - lr * v
        if not torch.allclose(found * mask, w, rtol=1e-9, atol=1e-12):
            return "the weights that remain must follow v <- mu v + g, theta <- theta - lr v"
    return None


def accuracies(nets, hidden, answers):
    """Accuracy of the rebuilt and of the given nets on hidden data."""
    for net, (x, y), answer in zip(nets, hidden, answers):
        W1, b1, W2, b2 = net["weights"]
        mine = ((x @ W1.T + b1).relu() @ W2.T + b2).argmax(1)
        yield float((answer == y).double().mean()), float((mine == y).double().mean())


def budgeted(loss):
    """A check: files within the budget, bytes only, and an accuracy at most ``loss`` below the given net's."""

    def check(answer, nets, budget, hidden):
        if not all(answer["kinds"]):
            return "compress must return bytes"
        if max(answer["bytes"]) > budget:
            return f"a file has {max(answer['bytes'])} bytes, the budget is {budget}"
        for found, given in accuracies(nets, [(h, labels(h)) for h in hidden], answer["answers"]):
            if found < given - loss:
                return f"on unseen data the rebuilt net is {given - found:.3f} less accurate, at most {loss} is allowed"
        return None

    return check


# --- inputs ---------------------------------------------------------------------------------------------------------


def matrix(rng, m, n):
    """A matrix with a falling spectrum."""
    U, V = rng.rotation(m), rng.rotation(n)
    k = min(m, n)
    s = torch.arange(1, k + 1, dtype=torch.float64) ** -0.7 * rng.uniform(0.5, 3.0)
    return U[:, :k] @ torch.diag(s) @ V[:, :k].T


def text(rng, kinds, n, skew):
    """A list of symbols, unevenly frequent."""
    weights = torch.arange(1, kinds + 1, dtype=torch.float64) ** -skew
    return torch.multinomial(weights, n, replacement=True, generator=rng.generator).tolist()


def weights(rng, past=0.0):
    """Weights, their velocity, and the settings of a run."""
    shape = (rng.whole(4, 7), rng.whole(5, 8))
    return {"theta": rng.normal(*shape), "share": rng.uniform(0.3, 0.8), "rounds": 6, "lr": rng.uniform(0.01, 0.1),
            "mu": rng.uniform(0.5, 0.95), "velocity": past * rng.normal(*shape)}


def labels(x):
    """Classes of the task: four sectors of two hidden coordinates."""
    return 2 * (x[:, :8].sum(1) > 0).long() + (x[:, 8:].sum(1) > 0).long()


def nets(rng, budget, count=2):
    """Nets of 16-32-4 units with their training data, and unseen inputs."""
    made, hidden = [], []
    for _ in range(count):
        x = rng.normal(1200, 16)
        y = labels(x)
        p = [0.3 * rng.normal(32, 16), 0.1 * rng.normal(32), 0.2 * rng.normal(4, 32), torch.zeros(4).double()]
        p = [t.requires_grad_() for t in p]
        optimizer = torch.optim.Adam(p, 0.02)
        for _ in range(150):
            loss = torch.nn.functional.cross_entropy((x @ p[0].T + p[1]).relu() @ p[2].T + p[3], y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        made.append({"weights": [t.detach() for t in p], "x": x, "y": y})
        hidden.append(rng.normal(1500, 16))
    return [{"nets": made, "budget": budget, "hidden": hidden}]


HOMEWORK = Homework(
    tasks=[
        Task("test_factor", ["factor"], "drive_factor", forbidden=["sklearn", "scipy"], requirements=[
            Requirement("no product of that rank is closer", 2,
                        lambda r: [{"W": matrix(r, 7, 11), "rank": 3}, {"W": matrix(r, 12, 5), "rank": 2}],
                        check=check_factor, hint="which singular values must the factors hold?"),
            Requirement("the norm of each term is shared equally", 1,
                        lambda r: [{"W": matrix(r, 9, 6), "rank": 4}], check=check_balance,
                        hint="a root of each singular value on either side"),
        ]),
        Task("test_rank", ["largest_rank"], "drive_largest_rank", requirements=[
            Requirement("the largest rank that saves, for any shape", 2,
                        lambda r: [{"sizes": [(300, 784), (10, 10), (2, 2), (1, 5), (r.whole(20, 90), r.whole(20, 90)),
                                              (12, 4), (30, 6)]}],
                        check=check_ranks, hint="what if mn/(m+n) is a whole number?"),
        ]),
        Task("test_huffman", ["huffman_code", "decode"], "drive_huffman", requirements=[
            Requirement("a prefix code for the symbols that occur", 1,
                        lambda r: [{"symbols": text(r, 6, 80, 1.0)}, {"symbols": [r.whole(0, 9)] * 5}],
                        check=check_prefix, hint="a text of one symbol needs a bit, too"),
            Requirement("as short as any code", 2,
                        lambda r: [{"symbols": text(r, 12, 400, 1.5)}, {"symbols": text(r, 3, 60, 0.0)},
                                   {"symbols": text(r, 20, 300, 3.0)}], check=check_length,
                        hint="join the two rarest, again and again"),
            Requirement("what is decoded is the text", 2,
                        lambda r: [{"symbols": text(r, 9, 200, 1.0)}, {"symbols": [3] * 4}], check=check_back),
        ]),
        Task("test_mask", ["prune_mask", "masked_step"], "drive_prune", forbidden=["torch.nn", "torch.optim"],
             requirements=[
            Requirement("the mask removes the smallest magnitudes", 1, lambda r: [weights(r), weights(r)],
                        check=check_mask),
            Requirement("removed weights stay zero, whatever the velocity was", 2,
                        lambda r: [weights(r), weights(r, past=1.0)], check=check_dead,
                        hint="the velocity of a removed weight may come from before it was removed"),
            Requirement("the others are trained as before", 1, lambda r: [weights(r), weights(r, past=1.0)],
                        check=check_alive),
        ]),
        Task("test_budget", ["compress", "rebuild"], "drive_compress", seconds=30, requirements=[
            Requirement("900 bytes, 2 points of accuracy to lose", 2, lambda r: nets(r, 900), check=budgeted(0.02),
                        hint="one byte a weight"),
            Requirement("460 bytes, 4 points of accuracy to lose", 3, lambda r: nets(r, 460), check=budgeted(0.04),
                        hint="half a byte a weight; two weights fit into a byte"),
            Requirement("330 bytes, 15 points of accuracy to lose", 1, lambda r: nets(r, 330), check=budgeted(0.15),
                        hint="are all units needed? do all weights deserve the same number of bits?"),
        ]),
    ],
)
