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

from dlopt.homework import gradebook, outputs, repair, sandbox, spec
from dlopt.homework.course import write
from dlopt.homework.grader import Dead, Sandboxed, grade

STUDENT_SECONDS = 300  # whatever happens, one submission takes no longer
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


def _one(course, topic, student, sandboxed, answer):
    """Body of the process that grades one student: nothing it does can end the batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        judge(course, topic, student, sandboxed)
        answer.send("")
    except Dead as error:
        answer.send(f"the sandbox gave no answer ({error}); try again")
    except Exception as error:
        answer.send(f"the grader failed: {type(error).__name__}: {error}"[:300])


def _is_current(course, topic, student):
    path = course.result(topic, student)
    try:
        return json.loads(path.read_text())["key"] == key_of(course, topic, student)
    except (OSError, ValueError, KeyError):
        return False


def judge_all(course, topic, students, jobs, sandboxed):
    """Judge several students, ``jobs`` at a time, each in a process of its own; yields ``(student, reason or "")``."""
    context, waiting, running = multiprocessing.get_context("fork"), list(students), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                student = waiting.pop(0)
                mine, theirs = context.Pipe(duplex=False)
                child = context.Process(target=_one, args=(course, topic, student, sandboxed, theirs))
                child.start()
                theirs.close()
                running[student] = (child, mine, time.monotonic() + STUDENT_SECONDS)
            for student, (child, mine, end) in list(running.items()):
                if child.is_alive() and time.monotonic() < end:
                    continue
                yield student, _ended(child, mine)
                del running[student]
            multiprocessing.connection.wait([c.sentinel for c, _, _ in running.values()], timeout=0.5)
    finally:
        for child, _, _ in running.values():
            child.kill()


def _ended(child, mine):
    late = child.is_alive()
    if late:
        child.kill()
    child.join()
    with contextlib.suppress(EOFError, OSError):
        if mine.poll():
            return mine.recv()
    return (
        f"grading took longer than {STUDENT_SECONDS} s"
        if late
        else f"the grading process ended with code {child.exitcode}"
    )


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
    chosen = [s for s in course.students(topic) if students is None or s in students]
    gradebook.backup(course)
    todo = [s for s in chosen if again or not _is_current(course, topic, s)]
    failed = {}
    for student, reason in judge_all(course, topic, todo, jobs, sandboxed):
        if reason:
            failed[student] = reason
            say(f"{student}: UNGRADED, {reason}")
        else:
            result = json.loads(course.result(topic, student).read_text())["tasks"].values()
            say(f"{student}: {sum(t['score'] for t in result):g} of {sum(t['points'] for t in result):g}")
    for student in chosen:
        if student not in failed and (
            again or student in todo or course.status(topic).get(student, {}).get("state") != "graded"
        ):
            _enter(course, topic, student, failed, say)
    for student, reason in failed.items():
        course.note(topic, student, state="ungraded", reason=reason)
    for student, known in course.status(topic).items():
        if known["state"] == "ungraded":
            gradebook.enter_ungraded(course, topic, student)
            failed.setdefault(student, known["reason"])
    gradebook.apply_late_policy(course, topic)
    return failed


def _enter(course, topic, student, failed, say):
    try:
        gradebook.autograde(course, topic, student)
    except (Exception, SystemExit) as error:
        failed[student] = f"nbgrader refused it: {type(error).__name__}: {error}"[:300]
        say(f"{student}: UNGRADED, {failed[student]}")
    else:
        course.note(topic, student, state="graded", reason="")


def feedback_class(course, topic, *, students=None):
    """Write everybody's feedback and one zip for the LMS; returns ``{student: page or reason}``."""
    course.need_release(topic)
    gradebook.apply_late_policy(course, topic)
    made, status = {}, course.status(topic)
    for student, known in sorted(status.items()):
        if students is not None and student not in students:
            continue
        page = course.feedback(topic, student)
        if known["state"] == "graded":
            try:
                made[student] = gradebook.feedback(course, topic, student)
            except (Exception, SystemExit) as error:
                made[student] = f"{type(error).__name__}: {error}"[:300]
        else:
            reason = html.escape(known.get("reason") or "it was not graded yet")
            write(
                page,
                f"<!doctype html><meta charset=utf-8><title>{topic}</title><p>Your work was not graded: {reason}.",
            )
            made[student] = page
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
