"""`modbench.weights_of`."""


def weights_of(module):
    """Return the number of weights of a module."""
    return sum(weight.numel() for weight in module.parameters())
