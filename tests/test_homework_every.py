"""Every homework, whatever its topic: released, handed in, graded in the sandbox, entered, and nothing of it leaked."""

import zipfile

import homework_class as hc
import nbformat
import pytest
from dlopt.homework import commands, gradebook, intake, leaks, load, outputs, publish, repair, sandbox
from dlopt.homework.course import Course
from dlopt.homework.grader import InProcess, grade
from homework_harness import Topic

SOURCES = hc.ROOT / "chapters/homework"
TOPICS = Course(hc.ROOT, SOURCES, hc.ROOT).topics
needs_sandbox = pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """One course for all topics."""
    root = tmp_path_factory.mktemp("every")
    return Course(root / "course", SOURCES, root / "downloads")


@pytest.fixture(scope="module", params=TOPICS)
def topic(request, course):
    """Every homework, released to the course."""
    gradebook.release(course, request.param)
    return request.param


@pytest.fixture
def source(topic):
    """The instructor's notebook."""
    return nbformat.read(SOURCES / topic / f"{topic}.ipynb", as_version=4)


def written(notebook):
    """The cells that are graded by hand."""
    return [c for c in notebook.cells if c.metadata.nbgrader.grade and c.metadata.nbgrader.solution]


@needs_sandbox
@pytest.mark.sandbox
@pytest.mark.slow
def test_the_reference_earns_everything_through_the_real_path(course, topic, source, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "run", lambda *a, **k: {})  # what a notebook prints is worth no points
    handed_in = nbformat.read(course.release(topic), as_version=4)
    for cell in handed_in.cells:
        if cell.metadata.nbgrader.solution:
            cell.source = hc.cell(source, repair.grade_id(cell)).source
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / f"{topic}.ipynb").write_bytes(hc.dumps(handed_in))
    assert intake.collect(course, topic, tmp_path)[0] == {"reference": ("new", [])}
    said = []
    assert commands.grade_class(course, topic, say=said.append) == {}
    points = sum(task.points for task in load(SOURCES / topic).tasks)
    assert said == [f"reference: {points:g} of {points:g}"]
    with gradebook.quietly(), gradebook.open_gradebook(course) as book:
        assert book.find_submission(topic, "reference").score == points
        grades = book.find_submission_notebook(topic, topic, "reference").grades
        waiting = {g.name for g in grades if g.needs_manual_grade}
    assert waiting == {repair.grade_id(c) for c in written(source)}


@pytest.mark.parametrize("name", TOPICS)
def test_the_reference_earns_everything_for_many_seeds_and_passes_the_visible_tests(name):
    topic, space = Topic(name), {}
    labels, cells = repair.student_code(topic.notebook, topic.homework.skip)
    for seed in (b"a", b"b", b"c", b"d"):
        result = grade(topic.homework, cells, seed, InProcess(), labels=labels)
        assert {k: t["score"] for k, t in result["tasks"].items()} == {t.cell: t.points for t in topic.homework.tasks}
        assert result["notes"] == []
    for cell in topic.notebook.cells:
        if cell.cell_type == "code" and repair.grade_id(cell) not in topic.homework.skip:
            exec(compile(cell.source, repair.grade_id(cell), "exec"), space)


def test_the_release_earns_nothing_and_names_every_function_that_is_missing(topic, course):
    labels, cells = repair.student_code(nbformat.read(course.release(topic), as_version=4), load(SOURCES / topic).skip)
    tasks = grade(load(SOURCES / topic), cells, b"s", InProcess(), labels=labels)["tasks"]
    assert [t["score"] for t in tasks.values()] == [0] * len(tasks) and not any(t["review"] for t in tasks.values())
    assert all(r["message"] for t in tasks.values() for r in t["requirements"])


def test_the_release_and_the_downloads_hold_no_secret(topic, course):
    wanted = leaks.secrets(SOURCES, [(hc.ROOT / "chapters/instructor.md").read_text()])
    assert any(told.startswith(f"{topic}/checks.py") for told in wanted.values())
    assert any(told.startswith(f"{topic}/{topic}.ipynb") for told in wanted.values())
    with zipfile.ZipFile(course.site / f"{topic}.zip") as archive:
        texts = [archive.read(name).decode() for name in archive.namelist()]
    texts += [course.release(topic).read_text(), (course.site / f"{topic}.ipynb").read_text()]
    assert not [told for text in map(leaks.squeeze, texts) for key, told in wanted.items() if key in text]


def test_a_homework_has_five_tasks_a_written_question_and_a_row_on_the_page(topic, source):
    homework = load(SOURCES / topic)
    assert len(homework.tasks) + len(written(source)) >= 5 and written(source)
    text = "\n".join(c.source for c in source.cells if c.cell_type == "markdown")
    assert text.count("**Deliverable.**") >= 5 and text.count("**Criterion.**") >= 5
    assert f"<_downloads/homework/{topic}.ipynb>" in (hc.ROOT / "chapters/homework.md").read_text()
    publish.check_source(source, homework)
