"""A model has many linear layers."""

from modbench.extend import CellWarning


def check(evidence):
    """Return what is to be doubted about a cell; None: nothing."""
    if evidence.metric.key != "layers/linear" or not evidence.outcomes:
        return None
    count = evidence.outcomes[0].samples["value"][0]
    return f"the {evidence.outcomes[0].notes.kind} has {count:.0f} linear layers" if count > 1 else None


WARNING = CellWarning(check=check, advice="Count them again.")
