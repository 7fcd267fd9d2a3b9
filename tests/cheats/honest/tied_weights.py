"""The head's weight is the embedding's."""

from plain import Plain


def build(config):
    model = Plain(config)
    model.head.weight = model.embedding.weight
    return model
