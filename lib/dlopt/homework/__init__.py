"""Homework: release, collect, grade out of the student code's reach, return, export.

``python -m dlopt.homework`` is the instructor's command line; ``chapters/instructor.md`` tells the story. A topic
declares its checks with ``Homework``, ``Task`` and ``Requirement``.
"""

from dlopt.homework.spec import Homework, Random, Requirement, Task, difference, drivers_of, load, show

__all__ = ["Homework", "Random", "Requirement", "Task", "difference", "drivers_of", "load", "show"]
