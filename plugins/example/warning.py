"""A model has many layers of the kind that was counted."""

from modbench.extend import CellWarning


def check(evidence):
    """Return what is to be doubted about a cell; None: nothing."""
    if evidence.metric.key != "layers/counted" or not evidence.outcomes:
        return None
    count = evidence.outcomes[0].samples["value"][0]
    return f"it has {count:.0f} layers of the kind {evidence.outcomes[0].notes.kind}" if count > 1 else None


WARNING = CellWarning(check=check, advice="Count them again.")
