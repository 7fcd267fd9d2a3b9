"""Writes the golden of the current schema, and the runs of `modbench demo`, through the code that writes runs.

    PYTHONPATH=tests/harness:tests/reports:tests/goldens:tests/bench python tests/goldens/current_schema.py

Nothing is measured or planted anew. Goldens of earlier schemas stay as they are and test reading; one is stored as it would be
written now as well.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import make_demo
import plant
from goldens import CURRENT, HERE

from modbench.harness.results import decisions
from modbench.harness.results.run_folder import RunFolder, read
from modbench.reports import demo


def rewritten(packed: Path, within: Path) -> Path:
    """Unpack a run, read it, and write what was read into a new folder."""
    run, folder = within / "run", RunFolder(within / "current")
    run.mkdir(parents=True)
    demo.unpack(run, packed)
    stored = read(str(run))
    whole = stored.plan.model_copy(update={"units": stored.planned})
    folder.path.mkdir()
    folder.write_run(whole, stored.environment, stored.command, stored.started, stored.launcher, stored.options)
    for decided in stored.decisions.values():
        decisions.write(folder.path, decided)
    for record in stored.records:
        folder.write_record(record)
    if stored.finished is not None:
        shutil.copy(run / "finished.json", folder.path)
    return folder.path


def main() -> None:
    """Write them."""
    golden = HERE / CURRENT / "current" / "run.json.xz"
    with tempfile.TemporaryDirectory() as temporary:
        made = demo.pack(plant.stored(rewritten(HERE / CURRENT / "run.json.xz", Path(temporary) / "golden")))
        shown = {
            file: make_demo.packed(rewritten(file, Path(temporary) / suite)) for suite, file in demo.SHIPPED.items()
        }
    for file, content in {golden: made, **shown}.items():
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        print(f"{file}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
