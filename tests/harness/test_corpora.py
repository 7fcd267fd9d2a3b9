"""Text in: every format gives the same documents, no document is on both sides, mistakes are answered in words."""

from __future__ import annotations

import gzip
import json
import sys
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

STORIES = [f"Story {i}: the fox met {i * i} dogs, été {i}." for i in range(60)]
EXPECTED = from_documents("", (story.encode() for story in STORIES))
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "cache"))
    if "datasets" in sys.modules:
        monkeypatch.setattr(sys.modules["datasets"].config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))


def jsonl(file: Path, documents: Sequence[Any] = STORIES, field: str = "text") -> Path:
    lines = [json.dumps({"id": i, field: document}) + "\n" for i, document in enumerate(documents)]
    data = "\n".join(lines).encode()  # blank lines between: they are no documents
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file


def parquet(file: Path, documents: Sequence[Any] = STORIES, field: str = "text", kind: str = "string") -> Path:
    pa = optional_packages.load("pyarrow", "parquet", "a test")
    pq = optional_packages.load("pyarrow.parquet", "parquet", "a test")
    kinds = {"string": pa.string(), "large": pa.large_string(), "coded": pa.dictionary(pa.int32(), pa.string())}
    columns = {"id": pa.array(range(len(documents))), field: pa.array(documents).cast(kinds[kind])}
    pq.write_table(pa.table(columns), file, row_group_size=7)
    return file


def saved(folder: Path) -> Path:
    datasets = optional_packages.load("datasets", "hf", "a test")
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"id": list(range(60)), "text": STORIES})
    datasets.DatasetDict({"train": made, "test": made.select(range(5))}).save_to_disk(str(folder / "both"))
    made.save_to_disk(str(folder / "one"))
    return folder


def content(text: Text) -> tuple[bytes, bytes, str]:
    return text.train, text.val, text.sha256


def read(corpus: object) -> Text:
    name, given_path = corpus_entry(str(corpus))
    text: Text = catalogue.load("corpora", name).read(given_path)
    return text


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda here: jsonl(here / "a.jsonl"),
        lambda here: jsonl(here / "A.NDJSON"),
        lambda here: jsonl(here / "a.jsonl.gz"),
        lambda here: jsonl(here / "a.jsonl", [*STORIES, None, "", "half a pair \ud800"]),
        lambda here: jsonl(here / "a.jsonl", field="content"),
        lambda here: parquet(here / "a.parquet", [*STORIES, None, ""], kind="large"),
        lambda here: parquet(here / "a.parquet", field="story", kind="coded"),
        lambda here: f"hf:{saved(here)}/one",
        lambda here: f"hf:{saved(here)}/both?split=train",
        lambda here: f"hf:{parquet(here / 'train.parquet').parent}?stream=0",
        lambda here: f"hf:{jsonl(here / 'test.jsonl', field='story').parent}?split=test&column=story",
    ],
)
def test_every_format_gives_the_same_text(make: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert content(read(make(tmp_path / "data"))) == content(EXPECTED)


def test_a_folder_may_mix_formats(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", STORIES[:20])
    parquet(tmp_path / "b.parquet", STORIES[15:40])
    for i, story in enumerate(STORIES[40:50]):
        (tmp_path / f"{i}.txt").write_text(story)
    for i, story in enumerate(STORIES[50:]):
        (tmp_path / f"{i}.md.gz").write_bytes(gzip.compress(story.encode()))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    (tmp_path / "archive.tar.gz").write_bytes(gzip.compress(b"unlike a text it may be huge: it is not unpacked")[:-9])
    assert content(read(tmp_path)) == content(EXPECTED)


@given(documents=st.lists(LINES, max_size=30), copies=st.lists(st.integers(0, 29), max_size=10), seed=st.randoms())
def test_no_document_is_on_both_sides_and_none_is_lost(documents: list[str], copies: list[int], seed: Any) -> None:
    shuffled = documents + [documents[i] for i in copies if i < len(documents)]
    seed.shuffle(shuffled)
    if len(set(documents)) < 2:
        with pytest.raises(UsageError, match="different document"):
            from_documents("t", (document.encode() for document in shuffled))
        return
    text = from_documents("t", (document.encode() for document in shuffled))
    train, val = (side.decode().split("\n") for side in (text.train, text.val))
    assert sorted(train + val) == sorted(set(documents))
    assert train
    assert val
    assert content(text) == content(from_documents("t", (document.encode() for document in documents)))
    changed = from_documents("t", (document.encode() for document in [*documents, "".join(documents) + "!"]))
    assert changed.sha256 != text.sha256


@given(data=st.text(st.sampled_from("aé中🦊\n"), min_size=1))
def test_a_file_is_never_cut_inside_a_character(data: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "cut.txt"
    file.write_bytes(data.encode())
    text = from_file(file)
    assert text.train.decode() + text.val.decode() == data
    assert len(text.val) >= 0.1 * len(data.encode()) > len(text.val) - 4 - 1


def test_a_column_can_be_asked_for(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"no {i}", "story": story}) for i, story in enumerate(STORIES)]
    (tmp_path / "a?b.jsonl").write_text("\n".join(rows))
    assert content(read(f"{tmp_path}/a?b.jsonl?column=story")) == content(EXPECTED)
    assert content(read(f"{tmp_path}?column=story")) == content(EXPECTED)
    assert content(read(tmp_path / "a?b.jsonl")) != content(EXPECTED)


def test_names_are_told_from_paths() -> None:
    assert corpus_entry("stdlib") == ("stdlib", None)
    assert corpus_entry("path") == ("path", "path")
    assert corpus_entry("hf:a/b?split=x") == ("hf", "hf:a/b?split=x")
    assert corpus_entry("books/hf:a") == ("path", "books/hf:a")


@pytest.mark.parametrize(
    ("name", "data", "query", "said"),
    [
        (
            "a.jsonl",
            b'{"q": "a", "r": "b"}',
            "",
            ["line 1", "'text' nor 'content'", "text 'q', 'r'", "?column="],
        ),
        ("a.jsonl", b'{"step": 1}', "", ["only 'step'"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "", ["line 2: not JSON", "JSON object a line"]),
        ("a.jsonl", b'["a"]', "", ["line 1: a list"]),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": 3}', "", ["line 3: field 'text'", "a number"]),
        (
            "a.jsonl",
            b'{"text": "a", "story": "b"}',
            "?column=stori",
            ["unknown column", "'stori'", "Did you mean 'story'?"],
        ),
        ("a.jsonl", b'{"text": "a"}', "?colum=text", ["unknown option", "Did you mean 'column'?"]),
        ("a.jsonl", b'{"text": "a"}', "?column=", ["option 'column'", "one value"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": "a"}', "", ["1 different document(s)", "last tenth"]),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"text": "a"}' * 9, mtime=0)[:-9],
            "",
            ["a.jsonl.gz cannot be read", "ended before"],
        ),
        ("a.txt.gz", gzip.compress(b"text " * 99, mtime=0)[:-9], "", ["a.txt.gz cannot be read", "ended before"]),
        ("a.txt.gz", gzip.compress(b"\xff", mtime=0), "", ["is not UTF-8 text"]),
        ("a.txt", b"text", "?column=text", ["has no columns"]),
        ("a.parquet", b"PAR1", "", ["a.parquet cannot be read", "Parquet"]),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    name: str, data: bytes, query: str, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError) as refused:
        read(f"{tmp_path / name}{query}")
    for words in said:
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_parquet_without_text_says_what_it_has(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", field="story")
    with pytest.raises(UsageError, match="'id' holds int64"):
        read(f"{tmp_path}/a.parquet?column=id")
    parquet(tmp_path / "b.parquet", field="id")  # replaces the numbers
    with pytest.raises(UsageError, match=r"b\.parquet: 'story'"):
        read(f"{tmp_path}/b.parquet?column=story")


def test_two_columns_of_one_name_are_said_so(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_arrays([pyarrow.array(["once"]), pyarrow.array(["twice"])], names=["text", "text"])
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"a.parquet"):
        read(f"{tmp_path}/a.parquet")


@pytest.mark.parametrize(
    ("package", "extra", "corpus"), [("pyarrow", "parquet", "a.parquet"), ("datasets", "hf", "hf:nobody/nothing")]
)
def test_a_missing_package_is_named(
    package: str, extra: str, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs the package '{package}'.*pip install '\.\[{extra}\]'"):
        read(corpus)


class Hub:
    """Stands for `datasets.load_dataset`: counts calls, serves rows as a stream, or raises."""

    def __init__(self, rows: Sequence[Any] = (), error: Exception | None = None) -> None:
        self.rows, self.error, self.calls, self.served = rows, error, list[dict[str, Any]](), 0

    def __call__(self, name: str, config: str | None = None, **kwargs: Any) -> Any:
        datasets = optional_packages.load("datasets", "hf", "a test")
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
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hub]:
    datasets = optional_packages.load("datasets", "hf", "a test")

    def plant(rows: Sequence[Any] = (), error: Exception | None = None) -> Hub:
        made = Hub(rows, error)
        monkeypatch.setattr(datasets, "load_dataset", made)
        return made

    return plant


def test_a_set_from_the_hub_is_read_once(hub: Callable[..., Hub], tmp_path: Path) -> None:
    """Every unit of a run reads the corpus: from the cache, unless that is damaged."""
    made = hub([{"text": story} for story in STORIES])
    spec = "hf:some/stories?config=en&split=test&revision=abc"
    assert content(read(spec)) == content(read(spec)) == content(EXPECTED)
    options = {"config": "en", "split": "test", "revision": "abc", "streaming": True, "trust_remote_code": False}
    expected = {"name": "some/stories", **options}
    assert made.calls == [expected]
    assert content(read(f"{spec}&stream=0")) == content(EXPECTED)
    assert len(made.calls) == 1
    (kept,) = (tmp_path / "cache").rglob("val")
    kept.write_bytes(kept.read_bytes()[1:])
    assert content(read(f"{spec}&stream=0")) == content(EXPECTED)
    assert made.calls[1:] == [{**expected, "streaming": False}]


def test_streaming_stops_where_it_was_told(hub: Callable[..., Hub]) -> None:
    made = hub([{"text": f"{i:05} " + "x" * 994} for i in range(1000)])
    text = read("hf:some/stories?megabytes=0.02")
    assert len(text.train) + len(text.val) == 20 * 1000 + 18  # newlines between
    assert made.served <= 21
    assert len(read("hf:some/stories?megabytes=all").train) > 8e5


def test_how_much_is_read_where_nothing_is_said(
    hub: Callable[..., Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start of a set on the hub, all of the user's own; without network, what was downloaded before."""
    (tmp_path / "mine").mkdir()
    folder = saved(tmp_path / "mine")
    made = hub([{"text": story} for story in STORIES])
    monkeypatch.setattr(hf, "MEGABYTES", "0.0005")
    datasets = optional_packages.load("datasets", "hf", "a test")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert len(read("hf:some/stories").train) < 600
    assert not made.calls[0]["streaming"]
    assert content(read(f"hf:{folder}/one")) == content(EXPECTED)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "DatasetNotFoundError:Dataset 'a/b' doesn't exist on the Hub or cannot be accessed.",
            ["doesn't exist", "hf auth login"],
        ),
        ("ConnectionError:Couldn't reach 'a/b' on the Hub", ["Couldn't reach", "stream=0"]),
        ("ValueError:Bad split: train. Available splits: ['test']", ["Available splits: ['test']", "split="]),
        ("RuntimeError:Dataset scripts are no longer supported", ["no longer supported", "RuntimeError"]),
        ("KeyError:", ["KeyError"]),
        ("ValueError:" + "x" * 5000, ["xxx"]),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(error: str, said: list[str], hub: Callable[..., Hub]) -> None:
    datasets = optional_packages.load("datasets", "hf", "a test")
    name, _, message = error.partition(":")
    kinds = {"DatasetNotFoundError": datasets.exceptions.DatasetNotFoundError, "ConnectionError": ConnectionError}
    kind = kinds.get(name) or {"ValueError": ValueError, "RuntimeError": RuntimeError, "KeyError": KeyError}[name]
    datasets.enable_progress_bars()
    hub(error=kind(message))
    with pytest.raises(UsageError) as refused:
        read("hf:a/b")
    for words in ["corpus 'hf:a/b' cannot be read", *said]:
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert datasets.is_progress_bar_enabled()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:", ["names no data set"]),
        ("hf:a/b?splt=x", ["unknown option", "Did you mean 'split'?"]),
        ("hf:a/b?stream=yes", ["stream is", "'yes'"]),
        *((f"hf:a/b?megabytes={wrong}", ["above 0 or 'all'", wrong]) for wrong in ("0", "many", "nan")),
        ("hf:some.txt", ["is a file", "Leave out 'hf:'"]),
        ("hf:saved/one?column=id", ["column 'id' holds int"]),
        ("hf:saved/one?column=texts", ["unknown column", "Did you mean 'text'?"]),
        ("hf:saved/both?split=val", ["Bad split: val", "['test', 'train']"]),
    ],
)
def test_a_wrong_data_set_is_answered_in_words(
    spec: str, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some.txt").write_text("text")
    saved(tmp_path / "saved")
    with pytest.raises(UsageError) as refused:
        read(spec)
    for words in said:
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_about_a_tenth_of_the_documents_is_held_out() -> None:
    text = from_documents("t", (str(i).encode() for i in range(4000)))
    assert 320 < text.val.count(b"\n") < 480


@pytest.mark.parametrize("other", ["split=a", "megabytes=7", "column=title"])
def test_other_options_are_another_text(other: str, hub: Callable[..., Hub]) -> None:
    made = hub([{"text": story, "title": story + "!"} for story in STORIES])
    read("hf:some/stories")
    read(f"hf:some/stories?{other}")
    assert len(made.calls) == 2
