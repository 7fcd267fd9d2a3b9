"""The commands as a user calls them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import modbench
from modbench.harness.core.plain_text import SCREEN, WIDTH
from modbench.harness.registry import catalogue
from modbench.reports.tables.cases import CASES
from modbench.reports.tables.comparisons import COMPARISONS

# What --help and list must not load: it is what makes them slow.
HEAVY = {"torch", "pandas", "numpy", "scipy", "matplotlib", "seaborn", "jinja2", "pynvml", "fvcore", "pytest_benchmark"}


LIGHT = [["--help"], ["--version"], ["run", "--help"], ["list"], ["list", "models"], ["list", "metrics", "--json"]]


def loaded_by(*commands: Sequence[str]) -> tuple[list[set[str]], str]:
    """Names in sys.modules after each of some commands in one process, and what they printed."""
    code = (
        "import sys\n"
        "from modbench.cli import main\n"
        f"for arguments in {[*map(list, commands)]!r}:\n"
        "    sys.argv = ['modbench', *arguments]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, end.code\n"
        "    sys.stderr.write(' '.join(sys.modules) + '\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stderr.splitlines()], done.stdout


@pytest.mark.slow
def test_help_and_list_load_neither_torch_nor_pandas() -> None:
    loaded, _ = loaded_by(*LIGHT)
    assert len(loaded) == len(LIGHT)
    for command, names in zip(LIGHT, loaded, strict=True):
        assert "modbench.cli" in names
        assert names & HEAVY == set(), command
    assert "pydantic" not in loaded[0]  # the help checks no data yet


def test_report_loads_no_torch_and_renders_again_byte_for_byte(tiny_run: Path) -> None:
    names = ("report.html", "cases.csv", "comparisons.csv")
    before = [(tiny_run / name).read_bytes() for name in names]
    (loaded,), printed = loaded_by(["report", str(tiny_run), "--json"])
    assert "pandas" in loaded
    assert "torch" not in loaded
    told = json.loads(printed)
    assert told["failed"]
    assert told["wall_s"] is None
    assert [(tiny_run / name).read_bytes() for name in names] == before


def test_list_shows_every_room_with_its_first_docstring_line(modbench: Any) -> None:
    done = modbench("list", "--json")
    kinds = json.loads(done.stdout)
    assert kinds.pop("broken") == []
    assert set(kinds) == set(catalogue.KINDS)
    assert set(kinds["models"]) >= {"dense", "mod", "mode_integrated", "mode_staged", "moe"}
    assert kinds["models"]["mod"]["about"].startswith("Mixture-of-Depths")
    assert "loss/val_causal" in kinds["metrics"]
    assert all(each["about"] for names in kinds.values() for each in names.values())
    assert {each["from"] for names in kinds.values() for each in names.values()} == {"modbench"}


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_plan_runs_nothing(modbench: Any, tmp_path: Path) -> None:
    done = modbench("plan", "quick", "--device", "cpu", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert told["predicted_most_s"] == told["predicted_s"] > 0
    cases = {case["case"]: case for case in told["cases"]}
    assert cases["dense[T256-B1-fp32-cpu1]"]["flops_forward"] == 1946157056
    # The dense models is matched at the training length within 1 %.
    for matched, variant in (("dense-f0.56", "mod[c0.125-"), ("dense-f0.73", "mod[c0.5-")):
        ours, theirs = cases[f"{matched}[T256-B1-fp32-cpu1]"], cases[f"{variant}T256-B1-fp32-cpu1]"]
        assert ours["flops_forward"] == pytest.approx(theirs["flops_forward"], rel=0.01)
    text = modbench("plan", "quick", "--device", "cpu", "-k", "mod and not mode", cwd=tmp_path).stdout
    assert "mod[c0.125-T512-B1-fp32-cpu1]" in text
    assert "mode_staged" not in text
    assert "Nothing was measured." in text
    assert "up to" not in text
    assert "pilots" not in text
    two_stage = modbench("plan", "quick", "--device", "cpu", "--effort", "standard", cwd=tmp_path).stdout
    assert "pilots" in two_stage


def test_a_list_of_everything_fits_a_screen_and_names_each_kind(modbench: Any) -> None:
    lines = modbench("list").stdout.splitlines()
    kinds = json.loads(modbench("list", "--json").stdout)
    numbers = {line.split()[0]: int(line.split()[1]) for line in lines[2:]}
    assert numbers == {kind: len(kinds[kind]) for kind in catalogue.KINDS}
    assert lines[0].startswith(f"{sum(numbers.values())} names of {len(numbers)} kinds")
    assert (len(lines), max(map(len, lines))) <= (SCREEN, WIDTH)


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_a_kind_is_listed_whole(flags: tuple[str, ...], modbench: Any) -> None:
    for kind in ("models", "metrics"):
        printed = modbench("list", kind, *flags).stdout
        names = json.loads(modbench("list", kind, "--json").stdout)[kind]
        assert {name for name in names if not re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", printed)} == set()
        described = [name for name, each in names.items() if each["about"] in printed]
        assert described == ([*names] if flags or kind == "models" else [])
        assert flags or len(printed.splitlines()) <= SCREEN


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_a_plan_fits_a_screen_and_begins_with_the_answer(modbench: Any, tmp_path: Path) -> None:
    suite = ("plan", "quick", "--device", "cpu", "--seq-len", "64,96,128,256,512")
    told = json.loads(modbench(*suite, "--json", cwd=tmp_path).stdout)
    lines = modbench(*suite, cwd=tmp_path).stdout.splitlines()
    assert lines[0].startswith(f"quick: {told['jobs']} jobs on cpu, ")
    assert (len(lines), max(map(len, lines))) <= (SCREEN, WIDTH)
    whole = modbench(*suite, "-v", cwd=tmp_path).stdout
    assert [case["case"] for case in told["cases"] if case["case"] not in whole] == []
    shown = [case["case"] for case in told["cases"] if any(line.startswith(f"{case['case']} ") for line in lines)]
    assert f"… {len(told['cases']) - len(shown)} cases between these" in "\n".join(lines)


def test_a_run_ends_by_printing_where_the_report_is(tiny_run: Path) -> None:
    printed = (tiny_run.parent / "stdout").read_text()
    last = printed.strip().splitlines()[-1]
    assert last.startswith(f"report   {tiny_run}/report.html")
    assert "MoD 0.25" in printed


def test_progress_is_plain_lines_when_not_a_terminal(tiny_run: Path) -> None:
    printed = (tiny_run.parent / "stderr").read_text().splitlines()
    units = len(list((tiny_run / "jobs").glob("*.json")))
    # On a busy machine there are lines about units that were silent for long.
    lines = [line for line in printed if line.endswith(" left")]
    assert len(lines) == units
    assert lines[0].startswith(f"[1/{units}] ")
    assert lines[-1].endswith("0 s left")
    assert all("\x1b" not in line for line in printed)


def test_a_run_leaves_the_folder_of_the_contract(tiny_run: Path) -> None:
    assert {path.name for path in tiny_run.iterdir()} - {"exchange.csv"} == {  # which a plug-in adds
        *("run.json", "progress.json", "finished.json", "jobs", "logs"),
        *("cases.csv", "comparisons.csv", "report.html"),
    }
    body = json.loads((tiny_run / "run.json").read_text())
    assert body["command"][:2] == ["modbench", "run"]
    assert set(body["environment"]) >= {"python", "packages", "cpu", "cores", "git", "gpu", "memory_bytes"}
    assert body["environment"]["packages"]["modbench"] == modbench.__version__
    assert f"modbench {modbench.__version__}" in (tiny_run / "report.html").read_text(encoding="utf-8")
    assert body["plan"]["suite"]["name"] == "tiny"
    assert len(body["plan"]["jobs"]) == len(list((tiny_run / "jobs").glob("*.json")))
    assert pd.read_csv(tiny_run / "cases.csv").columns.tolist() == CASES
    assert pd.read_csv(tiny_run / "comparisons.csv").columns.tolist() == COMPARISONS


def test_raw_samples_hold_wall_and_cpu_time(tiny_run_records: list[dict[str, Any]]) -> None:
    timed = [record for record in tiny_run_records if record["job"]["name"].startswith("time-")]
    assert len(timed) == 2 * 3  # workloads x processes
    for record in timed:
        (blocks,) = record["blocks"]
        assert blocks["columns"]["block"] == list(range(4))  # two rounds of two blocks
        for outcome in record["outcomes"]:
            if outcome["status"] == "ok":
                samples = outcome["samples"]
                assert set(samples) >= {"round", "block", "position", "calls", "wall_s", "cpu_s", "involuntary"}
                assert len({len(column) for column in samples.values()}) == 1
                assert min(samples["wall_s"]) > 0
                assert min(samples["cpu_s"]) > 0
                assert sorted(set(samples["round"])) == [0, 1]


def test_every_metric_of_every_case_has_a_row(tiny_run: Path) -> None:
    """Nothing is left out, and what is null has its reason."""
    frame = pd.read_csv(tiny_run / "cases.csv")
    aa_controls = frame[frame.variant == "dense-aa"]
    assert len(aa_controls) == 2  # times
    assert len(frame) - len(aa_controls) == 7 * (5 + 3)  # variants x (measured metrics + trained metrics)
    good = frame[~frame.variant.str.startswith("mine:broken") & (frame.metric != "loss/val_causal")]
    assert (good.status == "ok").all(), good[good.status != "ok"].reason.tolist()
    assert good.value.gt(0).all()
    assert good.params.notna().all()
    assert frame[frame.value.isna()].reason.notna().all()
    timed = good[good.metric.str.startswith("latency/")]
    assert (timed.n == 3).all()
    assert (timed.ci_low < timed.value).all()
    assert (timed.value < timed.ci_high).all()


def test_a_real_run_has_an_aa_control_in_its_timed_units_alone(
    tiny_run: Path, tiny_run_records: list[dict[str, Any]]
) -> None:
    """Built as an instance of its own, and timed as often as any variant."""
    for record in tiny_run_records:
        found = [outcome["case"] for outcome in record["outcomes"] if outcome["case"].startswith("dense-aa[")]
        assert len(found) == (record["job"]["name"].startswith("time-"))
    pairs = pd.read_csv(tiny_run / "comparisons.csv")
    aa_controls = pairs[pairs.variant == "dense-aa"]
    assert len(aa_controls) == 2
    assert set(aa_controls.baseline_variant) == {"dense"}
    assert (aa_controls.ratio != 1).all()  # measured, not copied


def test_a_users_model_is_one_more_variant(tiny_run: Path) -> None:
    frame = pd.read_csv(tiny_run / "comparisons.csv")
    mine = frame[(frame.variant == "mine:build") & (frame.baseline_variant == "dense")]
    assert set(mine.metric) == {
        *("flops/forward", "flops/train_step", "latency/forward", "latency/train_step", "memory/peak_allocated"),
        *("loss/val", "loss/val_causal", "bpb/val"),
    }
    (ratio,) = mine[mine.metric == "flops/forward"].ratio
    assert ratio > 1
    # Each of its logits sees its own token alone: the guard finds it causal, so its one loss is both.
    causal, plain = (mine[mine.metric == key].iloc[0] for key in ("loss/val_causal", "loss/val"))
    assert causal.status == "ok"
    assert causal.difference == pytest.approx(plain.difference)


def test_a_users_exception_is_failed_cells_and_not_the_end(tiny_run: Path) -> None:
    frame = pd.read_csv(tiny_run / "cases.csv")
    broken = frame[frame.variant == "mine:broken"]
    assert (broken.status == "failed").all()
    assert broken.reason.str.contains("RuntimeError: the <b>user</b>", regex=False).all()
    assert broken.value.isna().all()
    assert "failed: mine:broken" in (tiny_run.parent / "stdout").read_text()
    logs = "".join(path.read_text() for path in (tiny_run / "logs").iterdir())
    assert "mine.py" in logs  # the traceback is kept for its author


def test_report_of_an_incomplete_run_ends_with_4(modbench: Any, tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run, copy)
    gone, *others = sorted((copy / "jobs").glob("time-forward-T16-*-process*.json"))
    for lacks in (gone, *others):
        lacks.unlink()
    done = modbench("report", copy, "--format", "csv")
    assert done.returncode == 4
    assert gone.stem in done.stderr
    frame = pd.read_csv(copy / "cases.csv")
    row = frame[(frame.case_id == "dense[T16-B1-fp32-cpu1]") & (frame.metric == "latency/forward")].iloc[0]
    assert row.status == "skipped"
    assert gone.stem in row.reason


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_strict_ends_with_1_on_failed_cells(modbench: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def build(config):\n    raise ValueError(7)\n")
    suite = 'metrics = ["flops/forward"]\n[shape]\nd_model = 32\n[grid]\nseq_len = [8]\n[[variants]]\nmodel = "dense"\n'
    (tmp_path / "s.toml").write_text(suite)
    arguments = ("run", "s.toml", "--model", "bad.py:build", "--device", "cpu", "--effort", "smoke")
    assert modbench(*arguments, "-o", "a", cwd=tmp_path).returncode == 0
    done = modbench(*arguments, "--strict", "--json", "-o", "b", cwd=tmp_path)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["failed"] == ["bad:build[T8-B1-fp32-cpu1]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metrics", "flags"),
    [
        (
            '"bpb/val", "flops/forward"',
            ("--effort", "smoke", "--seeds", "0,1"),
        ),
        # Compiles training steps, which takes most of a minute; "latency/compile" below compiles too.
        pytest.param('"memory/peak_allocated"', ("--compile",), marks=pytest.mark.proof),
        (
            (
                '"ttft", "tpot", "latency/decode", "latency/decode/p50", "latency/decode/p95", '
                '"tokens_per_s/greedy", "latency/request"'
            ),
            ("--set", "decode.tokens=8"),
        ),
        pytest.param(
            '"memory/rss_peak", "memory/peak_reserved", "latency/forward/device"',
            ("--effort", "smoke"),
            marks=[pytest.mark.proof, pytest.mark.plugin("machine")],
        ),
        pytest.param(
            '"mfu/train_step", "mfu/forward", "tokens_per_s/train_step", "latency/train_step/backward", "energy/total"',
            (),
            marks=[pytest.mark.proof, pytest.mark.plugin("machine")],
        ),
        # Eager models: nothing is measured.
        pytest.param('"latency/compile"', (), marks=[pytest.mark.proof, pytest.mark.plugin("machine")]),
    ],
)
def test_a_part_of_the_metrics_is_a_whole_run(
    metrics: str, flags: tuple[str, ...], modbench: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whatever is not measured, the page, the tables and the terminal still stand; more in tests/harness/test_planted.py."""
    (tmp_path / "text.txt").write_text("all work and no play. " * 200)
    (tmp_path / "s.toml").write_text(
        f"metrics = [{metrics}]\nprocesses = 1\nrounds = 2\n[shape]\nd_model = 32\nn_layers = 2\n[grid]\nseq_len = [8]\n"
        '[[variants]]\nmodel = "dense"\n[[variants]]\nmodel = "mod"\ncapacity = 0.5\n'
        "[train]\nseq_len = 8\nbatch_size = 1\ntokens = 64\nval_tokens = 32\n"
    )
    compiles = "--compile" in flags or "compile" in metrics
    # A compiler's litter shows when a process ends.
    command = request.getfixturevalue("modbench_process") if "--compile" in flags else modbench
    if "bpb/val" in metrics or "ttft" in metrics:  # others weigh, compile or watch a process of their own
        request.getfixturevalue("jobs_here")
    done = command("run", "s.toml", "--corpus", "text.txt", "--device", "cpu", "-o", "out", *flags, cwd=tmp_path)
    cells = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert done.returncode == (0 if (cells.status == "ok").any() else 1), done.stderr
    assert (done.returncode == 1) == (metrics == '"latency/compile"')
    assert "Warning" not in done.stderr  # nor of semaphores that a compiler left behind
    assert "MoD 0.5" in done.stdout
    frame = pd.read_csv(tmp_path / "out" / "comparisons.csv")
    bare = frame[["ratio", "difference"]].isna().all(axis=1)
    assert frame[bare].reason.notna().all()
    assert not frame[~bare].empty or compiles
    assert (tmp_path / "out" / "report.html").read_text().count("<section") >= 4
