"""Entry point of `python -m modbench`."""

import sys
from pathlib import Path

# `python -m` looks for modules in the current folder first, which may be a stranger's run folder.
if not sys.flags.safe_path and sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd():
    del sys.path[0]

from modbench.cli import main

if __name__ == "__main__":
    main()
