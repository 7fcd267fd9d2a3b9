"""As `predictor_in_training.py`, with a loss that only its own training loop reads: nobody else sees what it is for."""

from predictor_in_training import Predicted
from routed import skipper

EXPECTED = {"deviates": [], "like": "zeroed"}


def build(config, capacity=0.25):
    return skipper(config, capacity, Predicted)
