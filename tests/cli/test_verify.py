"""`modbench verify`: published numbers against our closed forms."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modbench import published
from modbench.commands.verify import recompute
from modbench.commands.verify.recompute import as_text
from modbench.harness.core.printable import SCREEN, WIDTH
from modbench.harness.flops.closed_form import closed_form
from modbench.published import _mla, moe_plus_plus
from modbench.published._rows import Printed, Row, Source

ROWS = recompute.verified()


@pytest.mark.parametrize("name", recompute.sources())
def test_a_claimed_number_is_within_half_a_unit_of_its_last_digit_and_no_other_is(name: str) -> None:
    """A row that says why it is not reproduced must not be: else the reason is out of date."""
    for row in (row for row in ROWS if row.name == name):
        printed = row.row.printed
        within = abs(row.ours - printed.value) <= printed.tolerance * (1 + 1e-6)
        assert within == (not row.row.why_not), (row.key, row.ours, printed.text)
        assert row.verdict == ("reproduced" if within else "not reproduced")


def test_every_source_is_found_and_says_where_it_stands() -> None:
    names = {module.name for module in pkgutil.iter_modules(published.__path__) if not module.name.startswith("_")}
    assert recompute.sources().keys() == names
    assert {"nanogpt", "chinchilla", "longcat_flash", "moe_plus_plus"} <= names
    for each in ROWS:
        assert importlib.import_module(f"modbench.published.{each.name}").__doc__
        assert each.source.address.startswith("https://")
        assert all((each.row.where, each.row.config, each.row.convention)), each.key
    assert len({each.key for each in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("text", "zeros", "value", "tolerance"),
    [
        ("46.7B", 0, 46.7e9, 0.05e9),
        ("124,337,664", 0, 124_337_664, 0.5),
        ("3.14E+23", 0, 3.14e23, 0.005e23),
        ("1,320M", 1, 1.32e9, 5e6),
        ("25.2%", 0, 0.252, 0.0005),
        ("0.99", 0, 0.99, 0.005),
        ("110.6K", 0, 110_600, 50),
    ],
)
def test_a_printed_number_is_read_with_what_its_rounding_can_hide(
    text: str, zeros: int, value: float, tolerance: float
) -> None:
    printed = Printed(text, zeros)
    assert printed.value == pytest.approx(value, rel=1e-12)
    assert printed.tolerance == pytest.approx(tolerance, rel=1e-9)
    assert Printed(printed.like(printed.value)).value == pytest.approx(value, rel=1e-12)


def test_gpt2s_numbers_are_identical(modbench: Any) -> None:
    done = modbench("verify", "-k", "nanogpt", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["what"]: row["ours"] for row in json.loads(done.stdout)}
    assert found["forward FLOPs"] == 291_648_307_200
    assert found["training step FLOPs"] == 874_944_921_600
    assert found["parameters"] == 124_337_664


def test_a_wrong_number_ends_with_code_1_and_is_named(modbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nanogpt = importlib.import_module("modbench.published.nanogpt")
    first, *others = nanogpt.SOURCE.rows
    planted = replace(first, printed=Printed("124,337,665"))
    monkeypatch.setattr(nanogpt, "SOURCE", replace(nanogpt.SOURCE, rows=(planted, *others)))
    done = modbench("verify", "-k", "nanogpt")
    assert done.returncode == 1
    assert re.search(r"WRONG: nanogpt, .*\b124,337,665\b.*\b124,337,664\b", done.stdout)
    assert numbers(done.stdout)[:3] == [6, 5, 1]
    assert json.loads(modbench("verify", "-k", "nanogpt", "--json").stdout)[0]["verdict"] == "wrong"


def test_a_number_that_nothing_reproduces_fails_nothing(modbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("what", "where", "config", Printed("2"), "", lambda: 1.0, "convention", why_not="because")
    monkeypatch.setattr(recompute, "sources", lambda: {"one": Source("title", "https://one", (row,))})
    done = modbench("verify", "-v")
    assert done.returncode == 0
    assert "because" in done.stdout
    assert numbers(done.stdout)[:2] == [1, 0]


def test_nothing_selected_is_a_mistake_with_the_names_that_there_are(modbench: Any) -> None:
    done = modbench("verify", "-k", "nosuch")
    assert done.returncode == 2
    assert "selects no row" in done.stderr
    assert "nanogpt" in done.stderr


def test_no_module_is_built_and_no_tensor_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("empty", "zeros", "ones", "randn", "tensor"):
        monkeypatch.setattr(torch, name, refuse)
    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    closed_form.cache_clear()
    assert all(each.ours > 0 for each in recompute.verified())


def numbers(text: str) -> list[int]:
    """Those of the first line: numbers in all, those that agree, and those that are wrong if there are any."""
    return [int(each) for each in re.findall(r"(?<![\w.+-])\d+(?![\w.%])", text.splitlines()[0])]


def test_the_answer_is_in_the_first_line_and_every_deviation_is_named() -> None:
    lines = as_text(ROWS).splitlines()
    off = [row for row in ROWS if row.verdict != "reproduced"]
    assert numbers(lines[0]) == [len(ROWS), len(ROWS) - len(off)]
    assert max(ROWS, key=lambda row: abs(row.relative)).name in lines[0]
    assert {name for name in recompute.sources() if sum(line.startswith(f"{name} ") for line in lines) != 1} == set()
    assert len(lines) <= SCREEN
    text = " ".join(as_text(ROWS).split())
    assert [row.row.what for row in off if f"{row.row.what} " not in text] == []


@pytest.mark.parametrize("verbose", [False, True])
def test_the_text_fits_80_columns_and_stands_on_the_page(verbose: bool) -> None:
    text = as_text(ROWS, verbose=verbose)
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    page = Path(__file__).parents[2] / "docs" / "verify.md"
    assert text in page.read_text(encoding="utf-8"), "run `modbench verify` and copy its output into docs/verify.md"


def test_what_was_realised_is_the_measured_gain_over_the_promised() -> None:
    """535.3 ms to 427.6 ms where 5/3 was promised; 1859 to 1455 where 4/3 was."""
    found = {row.what: row.realised for row in moe_plus_plus.SOURCE.rows}
    assert found["0.6B/(8+4) tau 0.75: throughput"] == pytest.approx(0.378, abs=5e-4)
    assert found["7B/(16+4) tau 0.75: throughput"] == pytest.approx(0.833, abs=5e-4)


@pytest.mark.parametrize("q_rank", [0, 24])
def test_latent_attention_has_as_many_parameters_as_transformers_module(q_rank: int) -> None:
    """The closed form that our catalogue lacks, held against another implementation of it."""
    pytest.importorskip("transformers")
    from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention

    config = DeepseekV3Config(
        hidden_size=64,
        num_attention_heads=4,
        num_key_value_heads=4,
        q_lora_rank=q_rank or None,
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=12,
    )
    with torch.device("meta"):
        module = DeepseekV3Attention(config, 0)
    ours = _mla.Latent(64, 4, q_rank, 16, nope=8, rope=4, value=12)
    assert ours.params == sum(parameter.numel() for parameter in module.parameters())
