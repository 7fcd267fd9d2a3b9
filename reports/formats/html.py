"""The page, report.html: one file that needs no network."""

from __future__ import annotations

from modbench.reports.html_report import render
from modbench.reports.output_format import PAGE, Format

FORMAT = Format(lambda loaded: {PAGE: render.html(loaded)})
