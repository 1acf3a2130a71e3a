"""The trusted side: sends inputs to the student's functions, compares what comes back with the reference, gives points.

Nothing of this module and nothing that it knows enters the sandbox. A forged answer must be numerically right on inputs
that exist only since this call, so forging is solving.
"""

import contextlib
import hashlib
import hmac
import os
import selectors
import time

import torch

from dlopt.homework import sandbox
from dlopt.homework.inside.play import define, run_task
from dlopt.homework.inside.scan import scan
from dlopt.homework.inside.wire import MAX_FRAME, Frames, dump, load, marks, pack, unpack
from dlopt.homework.spec import Random, difference, show

START_SECONDS, CELL_SECONDS = 60, 15
MOST_FAILURES = 2  # calls of one task that may hang or kill their process before the rest of the task is given up
MOST_FRAMES, MOST_BYTES = 20_000, 32 * 2**20  # of all answers to one task; beyond it they are a flood
MOST_SECONDS = 150  # for one submission; an honest one takes about three


class Dead(RuntimeError):
    """The sandbox gave no further answer: it ended, fell silent or sent what is no frame."""


class InProcess:
    """Transport for the mutation tests: the same cells, drivers and encoding, without a sandbox."""

    def start(self, homework, cells):
        """Scan the cells and keep them."""
        self.drivers, self.cells = define(homework.drivers, "drivers"), cells
        return scan(cells, _scan_tasks(homework))

    def run(self, job):
        """All messages of one job and the reason why it ended ("" for a regular end)."""
        messages, dtype = [], torch.get_default_dtype()
        try:
            run_task(job | {"cells": self.cells}, self.drivers, lambda m: messages.append(load(dump(m)[8:])))
        finally:
            torch.set_default_dtype(dtype)
        return messages, ""

    def close(self):
        """Nothing to end."""


class Sandboxed:
    """Transport for grading: one sandbox per submission, started again if the student's code brings it down."""

    def __init__(self, *, hidden=(), limits=None, sandboxed=True):
        self.options = {"hidden": hidden, "limits": limits, "sandboxed": sandboxed}
        self.stack, self.child = contextlib.ExitStack(), None

    def start(self, homework, cells):
        """Start the worker; returns its scan of the cells, made before any student code ran in this sandbox."""
        self.hello = {"drivers": homework.drivers, "cells": cells, "tasks": _scan_tasks(homework)}
        return self._start()

    def _start(self):
        self.child = self.stack.enter_context(sandbox.process("worker", **self.options))
        self.frames = Frames(MAX_FRAME)
        for fd in (self.child.stdin.fileno(), self.child.stdout.fileno()):
            os.set_blocking(fd, False)
        messages = self._exchange(self.hello, START_SECONDS, "scan")
        return messages[-1]["scan"]

    def run(self, job):
        """All messages of one job and the reason why it ended ("" for a regular end)."""
        if self.child is None:
            self._start()
        messages = []
        try:
            quiet = 2 * max(job["cell_seconds"], job["seconds"] + 1) + 3
            self._exchange(job, job["seconds_total"] + 5, "end", messages, quiet)
            return messages[:-1], str(messages[-1]["end"])
        except Dead as error:
            self.close()
            return messages, str(error)

    def _exchange(self, message, seconds, last, messages=None, quiet=float("inf")):
        messages, end = [] if messages is None else messages, time.monotonic() + seconds
        self.received = 0
        silent = time.monotonic() + quiet  # the worker reports sooner than this, unless it was stopped
        todo, inward, outward = dump(message), self.child.stdin.fileno(), self.child.stdout.fileno()
        with selectors.DefaultSelector() as ready:
            ready.register(outward, selectors.EVENT_READ)
            ready.register(inward, selectors.EVENT_WRITE)
            while True:
                if (left := min(end, silent) - time.monotonic()) <= 0:
                    raise Dead("timeout")
                for key, _ in ready.select(min(left, 0.5)):
                    if key.fd == inward:
                        todo = self._send(inward, todo)
                        if not todo:
                            ready.unregister(inward)
                        continue
                    if self._receive(outward, messages, last):
                        return messages
                    silent = time.monotonic() + quiet

    def _send(self, fd, data):
        try:
            return data[os.write(fd, data[:65536]) :]
        except BlockingIOError:
            return data
        except OSError:
            raise Dead("died") from None

    def _receive(self, fd, messages, last):
        data = os.read(fd, 65536)
        self.received += len(data)
        if not data:
            raise Dead("died")
        if self.received > MOST_BYTES:
            raise Dead("garbage")
        try:
            messages += [load(body) for body in self.frames.feed(data)]
        except ValueError:
            raise Dead("garbage") from None
        if len(messages) > MOST_FRAMES:
            raise Dead("garbage")
        return bool(messages) and last in messages[-1]

    def close(self):
        """End the sandbox and everything in it."""
        self.stack.close()
        self.child = None


def _scan_tasks(homework):
    return [{"name": t.cell, "functions": list(t.functions), "forbidden": t.forbids} for t in homework.tasks]


def seed_of(secret, *parts):
    """A seed that nobody without the secret can foresee, the same again for the same submission."""
    digest = hmac.new(secret, "\0".join(parts).encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:7], "big")


def grade(homework, cells, secret, transport, identity="", labels=None):
    """Grade the code cells of one submission.

    Args:
        homework: what ``spec.load`` returned.
        cells: sources of the student's code cells, in order.
        secret: bytes that seed the inputs together with the submission's text.
        transport: ``Sandboxed`` or ``InProcess``.
        identity: whose submission it is, so that two students with one text get different inputs.
        labels: what to call each cell in messages.

    Returns:
        ``{"tasks": {cell: {"score", "points", "requirements": [...], "review": [...]}}, "notes": [...]}``, plain data.

    Raises:
        Dead: the sandbox did not even start, which says nothing about the submission.
    """
    fingerprint = hashlib.sha256("\0".join(cells).encode("utf-8", "surrogatepass")).hexdigest()
    try:
        looked = transport.start(homework, cells)
        state = {"skip": [], "notes": [], "end": time.monotonic() + MOST_SECONDS, "labels": labels or []}
        state["notes"] += [f"{_cell(state, c)}, line {line}: {text}" for c, line, text in looked["syntax"]]
        tasks = {}
        for task in homework.tasks:
            seed = f"{identity}:{fingerprint}"
            tasks[task.cell] = _grade_task(
                task, looked, lambda r, s=seed: Random(seed_of(secret, s, r)), transport, state
            )
    finally:
        transport.close()
    return {"tasks": tasks, "notes": list(dict.fromkeys(state["notes"]))[:20]}


def _grade_task(task, looked, random_for, transport, state):
    used = [f"{name} ({_cell(state, c)}, line {line})" for name, c, line in looked["forbidden"][task.cell]]
    results = [
        {"says": r.says, "points": r.points, "score": 0.0, "message": "", "hint": r.hint} for r in task.requirements
    ]
    if used:
        for result in results:
            result["message"] = f"not graded: this task asks you to write what {', '.join(used[:3])} would do for you"
    else:
        _run_requirements(task, results, random_for, transport, state)
    hidden = [f"{what} ({_cell(state, c)}, line {line})" for what, c, line in looked["hidden"]]
    score = round(sum(r["score"] for r in results), 6)
    return {"score": score, "points": task.points, "requirements": results, "review": hidden[:5] if score else []}


def _run_requirements(task, results, random_for, transport, state):
    cases = [r.cases(random_for(f"{task.cell}/{i}")) for i, r in enumerate(task.requirements)]
    waiting, failures = list(range(len(cases))), 0
    while waiting:
        if time.monotonic() > state["end"]:
            return _give_up(results, waiting, f"not run: this submission had used up its {MOST_SECONDS} s")
        if failures >= MOST_FAILURES:
            return _give_up(results, waiting, f"not run: {failures} calls of this task had already been stopped")
        flat = [(i, case) for i in waiting for case in cases[i]]
        messages, reason = transport.run(_job(task, [case for _, case in flat], state["skip"]))
        answers, running = _sort_messages(messages, len(flat), state)
        failures += bool(reason)
        if reason and running is None and _skip_statement(messages, reason, state):
            continue
        stuck = flat[running or 0][0] if reason else None
        for i in waiting:
            if i == stuck:
                results[i]["message"] = f"{_names(task)} {_why(reason, task.seconds)}"
            elif not reason or i < stuck:
                answered = [(case, answers.get(k)) for k, (j, case) in enumerate(flat) if j == i]
                _judge(task, task.requirements[i], answered, results[i], state)
        waiting = [i for i in waiting if reason and i > stuck]
    return None


def _skip_statement(messages, reason, state):
    """Leave out the top-level statement at which the cells stopped; False if it is not known or already left out."""
    last = next((m["at"] for m in reversed(messages) if _is_place(m.get("at"))), None)
    if last is None or last in state["skip"]:
        return False
    state["skip"].append(last)
    state["notes"].append(f"{_cell(state, last[0])}: a statement {_why(reason, CELL_SECONDS)}; it was left out")
    return True


def _give_up(results, numbers, message):
    for i in numbers:
        results[i]["message"] = message


def _job(task, cases, skip):
    total = CELL_SECONDS + 15 + task.seconds * 3
    return {"driver": task.driver, "cases": [pack(c) for c in cases], "forbidden": task.forbids, "skip": skip,
            "seconds": task.seconds, "cell_seconds": CELL_SECONDS, "seconds_total": total}  # fmt: skip


def _sort_messages(messages, n, state):
    """Answers by case number, and the number of the case that was running when the messages ended."""
    answers, running, last = {}, None, None
    for m in messages:
        if type(m.get("case")) is int and 0 <= m["case"] < n:
            running = m["case"]
        if type(m.get("i")) is int and 0 <= m["i"] < n:
            answers[m["i"]] = m
        last = m["at"] if _is_place(m.get("at")) else last
        if "failed" in m and isinstance(m.get("error"), dict):
            if m["error"].get("kind") == "timeout" and last and last not in state["skip"]:
                state["skip"].append(last)  # once is enough
            state["notes"].append(f"while the cells were run: {_error(m['error'], CELL_SECONDS, state)}")
    return answers, running


def _is_place(x):
    return isinstance(x, list) and len(x) == 2 and all(type(n) is int and 0 <= n < 10**6 for n in x)


def _cell(state, c):
    return state["labels"][c] if 0 <= c < len(state["labels"]) else f"code cell {c + 1}"


def _why(reason, seconds):
    told = {"timeout": f"did not finish in {seconds:g} s and had to be stopped", "died": "ended the process it ran in",
            "garbage": "answered with something that is no answer"}  # fmt: skip
    return told.get(reason, "was stopped")


def _names(task):
    return " / ".join(task.functions)


def _error(error, seconds, state):
    if error.get("kind") == "timeout":
        return _why("timeout", seconds)
    place = error.get("at")
    if error.get("kind") == "NotImplementedError":
        return "is not written yet (NotImplementedError)"
    where = f" ({_cell(state, place[0])}, line {place[1]})" if _is_place(place) else ""
    return f"raised {str(error.get('kind'))[:60]}: {str(error.get('message'))[:200]}{where}"


def _judge(task, requirement, answered, result, state):
    """Fill in score and message of one requirement from its cases' answers."""
    for case, message in answered:
        problem = _problem(requirement, case, message, task.seconds, state)
        if problem:
            result["message"] = f"{_names(task)}: {problem}"
            return
    result["score"] = requirement.points


def _problem(requirement, case, message, seconds, state):
    if message is None:
        return "gave no answer"
    if "answer" not in message:
        return _error(message["error"], seconds, state) if isinstance(message.get("error"), dict) else "gave no answer"
    try:
        answer = unpack(message["answer"])
    except (ValueError, TypeError, RecursionError):
        return "answered with something that is no data"
    if isinstance(answer, dict):  # decided here, from what was sent and what is left of it
        answer["arguments unchanged"] = message.get("after") == marks(case)
    if requirement.check is not None:
        try:
            return requirement.check(answer, **case)
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError):
            return f"it returned {show(answer)}, which has not the form that is asked for"
    return difference(answer, requirement.expected(**case), requirement.rtol, requirement.atol)
