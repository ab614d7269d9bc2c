"""Params and results of this group's handlers."""

from handlers.samples.group2.model.copy import CopyParams, CopyResult
from handlers.samples.group2.model.report import DatabaseReport, ReportResult

__all__ = ["CopyParams", "CopyResult", "DatabaseReport", "ReportResult"]
