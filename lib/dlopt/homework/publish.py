"""From the instructor's source to what students get: the released notebook, its zip, and the entry in the gradebook."""

import hashlib
import io
import zipfile
from pathlib import Path

from dlopt.homework.course import write
from dlopt.homework.repair import defined

README = """\
{title}

Open {topic}.ipynb in JupyterLab, in an environment with the book's requirements.txt installed. No data is needed.
Write your answers where it says YOUR CODE HERE or YOUR ANSWER HERE. Do not delete or copy the cells with tests.
Before you hand in: Kernel > Restart and run all, then press Validate. Hand in the file {topic}.ipynb under this name.
"""


def student_version(nb):
    """The notebook without solutions and outputs, tests locked: nbgrader's own preprocessors in its order."""
    from nbgrader import preprocessors as p

    steps = [p.LockCells, p.ClearSolutions, p.ClearOutput, p.CheckCellMetadata, p.ComputeChecksums, p.ClearHiddenTests,
             p.ClearMarkScheme, p.ComputeChecksums, p.CheckCellMetadata]  # fmt: skip
    resources = {}
    for step in steps:
        nb, resources = step().preprocess(nb, resources)
    return nb


def check_source(nb, homework):
    """Raise ``ValueError`` if notebook, ``checks.py`` and ``drivers.py`` disagree on cells, points or functions."""
    cells = {c.metadata.nbgrader.grade_id: c.metadata.nbgrader for c in nb.cells if "nbgrader" in c.metadata}
    graded = {k: m.points for k, m in cells.items() if m.grade and not m.solution}
    declared = {t.cell: t.points for t in homework.tasks}
    if graded != declared:
        raise ValueError(f"test cells of the notebook carry {graded}, checks.py declares {declared}; make them equal")
    code = "\n".join(c.source for c in nb.cells if c.cell_type == "code")
    for task in homework.tasks:
        if missing := set(task.functions) - defined(code):
            raise ValueError(f"no cell of the notebook defines {', '.join(sorted(missing))} of task {task.cell}")
        if task.driver not in defined(homework.drivers):
            raise ValueError(f"drivers.py has no function {task.driver}, which task {task.cell} calls")
    if unknown := set(homework.skip) - set(cells):
        raise ValueError(f"checks.py skips cells that do not exist: {', '.join(sorted(unknown))}")


def _zipped(topic, text, title):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in ((f"{topic}.ipynb", text), ("README.txt", README.format(topic=topic, title=title))):
            info = zipfile.ZipInfo(f"{topic}/{name}", date_time=(2026, 1, 1, 0, 0, 0))  # same input, same bytes
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, body)
    return buffer.getvalue()


def _fingerprint(course, topic):
    parts = [course.source(topic).read_bytes(), Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def site_is_current(course, topic):
    """Whether the downloads of a topic were made from its present source."""
    made = course.site / f"{topic}.sha256"
    both = all((course.site / f"{topic}.{kind}").exists() for kind in ("ipynb", "zip"))
    return both and made.exists() and made.read_text() == _fingerprint(course, topic)


def for_site(course, topic):
    """Write the student notebook and its zip where the book links them; returns False if they were up to date."""
    if site_is_current(course, topic):
        return False
    import nbformat

    nb = student_version(nbformat.read(course.source(topic), as_version=4))
    text = nbformat.writes(nb) + "\n"
    title = next(line.lstrip("# ") for line in nb.cells[0].source.splitlines() if line.startswith("# "))
    write(course.site / f"{topic}.ipynb", text)
    write(course.site / f"{topic}.zip", _zipped(topic, text, title))
    write(course.site / f"{topic}.sha256", _fingerprint(course, topic))
    return True
