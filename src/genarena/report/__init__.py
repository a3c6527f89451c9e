"""The report: reads a comparison's folder, writes one HTML file; imports no torch and trains nothing."""

from __future__ import annotations

from genarena.report.build import build_report
from genarena.report.notebook import notebook_html

__all__ = ["build_report", "notebook_html"]
