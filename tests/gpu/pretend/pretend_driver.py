"""A driver that answers as an H100 does, for processes of a rehearsal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "harness"))


def pretend_driver() -> Any:
    """What `import pynvml` gives in a rehearsal."""
    from fake_nvml import fake_pynvml

    return fake_pynvml()
