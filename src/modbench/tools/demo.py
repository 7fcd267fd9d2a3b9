"""Opens a finished report without measuring: renders a stored run that ships with modbench."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

from modbench import api
from modbench.harness.results.run_folder import create
from modbench.reports.demo import unpack


def demo(out: str | None = None) -> api.Finished:
    """Copy the stored run into a folder of its own, and render its report.

    Args:
        out: the folder, which must be new; None: `runs/demo-DATE-N`.

    Raises:
        UsageError: if the folder cannot be written, or holds files.
    """
    folder = create(out, "demo").path
    unpack(folder)
    return api.report(str(folder))


def open_page(page: Path) -> bool:
    """Open a page in a browser; False if there is none with a window, or it did not start."""
    windows = sys.platform in {"darwin", "win32"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    try:
        return windows and webbrowser.open(page.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False
