"""A model's own tokenizer: its tokens are the library's, they give back the text, and bits per byte count its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folders import LLAMA3, text, tokenizer
from hypothesis import example, given
from hypothesis import strategies as st

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.train_plan import TrainPlan, TrainRun
from modbench.harness.planning.jobs import tokenizer_of
from modbench.harness.planning.text import tokens
from modbench.harness.planning.text.tokens import encode
from modbench.harness.training.batches import Windows

pytest.importorskip("tokenizers")

BODY = text()
MADE = Text("argparse", BODY.encode(), ("# é 中\n\n\n" + BODY[:5000]).encode(), "sha")
WHOLE = {pattern: tokenizer(pattern) for pattern in (None, LLAMA3)}


def folder_of(made: Any, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    made.save(str(folder / "tokenizer.json"))
    return f"hf:{folder}(weights=random)"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("pattern", [None, LLAMA3], ids=["gpt2", "llama3"])
def test_its_tokens_are_those_of_the_library(
    pattern: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small pieces too, and read back from the cache."""
    monkeypatch.setattr(tokens, "PIECE_BYTES", 100)
    made = encode(MADE, folder_of(WHOLE[pattern], tmp_path / "f"), 400)
    for data, ids in ((MADE.train, made.train), (MADE.val, made.val)):
        assert ids.tolist() == WHOLE[pattern].encode(data.decode(), add_special_tokens=False).ids
        assert b"".join(made.pieces[i] for i in ids) == data
    assert made.tokens_per_byte == len(made.val) / len(MADE.val) < 0.6
    assert made.identity.startswith("given ")
    monkeypatch.setattr(tokens, "_ids", None)  # nothing is encoded again
    again = encode(MADE, folder_of(WHOLE[pattern], tmp_path / "f"), 400)
    assert np.array_equal(again.train, made.train)


@given(st.lists(st.sampled_from(["x", ".", "\n", "\r", " ", "  ", "\t", "7", "é", "if", "'s"]), max_size=40))
@example(["x", "\n", "\n", "\n", "x"])
@example([".", "\n", "x"])
@example(["x", "\n", " ", "x"])
def test_cuts_change_no_token(parts: list[str]) -> None:
    whole = "".join(parts)
    pieces = [p.decode() for p in tokens.GIVEN_CUT.split(whole.encode())]
    assert "".join(pieces) == whole
    for made in WHOLE.values():
        ids = [i for piece in pieces for i in made.encode(piece, add_special_tokens=False).ids]
        assert ids == made.encode(whole, add_special_tokens=False).ids


def test_a_special_token_in_the_text_is_its_text(tmp_path: Path) -> None:
    said = Text("t", b"before <|end|> after", b"<|end|>", "sha")
    made = encode(said, folder_of(WHOLE[None], tmp_path / "f"), 400)
    assert made.val.tolist() == [0]
    assert made.pieces[0] == b"<|end|>"


def test_a_space_before_every_text_is_no_part_of_it(tmp_path: Path) -> None:
    """As of Llama 2: bytes where the vocabulary has no token, and a mark for a space."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    words = {"<unk>": 0, **{f"<0x{i:02X}>": i + 1 for i in range(256)}, "\u2581": 257, "a": 258, "\u2581a": 259}
    made = Tokenizer(models.BPE(words, [("\u2581", "a")], byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    said = Text("t", "a a\na é a".encode(), b"a\na", "sha")
    found = encode(said, folder_of(made, tmp_path / "f"), 300)
    assert b"".join(found.pieces[i] for i in found.train) == b" " + said.train
    assert found.tokens_per_byte == len(found.val) / 3


def test_a_tokenizer_that_loses_text_is_refused(tmp_path: Path) -> None:
    from tokenizers import normalizers

    made = tokenizer()
    made.normalizer = normalizers.Lowercase()
    with pytest.raises(UsageError, match=r"at byte 2: b'Tea' .*b'tea'"):
        encode(Text("t", b"a Tea", b"a", "sha"), folder_of(made, tmp_path / "f"), 400)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is damaged"),
        ("{}", "is damaged"),
        ('{"model": {"vocab": {}}, "decoder": {"type": "WordPiece"}}', "decoder is WordPiece"),
    ],
)
def test_a_tokenizer_that_is_not_read_is_refused(tmp_path: Path, content: str, said: str) -> None:
    spec = folder_of(WHOLE[None], tmp_path / "f")
    (tmp_path / "f" / "tokenizer.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        encode(MADE, spec, 400)
    (tmp_path / "f" / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"there is no tokenizer\.json"):
        encode(MADE, spec, 400)


def test_a_model_that_cannot_hold_its_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 400 tokens.*set vocab_size=400"):
        encode(MADE, folder_of(WHOLE[None], tmp_path / "f"), 399)
    with pytest.raises(UsageError, match="tokenizer 'mine:it' is none"):
        encode(MADE, "mine:it", 400)


def test_bits_per_byte_count_the_bytes_of_the_tokens_that_are_scored(tmp_path: Path) -> None:
    """Short tokens at the start of the held-out text, long ones at its end, of which a window scores only one kind."""
    said = Text("t", BODY.encode(), ("\x01" * 60 + "argument" * 200).encode(), "sha")
    made = encode(said, folder_of(WHOLE[None], tmp_path / "f"), 400)
    run = TrainRun(seq_len=16, batch_size=1, steps=0, lr=1e-3, val_tokens=16)
    windows = Windows(made, run, 0)
    (batch,) = windows.val()
    scored = sum(len(made.pieces[i]) for i in batch.targets_BT.flatten().tolist())
    assert windows.tokens_per_byte() == 16 / scored == 1
    assert made.tokens_per_byte < 0.7
    every = Windows(made, run.model_copy(update={"val_tokens": 10**6}), 0)
    targets = [i for batch in every.val() for i in batch.targets_BT.flatten().tolist()]
    assert every.tokens_per_byte() == len(targets) / sum(len(made.pieces[i]) for i in targets)


def test_only_a_pretrained_model_brings_its_tokenizer(tmp_path: Path) -> None:
    folder_of(WHOLE[None], tmp_path / "f")
    plan = TrainPlan.model_validate({})
    own = f"hf:{tmp_path / 'f'}"
    assert tokenizer_of(own, (("weights", "random"),), plan) == "bytes"
    assert tokenizer_of("hf:llama", (), plan) == tokenizer_of("dense", (), plan) == "bytes"
    (tmp_path / "f" / "model.safetensors").write_bytes(b"")
    assert tokenizer_of(own, (), plan) == own
    assert tokenizer_of(own, (), plan.model_copy(update={"tokenizer": "bpe"})) == "bpe"


def test_a_tokenizer_that_is_none_is_refused_in_a_suite() -> None:
    with pytest.raises(ValueError, match="tokenizer 'byte' is none"):
        TrainPlan.model_validate({"tokenizer": "byte"})
    assert json.loads(TrainPlan(tokenizer="hf:x").model_dump_json())["tokenizer"] == "hf:x"
