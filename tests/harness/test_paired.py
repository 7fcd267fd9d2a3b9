"""Two revisions timed in alternating processes: the statistics, the sides, the words of a launch, and the result."""

from __future__ import annotations

import errno
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import left, planted_suite
from present import present

from modbench.commands._flags import PairedFlags
from modbench.commands._paired import folder as paired_folder
from modbench.commands._paired import measure as paired
from modbench.commands._paired import sides as paired_sides
from modbench.commands.compare import compare_revisions
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.execution.limits import Limits
from modbench.harness.execution.stopping import Stop
from modbench.harness.process import exit_codes
from modbench.harness.results import lock, run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.stats import aba_blocks
from modbench.harness.stats.aba_blocks import Block
from modbench.reports.model import Alert, Sentence, Table, Verdict
from modbench.reports.questions import revisions
from modbench.reports.tables.cell import Trouble
from modbench.reports.writers import text
from modbench.reports.writers.number_format import plain

logs = st.floats(-10, 2)


@given(st.lists(st.tuples(logs, logs, logs), min_size=2, max_size=12), st.floats(-1, 1))
def test_a_steady_drift_moves_neither_comparison(times: list[tuple[float, float, float]], slope: float) -> None:
    """A machine that slows down by the same factor from turn to turn: the effect stays, and over two blocks A/A too."""

    def block(drift: float, *, turned: bool) -> Block:
        places = (2, 1, 0) if turned else (0, 1, 2)
        rounds = [
            [time + drift * (3 * i + place) for time, place in zip(each, places, strict=True)]
            for i, each in enumerate(times)
        ]
        return aba_blocks.block(*zip(*rounds, strict=True))

    still, drifting = ([block(drift, turned=turned) for turned in (False, True)] for drift in (0.0, slope))
    for each, moved in zip(still, drifting, strict=True):
        assert moved.effect == pytest.approx(each.effect, abs=1e-9)
    assert aba_blocks.same(drifting).value == pytest.approx(aba_blocks.same(still).value, abs=1e-9)


def test_the_effect_is_that_of_the_second_side() -> None:
    block = aba_blocks.block([math.log(3.0)] * 4, [math.log(2.0)] * 4, [math.log(3.0)] * 4)
    assert aba_blocks.between([block] * 3).value == pytest.approx(math.log(1.5))
    assert aba_blocks.same([block] * 3).value == 0


def test_one_disturbed_round_moves_nothing() -> None:
    calm, disturbed = [0.0] * 5, [0.0, 0.0, 3.0, 0.0, 0.0]
    assert aba_blocks.block(calm, disturbed, calm) == Block(0.0, 0.0)
    assert aba_blocks.block(disturbed, calm, calm) == Block(0.0, 0.0)


def test_the_interval_covers_and_three_per_cent_are_seen() -> None:
    """As much noise as on a busy machine: a small form of tests/bench/paired_power.py."""
    import paired_power

    noise = paired_power.Noise(process=0.015, round=0.05, machine=0.08)
    found = paired_power.simulate(np.random.default_rng(0), noise, effect=math.log(0.97), repeats=300)
    assert found.told_apart > 0.8
    assert 0.92 < found.covers < 0.98
    none = paired_power.simulate(np.random.default_rng(1), noise, effect=0.0, repeats=300)
    assert none.told_apart < 0.08
    assert none.fooled < 0.08


MODEL = "import torch\n\n\ndef build(config):\n    return torch.nn.Embedding(config.vocab_size, config.vocab_size)\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two revisions of a model, and a third state that is not committed."""
    root = tmp_path / "repo"
    (root / "deep").mkdir(parents=True)

    program = present(shutil.which("git"))

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


def first_line(side: paired_sides.Side) -> str:
    (model,) = side.models.values()
    return Path(model.rpartition(":")[0]).read_text().splitlines()[0]


def test_a_model_comes_from_its_revision(repository: Path, tmp_path: Path) -> None:
    models = (f"{repository / 'deep' / 'mine.py'}:build",)
    one = paired_sides.side("one", models, tmp_path / "a")
    two = paired_sides.side("HEAD", models, tmp_path / "b")
    three = paired_sides.side(".", models, tmp_path / "c")
    assert [first_line(each) for each in (one, two, three)] == ["import torch", "# two", "# three"]
    assert one.label.startswith("one (")
    assert "repo" in three.label
    assert (tmp_path / "c" / "deep" / "beside.py").exists()
    assert one.modbench() == two.modbench()  # the same modbench on both sides
    again = paired_sides.side("one", models, tmp_path / "d")
    assert one.identity() == again.identity() != two.identity()


def test_what_a_model_imports_comes_from_its_revision_also_where_it_is_installed(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package in `src` or at the root of the repository; but modbench is the same on both sides."""
    for name, what in (("installed/beside.py", "here"), ("repo/src/beside.py", "a revision")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"what = {what!r}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    side = paired_sides.side(".", (f"{repository / 'deep' / 'mine.py'}:build",), tmp_path / "a")
    code = "import beside, sys; print(beside.what)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=side.environment(), check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "a revision"
    (repository / "src" / "modbench").mkdir()
    (repository / "src" / "modbench" / "__init__.py").touch()
    own = paired_sides.side(".", (f"{repository / 'deep' / 'mine.py'}:build",), tmp_path / "b")
    assert tmp_path / "b" / "src" not in own.imported


def test_folders_of_a_path_inside_the_repository_are_those_of_the_revision(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one with a file that would hide a module of Python."""
    for name in ("lib", "hides"):
        (repository / name).mkdir()
        (repository / name / f"{'statistics' if name == 'hides' else 'own'}.py").touch()
        monkeypatch.syspath_prepend(str(repository / name))
    side = paired_sides.side(".", (f"{repository / 'deep' / 'mine.py'}:build",), tmp_path / "a")
    assert side.imported == (tmp_path / "a" / "lib", tmp_path / "a")


def test_a_link_to_its_own_folder_is_read_once(repository: Path, tmp_path: Path) -> None:
    for name in "abc":
        (repository / name).symlink_to(".")
    side = paired_sides.side(".", (f"{repository / 'deep' / 'mine.py'}:build",), tmp_path / "a")
    assert len(side.identity()) == 64


def test_the_files_of_two_builds_are_part_of_what_is_compared(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    for name in ("old.py", "new.py", "part/__init__.py", "part/layers.py"):
        (tmp_path / name).write_text("one\n")
    models = tuple(f"{tmp_path / name}.py:build" for name in ("old", "new"))
    before = paired_sides.builds(models).identity()
    (tmp_path / "part" / "layers.py").write_text("two\n")
    assert paired_sides.builds(models).identity() != before
    interpreter = paired_sides.side(sys.executable, models, tmp_path / "a")
    assert {each.name for each in interpreter.files} == {"old.py", "new.py", "__init__.py", "layers.py"}


@pytest.mark.parametrize(
    ("settings", "said"), [(["launches=2"], "launches: --paired sets"), (["rounds=1"], "rounds: --paired sets")]
)
def test_what_a_paired_comparison_sets_is_not_set(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        paired.request(("a", "b"), "quick", PairedFlags(settings=settings))


def test_options_reach_both_sides_and_two_builds_have_one_value_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def build(config, threshold=1): ...\ndef other(config): ...\n")

    def asked(sides: tuple[str, ...], *models: str, option: str) -> paired.Request:
        return paired.request(sides, "quick", PairedFlags(models, options=(option,)), only=not sides)

    both = asked(("a", "b"), "mine.py:build", option="threshold=0.5,0.7")
    one = paired_sides.Side("a", "a", sys.executable)
    assert paired.preparing_command(one, both, tmp_path)[-2:] == ["--option", "threshold=0.5,0.7"]
    assert asked((), "mine.py:build", "mine.py:other", option="threshold=0.5").only
    with pytest.raises(UsageError, match=r"two builds .*threshold0\.5.*one value"):
        asked((), "mine.py:build", "mine.py:other", option="threshold=0.5,0.7")


def test_a_suite_that_names_the_users_model_itself_is_refused(repository: Path, tmp_path: Path) -> None:
    """Else the revisions would be those of modbench's own checkout, and both sides run the same file."""
    file = tmp_path / "own.toml"
    model = f"{repository / 'deep' / 'mine.py'}:build"
    file.write_text(
        f'name = "own"\neffort = "draft"\nmetrics = ["latency/forward"]\n[grid]\nseq_len = [16]\n[[arms]]\nmodel = "dense"\n'
        f'[[arms]]\nmodel = "{model}"\n'
    )
    with pytest.raises(UsageError, match="given as --model"):
        paired.request(("a", "b"), str(file), PairedFlags())


@pytest.mark.parametrize(
    ("first", "second", "lacking"),
    [
        (None, Trouble("failed", "it raised", "error"), "fails"),
        (None, Trouble("failed", "it died twice", "crash"), "fails"),
        (Trouble("failed", "it raised", "error"), None, "base"),
        (Trouble("skipped", "it needs more memory"), None, "first"),
        (Trouble("failed", "it died twice", "crash"), None, "second"),
        (None, Trouble("failed", "a damaged file", "damaged"), "second"),
        (None, Trouble("skipped", "a launch has no such case"), "second"),
    ],
)
def test_what_a_side_without_a_number_says(first: Trouble | None, second: Trouble | None, lacking: str) -> None:
    (case, *_) = planted_suite("draft", metrics=["latency/forward"], train=None).cases
    assert revisions.lost(case, "latency/forward", first, second).lacking == lacking


@pytest.mark.parametrize(
    ("name", "model", "said"),
    [
        ("nowhere", "deep/mine.py:build", "no revision 'nowhere'"),
        ("--output=x", "deep/mine.py:build", "no revision '--output=x'"),
        ("zero", "deep/mine.py:build", "zero .* deep/mine.py"),
        ("one", "deep/none.py:build", "there is no file"),
    ],
)
def test_what_is_not_there_is_refused(repository: Path, tmp_path: Path, name: str, model: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        paired_sides.side(name, (f"{repository / model}",), tmp_path / "a")
    assert not (repository / "x").exists()


def test_a_model_outside_any_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    with pytest.raises(UsageError, match="no git repository"):
        paired_sides.side("HEAD", (f"{tmp_path / 'mine.py'}:build",), tmp_path / "a")


@pytest.mark.parametrize(
    ("lacks", "said"),
    [("none", "modbench cannot be imported"), (f"No module named '{paired_sides.TURNS}'", "too old for --paired")],
)
def test_an_interpreter_is_a_side_and_must_have_a_modbench_that_takes_turns(
    lacks: str, said: str, tmp_path: Path
) -> None:
    """Else it is refused before anything runs."""
    assert paired_sides.side(sys.executable, (), tmp_path / "a").python == sys.executable
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\necho "ModuleNotFoundError: {lacks}" >&2\nexit 1\n')
    bare.chmod(0o755)
    with pytest.raises(UsageError, match=said):
        paired_sides.side(str(bare), (), tmp_path / "b").modbench()


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 3"):
        compare_revisions(["a", "b", "quick"], PairedFlags(), launches=2)


def launched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slower: dict[str, float]) -> list[list[Path]]:
    """Measure with launches that are planted: the second side takes so many times as long."""
    prepared, made, random = list[str](), list[str](), np.random.default_rng(0)

    def prepare(one: paired_sides.Side, request: paired.Request, out: Path, _supervision: paired.Supervision) -> Path:
        assert out.is_absolute()  # a side runs in a folder of its own
        assert paired.preparing_command(one, request, out)[1:5] == ["-P", "-m", "modbench", "run"]
        prepared.append(f"{one.name} {out.name}")
        return out

    def launch(sides: Sequence[tuple[paired_sides.Side, Path, Path]], _supervision: paired.Supervision) -> bool:
        # The processes of a block share the machine's clock, and each is a little faster or slower than the others.
        for one, _, out in sides:
            made.append(out.name)
            plan = planted_suite(
                "draft", metrics=["latency/forward"], train=None, launches=1, rounds=4, grid={"seq_len": [64]}
            )
            own = {case.arm: math.exp(random.normal(0, 0.01)) for case in plan.cases}
            own |= {arm: own[arm] * share for arm, share in slower.items() if one.name == "b"}
            left(out.parent / f"{out.name}-made", plan, seed=1 + (len(made) - 1) // 3, slower=own).rename(out)
        return True

    monkeypatch.setattr(paired, "_prepare", prepare)
    monkeypatch.setattr(paired, "_launch", launch)
    monkeypatch.setattr(paired, "side", lambda name, _models, _into: paired_sides.Side(name, name, sys.executable))
    monkeypatch.setattr(paired_sides.Side, "identity", lambda self: self.name)
    monkeypatch.chdir(tmp_path)
    said = list[str]()
    monkeypatch.setattr(paired, "_say", said.append)
    request = paired.Request(
        ("a", "b"), "quick", PairedFlags(out="compared"), name="quick", metrics=("latency/forward",)
    )
    found = paired.measure(request, lambda _: paired.Goal(5, 5))
    assert found.sides == ("a", "b")
    assert prepared == ["a first", "b second"]
    names = [f"block{block}-{called}" for block in (0, 1) for called in ("first", "second", "again")]
    assert made[:6] == [*names[:3], *names[:2:-1]]
    assert said[0].startswith("a against b: blocks of three")
    assert said[-1] == "[5/5]"
    return found.blocks


def test_a_folder_goes_on_with_the_same_comparison_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    first = paired_folder.open_folder("quick", None, {"code": ["a", "b"]})
    assert paired_folder.open_folder("quick", None, {"code": ["a", "b"]}) == first
    other = paired_folder.open_folder("quick", None, {"code": ["a", "changed"]})
    assert other != first
    assert paired_folder.open_folder("quick-2", None, {"code": ["a", "b"]}) not in {first, other}
    with lock.hold(first):  # the same command runs there
        assert paired_folder.open_folder("quick", None, {"code": ["a", "b"]}) not in {first, other}
    with pytest.raises(UsageError, match="holds another comparison"):
        paired_folder.open_folder("quick", str(first), {"code": ["a", "changed"]})
    paired_folder.finish(first)
    assert paired_folder.open_folder("quick", str(first), {"code": ["a", "b"]}) == first
    (first / "block0-first").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(UsageError, match="symbolic link out of"):
        paired_folder.open_folder("quick", str(first), {"code": ["a", "b"]})
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    with pytest.raises(UsageError, match="holds other files"):
        paired_folder.open_folder("quick", "kept", {})


def test_a_planted_slowdown_of_one_case_is_named_and_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocks = launched(monkeypatch, tmp_path, {"mod[c0.125]": 1.1})
    found = revisions.result(blocks, blocks[0][:2], ("a", "b"))
    words = {(row.what.arm, row.verdict) for row in found.rows}
    assert {arm for arm, word in words if word == "worse"} == {"mod[c0.125]"}
    assert not found.fooled
    ratios = [row.typical.value for row in found.compared if row.what.arm == "mod[c0.125]"]
    assert ratios == pytest.approx([1 / 1.1] * len(ratios), rel=0.02)
    first, second, *rest = revisions.blocks(found)
    assert (first, second) == (Sentence("A: {side}", side="a"), Sentence("B: {side}", side="b"))
    cells = [row for table in rest if isinstance(table, Table) for row in table.rows]
    assert [row[-1] for row in cells] == [Verdict(row.verdict) for row in found.compared]
    assert max(map(len, text.written(revisions.blocks(found), 80).splitlines())) <= 80
    data = found.as_dict()["rows"]
    assert [row["verdict"] for row in data] == [row.verdict for row in found.rows]
    # As if one of the two processes of the first side had been another program: it differs from itself, and nothing is said.
    found = revisions.result([[a, b, b] for a, b, _ in blocks], blocks[0][:2], ("a", "b"))
    assert {row.what.arm for row in found.fooled} == {"mod[c0.125]"}
    assert all(row.verdict is None for row in found.fooled)
    (alert,) = (each for each in revisions.blocks(found) if isinstance(each, Alert))
    assert isinstance(alert.said, Sentence)
    assert alert.said.given["n"] == len(found.fooled)


def test_an_undecided_row_says_what_would_decide_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocks = launched(monkeypatch, tmp_path, {"mod[c0.125]": 1.02})
    found = revisions.result(blocks, blocks[0][:2], ("a", "b"), 0.02)
    open_ = [row for row in found.rows if row.verdict == "inconclusive"]
    assert open_
    assert all("--launches" in plain(row.reason) for row in open_)
    said = [each.given.get("why") for each in revisions.blocks(found) if isinstance(each, Sentence)]
    assert {row.reason for row in open_} <= {*said}
    assert all(row.reason is None for row in found.rows if row.verdict in {"equivalent", "better"})


def test_the_words_of_a_launch(tmp_path: Path) -> None:
    side = paired_sides.Side("one", "one", "python", tmp_path, models={"mine.py:build": "/a/mine.py:build"})
    given = PairedFlags(("mine.py:build",), lengths=(512,), select="mine and T512")
    request = paired.Request(("one", "two"), "quick", given, metrics=("latency/forward",))
    words = paired.preparing_command(side, request, tmp_path / "out")
    assert words[words.index("--model") + 1] == "/a/mine.py:build"
    assert words[words.index("-k") + 1] == "mine and T512"
    assert words[words.index("--rival") + 1] == "none"  # two revisions would be held against two rivals
    assert "--rival" not in paired.preparing_command(side, replace(request, given=PairedFlags()), tmp_path / "out")
    assert 'metrics=["latency/forward"]' in words
    assert words[-2:] == ["--seq-len", "512"]


@pytest.mark.slow
def test_a_launch_times_again_and_copies_the_rest(tmp_path: Path) -> None:
    """A real process of a tiny model: new records of what is timed, the prepared ones of what is counted, and no old view."""
    arms: list[dict[str, object]] = [{"model": "dense"}, {"model": "mod", "capacity": 0.5}]
    shape = {"d_model": 32, "n_layers": 2, "n_heads": 2}
    plan = planted_suite(
        "smoke",
        metrics=["flops/forward", "latency/forward"],
        train=None,
        launches=1,
        rounds=3,
        shape=shape,
        arms=arms,
        grid={"seq_len": [16]},
    )
    prepared = left(tmp_path / "made", plan)
    (prepared / "report.html").write_text("old")
    one, out = paired_sides.Side("a", "a", sys.executable), tmp_path / "first"
    held = paired.Supervision(Stop(), {prepared: Limits(plan)})
    assert paired._launch([(one, prepared, out)], held)
    (timed,) = paired_folder.timed_units(prepared)
    records = {record.unit.name: record for record in run_folder.read(str(out)).records}
    assert records.keys() == {unit.name for unit in plan.units}
    for name, record in records.items():
        old = RunFolder(prepared).record(record.unit).read_text()
        assert (RunFolder(out).record(record.unit).read_text() == old) == (name != timed)
    where = present(records[timed].environment)
    assert where.pid != os.getpid()
    for outcome in records[timed].outcomes:
        assert outcome.status == "ok"
        assert sorted(set(outcome.samples["round"])) == [0, 1, 2]
    assert not (out / "report.html").exists()


def test_a_disk_that_is_full_ends_a_block_with_one_line_and_keeps_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = planted_suite(
        "draft",
        metrics=["latency/forward"],
        train=None,
        launches=1,
        rounds=4,
        grid={"seq_len": [64]},
        arms=[{"model": "dense"}],
    )
    prepared = left(tmp_path / "made", plan)
    shutil.copytree(prepared, tmp_path / "block0-first")
    assert len(paired_folder.finished(tmp_path, ["first"])) == 1
    one, held = (
        paired_sides.Side("a", "a", sys.executable),
        paired.Supervision(Stop(), {prepared: Limits(plan)}),
    )

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("copyfile", "copytree"):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, name, full)
            with pytest.raises(ModbenchError, match="Finished blocks are kept") as met:
                paired._launch([(one, prepared, tmp_path / "block1-first")], held)
        line, code = exit_codes.message_and_code(met.value)
        assert (code, line.count("\n"), os.strerror(errno.ENOSPC) in line) == (3, 0, True)
        assert len(paired_folder.finished(tmp_path, ["first"])) == 1
