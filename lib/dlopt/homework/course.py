"""Where a course keeps what: sources, released notebooks, submissions, results, feedback, and its settings."""

import json
import os
import re
import secrets
import tomllib
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dlopt.checks import in_closed, non_negative

SETTINGS = """\
# Settings of this course; edit freely. Due dates belong to the gradebook: release TOPIC --due "2026-12-01 23:59".
[late]
grace_minutes = 15   # later than this counts as late
per_day = 0.10       # share of the score lost for every started day
at_most = 0.50       # never more than this share; 1.0 = a very late submission counts nothing

# More time for one student, in hours after the due date:
# [extension.gradient_descent]
# alice = 48
"""


@dataclass(frozen=True)
class Course:
    """Folders of one course.

    Args:
        root: everything that is generated or handed in; keep it out of version control and away from students.
        sources: instructor sources, one folder per topic.
        site: where the book looks for downloads.
    """

    root: Path
    sources: Path
    site: Path

    @property
    def db_url(self):
        """SQLAlchemy address of nbgrader's gradebook."""
        return f"sqlite:///{self.root / 'gradebook.db'}"

    @property
    def topics(self):
        """Topics that have a notebook and checks."""
        return sorted(
            p.parent.name for p in self.sources.glob("*/checks.py") if (p.parent / f"{p.parent.name}.ipynb").exists()
        )

    def source(self, topic):
        """The instructor's notebook; raises ``FileNotFoundError`` that lists the topics."""
        path = self.sources / topic / f"{topic}.ipynb"
        if not path.exists():
            raise FileNotFoundError(
                f"no homework {topic!r} in {self.sources}; there are: {', '.join(self.topics) or 'none'}"
            )
        return path

    def release(self, topic):
        """The released notebook."""
        return self.root / "release" / topic / f"{topic}.ipynb"

    def submitted(self, topic, student):
        """The checked and rebuilt notebook that is graded."""
        return self.root / "submitted" / student / topic / f"{topic}.ipynb"

    def need_release(self, topic):
        """The released notebook; raises ``FileNotFoundError`` where the topic was not released to this course."""
        if not self.release(topic).exists():
            raise FileNotFoundError(f"{topic} has not been released yet: python -m dlopt.homework release {topic}")
        return self.release(topic)

    def autograded(self, topic, student):
        """nbgrader's graded notebook."""
        return self.root / "autograded" / student / topic / f"{topic}.ipynb"

    def feedback(self, topic, student):
        """The page that goes back to the student."""
        return self.root / "feedback" / student / topic / f"{topic}.html"

    def result(self, topic, student):
        """Scores and outputs as the trusted grader decided them."""
        return self.root / "results" / topic / f"{student}.json"

    def students(self, topic):
        """Students with a gradable submission."""
        return sorted(p.parent.parent.name for p in (self.root / "submitted").glob(f"*/{topic}/{topic}.ipynb"))

    def secret(self):
        """Bytes that seed the hidden inputs; made once, readable by the instructor alone."""
        path = self.root / "secret"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, secrets.token_bytes(32))
            os.close(fd)
        return path.read_bytes()

    def settings(self):
        """``course.toml``, written with its defaults if it is not there."""
        path = self.root / "course.toml"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            path.write_text(SETTINGS)
        read = tomllib.loads(path.read_text())
        late = read.get("late", {})
        return {
            "grace_minutes": non_negative("late.grace_minutes", late.get("grace_minutes", 15)),
            "per_day": in_closed("late.per_day", late.get("per_day", 0.1)),
            "at_most": in_closed("late.at_most", late.get("at_most", 0.5)),
            "extension": {
                topic: {student: non_negative(f"extension.{topic}.{student}", hours) for student, hours in who.items()}
                for topic, who in read.get("extension", {}).items()
            },
        }

    def status(self, topic):
        """What is known of every student of a topic: ``{student: {"state", "reason", "repairs", ...}}``."""
        path = self.root / "status" / f"{topic}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def note(self, topic, student, **facts):
        """Update a student's entry in the status file."""
        status = self.status(topic)
        status[student] = status.get(student, {}) | facts
        write(self.root / "status" / f"{topic}.json", json.dumps(status, indent=1, sort_keys=True))


def write(path, data):
    """Write a file so that it is never seen half written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    os.replace(part, path)


def find(root=None, sources=None):
    """The course below the working folder or one of its parents.

    Raises:
        FileNotFoundError: no folder ``chapters/homework`` was found.
    """
    if sources is None:
        here = next((p for p in (Path.cwd(), *Path.cwd().parents) if (p / "chapters/homework").is_dir()), None)
        if here is None:
            raise FileNotFoundError("no folder chapters/homework here or above; change into the book or pass --sources")
        sources = here / "chapters/homework"
    sources = Path(sources).resolve()
    base = sources.parents[1] if len(sources.parents) > 1 else sources.parent
    return Course(Path(root or base / "build/homework").resolve(), sources, sources.parent / "_downloads/homework")


def late_share(seconds, settings):
    """Share of the score that is lost by a submission so many seconds late."""
    if seconds <= settings["grace_minutes"] * 60:
        return 0.0
    days = -(-seconds // 86400)
    return min(settings["at_most"], settings["per_day"] * days)


def slug(name):
    """A student id that nbgrader, file systems and globs agree on."""
    return re.sub(r"[^\w.@-]+", "_", unicodedata.normalize("NFC", name)).strip("._") or "unnamed"


def utc(when):
    """Local or aware time as the naive UTC that nbgrader stores."""
    return (when.astimezone() if when.tzinfo is None else when).astimezone(tz=UTC).replace(tzinfo=None)


def stamp(when):
    """A time as nbgrader's ``timestamp.txt`` holds it."""
    return f"{utc(when):%Y-%m-%d %H:%M:%S} UTC"


def now():
    """This moment."""
    return datetime.now().astimezone()
