"""One block runs at every depth, with a cache for each."""

from small import dense

EXPECTED = {"deviates": [], "like": "skips"}


def build(config):
    model = dense(config)
    for i in range(1, len(model.blocks)):
        model.blocks[i] = model.blocks[0]
    return model
