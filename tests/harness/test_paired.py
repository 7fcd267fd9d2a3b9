"""Two revisions timed in alternating processes: the statistics, the sides, the words of a launch, and the result."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import left, planted_suite

from modbench.harness.core.errors import UsageError
from modbench.harness.stats import alternated
from modbench.harness.stats.alternated import Block
from modbench.reports import alternated as told
from modbench.tools import paired, revisions

logs = st.floats(-10, 2)


@given(st.lists(st.tuples(logs, logs, logs), min_size=3, max_size=12), st.floats(-1, 1))
def test_a_steady_drift_moves_neither_comparison(times: list[tuple[float, float, float]], slope: float) -> None:
    """A machine that slows down by the same factor from launch to launch: the effect stays, and in pairs of blocks A/A too."""
    still = [Block(*each) for each in times]
    moved = [Block(*(time + slope * (3 * i + j) for j, time in enumerate(each))) for i, each in enumerate(times)]
    assert alternated.between(moved).value == pytest.approx(alternated.between(still).value, abs=1e-9)
    if len(times) % 2 == 0:
        assert alternated.same(moved).value == pytest.approx(alternated.same(still).value, abs=1e-9)


def test_the_effect_is_that_of_the_second_side() -> None:
    blocks = [Block(math.log(3.0), math.log(2.0), math.log(3.0))] * 3
    assert alternated.between(blocks).value == pytest.approx(math.log(1.5))
    assert alternated.same(blocks).value == 0


def test_the_interval_covers_and_three_per_cent_are_seen() -> None:
    """Processes that differ by 2 %: a small form of tests/bench/paired_power.py."""
    import paired_power

    found = paired_power.simulate(np.random.default_rng(0), blocks=8, effect=math.log(0.97), sd=0.02, repeats=600)
    assert found.told_apart > 0.8
    assert 0.92 < found.covers < 0.98
    none = paired_power.simulate(np.random.default_rng(1), blocks=8, effect=0.0, sd=0.02, repeats=600)
    assert none.told_apart < 0.08


MODEL = "import torch\n\n\ndef build(config):\n    return torch.nn.Embedding(config.vocab_size, config.vocab_size)\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two revisions of a model, and a third state that is not committed."""
    root = tmp_path / "repo"
    (root / "deep").mkdir(parents=True)

    program = shutil.which("git")
    assert program is not None

    def git(*words: str) -> None:
        who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        who |= {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        subprocess.run([program, "-C", str(root), *words], check=True, capture_output=True, env=os.environ | who)

    git("init", "-q", "-b", "main")
    (root / "readme").write_text("no model yet\n")
    git("add", "-A")
    git("commit", "-qm", "zero")
    git("tag", "zero")
    (root / "deep" / "mine.py").write_text(MODEL)
    git("add", "-A")
    git("commit", "-qm", "one")
    git("tag", "one")
    (root / "deep" / "mine.py").write_text(f"# two\n{MODEL}")
    git("commit", "-qam", "two")
    (root / "deep" / "mine.py").write_text(f"# three\n{MODEL}")
    (root / "deep" / "beside.py").write_text("new = 1\n")
    return root


def first_line(side: revisions.Side) -> str:
    (model,) = side.models.values()
    return Path(model.rpartition(":")[0]).read_text().splitlines()[0]


def test_a_model_comes_from_its_revision(repository: Path, tmp_path: Path) -> None:
    models = (f"{repository / 'deep' / 'mine.py'}:build",)
    one = revisions.side("one", models, tmp_path / "a")
    two = revisions.side("HEAD", models, tmp_path / "b")
    three = revisions.side(".", models, tmp_path / "c")
    assert [first_line(each) for each in (one, two, three)] == ["import torch", "# two", "# three"]
    assert one.said.startswith("one (")
    assert three.said == "the files in repo as they are"
    assert (tmp_path / "c" / "deep" / "beside.py").exists()
    assert one.modbench() == two.modbench()  # the same modbench on both sides


@pytest.mark.parametrize(
    ("name", "model", "said"),
    [
        ("nowhere", "deep/mine.py:build", "repo has no revision 'nowhere'"),
        ("--output=x", "deep/mine.py:build", "repo has no revision '--output=x'"),
        ("zero", "deep/mine.py:build", "zero has no file deep/mine.py: the model is younger, or was moved"),
        ("one", "deep/none.py:build", "there is no such file here"),
    ],
)
def test_what_is_not_there_is_refused(repository: Path, tmp_path: Path, name: str, model: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        revisions.side(name, (f"{repository / model}",), tmp_path / "a")
    assert not (repository / "x").exists()


def test_a_model_outside_any_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    with pytest.raises(UsageError, match="is in no git repository"):
        revisions.side("HEAD", (f"{tmp_path / 'mine.py'}:build",), tmp_path / "a")


def test_an_interpreter_is_a_side_and_must_have_modbench(tmp_path: Path) -> None:
    assert revisions.side(sys.executable, (), tmp_path / "a").python == sys.executable
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'ModuleNotFoundError: none' >&2\nexit 1\n")
    bare.chmod(0o755)
    with pytest.raises(UsageError, match="modbench cannot be imported there"):
        revisions.side(str(bare), (), tmp_path / "b").modbench()


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 3"):
        paired.Asked(("a", "b"), "quick", blocks=2)


def launched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slower: dict[str, float]) -> list[list[Path]]:
    """Measure with launches that are planted: the second side takes so many times as long."""
    made = list[str]()

    def launch(one: revisions.Side, asked: paired.Asked, out: Path, metrics: Sequence[str]) -> None:
        made.append(out.name)
        plan = planted_suite("draft", metrics=list(metrics), train=None, launches=1, rounds=4, grid={"seq_len": [64]})
        more = slower if one.name == "b" else {}
        left(out.parent / f"{out.name}-made", plan, seed=len(made), slower=more).rename(out)
        assert paired.command(one, asked, out, metrics)[1:5] == ["-P", "-m", "modbench", "run"]

    monkeypatch.setattr(paired, "_launch", launch)
    monkeypatch.setattr(paired, "side", lambda name, _models, _into: revisions.Side(name, name, sys.executable))
    monkeypatch.setattr(revisions.Side, "modbench", lambda _self: "")
    said = list[str]()
    sides, found = paired.measure(
        paired.Asked(("a", "b"), "quick", blocks=5), tmp_path, ["latency/forward"], said.append
    )
    assert sides == ("a", "b")
    assert made[:3] == ["block0-first", "block0-second", "block0-again"]
    assert said[0] == "a against b: 5 blocks of three launches, the first side twice"
    assert said[-1] == "[5/5]"
    return found


def test_a_planted_slowdown_of_one_case_is_named_and_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocks = launched(monkeypatch, tmp_path, {"mod[c0.125]": 1.1})
    found = told.result(blocks, ("a", "b"), relative=True)
    words = {(row.case.arm, row.verdict) for row in found.rows}
    assert {arm for arm, word in words if word == "worse"} == {"mod[c0.125]"}
    assert not found.fooled
    ratios = [math.exp(row.effect.value) for row in found.rows if row.effect and row.case.arm == "mod[c0.125]"]
    assert ratios == pytest.approx([1 / 1.1] * len(ratios), rel=0.02)
    text = told.in_words(found, 80)
    assert "▼ slower" in text
    assert text.startswith("A: a\nB: b\n")
    assert "relative to dense in the same process" in " ".join(text.split())
    # The clock of these launches runs at another speed in each: times as they are tell less.
    direct = told.result(blocks, ("a", "b"))
    widths = [
        next(row.effect.sd or 0 for row in each.rows if row.effect and row.case.arm == "mod[c0.125]")
        for each in (found, direct)
    ]
    assert widths[0] < widths[1]
    data = found.as_dict()["rows"]
    assert [row["verdict"] for row in data] == [row.verdict for row in found.rows]


def test_where_the_first_side_differs_from_itself_there_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moved = launched(monkeypatch, tmp_path, {"moe": 1.3})
    # As if every other launch of the first side had been another program.
    mixed = [[a, b, b] if i % 2 == 0 else [b, a, a] for i, (a, b, _) in enumerate(moved)]
    found = told.result(mixed, ("a", "b"), relative=True)
    assert {row.case.arm for row in found.fooled} == {"moe"}
    assert all(row.verdict is None for row in found.fooled)
    assert "⚠ In" in told.in_words(found, 80)


def test_the_words_of_a_launch(tmp_path: Path) -> None:
    side = revisions.Side("one", "one", "python", tmp_path, None, {"mine.py:build": "/a/mine.py:build"})
    asked = paired.Asked(("one", "two"), "quick", ("mine.py:build",), "mine and T512", ("--seq-len", "512"))
    words = paired.command(side, asked, tmp_path / "out", ["latency/forward"])
    assert words[words.index("--model") + 1] == "/a/mine.py:build"
    assert words[words.index("-k") + 1] == "mine and T512"
    assert 'metrics=["latency/forward"]' in words
    assert words[-2:] == ["--seq-len", "512"]
