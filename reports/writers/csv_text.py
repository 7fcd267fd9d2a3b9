"""A table as CSV text, in base units with full precision."""

from __future__ import annotations

import pandas as pd

from modbench.harness.core.masking import masked
from modbench.harness.core.printable import cell


def csv(frame: pd.DataFrame) -> str:
    """Return CSV in base units with full precision; null is an empty cell. No text in it is a formula or a control."""
    texts = {str(name): frame[name].map(cell) for name in frame if frame[name].dtype.kind not in "biufc"}
    return masked(str(frame.assign(**texts).to_csv(index=False, lineterminator="\n")))
