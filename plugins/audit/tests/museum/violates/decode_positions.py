"""In decoding every new token has the position of the last token of the prompt."""

from small import Dense, dense

EXPECTED = {"deviates": ["decode"]}


class Stuck(Dense):
    def prefill(self, tokens_BT):
        logits_BV, cache = super().prefill(tokens_BT)
        cache.prompt = tokens_BT.shape[1]
        return logits_BV, cache

    def decode(self, tokens_B, cache):
        read, cache.length = cache.length, cache.prompt - 1
        logits_BV = super().decode(tokens_B, cache)
        cache.length = read + 1
        return logits_BV


def build(config):
    return dense(config, model=Stuck)
