"""The rebuilds in `examples/released/`: each decides as its docstring says, by closed form, and is measured as a user's model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of
from present import of_type
from toolbox import trains_and_reads_future
from torch import Tensor, nn

from modbench.harness.call.subject import check_decoding
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case, DecodePlan
from modbench.harness.domain.records import Missing
from modbench.harness.planning.flops import counter
from modbench.harness.results.measured_or_missing import attempt

FOLDER = Path(__file__).parents[2] / "examples" / "released"
REBUILDS = sorted(file.stem for file in FOLDER.glob("*.py"))
# Of each original: the file of its clone, the function in it, and a version of transformers that it fits.
CLONES = {
    "router_tuning": ("utils/model/model_patch.py", "apply_router_tuning_patch", "4.40.2"),
    "skipgpt": ("router_attn_mlp.py", "apply_router_attn_mlp", "4.46.3"),
}
SHAPE = {"d_model": 32, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "d_ff": 48, "max_seq_len": 64}
D, LAYERS, WIDE, NARROW, FF, V = 32, 4, 32, 16, 48, 256
B, T = 2, 32
DECODES = ("dense", "dr_llm", "layerskip", "zero_experts")
DECODES_OTHERWISE = ("astramind", "router_tuning", "skipgpt")


def case(name: str, **options: Any) -> Case:
    return case_of(f"{FOLDER / name}.py:build", SHAPE, options=options, seq_len=T, batch_size=B)


def built(name: str, seed: int = 0, **options: Any) -> Any:
    module: Any = Subject(case(name, **options), seed).module
    return module.eval().requires_grad_(requires_grad=False)


def tokens(rows: int = B, length: int = T, seed: int = 1) -> Tensor:
    return torch.randint(V, (rows, length), generator=torch.Generator().manual_seed(seed))


def stream(length: int = T, seed: int = 2) -> tuple[Tensor, Tensor]:
    """A residual stream [B, T, D] and its positions."""
    x_BTD = torch.randn(B, length, D, generator=torch.Generator().manual_seed(seed))
    return x_BTD, torch.arange(length).expand(B, -1)


def silent(module: nn.Module) -> None:
    """Let attentions and MLPs return 0, so that a block returns its input."""
    for name, weight in module.named_parameters():
        if ".out." in name or ".down." in name:
            weight.zero_()


@contextmanager
def rows_of(module: nn.Module, name: str) -> Iterator[list[int]]:
    """Rows that enter each submodule whose path ends in this name, call by call."""
    rows: list[int] = []
    hooks = [
        part.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[:-1].numel()))
        for path, part in module.named_modules()
        if path.endswith(name)
    ]
    assert hooks
    yield rows
    for hook in hooks:
        hook.remove()


def flops_of_block(n: int, rows: int = B) -> int:
    """Of `n` tokens in each row: four projections, the full square of attention, three matrices of the MLP."""
    return 2 * rows * n * (D * (2 * WIDE + 2 * NARROW) + 3 * D * FF) + rows * 4 * n * n * WIDE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "mor", "skipgpt"])
def test_it_is_measured_as_a_users_model(name: str) -> None:
    """What the others read, and what all do with tokens, their cards say: `plugins/audit/tests`."""
    assert trains_and_reads_future(case(name)) is (name == "mor")


@pytest.mark.parametrize("name", REBUILDS)
def test_decoding_computes_what_forward_does_or_it_does_not(name: str) -> None:
    """Where its rule has a cache; else it says why it cannot generate."""
    subject = Subject(case(name), 0, decode=DecodePlan(tokens=3))
    module: Any = subject.module.eval()
    if name not in (*DECODES, *DECODES_OTHERWISE):
        assert module.why_no_decode()
        return
    refused = pytest.raises(ValueError, match="do not compute what one")
    with refused if name in DECODES_OTHERWISE else nullcontext():
        check_decoding.check(subject, lambda prompt_BT, _: module.prefill(prompt_BT))


@pytest.mark.parametrize("name", REBUILDS)
def test_flops_by_hand(name: str) -> None:
    """What is computed of each block, and the routers."""
    options = {"experts": 2, "zero_experts": 2} if name == "zero_experts" else {}
    module, tokens_BT = built(name, **options), tokens()
    eighth, half, full = T // 8, T // 2, [flops_of_block(T)] * LAYERS
    blocks, routers = {
        "dense": (full, 0),
        "router_tuning": (full, 3 * 2 * B * D),  # computed, whatever the gate says; the last layer has none
        "skipgpt": (full, LAYERS * 2 * 2 * B * T * (D * D // 4 + D // 4 * 2)),
        "astramind": ([flops_of_block(T), flops_of_block(eighth - 1)] * 2, 2 * 2 * B * T * D),
        "kyegomez": ([flops_of_block(T), flops_of_block(eighth)] * 2, 2 * 2 * B * T * D),
        "sramshetty": ([flops_of_block(T), flops_of_block(eighth)] * 2, 2 * 2 * B * T * D),
        "a_mod": ([flops_of_block(T), flops_of_block(half)] * 2, 0),
        "mor": ([flops_of_block(n) for n in (T, T, half, T)], 2 * B * 2 * T * D),
        "layerskip": (full[:2], 0),
    }.get(name, ([], 0))
    counted = counter.forward(module, tokens_BT)
    if name == "dr_llm":  # row 0 alone is read, in 8 windows
        blocks, routers = [flops_of_block(T)] * module.realised[0], LAYERS * 2 * 8 * (D * 128 + 128 * 3)
        assert module.realised[0] != LAYERS
    if name == "zero_experts":
        without_mlp = flops_of_block(T) - 2 * B * T * 3 * D * FF
        blocks, routers = [without_mlp] * LAYERS, LAYERS * 2 * B * T * D * 4
        with rows_of(module, "mlp.experts.0") as first, rows_of(module, "mlp.experts.1") as second:
            module(tokens_BT)
        entered = sum(first) + sum(second)
        assert 0 < entered < LAYERS * B * T * 2
        routers += entered * 2 * 3 * D * (FF // 2)
    assert not counted.unknown
    assert counted.total == sum(blocks) + routers + 2 * B * T * D * V


@pytest.mark.parametrize(("part", "level"), [("mlp", "sequence"), ("block", "token"), ("attention", "token")])
def test_router_tuning_gates_what_it_is_told_to(part: str, level: str) -> None:
    gated = built("router_tuning", part=part, level=level).blocks[0]
    x_BTD, position_BT = stream()
    y_BTD = gated(x_BTD, position_BT)
    assert gated.open.shape == (B, T if level == "token" else 1, 1)
    assert set(gated.open.flatten().tolist()) == {0.0, 1.0}
    attended_BTD = x_BTD + gated.attention(gated.norm_attention(x_BTD), position_BT)
    closed_BTD = {
        "attention": x_BTD + gated.mlp(gated.norm_mlp(x_BTD)),
        "mlp": attended_BTD,
        "block": x_BTD,
    }[part]
    closed_BT = gated.open.expand(B, T, 1)[..., 0] == 0
    assert torch.allclose(y_BTD[closed_BT], closed_BTD[closed_BT], atol=1e-6)
    open_BTD = attended_BTD + gated.mlp(gated.norm_mlp(attended_BTD))
    assert torch.allclose(y_BTD[~closed_BT], open_BTD[~closed_BT], atol=1e-6)


def test_router_tuning_trains_towards_its_target() -> None:
    module = built("router_tuning", target=0.25, scale=2.0).train()
    module(tokens())
    excess = [max(0.0, block.open.mean().item() - 0.25) * 2 for block in module.blocks[:-1]]
    assert module.aux_loss().item() == pytest.approx(sum(excess)) != 0


def test_skipgpt_runs_with_the_probability_of_its_router() -> None:
    """A Gumbel maximum is a sample of the softmax, for each part and token apart; without noise the larger logit decides."""
    block = built("skipgpt").blocks[0]
    x_BTD, position_BT = stream()
    torch.manual_seed(0)
    drawn, n = [], 400
    for _ in range(n):
        y_BTD = block(x_BTD, position_BT)
        drawn.append(torch.stack([block.gate_attention.runs_BT1, block.gate_mlp.runs_BT1])[..., 0])
    skipped_BT = (drawn[-1] == 0).all(0)
    assert torch.equal(y_BTD[skipped_BT], x_BTD[skipped_BT])
    assert skipped_BT.any()
    for gate, share_BT in zip((block.gate_attention, block.gate_mlp), torch.stack(drawn).mean(0), strict=True):
        logits_BT2 = gate.logits(gate.hidden(x_BTD).relu())
        p_BT = logits_BT2.softmax(-1)[..., 0]
        assert ((share_BT - p_BT).abs() < 5 * (p_BT * (1 - p_BT) / n).sqrt()).all()
        gate.noise = False
        assert torch.equal(gate(x_BTD)[..., 0] == 1, p_BT >= 0.5)


def test_skipgpt_pays_for_its_distance_from_the_sparsity() -> None:
    module = built("skipgpt", sparsity=0.9).train()
    module(tokens())
    share = sum(gate.runs_BT1.mean().item() for gate in module.gates) / len(module.gates)
    assert module.aux_loss().item() == pytest.approx(20 * abs(0.1 - share), rel=1e-5)


def test_dr_llm_reads_whole_windows_and_runs_a_layer_as_often_as_it_says() -> None:
    module = built("dr_llm")
    router = module.routers[0]
    x_TD = stream(19)[0][0]
    logits = [
        router.logits(nn.functional.gelu(router.hidden(x_TD[i : i + 2].mean(0)), approximate="tanh"))
        for i in range(0, 16, 2)
    ]
    assert router(x_TD) == int(torch.stack(logits).mean(0).argmax())
    for times in range(3):
        for each in module.routers:
            each.logits.weight.zero_()
            each.logits.bias.copy_(torch.eye(3)[times])
        with rows_of(module, "attention.q") as rows:
            module(tokens())
        assert rows == [B * T] * (LAYERS * times)
        assert module.realised == [LAYERS * times] * B


def test_a_mod_takes_the_tokens_that_were_attended_to() -> None:
    module = built("a_mod", capacity=0.25, relative=False)
    scoring, routed = module.blocks[:2]
    scoring.attention.q.weight.zero_()  # uniform attention: query i gives 1 / (i + 1) to each token up to i
    x_BTD, position_BT = stream()
    seen_BTD = scoring(x_BTD, position_BT)
    by_hand_T = torch.tensor([sum(1 / (i + 1) for i in range(j, T)) / T for j in range(T)])
    assert torch.allclose(scoring.attention.received_BT, by_hand_T.expand(B, T), atol=1e-6)
    assert torch.allclose(scoring.attention.relative_BT, torch.ones(B, T), atol=1e-5)
    out_BTD = routed(seen_BTD, position_BT)
    k = T // 4  # of uniform attention the first tokens receive most
    assert torch.equal(out_BTD[:, k:], seen_BTD[:, k:])
    assert torch.allclose(out_BTD[:, :k], routed.block(seen_BTD[:, :k], position_BT[:, :k]), atol=1e-5)


def test_mor_takes_the_best_of_those_it_took_before() -> None:
    module = built("mor", recursions=2)
    silent(module)
    x_BTD, position_BT = stream()
    first, second = (turn.router.weight[0] for turn in module.blocks[1:-1])
    scaled_BTD = x_BTD * (1 + 0.1 * (x_BTD @ first).sigmoid()[..., None])
    score_BT = scaled_BTD @ second
    best_BT = score_BT >= score_BT.topk(T // 2, 1).values[:, -1:]
    wanted_BTD = torch.where(best_BT[..., None], scaled_BTD * (1 + 0.1 * score_BT.sigmoid()[..., None]), scaled_BTD)
    assert torch.allclose(module.body(x_BTD, position_BT, None), wanted_BTD, atol=1e-5)
    for weight in (first, second):
        weight.zero_()
    module.body(x_BTD, position_BT, None)
    assert module.aux_loss().item() == pytest.approx(0.001 * 2 * math.log(2), rel=1e-5)


def test_layerskip_drops_later_layers_and_trains_every_exit() -> None:
    module = built("layerskip", p_max=0.5).train()
    module.set_progress(1)
    wanted = [0.5 * (2 ** (layer / 3) - 1) for layer in range(LAYERS)]
    assert [module.dropout(layer) for layer in range(LAYERS)] == pytest.approx(wanted)
    with rows_of(module.blocks[3], "attention.q") as rows:
        for _ in range(20):
            module(tokens())
    assert 0 < sum(rows) < 20 * B * T  # in training
    assert module.weights() == pytest.approx([raw / 4.4 for raw in (0.0, 0.2, 0.6, 3.6)])
    module.set_progress(0)
    assert [module.dropout(layer) for layer in range(LAYERS)] == [0.0] * LAYERS
    logits_BTV, targets_BT = module(tokens()), tokens(seed=3)
    single = [
        nn.functional.cross_entropy(module.head(module.norm(x)).flatten(0, 1), targets_BT.flatten())
        for x in module.exits
    ]
    wanted_loss = sum(weight * loss.item() for weight, loss in zip(module.weights(), single, strict=True))
    assert module.training_loss(logits_BTV, targets_BT).item() == pytest.approx(wanted_loss, rel=1e-5)


def test_astramind_widens_with_calls_in_training() -> None:
    module = built("astramind").train()
    seen = []
    for _ in range(3):
        with rows_of(module.blocks[1], "attention.q") as rows:
            module(tokens())
        seen += rows
    wanted = [int(T * (1 / 8 + 7 / 8 / n)) - 1 for n in (1, 2, 3)]
    assert seen == [B * n for n in wanted]
    module.eval()
    with rows_of(module.blocks[1], "attention.q") as rows:
        module(tokens())
    assert rows == seen[-1:]  # evaluation keeps the last


def test_zero_experts_return_the_token_by_its_score() -> None:
    part = built("zero_experts", scale=2.0).blocks[0].mlp
    for expert in part.experts:
        expert.down.weight.zero_()
        expert.down.bias.zero_()
    x_BTD, _ = stream()
    score_BTE = part.router(x_BTD).softmax(-1)
    chosen_BT2 = score_BTE.topk(2, -1).indices
    weight_BT2 = 2 * score_BTE.take_along_dim(chosen_BT2, 2) * (chosen_BT2 >= 4)
    assert torch.allclose(part(x_BTD), weight_BT2.sum(-1, keepdim=True) * x_BTD, atol=1e-6)
    part.bias[4] = 1.0  # every token takes the first zero expert, at the weight that its score gives
    part(x_BTD)
    assert part.counts[4].item() == B * T


def test_zero_experts_move_towards_their_budget() -> None:
    """Each step moves a bias by rate · (wanted share - share)."""
    module = built("zero_experts", real_experts=0.5, rate=0.05)
    part = module.blocks[0].mlp
    module(tokens())
    share_E = part.counts[:4] / (2 * B * T)
    module.after_step()
    assert torch.allclose(part.bias, torch.cat([0.05 * (0.5 / 2 / 4 - share_E), torch.zeros(2)]))


def original(name: str, clone: Path) -> Any:
    return attempt(partial(Subject, case(f"originals/{name}", clone=str(clone)), 0))


def skipped(found: object) -> str:
    missing = of_type(Missing, found)
    assert missing.status == "skipped"
    return missing.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", CLONES)
def test_an_original_is_the_clones_function_of_a_llama_or_skipped_with_the_reason(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    file, function, version = CLONES[name]
    assert str(tmp_path / file) in skipped(original(name, tmp_path))
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"def {function}(model, *given):\n    model.given = given\n    return model\n")
    assert version in skipped(original(name, tmp_path))
    monkeypatch.setattr(transformers, "__version__", version)
    subject = of_type(Subject, original(name, tmp_path))
    subject.check(tokens())
    inner: Any = subject.module.inner
    assert inner.config.num_hidden_layers == LAYERS
    if name == "router_tuning":
        assert inner.config.is_mod == [True] * (LAYERS - 1) + [False]
        assert inner.config.granularity == "attn_sequence"
    else:
        assert inner.given[0].final_temperature == 1.0
