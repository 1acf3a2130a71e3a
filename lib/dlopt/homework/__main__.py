"""``python -m dlopt.homework``: release, collect-check, grade, feedback, export. See chapters/instructor.md."""

import argparse
import sys
from datetime import datetime
from pathlib import Path


def parser():
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m dlopt.homework", description=__doc__)
    top.add_argument(
        "--course", type=Path, help="folder of everything generated or handed in (default: build/homework)"
    )
    top.add_argument("--sources", type=Path, help="folder of the instructor's sources (default: chapters/homework)")
    sub = top.add_subparsers(dest="command", required=True)
    add = sub.add_parser("release", help="make the student version and enter the assignment into the gradebook")
    add.add_argument("topics", nargs="*", help="default: all")
    add.add_argument("--due", type=_moment, help='due date, local time: "2026-12-01 23:59"')
    add.add_argument("--for-site", action="store_true", help="only the downloads of the book; skips what is up to date")
    add = sub.add_parser("collect-check", help="take submissions from a folder or an LMS zip; repair or report each")
    add.add_argument("topic")
    add.add_argument("source", type=Path, help="folder or zip")
    add.add_argument("--roster", type=Path, help="CSV with columns lms, student_id [, first_name, last_name, email]")
    add = sub.add_parser("grade", help="grade what was collected and is not graded yet")
    add.add_argument("topic")
    add.add_argument("--student", action="append", help="only this one; may be repeated")
    add.add_argument("--again", action="store_true", help="also what was graded before")
    add.add_argument("--jobs", type=int, default=2, help="submissions at a time (default 2)")
    add.add_argument("--unsandboxed", metavar="REASON", help="run student code with YOUR rights, and say why")
    add = sub.add_parser("feedback", help="write the pages that go back to students, and a zip of them")
    add.add_argument("topic")
    add.add_argument("--student", action="append")
    add = sub.add_parser("export", help="write scores, penalties and who was not graded, and why, as CSV")
    add.add_argument("topics", nargs="*", help="default: all released")
    add.add_argument("--to", type=Path, help="default: grades.csv in the course folder")
    return top


def _moment(text):
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'a date looks like "2026-12-01 23:59", got {text!r}') from None


def tell(text):
    """Print a line in which names that students chose cannot steer the terminal."""
    print("".join(c if c.isprintable() or c in "\n\t" else "�" for c in str(text)))


def release(course, args):
    """Release topics, or only make the book's downloads."""
    if args.for_site:
        from dlopt.homework import publish

        for topic in args.topics or course.topics:
            course.source(topic)
            print(f"{topic}: {'written to' if publish.for_site(course, topic) else 'up to date in'} {course.site}")
        return 0
    from dlopt.homework import course as place
    from dlopt.homework import gradebook

    for topic in args.topics or course.topics:
        gradebook.release(course, topic, place.utc(args.due) if args.due else None)
        print(f"{topic}: released to {course.release(topic)}; for students: {course.site / topic}.ipynb and .zip")
    return 0


def collect_check(course, args):
    """Collect and print what was repaired and what cannot be graded."""
    from dlopt.homework import intake

    known = intake.roster(args.roster) if args.roster else None
    report, nobody = intake.collect(course, args.topic, args.source, known)
    for student, (state, sentences) in report.items():
        tell(f"{student}: {state}")
        for sentence in sentences:
            tell(f"    {sentence}")
    for path in nobody:
        tell(f"nobody's file: {path}")
    bad = [s for s, (state, _) in report.items() if state == "unreadable"]
    tell(f"{len(report)} students, {len(bad)} without a gradable submission{': ' + ', '.join(bad) if bad else ''}")
    if known:
        from dlopt.homework import gradebook

        gradebook.enter_roster(course, known.values())
    return 0


def grade(course, args):
    """Grade and list who is ungraded."""
    from dlopt.homework import commands, sandbox

    if args.unsandboxed:
        tell(f"WARNING: student code runs with your rights, without a sandbox. Reason given: {args.unsandboxed}")
    options = {"students": args.student, "jobs": args.jobs, "again": args.again, "sandboxed": not args.unsandboxed}
    try:
        failed = commands.grade_class(course, args.topic, say=tell, **options)
    except sandbox.Refused as error:
        print(
            f'refused: {error}.\nTo run student code with your own rights all the same: --unsandboxed "reason"',
            file=sys.stderr,
        )
        return 2
    tell(f"ungraded: {len(failed)}" + "".join(f"\n    {student}: {reason}" for student, reason in failed.items()))
    return 0


def feedback(course, args):
    """Write feedback."""
    from dlopt.homework import commands

    made = commands.feedback_class(course, args.topic, students=args.student)
    for student, page in made.items():
        tell(f"{student}: {page}")
    tell(f"for the LMS: {course.root / 'feedback' / args.topic}.zip")
    return 0


def export(course, args):
    """Write the CSV and print the list of the ungraded."""
    from dlopt.homework import commands

    topics = args.topics or sorted(p.name for p in (course.root / "release").iterdir() if p.is_dir())
    to = args.to or course.root / "grades.csv"
    table = commands.export_class(course, topics, to)
    for row in table:
        if row["status"] not in ("graded", "not submitted"):
            reason = f" ({row['reason']})" if row["reason"] else ""
            tell(f"{row['assignment']} {row['student_id']}: {row['status']}{reason}")
    tell(f"{len(table)} rows in {to}")
    return 0


COMMANDS = {"release": release, "collect-check": collect_check, "grade": grade, "feedback": feedback, "export": export}


def main(argv=None):
    """Run one command; returns the exit status."""
    args = parser().parse_args(argv)
    from dlopt.homework import course as place

    try:
        return COMMANDS[args.command](place.find(args.course, args.sources), args)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
