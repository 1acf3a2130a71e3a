"""Take submissions from a folder or from the zip of an LMS, one per student, the newest first; repair or report each.

Recognized: ``<student>/…/<topic>.ipynb`` (any depth), ``<student>.ipynb``, nbgrader's ``submitted`` layout, Moodle's
``Name_1234_assignsubmission_file/…`` and Canvas' ``name_LATE_1234_5678_file.ipynb``; a zip inside is opened once.

Whose a file is, and when it came, is told by what the LMS or the instructor named, never by what a student did: not by
names, dates or a ``timestamp.txt`` within a folder or zip that a student uploaded.
"""

import csv
import hashlib
import io
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

import nbformat

from dlopt.homework import repair
from dlopt.homework.course import now, slug, stamp, write

MOODLE = re.compile(r"^(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(file|onlinetext)_?$")
CANVAS = re.compile(r"^(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)$")
MOST_FILES = 2000  # in a zip that a student made


@dataclass
class File:
    """A file that was handed in: its path, its time, its bytes, and the path of the student's zip if it was in one."""

    path: PurePosixPath
    when: datetime
    read: object = field(repr=False)  # a function, so that an archive is not unpacked into memory at once
    size: int = 0
    packed: PurePosixPath | None = None

    @property
    def given(self):
        """The path as far as the LMS or the instructor named it, without that inside a student's zip."""
        return self.packed or self.path


def _wanted(path):
    return not any(p.startswith((".", "__MACOSX")) or p == "__pycache__" for p in path.parts)


def _from_folder(folder):
    for p in sorted(folder.rglob("*")):
        rel = PurePosixPath(p.relative_to(folder).as_posix())
        if p.is_file() and not p.is_symlink() and _wanted(rel):
            yield File(rel, datetime.fromtimestamp(p.stat().st_mtime).astimezone(), p.read_bytes, p.stat().st_size)


def _from_zip(archive, prefix="."):
    for info in archive.infolist():
        path = PurePosixPath(prefix) / info.filename.replace("\\", "/")
        parts = [p for p in path.parts if p not in ("/", "..", ".")]
        if info.is_dir() or not parts or not _wanted(PurePosixPath(*parts)):
            continue
        try:
            when = datetime(*info.date_time).astimezone()
        except ValueError:
            when = now()
        yield File(
            PurePosixPath(*parts), when, lambda i=info: archive.open(i).read(repair.MAX_BYTES + 1), info.file_size
        )


def files(source):
    """Every file of a folder or zip, archives inside it opened one level deep."""
    source = Path(source)
    if source.is_dir():
        found = list(_from_folder(source))
    elif zipfile.is_zipfile(source):
        found = list(_from_zip(zipfile.ZipFile(source)))
    else:
        raise ValueError(f"{source} is neither a folder nor a zip")
    return [f for file in found for f in _opened(file)]


def _opened(file):
    if file.path.suffix.lower() != ".zip" or file.size > repair.MAX_BYTES:
        return [file]
    try:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
        inner = list(_from_zip(archive, file.path.parent / file.path.stem))
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError):
        return [file]
    theirs = [File(f.path, file.when, f.read, f.size, file.path) for f in inner]
    return theirs if 0 < len(theirs) <= MOST_FILES else [file]


def _owner(path, topic, strip):
    """``(key of the LMS or folder, student id, identity)`` of a file, or None where nothing tells whose it is."""
    parts = path.parts[strip:]
    found = MOODLE.match(parts[0]) if len(parts) > 1 else CANVAS.match(parts[0])
    if found:
        student = slug(f"{found['name']}_{found['id']}")
        return (parts[0] if len(parts) > 1 else f"{found['name']}_{found['id']}"), student, student
    if len(parts) > 1:
        return parts[0], slug(parts[0]), parts[0]
    stem = re.sub(rf"(?i)[-_. ]*{re.escape(topic)}[-_. ]*", "", path.stem)
    stem = re.sub(r"[-_ ]*\(?\d{1,2}\)?$", "", stem) if stem != path.stem else stem
    return (stem, slug(stem), stem) if stem else None


def _common(found, topic, students):
    """1 if every file lies below one and the same outer folder that is no student's, else 0."""
    heads = {f.given.parts[0] for f in found}
    if len(heads) != 1 or MOODLE.match(head := next(iter(heads))) or slug(head) in students:
        return 0
    inner = {f.given.parts[1] for f in found if len(f.given.parts) > 2}
    flat = [f.given.name for f in found if len(f.given.parts) == 2]
    if inner:  # folders of students in one of the class, rather than folders that a student made
        return int(not flat and (len(inner) > 1 or bool(MOODLE.match(next(iter(inner))))))
    return int(bool(flat) and (head == topic or all(map(CANVAS.match, flat))))


def roster(path):
    """``{key or id of the LMS: student}`` from a CSV with columns ``lms, student_id`` and perhaps names and email."""
    with open(path, newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    if not rows or not {"lms", "student_id"} <= set(rows[0]):
        raise ValueError(
            f"{path} must have the columns lms and student_id; it has: {', '.join(rows[0]) if rows else 'no rows'}"
        )
    return {slug(row["lms"]): row | {"student_id": slug(row["student_id"])} for row in rows}


def group(found, topic, known=None, students=()):
    """Files by student: ``{student: (key, [files])}`` and the paths of files that belong to nobody.

    ``students`` have handed in before: an outer folder of such a name is theirs.
    """
    listed = {row["student_id"] for row in (known or {}).values()} | set(known or {}) | set(students)
    strip = _common(found, topic, listed) if found else 0
    owned, nobody, identities = defaultdict(lambda: ["", []]), [], {}
    for f in found:
        owner = _owner(f.given, topic, strip)
        if owner is None:
            nobody.append(str(f.path))
            continue
        key, student, identity = owner
        if identities.setdefault(student, identity) != identity:  # two names that look alike once cleaned
            student = f"{student}-{hashlib.sha256(identity.encode()).hexdigest()[:4]}"
        number = re.search(r"_(\d+)$", student)
        row = (known or {}).get(student) or (known or {}).get(slug(key)) or (number and (known or {}).get(number[1]))
        student = row["student_id"] if row else student
        owned[student][0] = key
        owned[student][1].append(f)
    return dict(owned), nobody


def _stem(path):
    return re.sub(r"(?i)([-_ ]*(copy\d*|\(\d+\)|\d{1,2}))+$", "", path.stem).lower()


def choose(candidates, topic):
    """The file that is meant, and what had to be assumed.

    Raises:
        repair.Unreadable: there is no notebook.
    """
    books = [f for f in candidates if f.path.suffix.lower() == ".ipynb"]
    if not books:
        other = ", ".join(f.path.name for f in candidates[:4])
        raise repair.Unreadable(f"no notebook was handed in (only {other})")
    named = [f for f in books if CANVAS.sub(r"\g<file>", f.path.name).rsplit(".", 1)[0].lower() == topic]
    near = named or [f for f in books if topic in _stem(f.path)] or books
    best = max(near, key=lambda f: (f.when, str(f.path)))
    notes = [] if named else [f"the file was called {best.path.name}"]
    if len(near) > 1:
        notes.append(f"{len(near)} notebooks; the newest, {best.path.name}, was taken")
    return best, notes


def _time_of(candidates, best):
    """The file's own time, or that in ``timestamp.txt`` of nbgrader's exchange, where no LMS and no zip is involved."""
    for f in candidates:
        beside = f.path.name == "timestamp.txt" and f.path.parent == best.path.parent and f.size <= 100
        if beside and not f.packed and not any(map(MOODLE.match, f.path.parts)):
            try:
                return datetime.fromisoformat(f.read().decode().strip().replace(" UTC", "+00:00"))
            except (ValueError, UnicodeDecodeError):
                continue
    return best.when


def check(course, topic, student, candidates, when=None):
    """Rebuild one student's submission and put it where it is graded.

    Returns:
        ``(state, sentences)`` with state ``new``, ``same``, ``older`` or ``unreadable``.
    """
    release = nbformat.read(course.release(topic), as_version=4)
    try:
        best, notes = choose(candidates, topic)
        if best.size > repair.MAX_BYTES:
            raise repair.Unreadable(f"the file has {best.size / 2**20:.0f} MB, more than {repair.MAX_BYTES // 2**20}")
        data = best.read()
        cells, more = repair.parse(data)
    except repair.Unreadable as error:
        return _unreadable(course, topic, student, str(error))
    except Exception as error:  # a damaged archive member may raise anything; it is this student's alone
        return _unreadable(course, topic, student, f"the file cannot be read: {error}")
    notes += more
    when = when or _time_of(candidates, best)
    seen, digest = course.status(topic).get(student, {}), hashlib.sha256(data).hexdigest()
    write(course.root / "received" / topic / student / f"{when:%Y%m%dT%H%M%S}-{digest[:8]}.ipynb", data)
    if seen.get("sha256") == digest and course.submitted(topic, student).exists():
        return "same", seen.get("repairs", [])
    if seen.get("sha256") and course.submitted(topic, student).exists() and stamp(when) < seen["timestamp"]:
        return "older", [f"handed in {stamp(when)}, before the one that counts ({seen['timestamp']})"]
    nb, repairs = repair.rebuild(cells, release)
    write(course.submitted(topic, student), nbformat.writes(nb))
    write(course.submitted(topic, student).with_name("timestamp.txt"), stamp(when))
    course.note(
        topic, student, state="collected", reason="", repairs=notes + repairs, sha256=digest, timestamp=stamp(when)
    )
    return "new", notes + repairs


def _unreadable(course, topic, student, reason):
    if course.submitted(topic, student).exists():
        reason = f"the newest submission cannot be graded ({reason}); the earlier one counts"
        course.note(topic, student, warning=reason)
    else:
        course.note(topic, student, state="ungraded", reason=reason, repairs=[])
    return "unreadable", [reason]


def collect(course, topic, source, known=None):
    """Check every submission of a folder or zip.

    Returns:
        ``{student: (state, sentences)}`` and a list of files that belong to nobody.

    Raises:
        FileNotFoundError: the topic was not released yet.
    """
    course.need_release(topic)
    owned, nobody = group(files(source), topic, known, course.status(topic))
    report = {}
    for student, (key, candidates) in sorted(owned.items()):
        report[student] = check(course, topic, student, candidates)
        course.note(topic, student, lms=key)
    return report, nobody
