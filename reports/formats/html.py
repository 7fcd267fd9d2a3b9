"""The page, report.html: one file that needs no network."""

from __future__ import annotations

from modbench.reports import render
from modbench.reports.format import Format

FORMAT = Format(lambda loaded: {render.PAGE: render.html(loaded)})
