"""The set-up check names what is missing and what it costs."""

import subprocess
import sys

from dlopt import doctor


def test_a_missing_package_is_named_with_its_cost_and_the_way_out():
    (finding,) = doctor.check_packages({"no-such-package-here": "nothing runs"})
    assert not finding.ok
    assert "nothing runs: pip install -r requirements.txt" in finding.line()


def test_a_missing_program_is_named_and_a_present_one_shows_its_path():
    missing, present = doctor.check_programs(
        {"teapot": (("no-such-teapot",), "no tea"), "python": ((sys.executable,), "nothing runs")}
    )
    assert not missing.ok and missing.line().endswith("->  no tea")
    assert present.ok and sys.executable in present.line()


def test_versions_are_compared_as_numbers_not_as_text():
    assert doctor._version("2.9.1") < doctor._version("2.11.0+cpu")


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert not doctor._writable(tmp_path).ok


def test_the_command_ends_well_where_the_suite_runs_and_names_every_check():
    done = subprocess.run([sys.executable, "-m", "dlopt.doctor"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ready: every chapter runs." in done.stdout
    for name in ("torch", "device", "memory", "fonts", "chromium", "bubblewrap"):
        assert name in done.stdout


def test_a_gap_in_what_chapters_need_gives_exit_status_one(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "check_fonts", lambda: [doctor.Finding("fonts", False, "0 files", "no glyphs")])
    assert doctor.main() == 1
    assert "Not ready: fonts." in capsys.readouterr().out
