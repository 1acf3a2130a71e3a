"""nbgrader's converters and gradebook, with the points from the trusted grader instead of from the student's kernel.

nbgrader's formgrader, feedback and export keep working on what is written here. ``nbgrader_config.py``, written into
the course folder by ``release``, gives the same converters to nbgrader's own commands and to formgrader's buttons.
"""

import contextlib
import hashlib
import html
import json
import logging
import os
import re
import shutil
import sqlite3
import sys
import unittest.mock
import warnings
from datetime import timedelta
from pathlib import Path

import nbformat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nbconvert.preprocessors import ClearMetadataPreprocessor
    from nbconvert.preprocessors.sanitize import SanitizeHTML
    from nbgrader import utils
    from nbgrader.api import Gradebook, MissingEntry
    from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.plugins import LateSubmissionPlugin
    from nbgrader.preprocessors import (
        AssignLatePenalties,
        CheckCellMetadata,
        IgnorePattern,
        LimitOutput,
        NbGraderPreprocessor,
        SaveAutoGrades,
    )
    from traitlets.config import Config

from dlopt.homework import publish, spec
from dlopt.homework.course import Course, late_share, write

KEEP_BACKUPS = 5
MATH = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.S)
COMMANDS = re.compile(r"\\(href|cssId|class|style|require|html\w*)(?![a-zA-Z])")  # MathJax's ways out of a formula
LINK = re.compile(r"(\]\(\s*<?|\]:\s*<?|<)([^\s)>]*)")  # where Markdown expects the target of a link
CONFIG = """\
# Written by `python -m dlopt.homework release`: nbgrader's own commands and formgrader use the book's trusted grading.
from pathlib import Path

from dlopt.homework.course import Course
from dlopt.homework.gradebook import config

c = get_config()  # noqa: F821
c.merge(config(Course(Path({root!r}), Path({sources!r}), Path({site!r}))))
"""


# --- the pieces that nbgrader calls ----------------------------------------------------------------------------------


def _course_of(resources):
    """The course whose gradebook nbgrader was given."""
    root = Path(resources["nbgrader"]["db_url"].removeprefix("sqlite:///")).parent
    return Course(root, root, root)


def _result(resources):
    """The trusted result of what is being converted; refuses one that belongs to an earlier submission."""
    course, place = _course_of(resources), (resources["nbgrader"]["assignment"], resources["nbgrader"]["student"])
    path = course.result(*place)
    if path.exists():
        result = json.loads(path.read_text())
        if result["submission"] == hashlib.sha256(course.submitted(*place).read_bytes()).hexdigest():
            return result
    raise FileNotFoundError(f"no trusted result for this submission; run python -m dlopt.homework grade first ({path})")


class TakeOutputs(NbGraderPreprocessor):
    """In place of nbgrader's execution: the outputs that the sandbox produced, and the report on every graded cell."""

    def preprocess(self, nb, resources):
        """Fill in outputs; see the class."""
        result = _result(resources)
        for i, cell in enumerate(nb.cells):
            if cell.cell_type == "code":
                cell.outputs = [nbformat.from_dict(o) for o in result["outputs"].get(str(i), [])]
                task = result["tasks"].get(cell.metadata.get("nbgrader", {}).get("grade_id"))
                cell.outputs += [report(task)] if task else []
        return nb, resources


class Harmless(NbGraderPreprocessor):
    """Take scripts and event handlers out of the student's Markdown, which formgrader and feedback show as HTML."""

    def preprocess_cell(self, cell, resources, index):
        """Sanitize one cell; released texts are left alone."""
        if cell.cell_type != "code" and not utils.is_locked(cell):
            cell.source = harmless(cell.source)
        return cell, resources


def harmless(markdown):
    """Markdown without scripts, event handlers, and links to anything but web pages and mail."""

    def look(link):
        target = re.sub(r"[\s\\\x00-\x1f]", "", html.unescape(html.unescape(link[2]))).lower()
        odd = re.match(r"[a-z][a-z0-9+.-]*:", target) and not target.startswith(("http:", "https:", "mailto:"))
        return f"{link[1]}blocked" if odd else link[0]

    def formula(found):  # an escaped < would be shown as such, and LaTeX has a word for it
        return found[0].replace("&lt;", r"\lt ").replace("&gt;", r"\gt ").replace("&amp;", "&")

    clean = COMMANDS.sub(r"\\text", SanitizeHTML().sanitize_html_tags(markdown))
    return LINK.sub(look, MATH.sub(formula, clean))


class TrustedGrades(SaveAutoGrades):
    """In place of nbgrader's reading of outputs: the scores of the trusted grader."""

    def preprocess(self, nb, resources):
        """Write the scores; see the class."""
        self.result = _result(resources)
        return super().preprocess(nb, resources)

    def _add_score(self, cell, resources):
        task = self.result["tasks"].get(cell.metadata.nbgrader.grade_id)
        if task is None:  # a written answer: untouched is 0, else a human decides
            return super()._add_score(cell, resources)
        place = (cell.metadata.nbgrader.grade_id, self.notebook_id, self.assignment_id, self.student_id)
        grade = self.gradebook.find_grade(*place)
        grade.auto_score = task["score"]
        grade.needs_manual_grade = grade.manual_score is not None or bool(task["review"])
        self.gradebook.db.commit()
        return None


class LatePolicy(LateSubmissionPlugin):
    """Late penalty by the rule in ``course.toml``."""

    def late_submission_penalty(self, student_id, score, total_seconds_late):
        """Points that this many seconds cost."""
        root = Path(self.parent.db_url.removeprefix("sqlite:///")).parent
        return score * late_share(total_seconds_late, Course(root, root, root).settings()) or None


def report(task):
    """The verdict on one graded cell as an output: each requirement, met or not, with the student's own values."""
    head = f"{task['score']:g} of {task['points']:g} points"
    items = []
    for r in task["requirements"]:
        met = r["score"] > 0
        lines = [f"{'met' if met else 'NOT MET'} ({r['score']:g} of {r['points']:g}): {r['says']}"]
        items.append(lines if met else [*lines, r["message"], *([f"Hint: {r['hint']}"] if r["hint"] else [])])
    if task["review"]:
        items.append([f"A human will look at this cell, because the notebook uses: {', '.join(task['review'])}"])
    plain = "\n".join([head, *("\n    ".join(lines) for lines in items)])
    rows = "".join(f"<li>{'<br>'.join(map(html.escape, lines))}</li>" for lines in items)
    shown = f"<div><b>{html.escape(head)}</b><ul>{rows}</ul></div>"
    return nbformat.v4.new_output("display_data", {"text/plain": plain, "text/html": shown})


# --- configuration and conversion ------------------------------------------------------------------------------------


def config(course):
    """nbgrader's configuration for a course."""
    c = Config()
    c.CourseDirectory.root = str(course.root)
    c.CourseDirectory.db_url = course.db_url
    c.CourseDirectory.source_directory = str(course.sources)
    c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "*.py", "timestamp.txt"]
    c.Autograde.autograde_preprocessors = [TakeOutputs, IgnorePattern, ClearMetadataPreprocessor, LimitOutput,
                                           TrustedGrades, AssignLatePenalties, Harmless, CheckCellMetadata]  # fmt: skip
    c.AssignLatePenalties.plugin_class = LatePolicy
    c.OverwriteCells.add_missing_cells = True
    return c


@contextlib.contextmanager
def quietly():
    """Keep third-party warnings off the screen, and let nbgrader find the ``alembic`` of this very environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with warnings.catch_warnings(), unittest.mock.patch.dict(os.environ, PATH=path):
        warnings.simplefilter("ignore")
        yield


def _convert(kind, course, topic, student, **settings):
    with quietly():
        c = config(course)
        directory = CourseDirectory(config=c)
        directory.assignment_id, directory.student_id = topic, student
        log, said = logging.Logger("nbgrader"), _Said()
        log.addHandler(said)
        converter = kind(coursedir=directory, config=c, log=log)
        for name, value in settings.items():
            setattr(converter, name, value)
        try:
            converter.start()
        except (Exception, SystemExit) as error:
            raise Failed(said.reason() or f"{type(error).__name__}: {error}") from error


class Failed(RuntimeError):
    """nbgrader could not convert a notebook; the message is the innermost reason that it logged."""


class _Said(logging.Handler):
    """What nbgrader logged, because its exceptions only say "see the log"."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.messages = []

    def emit(self, record):
        """Keep a message."""
        self.messages.append(record.getMessage())

    def reason(self):
        """The last line of the last traceback that was logged."""
        traces = [m.strip().splitlines()[-1] for m in self.messages if m.startswith("Traceback")]
        return traces[-1] if traces else None


def open_gradebook(course):
    """nbgrader's gradebook as a context manager."""
    return Gradebook(course.db_url)


def backup(course):
    """Copy the gradebook before it is written to; the last few copies are kept."""
    database = course.root / "gradebook.db"
    if not database.exists():
        return None
    copies = sorted((course.root / "backups").glob("gradebook-*.db"))
    number = int(copies[-1].stem.split("-")[1]) + 1 if copies else 1
    target = course.root / "backups" / f"gradebook-{number:06d}.db"
    target.parent.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(database)) as a, contextlib.closing(sqlite3.connect(target)) as b:
        a.backup(b)
    for old in copies[: max(0, len(copies) - KEEP_BACKUPS + 1)]:
        old.unlink()
    return target


def release(course, topic, due=None):
    """Check the source, make the student version, enter the assignment into the gradebook, write the book's downloads.

    Raises:
        ValueError: notebook and ``checks.py`` disagree.
    """
    source = nbformat.read(course.source(topic), as_version=4)
    publish.check_source(source, spec.load(course.sources / topic))
    course.secret(), course.settings()
    backup(course)
    _convert(GenerateAssignment, course, topic, "*", force=True)
    with quietly(), open_gradebook(course) as book:
        if due is not None:
            book.update_or_create_assignment(topic, duedate=due)
    paths = {"root": str(course.root), "sources": str(course.sources), "site": str(course.site)}
    write(course.root / "nbgrader_config.py", CONFIG.format(**paths))
    publish.for_site(course, topic)


def autograde(course, topic, student):
    """Enter one student's trusted result into the gradebook; raises what nbgrader raises, for this student alone."""
    _convert(Autograde, course, topic, student, force=True)


def enter_ungraded(course, topic, student):
    """Make sure that a student whose submission could not be graded has a row that asks for a human."""
    with quietly(), open_gradebook(course) as book:
        book.update_or_create_student(student)
        book.update_or_create_submission(topic, student)


def apply_late_policy(course, topic):
    """Recompute every late penalty from the present score, written answers and extensions included."""
    settings = course.settings()
    more = settings["extension"].get(topic, {})
    with quietly(), open_gradebook(course) as book:
        for submission in book.assignment_submissions(topic):
            if submission.student.id in more:
                submission.extension = timedelta(hours=more[submission.student.id])
            share = late_share(submission.total_seconds_late, settings)
            for notebook in submission.notebooks:
                notebook.late_submission_penalty = notebook.score * share if share else None
        book.db.commit()


def feedback(course, topic, student):
    """Write one student's feedback page."""
    page = course.feedback(topic, student)
    if page.parent.exists():
        shutil.rmtree(page.parent)
    _convert(GenerateFeedback, course, topic, student, force=True)
    return page


def rows(course, topic):
    """One dict per student known to the gradebook or to the status file: scores, state and reason."""
    status, made = course.status(topic), []
    with quietly(), open_gradebook(course) as book:
        assignment = book.find_assignment(topic)
        names = sorted({s.id for s in book.students} | set(status))
        for name in names:
            made.append(_row(book, assignment, name, status.get(name, {})))
    return made


def _row(book, assignment, student, known):
    row = dict.fromkeys(("last_name", "first_name", "email", "timestamp", "raw_score", "late_penalty", "score"), "")
    row |= {"assignment": assignment.name, "duedate": assignment.duedate or "", "student_id": student}
    row |= {"max_score": assignment.max_score, "status": "not submitted", "reason": ""}
    with contextlib.suppress(MissingEntry):
        person = book.find_student(student)
        row |= {k: getattr(person, k) or "" for k in ("last_name", "first_name", "email")}
    state = known.get("state")
    if state is None:
        return row
    if state != "graded":
        return row | {"status": "ungraded", "reason": known.get("reason") or "collected, not graded yet"}
    submission = book.find_submission(assignment.name, student)
    penalty = sum(n.late_submission_penalty or 0 for n in submission.notebooks)
    score = round(max(0.0, submission.score - penalty), 4)
    row |= {"timestamp": submission.timestamp or "", "raw_score": submission.score, "late_penalty": round(penalty, 4)}
    waiting = bool(submission.needs_manual_grade)
    return row | {
        "score": score,
        "status": "needs manual grading" if waiting else "graded",
        "reason": known.get("warning", ""),
    }


def enter_roster(course, people):
    """Add the students of a roster, names and email included, so that whoever handed in nothing is listed too."""
    with quietly(), open_gradebook(course) as book:
        for row in people:
            facts = {k: row[k] for k in ("first_name", "last_name", "email") if row.get(k)}
            book.update_or_create_student(row["student_id"], **facts)
