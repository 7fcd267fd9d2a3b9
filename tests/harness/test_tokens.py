"""Tokens out: exact, learned from the training side alone, the same every time, and kept."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.planning.text import disk_cache, tokens
from modbench.harness.planning.text.tokens import Tokens, encode

PROSE = "".join(
    f"The {i} quick foxes\n\n    jumped over {i * i} lazy dogs, c'était {i % 7} fois.\n" for i in range(300)
)
TEXT = Text("t", PROSE.encode(), ("And then\n" + PROSE[::-1]).encode(), "sha")
# What the splitting into words is about: spaces of all kinds, ends of lines, contractions, letters, digits, what Python and
# Unicode call a space differently.
WORDS = st.text(
    st.one_of(st.sampled_from(" \n\t\r'sdfox7é中🦊.\x1c\x85\xa0\u2028\u200b"), st.characters(exclude_categories=["Cs"]))
)


@pytest.fixture(autouse=True, scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cache for all tests of this file but those that look into it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path))
    return tmp_path


def text_of(ids: Any, made: Tokens) -> bytes:
    return b"".join(made.pieces[i] for i in ids)


def same(one: Tokens, other: Tokens) -> bool:
    arrays = (np.array_equal(one.train, other.train), np.array_equal(one.val, other.val))
    return all(arrays) and (one.vocab_size, one.pieces) == (other.vocab_size, other.pieces)


@pytest.mark.parametrize(("tokenizer", "size"), [("bytes", 256), ("bpe", 257), ("bpe", 400), ("bpe", 4096)])
def test_both_sides_come_back_exactly(tokenizer: str, size: int) -> None:
    made = encode(TEXT, tokenizer, size)
    assert (text_of(made.train, made), text_of(made.val, made)) == (TEXT.train, TEXT.val)
    assert len(made.pieces) == len(set(made.pieces)) == made.vocab_size
    assert made.vocab_size == size or (made.vocab_size < size == 4096)  # as large as asked where the text has that many
    assert {bytes([byte]) for byte in range(256)} <= set(made.pieces)
    assert max(made.train.max(), made.val.max()) < made.vocab_size
    assert made.tokens_per_byte == len(made.val) / len(TEXT.val)
    assert made.train.dtype == made.val.dtype == (np.uint8 if tokenizer == "bytes" else np.uint16)
    assert not made.train.flags.writeable
    assert not made.val.flags.writeable
    assert tokenizer == "bpe" or np.shares_memory(
        made.train, np.frombuffer(TEXT.train, np.uint8)
    )  # bytes are not copied
    # A model to which all bytes are alike gives a token of n bytes the probability 256^-n: 8 bits a byte, however cut.
    nats_per_token = sum(len(made.pieces[i]) * math.log(256) for i in made.val) / len(made.val)
    assert nats_per_token / math.log(2) * made.tokens_per_byte == pytest.approx(8, rel=1e-12)


def test_ids_widen_with_the_vocabulary() -> None:
    assert [tokens.dtype_of(size) for size in (257, 1 << 16, (1 << 16) + 1)] == [np.uint16, np.uint16, np.uint32]


@given(train=WORDS.filter(bool), val=WORDS.filter(bool))
def test_any_text_comes_back_exactly(train: str, val: str) -> None:
    text = Text("t", train.encode(), val.encode(), "")
    made = encode(text, "bpe", 300)
    assert (text_of(made.train, made), text_of(made.val, made)) == (text.train, text.val)


@functools.cache
def trained() -> Any:
    return tokens._trained(tokenizers, TEXT.train, 600)


@given(data=st.lists(st.one_of(WORDS, st.sampled_from(["\n", "x\n", "\n  fox", "dogs, "]))).map("".join).filter(bool))
def test_cutting_a_text_cuts_no_token(data: str) -> None:
    whole = trained()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "PIECE_BYTES", 1)
        pieces = [piece.decode() for piece in tokens.cut(data.encode(), tokens.CUT)]
    assert "".join(pieces) == data
    assert [i for piece in pieces for i in whole.encode(piece).ids] == whole.encode(data).ids


def test_the_held_out_side_teaches_nothing() -> None:
    """The same training side gives the same tokens whatever is held out; a word that is only held out is no token."""
    val = ("zyzzyva " * 500).encode()
    one, other = encode(TEXT, "bpe", 4096), encode(Text("t", TEXT.train, val, "sha"), "bpe", 4096)
    assert one.pieces == other.pieces
    assert np.array_equal(one.train, other.train)
    assert not any(b"zyz" in piece for piece in other.pieces)
    learned = encode(Text("t", val, TEXT.train, "sha"), "bpe", 4096)  # the check can fail
    assert any(b"zyzzyva" in piece for piece in learned.pieces)


RUN = """
import hashlib, sys
from modbench.harness.core.contracts import Text
from modbench.harness.planning.text.tokens import encode
made = encode(Text("t", *(open(name, "rb").read() for name in sys.argv[1:]), "sha"), "bpe", 1000)
print(hashlib.sha256(made.train.tobytes() + made.val.tobytes() + b"|".join(made.pieces)).hexdigest())
"""


def started(folder: Path, **changes: str) -> subprocess.Popen[str]:
    """Encode in another process, with changes to its environment."""
    for name, data in (("train", TEXT.train), ("val", TEXT.val)):
        (folder / name).write_bytes(data)
    command = [sys.executable, "-c", RUN, str(folder / "train"), str(folder / "val")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **changes})


@pytest.mark.slow
def test_tokens_are_the_same_every_time(tmp_path: Path) -> None:
    """In other processes, with other hash seeds, with and without threads, from caches of their own."""
    runs = [
        started(tmp_path, MODBENCH_CACHE=str(tmp_path / str(i)), PYTHONHASHSEED=str(i), TOKENIZERS_PARALLELISM=threads)
        for i, threads in enumerate(("true", "false"))
    ]
    assert len({run.communicate()[0] for run in runs}) == 1
    one, other = ([file.read_bytes() for file in sorted((tmp_path / str(i)).rglob("*.*"))] for i in range(2))
    assert len(one) == 4
    assert one == other


def test_what_is_kept_is_not_made_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = encode(TEXT, "bpe", 400)
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "_build", None)
        assert same(encode(TEXT, "bpe", 400), made)
        for text, size in ((TEXT, 401), (Text("t", TEXT.train, TEXT.val + b"!", "sha"), 400)):
            with pytest.raises(TypeError):
                encode(text, "bpe", size)
    monkeypatch.setattr(tokenizers, "__version__", "0.0")
    encode(TEXT, "bpe", 400)
    assert len(list((own / "tokens").iterdir())) == 2


class Trap:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def saved(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """What a change to an array makes of its file."""

    def written(data: bytes) -> bytes:
        stream = io.BytesIO()
        np.save(stream, change(np.load(io.BytesIO(data))), allow_pickle=True)
        return stream.getvalue()

    return written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "harm", "sealed"),
    [
        ("train.npy", lambda data: data[:-3], False),
        ("val.npy", None, False),
        ("manifest.json", lambda _: b"", False),
        # Files whose hashes hold, but which are not what is written there. Nothing is unpickled.
        ("train.npy", saved(lambda _: np.array([Trap()], dtype=object)), True),
        ("train.npy", saved(lambda ids: np.full_like(ids, 300)), True),  # no such token
        ("train.npy", saved(lambda ids: ids.astype(np.float32)), True),
        ("tokenizer.json", lambda _: b'{"model": {}}', True),
        ("tokenizer.json", lambda data: data.replace(b":299", b":300"), True),  # leaves a gap
    ],
)
def test_what_is_damaged_or_forged_is_made_again(
    name: str, harm: Callable[[bytes], bytes] | None, sealed: bool, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own)
    made = encode(TEXT, "bpe", 300)
    (file,) = own.rglob(name)
    data = file.read_bytes()
    if harm is None:
        file.unlink()
    else:
        file.write_bytes(harm(data))
        assert file.read_bytes() != data
    if sealed:
        manifest = file.parent / disk_cache.MANIFEST
        hashes = json.loads(manifest.read_bytes()) | {name: hashlib.sha256(file.read_bytes()).hexdigest()}
        manifest.write_text(json.dumps(hashes))
    assert same(encode(TEXT, "bpe", 300), made)
    assert file.read_bytes() == data
    monkeypatch.setattr(tokens, "_build", None)
    assert same(encode(TEXT, "bpe", 300), made)
    assert not Path("sprung").exists()


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = encode(TEXT, "bpe", 300)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "file"))
    assert same(encode(TEXT, "bpe", 300), made)


@pytest.mark.parametrize(
    ("tokenizer", "size", "text", "said"),
    [
        ("bpee", 300, TEXT, "unknown tokenizer 'bpee'. .*Did you mean 'bpe'?"),
        ("bpe", 256, TEXT, "vocab_size 256 cannot hold .*vocab_size=257"),
        ("bpe", 300, Text("name", b"", b"a", ""), "'name' .*no training text"),
        ("bytes", 300, Text("name", b"a", b"", ""), "'name' .*no held-out text"),
        ("bpe", 300, Text("absent", b"a", b"b", ""), r"'tokenizers'.*pip install '\.\[bpe\]'"),
    ],
)
def test_mistakes_are_named(tokenizer: str, size: int, text: Text, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if text.name == "absent":
        monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=said):
        encode(text, tokenizer, size)


@pytest.mark.usefixtures("own")
def test_a_tokenizer_that_loses_text_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "pieces_of", lambda _: tuple(b"?" for _ in range(300)))
    with pytest.raises(ModbenchError, match="lost text"):
        encode(TEXT, "bpe", 300)
