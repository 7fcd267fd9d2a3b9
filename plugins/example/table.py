"""The table `[layers]` of a suite: which layers the pass `weigh_layers` counts."""

from modbench.extend import SuiteTable, TablePlan


class LayersPlan(TablePlan):
    """Which layers are counted.

    Attributes:
        kind: name of their class.
    """

    table = "layers"

    kind: str = "Linear"


TABLE = SuiteTable(LayersPlan)
