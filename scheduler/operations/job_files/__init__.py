"""Jobs in a file, such as one in git: what it says, what it would change, and the change itself.

Knows plain values, as a YAML or JSON file holds them. Must not know files or their syntax: the
command reads those.
"""

from scheduler.operations.job_files.applying import JobFiles
from scheduler.operations.job_files.planning import Plan, PlannedJob
from scheduler.operations.job_files.writing import document_of
from scheduler.operations.job_files.written import Document, Mistake

__all__ = ["Document", "JobFiles", "Mistake", "Plan", "PlannedJob", "document_of"]
