"""Good, blank, broken and hostile submissions through the real pipeline: sandbox, gradebook, feedback, CSV."""

import csv
import datetime
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import homework_class as hc
import nbformat
import pytest
from dlopt.homework import commands, gradebook, grader, intake, outputs, sandbox
from dlopt.homework.__main__ import main
from dlopt.homework.course import Course

SEPARATE = os.environ.get("DLOPT_HOMEWORK_CLASS") == "30"  # each attack by a student of its own, and 12 honest ones
STARTED = time.time()  # what an earlier run left when it was killed is not this one's
pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
    pytest.mark.skipif(sandbox.missing() is not None, reason=f"no sandbox here: {sandbox.missing()}"),
]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with the homework released, due in the future."""
    root = tmp_path_factory.mktemp("course")
    made = Course(root / "course", hc.ROOT / "chapters/homework", root / "downloads")
    gradebook.release(made, hc.TOPIC)
    return made


@pytest.fixture(scope="module")
def listener():
    """A service on this machine that no submission may reach."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.1)
        yield server


@pytest.fixture(scope="module")
def graded(course, listener, tmp_path_factory):
    """The class, collected and graded: ``(course, expected scores, report of collect, failed)``."""
    folder = tmp_path_factory.mktemp("handed_in")
    expected = hand_in(course, folder, listener.getsockname()[1])
    report, nobody = intake.collect(course, hc.TOPIC, folder)
    assert nobody == []
    with pytest.MonkeyPatch.context() as patch:
        if not SEPARATE:  # the same limits, reached sooner
            for name, seconds in (("CELL_SECONDS", 6), ("LONG_SECONDS", 10), ("TOTAL_SECONDS", 40)):
                patch.setattr(outputs, name, seconds)
            patch.setattr(grader, "CELL_SECONDS", 6)
        failed = commands.grade_class(course, hc.TOPIC, say=lambda _: None)
    return course, expected, report, failed


def hand_in(course, folder, port):
    """Write the submissions; returns what each must earn (None: cannot be graded)."""
    release = nbformat.read(course.release(hc.TOPIC), as_version=4)
    forbidden = [course.sources, course.root, course.root / "gradebook.db", course.submitted(hc.TOPIC, "good"), folder]
    made = hc.class_of(release, hc.spy([*forbidden, hc.ROOT / "chapters"], port), separate=SEPARATE)
    for name, (data, _) in made.items():
        (folder / name).mkdir()
        file = "answers.pdf" if name == "nothing" else f"{hc.TOPIC}.ipynb"
        (folder / name / file).write_bytes(data)
    return {name: points for name, (_, points) in made.items()}


def scores(course):
    """Automatic score and state of everybody, from nbgrader's own gradebook."""
    with gradebook.quietly(), gradebook.open_gradebook(course) as book:
        return {s.student.id: s.score for s in book.assignment_submissions(hc.TOPIC)}


def test_everybody_earns_what_the_honest_work_earns_and_no_more(graded):
    course, expected, _, failed = graded
    assert {k: v for k, v in scores(course).items() if k not in failed} == {
        k: v for k, v in expected.items() if v is not None
    }


def test_exactly_the_unreadable_are_ungraded_each_with_a_reason_and_a_row(graded):
    course, expected, _, failed = graded
    assert set(failed) == {k for k, v in expected.items() if v is None} and all(failed.values())
    assert set(failed) <= set(scores(course))
    with gradebook.quietly(), gradebook.open_gradebook(course) as book:
        assert all(book.find_submission(hc.TOPIC, s).needs_manual_grade for s in failed)


def test_csv_holds_an_empty_score_and_the_reason_for_the_ungraded(graded, tmp_path):
    course, expected, _, _ = graded
    commands.export_class(course, [hc.TOPIC], tmp_path / "grades.csv")
    rows = {r["student_id"]: r for r in csv.DictReader((tmp_path / "grades.csv").read_text().splitlines())}
    assert set(rows) == set(expected)
    assert rows["truncated"]["score"] == "" and "damaged" in rows["truncated"]["reason"]
    assert float(rows["good"]["score"]) == hc.FULL and rows["good"]["status"] == "needs manual grading"
    assert rows["blank"]["score"] == "0.0" and rows["blank"]["status"] == "graded"


def test_nothing_was_seen_written_or_reached_from_inside(graded, listener):
    course, *_ = graded
    nb = nbformat.read(course.autograded(hc.TOPIC, "spy" if SEPARATE else "forge"), as_version=4)
    printed = "".join(o.text for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "stream")
    assert printed.count("nothing") == 6 and "no network" in printed and "GLOB []" in printed and "found []" in printed
    assert not {"SAW", "WROTE", "CONNECTED"} & set(printed.split())
    with pytest.raises(TimeoutError):
        listener.accept()
    assert not list(course.root.rglob("planted")) and not list(course.sources.rglob("planted"))


def test_no_process_and_no_cgroup_is_left_behind(graded):
    found = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True).stdout
    assert "left-behind-marker" not in found.replace("axo", "")
    groups = [g for g in sandbox.CGROUPS.rglob("dlopt-*") if g.is_dir() and g.stat().st_ctime > STARTED]
    time.sleep(3 if groups else 0)  # those of a grader that runs beside have processes, or are gone by now
    assert not [g for g in groups if g.exists() and not (g / "cgroup.procs").read_text().strip()]


def test_copied_cell_is_repaired_and_told(graded):
    _, _, report, _ = graded
    state, sentences = report["copied"]
    assert state == "new" and any("exists more than once" in s for s in sentences)
    assert any("test_hvp: this cell was edited" in s for s in report["meddled"][1])


def test_feedback_names_the_requirement_and_hides_inputs_answers_and_scripts(graded):
    course, *_ = graded
    made = commands.feedback_class(course, hc.TOPIC)
    pages = {s: p.read_text() for s, p in made.items() if isinstance(p, Path)}
    assert set(pages) == set(made)
    assert "4 of 4 points" in pages["good"] and "NOT MET" not in pages["good"]
    assert "ended the process it ran in" in pages["exit" if SEPARATE else "stuck"]
    assert "5 s and had to be stopped" in pages["stuck"]
    assert "torch.optim" in pages["optim"] and "asks you to write" in pages["optim"]
    assert "was not graded" in pages["empty"] and "empty" in pages["empty"]
    checks = (course.sources / hc.TOPIC / "checks.py").read_text()
    secrets = [
        line.strip()
        for line in checks.splitlines()
        if len(line.strip()) > 40 and "says" not in line and '"""' not in line
    ]
    for student, page in pages.items():
        assert not [
            x for x in ("<script>alert", "<img src=x", "<svg onload", "<b onclick", 'href="javascript') if x in page
        ], student
        assert not [s for s in secrets if s in page and "Requirement(" not in s], student
    assert "grad_outputs=v, materialize_grads" not in pages["blank"]
    with zipfile.ZipFile(course.root / f"feedback/{hc.TOPIC}.zip") as archive:
        assert f"good/{hc.TOPIC}.html" in archive.namelist()


def test_grading_again_does_nothing_and_a_resubmission_regrades_that_student_alone(graded, tmp_path):
    course, *_ = graded
    said = []
    commands.grade_class(course, hc.TOPIC, say=said.append)
    assert said == []
    before = course.result(hc.TOPIC, "good").stat().st_mtime_ns
    release = nbformat.read(course.release(hc.TOPIC), as_version=4)
    (tmp_path / "blank").mkdir()
    time.sleep(1.1)  # times are kept to the second
    (tmp_path / "blank" / f"{hc.TOPIC}.ipynb").write_bytes(hc.dumps(hc.submission(release, hc.solutions())))
    assert intake.collect(course, hc.TOPIC, tmp_path)[0]["blank"][0] == "new"
    commands.grade_class(course, hc.TOPIC, say=said.append)
    assert said == ["blank: 25 of 25"] and scores(course)["blank"] == 25
    assert course.result(hc.TOPIC, "good").stat().st_mtime_ns == before


def test_a_manual_grade_survives_regrading_and_counts_in_the_late_penalty(graded):
    course, *_ = graded
    with gradebook.quietly(), gradebook.open_gradebook(course) as book:
        grade = book.find_grade("interpretation", hc.TOPIC, hc.TOPIC, "copied")
        grade.manual_score, grade.needs_manual_grade = 4, False
        book.db.commit()
    commands.grade_class(course, hc.TOPIC, students=["copied"], again=True, say=lambda _: None)
    assert scores(course)["copied"] == hc.FULL + 4
    (when,) = [r["timestamp"] for r in gradebook.rows(course, hc.TOPIC) if r["student_id"] == "copied"]
    with gradebook.quietly(), gradebook.open_gradebook(course) as book:
        book.update_or_create_assignment(hc.TOPIC, duedate=when - datetime.timedelta(hours=30))
    rows = commands.export_class(course, [hc.TOPIC], course.root / "late.csv")
    (row,) = [r for r in rows if r["student_id"] == "copied"]
    assert row["late_penalty"] == pytest.approx(0.2 * (hc.FULL + 4))
    assert row["score"] == pytest.approx(0.8 * (hc.FULL + 4))
    with (course.root / "course.toml").open("a") as settings:
        settings.write(f"[extension.{hc.TOPIC}]\ncopied = 20\n")
    rows = commands.export_class(course, [hc.TOPIC], course.root / "late.csv")
    (row,) = [r for r in rows if r["student_id"] == "copied"]
    assert row["late_penalty"] == pytest.approx(0.1 * (hc.FULL + 4))


def test_nbgraders_own_export_reads_the_gradebook(graded, tmp_path):
    course, *_ = graded
    nbgrader = [sys.executable, "-W", "ignore", "-m", "nbgrader", "export", "--to", str(tmp_path / "own.csv")]
    run = subprocess.run(nbgrader, cwd=course.root, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    rows = {r["student_id"]: r for r in csv.DictReader((tmp_path / "own.csv").read_text().splitlines())}
    assert float(rows["stuck"]["raw_score"]) == graded[1]["stuck"]


def test_nbgraders_own_autograde_writes_trusted_scores_and_refuses_what_was_not_graded_yet(graded):
    course, *_ = graded
    command = [sys.executable, "-W", "ignore", "-m", "nbgrader", "autograde", hc.TOPIC, "--student", "forge", "--force"]
    assert subprocess.run(command, cwd=course.root, capture_output=True, timeout=120).returncode == 0
    assert scores(course)["forge"] == 0
    path = course.submitted(hc.TOPIC, "forge")
    kept = path.read_text()
    path.write_text(kept.replace("torch", "torch ", 1))
    try:
        refused = subprocess.run(command, cwd=course.root, capture_output=True, text=True, timeout=120)
    finally:
        path.write_text(kept)
    assert refused.returncode != 0 and "no trusted result for this submission" in refused.stderr


def test_command_line_refuses_without_bubblewrap_and_says_how_to_overrule(graded, monkeypatch, capsys):
    course, *_ = graded
    monkeypatch.setattr(shutil, "which", lambda name: None)
    arguments = ["--course", str(course.root), "--sources", str(course.sources), "grade", hc.TOPIC]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "bubblewrap is not installed" in told and "--unsandboxed" in told


def test_result_files_are_plain_data(graded):
    course, *_ = graded
    result = json.loads(course.result(hc.TOPIC, "loud").read_text())
    assert len(json.dumps(result)) < 300_000 and result["tasks"]["test_hvp"]["score"] == 4
