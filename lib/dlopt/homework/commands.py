"""The instructor's commands over a class: every student on their own, every failure told, nothing done twice."""

import contextlib
import csv
import hashlib
import html
import io
import json
import multiprocessing
import multiprocessing.connection
import signal
import time
import zipfile
from pathlib import Path

import nbformat
import torch

from dlopt.homework import gradebook, outputs, repair, sandbox, spec
from dlopt.homework.course import write
from dlopt.homework.grader import Dead, Sandboxed, grade

STUDENT_SECONDS, ENTER_SECONDS = 300, 60  # no submission takes longer to grade; to enter or to show
COLUMNS = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email", "raw_score",
           "late_penalty", "score", "max_score", "status", "reason")  # fmt: skip


def key_of(course, topic, student):
    """Fingerprint of everything that a result depends on: the submission, the checks and the grader itself."""
    digest = hashlib.sha256(course.submitted(topic, student).read_bytes())
    here = Path(__file__).parent
    for path in [
        *sorted((course.sources / topic).glob("*.py")),
        *sorted(here.glob("*.py")),
        *sorted((here / "inside").glob("*.py")),
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def judge(course, topic, student, sandboxed=True):
    """Run and grade one submission, write its result; raises if that failed through no fault of the student's."""
    homework = spec.load(course.sources / topic)
    nb = nbformat.read(course.submitted(topic, student), as_version=4)
    options = {"hidden": [course.sources, course.root], "sandboxed": sandboxed}
    labels, cells = repair.student_code(nb, homework.skip)
    start = time.monotonic()
    result = grade(homework, cells, course.secret(), Sandboxed(**options), identity=f"{topic}/{student}", labels=labels)
    middle = time.monotonic()
    result["outputs"] = outputs.run(nb, homework.skip, **options)
    result["seconds"] = {"grading": round(middle - start, 1), "outputs": round(time.monotonic() - middle, 1)}
    result["key"] = key_of(course, topic, student)
    result["submission"] = hashlib.sha256(course.submitted(topic, student).read_bytes()).hexdigest()
    write(course.result(topic, student), json.dumps(result))


def _one(work, student, answer):
    """Body of the process that works on one student: nothing it does can end the batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)  # a fork does not inherit the threads that torch had started, and would wait for them
    try:
        answer.send(work(student) or "")
    except Dead as error:
        answer.send(f"the sandbox gave no answer ({error}); try again")
    except (Exception, SystemExit) as error:
        name = "" if isinstance(error, gradebook.Failed) else f"{type(error).__name__}: "
        answer.send(f"{name}{error}"[:300] or type(error).__name__)


def _is_current(course, topic, student):
    path = course.result(topic, student)
    try:
        return json.loads(path.read_text())["key"] == key_of(course, topic, student)
    except (OSError, ValueError, KeyError):
        return False


def _is_entered(course, topic, student):
    known = course.status(topic).get(student, {})
    return known.get("state") == "graded" and known.get("entered") == key_of(course, topic, student)


def each(work, students, jobs, seconds):
    """Do ``work(student)`` for several students, ``jobs`` at a time, each within ``seconds`` in a process of its own.

    Yields:
        ``(student, reason)``: why it failed, what ``work`` returned, or "".
    """
    context, waiting, running = multiprocessing.get_context("fork"), list(students), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                student = waiting.pop(0)
                mine, theirs = context.Pipe(duplex=False)
                child = context.Process(target=_one, args=(work, student, theirs))
                child.start()
                theirs.close()
                running[student] = (child, mine, time.monotonic() + seconds)
            for student, (child, mine, end) in list(running.items()):
                if child.is_alive() and time.monotonic() < end:
                    continue
                yield student, _ended(child, mine, seconds)
                del running[student]
            multiprocessing.connection.wait([c.sentinel for c, _, _ in running.values()], timeout=0.5)
    finally:
        for child, _, _ in running.values():
            child.kill()


def _ended(child, mine, seconds):
    late = child.is_alive()
    if late:
        child.kill()
    child.join()
    with contextlib.suppress(EOFError, OSError):
        if mine.poll():
            return mine.recv()
    return f"it took longer than {seconds} s" if late else f"its process ended with code {child.exitcode}"


def grade_class(course, topic, *, students=None, jobs=2, sandboxed=True, again=False, say=print):
    """Grade everybody who is not graded yet.

    Args:
        students: only these; None for all that were collected.
        jobs: how many submissions at a time.
        sandboxed: False runs student code with the instructor's rights.
        again: grade also what was graded already.
        say: called with one line per student.

    Returns:
        ``{student: reason}`` of those who could not be graded.

    Raises:
        sandbox.Refused: this machine cannot contain student code.
    """
    course.need_release(topic)
    if sandboxed and (reason := sandbox.missing()):
        raise sandbox.Refused(reason)
    there = course.students(topic)
    if unknown := sorted(set(students or ()) - set(there)):
        raise ValueError(f"no gradable submission of {', '.join(unknown)}; there are: {', '.join(there) or 'none'}")
    chosen = [s for s in there if students is None or s in students]
    gradebook.backup(course)
    todo = [s for s in chosen if again or not _is_current(course, topic, s)]
    failed = {}
    for student, reason in each(lambda s: judge(course, topic, s, sandboxed), todo, jobs, STUDENT_SECONDS):
        if reason:
            failed[student] = f"the grader failed: {reason}"
            say(f"{student}: UNGRADED, {failed[student]}")
        else:
            result = json.loads(course.result(topic, student).read_text())["tasks"].values()
            say(f"{student}: {sum(t['score'] for t in result):g} of {sum(t['points'] for t in result):g}")
    enter = [s for s in chosen if s not in failed and (again or not _is_entered(course, topic, s))]
    for student, reason in each(lambda s: gradebook.autograde(course, topic, s), enter, 1, ENTER_SECONDS):
        if reason:
            failed[student] = f"nbgrader refused it: {reason}"
            say(f"{student}: UNGRADED, {failed[student]}")
        else:
            course.note(topic, student, state="graded", reason="", entered=key_of(course, topic, student))
    for student, reason in failed.items():
        course.note(topic, student, state="ungraded", reason=reason)
    for student, known in course.status(topic).items():
        if known["state"] == "ungraded":
            gradebook.enter_ungraded(course, topic, student)
            failed.setdefault(student, known["reason"])
    gradebook.apply_late_policy(course, topic)
    return failed


def feedback_class(course, topic, *, students=None, jobs=2):
    """Write everybody's feedback and one zip for the LMS; returns ``{student: page or reason}``."""
    course.need_release(topic)
    gradebook.apply_late_policy(course, topic)
    made, status = {}, course.status(topic)
    if unknown := sorted(set(students or ()) - set(status)):
        raise ValueError(f"nothing is known of {', '.join(unknown)}; there are: {', '.join(sorted(status)) or 'none'}")
    chosen = [s for s in sorted(status) if students is None or s in students]
    graded = [s for s in chosen if status[s]["state"] == "graded"]
    problems = dict(each(lambda s: gradebook.feedback(course, topic, s) and None, graded, jobs, ENTER_SECONDS))
    for student in chosen:
        made[student] = problems.get(student) or course.feedback(topic, student)
        if student not in graded:
            reason = html.escape(status[student].get("reason") or "it was not graded yet")
            text = f"<!doctype html><meta charset=utf-8><title>{topic}</title><p>Your work was not graded: {reason}."
            write(made[student], text)
    _zip_feedback(course, topic, status, made)
    return made


def _zip_feedback(course, topic, status, made):
    """Pages under the folder names of the LMS, so that the zip can be uploaded where the submissions came from."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for student, page in made.items():
            if isinstance(page, Path):
                archive.write(page, f"{status[student].get('lms') or student}/{topic}.html")
    write(course.root / "feedback" / f"{topic}.zip", buffer.getvalue())


def export_class(course, topics, to):
    """Write the CSV; returns its rows."""
    table = []
    for topic in topics:
        course.need_release(topic)
        gradebook.apply_late_policy(course, topic)
        table += gradebook.rows(course, topic)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: _plain(row[k]) for k in COLUMNS} for row in table])
    write(to, buffer.getvalue())
    return table


def _plain(value):
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value
