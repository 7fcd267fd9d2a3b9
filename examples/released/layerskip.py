"""LayerSkip, rebuilt: trained with dropped layers and a loss at every exit; evaluated at one exit for all tokens.

    modbench cost examples/released/layerskip.py:build

Source: Elhoushi et al. 2024, arXiv:2404.16710, section 4.1 (layer dropout, early-exit loss) and 4.2 (exit). Facts
of the released code: github.com/facebookresearch/LayerSkip at 0a80c35 (`self_speculation/llama_model_utils.py`). No
code is copied.

- Evaluation runs the first `exit_layer` blocks, then the norm and the head that all exits share: later blocks are
  not computed, and have no keys and values. Nothing depends on the input, so it is causal.
- Training drops block l for each row by itself, with probability p_max · (2^(l / (L-1)) - 1) · (2^t - 1), where t
  is the share of training that is done. Dropped rows are not computed.
- Its loss is the mean of the cross-entropies of all exits, weighted by e · (0 + … + l), the last by L - 1 + e · (0
  + … + L-2). The paper's curricula take only some exits at each step; here all are taken.
Left out: self-speculative decoding (section 4.3), whose greedy output is that of the full model.
"""

import torch
from dense import Block, Decoder
from torch.nn import functional as F


class LayerSkip(Decoder):
    def __init__(self, config, blocks, exit_layer, p_max, exit_scale):
        super().__init__(config, blocks)
        self.exit_layer, self.p_max, self.exit_scale, self.done = exit_layer, p_max, exit_scale, 0.0

    def set_progress(self, done):
        self.done = done

    def dropout(self, layer):
        """Probability that a row skips a layer in training."""
        depth = layer / max(1, len(self.blocks) - 1)
        return self.p_max * (2**depth - 1) * (2**self.done - 1)

    def body(self, x_BTD, position_BT, cache):
        if not self.training:
            for number, block in enumerate(self.blocks[: self.exit_layer]):
                x_BTD = block(x_BTD, position_BT, cache, number)
            return x_BTD
        self.exits = []
        for number, block in enumerate(self.blocks):
            kept_R = (torch.rand(x_BTD.shape[0], device=x_BTD.device) >= self.dropout(number)).nonzero().squeeze(1)
            if len(kept_R):
                x_BTD = x_BTD.index_copy(0, kept_R, block(x_BTD[kept_R], position_BT[kept_R]))
            self.exits.append(x_BTD)
        return x_BTD

    def weights(self):
        """The weight of each exit's loss; they sum to 1."""
        last = len(self.blocks) - 1
        raw = [self.exit_scale * layer * (layer + 1) / 2 for layer in range(last)]
        raw.append(last + self.exit_scale * (last - 1) * last / 2)
        return [weight / sum(raw) for weight in raw] if sum(raw) else [1.0]

    def training_loss(self, logits, targets):
        losses = [logits if x is self.exits[-1] else self.head(self.norm(x)) for x in self.exits]
        losses = [F.cross_entropy(each.flatten(0, 1), targets.flatten()) for each in losses]
        return sum(weight * loss for weight, loss in zip(self.weights(), losses, strict=True))


def build(config, exit_layer=None, p_max=0.1, exit_scale=0.2):
    """The model.

    Args:
        config: the suite's shape.
        exit_layer: blocks that run in evaluation; None: half of them.
        p_max: highest probability of dropping a layer.
        exit_scale: weight of early exits beside the last.
    """
    exit_layer = max(1, config.n_layers // 2) if exit_layer is None else exit_layer
    return LayerSkip(config, [Block(config) for _ in range(config.n_layers)], exit_layer, p_max, exit_scale)
