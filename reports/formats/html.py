"""The page, report.html: one file that needs no network."""

from __future__ import annotations

from modbench.reports.format import PAGE, Format
from modbench.reports.page import render

FORMAT = Format(lambda loaded: {PAGE: render.html(loaded)})
