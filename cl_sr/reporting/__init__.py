"""Forgetting reports: tables, figures, `report.md`. Reads run folders; needs no torch."""

from cl_sr.reporting.report import Report, write_report

__all__ = ["Report", "write_report"]
