"""Forgetting reports: tables, figures, `report.md`. Reads run folders; needs no torch."""

from cl_sr.reporting.publish import publish_run
from cl_sr.reporting.report import Report, build_report

__all__ = ["Report", "build_report", "publish_run"]
