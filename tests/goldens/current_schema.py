"""Stores a golden's run in the current schema as well, through the code that writes runs. Nothing is measured or planted anew.

    PYTHONPATH=tests/harness:tests/reports python tests/goldens/current_schema.py

It is for the golden that tests what this modbench writes. Goldens of earlier schemas stay as they are and test reading.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import plant
from goldens import CURRENT, HERE

from modbench.harness.results.run_folder import RunFolder, read
from modbench.reports import demo


def rewritten(run: Path, into: Path) -> RunFolder:
    """Write a run, as it is read, into a new folder; one without decisions of adaptive rules."""
    stored, folder = read(str(run)), RunFolder(into)
    folder.path.mkdir()
    folder.write_run(stored.plan, stored.environment, stored.command, stored.started, stored.launcher, stored.options)
    for record in stored.records:
        folder.write_record(record)
    if (run / "finished.json").exists():
        shutil.copy(run / "finished.json", folder.path)
    return folder


def main() -> None:
    """Store the golden's run anew."""
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        run.mkdir()
        demo.unpack(run, HERE / CURRENT / "run.json.gz")
        folder = rewritten(run, Path(temporary) / "current")
        packed = HERE / CURRENT / "current" / "run.json.gz"
        packed.parent.mkdir(exist_ok=True)
        packed.write_bytes(demo.pack(plant.stored(folder.path)))
        print(f"{packed.relative_to(HERE)}: {packed.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
