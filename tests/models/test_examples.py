"""Models of `examples/`: each is measured as a user's model, and rebuilds compute what their docstrings say, by hand.

What each rebuild does with tokens, its card says: `plugins/audit/tests`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of
from toolbox import trains_and_reads_future
from torch import Tensor, nn

from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case
from modbench.harness.planning.flops import counter

FOLDER = Path(__file__).parents[2] / "examples" / "released"
REBUILDS = sorted(file.stem for file in FOLDER.glob("*.py"))
# Without the one whose transformers is too old for everything else.
RIVALS = sorted(set(FOLDER.parent.glob("rivals/*.py")) - {FOLDER.parent / "rivals" / "mixture_of_depth.py"})
SHAPE = {"d_model": 32, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "d_ff": 48, "max_seq_len": 64}
D, LAYERS, WIDE, NARROW, FF, V = 32, 4, 32, 16, 48, 256
B, T = 2, 32


def case(name: str, **options: Any) -> Case:
    return case_of(f"{FOLDER / name}.py:build", SHAPE, options=options, seq_len=T, batch_size=B)


def built(name: str, **options: Any) -> Any:
    module: Any = Subject(case(name, **options), 0).module
    return module.eval().requires_grad_(requires_grad=False)


def tokens() -> Tensor:
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(1))


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
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("file", [FOLDER / "mor.py", FOLDER / "skipgpt.py", *RIVALS], ids=lambda file: file.stem)
def test_it_is_measured_as_a_users_model(file: Path) -> None:
    if file in RIVALS:
        pytest.importorskip("transformers", minversion="5.0")
    assert trains_and_reads_future(case_of(f"{file}:build", SHAPE, seq_len=T)) is (file.stem == "mor")


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
