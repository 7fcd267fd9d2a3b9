"""Text in: every format gives the same documents, no document is on both sides, mistakes are answered in words."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.core import optional_packages
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.text.corpus import corpus_entry, from_documents, from_file
from modbench.harness.registry import catalogue

hf = pytest.importorskip("modbench.plugins.huggingface.corpus", reason="the plug-in is absent")
datasets: Any = pytest.importorskip("datasets")
pa: Any = pytest.importorskip("pyarrow")

STORIES = [f"Story {i}: the fox met {i * i} dogs, été {i}." for i in range(60)]
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)
TABLES = {"string": pa.string(), "large": pa.large_string(), "coded": pa.dictionary(pa.int32(), pa.string())}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, beside caches of its own."""
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def jsonl(name: str, documents: Sequence[Any] = STORIES, field: str = "text") -> str:
    lines = [json.dumps({"id": i, field: document}) + "\n" for i, document in enumerate(documents)]
    data = "\n".join(lines).encode()  # blank lines between: they are no documents
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


def parquet(name: str, documents: Sequence[Any] = STORIES, field: str = "text", kind: str = "string") -> str:
    pq = optional_packages.load("pyarrow.parquet", "parquet", "a test")
    columns = [pa.array(range(len(documents))), pa.array(documents).cast(TABLES[kind])]
    pq.write_table(pa.Table.from_arrays(columns, names=["id", field]), name, row_group_size=7)
    return name


def saved(name: str) -> str:
    """A data set of one split, or of two, as the library saves it."""
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"id": list(range(60)), "text": STORIES})
    both = datasets.DatasetDict({"train": made, "test": made.select(range(5))})
    (both if name == "both" else made).save_to_disk(name)
    return name


def mixed() -> str:
    """Files of every format, two of which share documents, and two that are no text."""
    jsonl("a.jsonl", STORIES[:20])
    parquet("b.parquet", STORIES[15:40])
    for i, story in enumerate(STORIES[40:50]):
        Path(f"{i}.txt").write_text(story)
    for i, story in enumerate(STORIES[50:]):
        Path(f"{i}.md.gz").write_bytes(gzip.compress(story.encode()))
    Path("picture.png").write_bytes(b"\x89PNG\xff")
    Path("archive.tar.gz").write_bytes(gzip.compress(b"unlike a text it may be huge: it is not unpacked")[:-9])
    return "."


def split(documents: Sequence[str]) -> Text:
    return from_documents("t", (document.encode() for document in documents))


def content(text: Text) -> tuple[bytes, bytes, str]:
    return text.train, text.val, text.sha256


def read(corpus: str) -> Text:
    name, given_path = corpus_entry(corpus)
    text: Text = catalogue.load("corpora", name).read(given_path)
    return text


EXPECTED = content(split(STORIES))


def refused(corpus: str, said: Sequence[str]) -> None:
    """Reading it is refused in one line that holds these words."""
    with pytest.raises(UsageError) as found:
        read(corpus)
    assert [words for words in said if words not in str(found.value)] == [], str(found.value)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 400


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: jsonl("a.jsonl.gz"),
        lambda: jsonl("a.jsonl", [*STORIES, None, "", "half a pair \ud800"]),
        lambda: jsonl("a?b.jsonl", field="story") + "?column=story",
        lambda: parquet("a.parquet", [*STORIES, None, ""], kind="large"),
        lambda: parquet("a.parquet", field="story", kind="coded"),
        mixed,
        lambda: f"hf:{saved('one')}",
        lambda: f"hf:{saved('both')}?split=train",
        lambda: jsonl("test.jsonl", field="story") and f"hf:{Path.cwd()}?split=test&column=story",
    ],
)
def test_every_format_gives_the_same_text(make: Callable[[], str]) -> None:
    assert content(read(make())) == EXPECTED


@given(documents=st.lists(LINES, max_size=30), copies=st.lists(st.integers(0, 29), max_size=10), seed=st.randoms())
def test_no_document_is_on_both_sides_and_none_is_lost(documents: list[str], copies: list[int], seed: Any) -> None:
    shuffled = documents + [documents[i] for i in copies if i < len(documents)]
    seed.shuffle(shuffled)
    if len(set(documents)) < 2:
        with pytest.raises(UsageError, match="different document"):
            split(shuffled)
        return
    text = split(shuffled)
    train, val = (side.decode().split("\n") for side in (text.train, text.val))
    assert sorted(train + val) == sorted(set(documents))
    assert train
    assert val
    assert content(text) == content(split(documents))
    assert split([*documents, "".join(documents) + "!"]).sha256 != text.sha256


def test_about_a_tenth_of_the_documents_is_held_out() -> None:
    documents = sorted(map(str, range(4000)), key=lambda each: hashlib.sha256(each.encode()).hexdigest())
    assert 320 < split(documents).val.count(b"\n") < 480
    for alike in (documents[:2], documents[-2:]):  # by their hashes both on one side
        assert all(content(split(alike)))


@given(data=st.text(st.sampled_from("aé中🦊\n"), min_size=1))
def test_a_file_is_never_cut_inside_a_character(data: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "cut.txt"
    file.write_bytes(data.encode())
    text = from_file(file)
    assert text.train.decode() + text.val.decode() == data
    assert len(text.val) >= 0.1 * len(data.encode()) > len(text.val) - 4 - 1


TWO = b'{"text": "a", "story": "b"}'


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.jsonl", b'{"q": "a", "r": "b"}', ["line 1", "'text' nor 'content'", "text 'q', 'r'", "?column="]),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', ["line 2: not JSON", "JSON object a line"]),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": 3}', ["line 3: field 'text'", "a number"]),
        ("a.jsonl?column=stori", TWO, ["unknown column", "'stori'", "Did you mean 'story'?"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": "a"}', ["1 different document(s)", "last tenth"]),
        ("a.jsonl.gz", gzip.compress(TWO * 9, mtime=0)[:-9], ["a.jsonl.gz cannot be read", "ended before"]),
        ("a.txt.gz", gzip.compress(b"\xff", mtime=0), ["is not UTF-8 text"]),
        ("a.parquet", b"PAR1", ["a.parquet cannot be read", "Parquet"]),
    ],
)
def test_a_file_that_cannot_be_read_says_why(name: str, data: bytes, said: list[str]) -> None:
    Path(name.partition("?")[0]).write_bytes(data)
    refused(name, said)


class Hub:
    """Stands for `datasets.load_dataset`: counts calls, serves rows as a stream, or raises."""

    def __init__(self) -> None:
        self.rows: Sequence[Any] = [{"text": story, "title": story + "!"} for story in STORIES]
        self.error: Exception | None = None
        self.calls: list[dict[str, Any]] = []
        self.served = 0

    def __call__(self, name: str, config: str | None = None, **kwargs: Any) -> Any:
        self.calls.append({"name": name, "config": config, **kwargs})
        if self.error:
            raise self.error
        return datasets.IterableDataset.from_generator(self._serve)

    def _serve(self) -> Any:
        for row in self.rows:
            self.served += 1
            yield row

    def __reduce__(self) -> tuple[Any, ...]:  # datasets names a generator by its pickle
        return Hub, ()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr(datasets, "load_dataset", made)
    return made


def test_a_set_from_the_hub_is_read_once(hub: Hub, tmp_path: Path) -> None:
    """Every job of a run reads the corpus: from the cache, unless that is damaged, or the options are others."""
    spec = "hf:some/stories?config=en&split=test&revision=abc"
    options = {"config": "en", "split": "test", "revision": "abc", "streaming": True, "trust_remote_code": False}
    expected = {"name": "some/stories", **options}
    for asked in (spec, spec, f"{spec}&stream=0"):
        assert content(read(asked)) == EXPECTED
        assert hub.calls == [expected]
    (kept,) = (tmp_path / "cache").rglob("val")
    kept.write_bytes(kept.read_bytes()[1:])
    assert content(read(f"{spec}&stream=0")) == EXPECTED
    assert hub.calls[1:] == [{**expected, "streaming": False}]
    for calls, other in enumerate(("split=a", "megabytes=7", "column=title"), 3):
        read(f"hf:some/stories?{other}")
        assert len(hub.calls) == calls


def test_streaming_stops_where_it_was_told(hub: Hub) -> None:
    hub.rows = [{"text": f"{i:05} " + "x" * 994} for i in range(1000)]
    text = read("hf:some/stories?megabytes=0.02")
    assert len(text.train) + len(text.val) == 20 * 1000 + 18  # newlines between
    assert hub.served <= 21
    assert len(read("hf:some/stories?megabytes=all").train) > 8e5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist"), ["doesn't exist", "hf auth login"]),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), ["Couldn't reach", "stream=0"]),
        (ValueError("Bad split: train. Available splits: ['test']"), ["Available splits: ['test']", "split="]),
        (ValueError("x" * 5000), ["xxx"]),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(error: Exception, said: list[str], hub: Hub) -> None:
    datasets.enable_progress_bars()
    hub.error = error
    refused("hf:a/b", ["corpus 'hf:a/b' cannot be read", *said])
    assert datasets.is_progress_bar_enabled()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:a/b?splt=x", ["unknown option", "Did you mean 'split'?"]),
        ("hf:./one?column=id", ["column 'id' holds int"]),
        ("hf:./both?split=val", ["Bad split: val", "['test', 'train']"]),
    ],
)
def test_a_wrong_data_set_is_answered_in_words(spec: str, said: list[str]) -> None:
    saved("one")
    saved("both")
    refused(spec, said)
