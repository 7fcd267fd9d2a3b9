"""A model's own tokenizer: its tokens are the library's, they give back the text, and what does not is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folders import LLAMA3, text, tokenizer
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")

from tokenizers import Tokenizer, decoders, models, normalizers  # after the check

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.train_plan import TrainPlan
from modbench.harness.planning.jobs import reads_text, tokenizer_of
from modbench.harness.planning.text import tokens
from modbench.harness.planning.text.tokens import encode

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
    words = {"<unk>": 0, **{f"<0x{i:02X}>": i + 1 for i in range(256)}, "\u2581": 257, "a": 258, "\u2581a": 259}
    made = Tokenizer(models.BPE(words, [("\u2581", "a")], byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    said = Text("t", "a a\na é a".encode(), b"a\na", "sha")
    found = encode(said, folder_of(made, tmp_path / "f"), 300)
    assert b"".join(found.pieces[i] for i in found.train) == b" " + said.train
    assert found.tokens_per_byte == len(found.val) / 3


LOSSY = tokenizer()
LOSSY.normalizer = normalizers.Lowercase()
WORDS = '{"model": {"vocab": {}}, "decoder": {"type": "WordPiece"}}'


@pytest.mark.parametrize(
    ("content", "vocabulary", "said"),
    [
        (LOSSY.to_str(), 400, r"at byte 2: b'Tea' .*b'tea'"),
        ("{}", 400, "is damaged"),
        (WORDS, 400, "decoder is WordPiece"),
        (None, 400, r"there is no tokenizer\.json"),
        (WHOLE[None].to_str(), 399, r"has 400 tokens.*set vocab_size=400"),
    ],
    ids=["loses text", "nothing", "another decoder", "none", "ids beyond the model"],
)
def test_a_tokenizer_that_cannot_be_used_is_refused(
    tmp_path: Path, content: str | None, vocabulary: int, said: str
) -> None:
    spec = folder_of(WHOLE[None], tmp_path / "f")
    file = tmp_path / "f" / "tokenizer.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(UsageError, match=said):
        encode(Text("t", b"a Tea", b"a", "sha"), spec, vocabulary)


def test_only_a_pretrained_model_brings_its_tokenizer_and_is_evaluated(tmp_path: Path) -> None:
    folder_of(WHOLE[None], tmp_path / "f")
    (tmp_path / "f" / "model.safetensors").write_bytes(b"")
    plan, own = TrainPlan.model_validate({}), f"hf:{tmp_path / 'f'}"
    for model, options, stored in (
        (own, (), True),
        (own, (("weights", "random"),), False),
        ("hf:llama", (), False),
        ("dense", (), False),
    ):
        assert tokenizer_of(model, options, plan) == (own if stored else "bytes"), model
        assert reads_text(0, model, options) == stored
        assert reads_text(None, model, options)
    assert tokenizer_of(own, (), plan.model_copy(update={"tokenizer": "bpe"})) == "bpe"
