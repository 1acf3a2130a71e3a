"""Take submissions from a folder or from the zip of an LMS, one per student, the newest first; repair or report each.

Recognized: ``<student>/…/<topic>.ipynb`` (any depth), ``<student>.ipynb``, nbgrader's ``submitted`` layout, Moodle's
``Name_1234_assignsubmission_file/…`` and Canvas' ``name_LATE_1234_5678_file.ipynb``; a zip inside is opened once.
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
MOST_FILES = 20_000


@dataclass
class File:
    """A file that was handed in: its path in the folder or archive, its bytes (or why there are none), its time."""

    path: PurePosixPath
    when: datetime
    read: object = field(repr=False)  # a function, so that an archive is not unpacked into memory at once
    size: int = 0


def _wanted(path):
    return not any(p.startswith((".", "__MACOSX")) or p == "__pycache__" for p in path.parts)


def _from_folder(folder):
    for p in sorted(folder.rglob("*"))[:MOST_FILES]:
        rel = PurePosixPath(p.relative_to(folder).as_posix())
        if p.is_file() and not p.is_symlink() and _wanted(rel):
            yield File(rel, datetime.fromtimestamp(p.stat().st_mtime).astimezone(), p.read_bytes, p.stat().st_size)


def _from_zip(archive, prefix="."):
    for info in archive.infolist()[:MOST_FILES]:
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
        return list(_from_zip(zipfile.ZipFile(io.BytesIO(file.read())), file.path.parent / file.path.stem)) or [file]
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError):
        return [file]


def _owner(path, topic, strip):
    """``(key of the LMS or folder, student id, identity)`` of a file, or None where nothing tells whose it is."""
    for part in path.parts[:-1]:
        if found := MOODLE.match(part):
            student = slug(f"{found['name']}_{found['id']}")
            return part, student, student
    if len(path.parts) <= 2 and (found := CANVAS.match(path.name)):
        student = slug(f"{found['name']}_{found['id']}")
        return f"{found['name']}_{found['id']}", student, student
    parts = path.parts[strip:]
    if len(parts) > 1:
        return parts[0], slug(parts[0]), parts[0]
    stem = re.sub(rf"(?i)[-_. ]*{re.escape(topic)}[-_. ]*", "", path.stem)
    stem = re.sub(r"[-_ ]*\(?\d{1,2}\)?$", "", stem) if stem != path.stem else stem
    return (stem, slug(stem), stem) if stem else None


def _common(found, topic):
    """1 if every file lies below one and the same outer folder that is no student's, else 0."""
    heads = {f.path.parts[0] for f in found}
    deep = all(len(f.path.parts) > 2 or f.path.parts[0] == topic for f in found)
    inner = {f.path.parts[1] for f in found if len(f.path.parts) > 2}
    return int(len(heads) == 1 and deep and inner != {topic} and not MOODLE.match(next(iter(heads))))


def roster(path):
    """``{key or id of the LMS: student}`` from a CSV with columns ``lms, student_id`` and perhaps names and email."""
    with open(path, newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    if not rows or not {"lms", "student_id"} <= set(rows[0]):
        raise ValueError(
            f"{path} must have the columns lms and student_id; it has: {', '.join(rows[0]) if rows else 'no rows'}"
        )
    return {slug(row["lms"]): row | {"student_id": slug(row["student_id"])} for row in rows}


def group(found, topic, known=None):
    """Files by student: ``{student: (key, [files])}`` and the paths of files that belong to nobody."""
    strip = _common(found, topic) if found else 0
    owned, nobody, identities = defaultdict(lambda: ["", []]), [], {}
    for f in found:
        owner = _owner(f.path, topic, strip)
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
    """The time in a ``timestamp.txt`` beside the notebook (nbgrader's exchange writes one), else the file's own."""
    for f in candidates:
        if f.path.name == "timestamp.txt" and f.path.parent == best.path.parent:
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
    owned, nobody = group(files(source), topic, known)
    report = {}
    for student, (key, candidates) in sorted(owned.items()):
        report[student] = check(course, topic, student, candidates)
        course.note(topic, student, lms=key)
    return report, nobody
