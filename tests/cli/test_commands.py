"""The commands as a user calls them: list, plan, run, report; what a run leaves in its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import succeeded

import modbench
from modbench.harness.core.plain_text import SCREEN, WIDTH
from modbench.harness.registry import catalogue
from modbench.reports.tables.cases import CASES
from modbench.reports.tables.comparisons import COMPARISONS

# --- list and plan


def test_a_list_of_everything_fits_a_screen_and_names_each_kind(modbench: Any) -> None:
    lines = modbench("list").stdout.splitlines()
    kinds = json.loads(modbench("list", "--json").stdout)
    assert kinds.pop("broken") == []
    assert all(each["about"] and each["from"] == "modbench" for names in kinds.values() for each in names.values())
    numbers = {line.split()[0]: int(line.split()[1]) for line in lines[2:]}
    assert numbers == {kind: len(kinds[kind]) for kind in catalogue.KINDS}
    assert lines[0].startswith(f"{sum(numbers.values())} names of {len(numbers)} kinds")
    assert (len(lines), max(map(len, lines))) <= (SCREEN, WIDTH)


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_a_plan_runs_nothing_fits_a_screen_and_begins_with_the_answer(modbench: Any, tmp_path: Path) -> None:
    suite = ("plan", "quick", "--device", "cpu", "--seq-len", "64,96,128,256,512")
    told = json.loads(modbench(*suite, "--json", cwd=tmp_path).stdout)
    assert told["predicted_most_s"] == told["predicted_s"] > 0
    cases = {case["case"]: case for case in told["cases"]}
    assert cases["dense[T256-B1-fp32-cpu1]"]["flops_forward"] == 1946157056
    for matched, variant in (("dense-f0.56", "mod[c0.125-"), ("dense-f0.73", "mod[c0.5-")):
        ours, theirs = cases[f"{matched}[T256-B1-fp32-cpu1]"], cases[f"{variant}T256-B1-fp32-cpu1]"]
        assert ours["flops_forward"] == pytest.approx(theirs["flops_forward"], rel=0.01)
    lines = modbench(*suite, cwd=tmp_path).stdout.splitlines()
    assert lines[0].startswith(f"quick: {told['jobs']} jobs on cpu, ")
    assert (len(lines), max(map(len, lines))) <= (SCREEN, WIDTH)
    shown = [case for case in cases if any(line.startswith(f"{case} ") for line in lines)]
    assert f"… {len(cases) - len(shown)} cases between these" in "\n".join(lines)
    whole = modbench(*suite, "-v", cwd=tmp_path).stdout
    assert [case for case in cases if case not in whole] == []
    assert "mode_staged" not in modbench(*suite, "-k", "mod and not mode", cwd=tmp_path).stdout
    assert list(tmp_path.iterdir()) == []


# --- run: one real run of every family, with a user's model and one that raises


def test_a_run_prints_plain_lines_of_progress_and_last_where_the_report_is(tiny_run: Path) -> None:
    printed = (tiny_run.parent / "stdout").read_text()
    assert printed.strip().splitlines()[-1].startswith(f"report   {tiny_run}/report.html")
    assert "failed: mine:broken" in printed
    # On a busy machine there are lines about jobs that were silent for long.
    progress = (tiny_run.parent / "stderr").read_text()
    lines, jobs = [line for line in progress.splitlines() if line.endswith(" left")], [*tiny_run.glob("jobs/*.json")]
    assert len(lines) == len(jobs)
    assert lines[0].startswith(f"[1/{len(jobs)}] ")
    assert lines[-1].endswith("0 s left")
    assert "\x1b" not in progress


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


def test_samples_hold_wall_and_cpu_time_of_every_variant_and_of_an_aa_control(
    tiny_run_records: list[dict[str, Any]],
) -> None:
    for record in tiny_run_records:
        timed = record["job"]["name"].startswith("time-")
        assert any(outcome["case"].startswith("dense-aa[") for outcome in record["outcomes"]) is timed
        if timed:
            (blocks,) = record["blocks"]
            assert blocks["columns"]["block"] == list(range(4))  # two rounds of two blocks
        for outcome in record["outcomes"] if timed else ():
            if outcome["status"] == "ok":
                samples = outcome["samples"]
                assert set(samples) >= {"round", "block", "position", "calls", "wall_s", "cpu_s", "involuntary"}
                assert len({len(column) for column in samples.values()}) == 1
                assert min(*samples["wall_s"], *samples["cpu_s"]) > 0
                assert sorted(set(samples["round"])) == [0, 1]
    assert sum(record["job"]["name"].startswith("time-") for record in tiny_run_records) == 2 * 3  # calls x processes


def test_every_metric_of_every_case_has_a_row(tiny_run: Path) -> None:
    """Nothing is left out, and what is null has its reason."""
    frame = pd.read_csv(tiny_run / "cases.csv")
    aa_controls = frame[frame.variant == "dense-aa"]
    assert len(aa_controls) == 2  # times
    assert len(frame) - len(aa_controls) == 7 * (5 + 3)  # variants x (measured metrics + trained metrics)
    good = frame[~frame.variant.str.startswith("mine:broken") & (frame.metric != "loss/val_causal")]
    assert (good.status == "ok").all(), good[good.status != "ok"].reason.tolist()
    assert good.value.gt(0).all()
    assert frame[frame.value.isna()].reason.notna().all()
    timed = good[good.metric.str.startswith("latency/")]
    assert (timed.n == 3).all()
    assert (timed.ci_low < timed.value).all()
    assert (timed.value < timed.ci_high).all()
    pairs = pd.read_csv(tiny_run / "comparisons.csv")
    assert (pairs[pairs.variant == "dense-aa"].ratio != 1).all()  # measured, not copied


def test_a_users_model_is_one_more_variant(tiny_run: Path) -> None:
    frame = pd.read_csv(tiny_run / "comparisons.csv")
    mine = frame[(frame.variant == "mine:build") & (frame.baseline_variant == "dense")]
    assert set(mine.metric) == {
        *("flops/forward", "flops/train_step", "latency/forward", "latency/train_step", "memory/peak_allocated"),
        *("loss/val", "loss/val_causal", "bpb/val"),
    }
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
    logs = "".join(path.read_text() for path in (tiny_run / "logs").iterdir())
    assert "mine.py" in logs  # the traceback is kept for its author


# --- report


def test_report_renders_again_byte_for_byte(tiny_run: Path, modbench: Any) -> None:
    names = ("report.html", "cases.csv", "comparisons.csv")
    before = [(tiny_run / name).read_bytes() for name in names]
    told = json.loads(modbench("report", tiny_run, "--json").stdout)
    assert told["failed"]
    assert told["wall_s"] is None
    assert [(tiny_run / name).read_bytes() for name in names] == before


def test_report_of_an_incomplete_run_ends_with_4(modbench: Any, tiny_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_run, tmp_path / "copy")
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


# --- compiled runs, and strict ones


@pytest.mark.slow
@pytest.mark.proof
def test_a_compiled_run_leaves_no_litter(modbench_process: Any, tmp_path: Path) -> None:
    """Which shows when its process ends, such as semaphores. It compiles training steps: most of a minute."""
    words = ("--set", 'metrics=["memory/peak_allocated"]', "--set", "d_model=32", "--seq-len", "8", "--device", "cpu")
    done = succeeded(modbench_process("run", "quick", "--compile", *words, "-k", "dense or mod", cwd=tmp_path))
    assert "Warning" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
@pytest.mark.parametrize("strict", [False, True])
def test_strict_ends_with_1_on_failed_cells(strict: bool, modbench: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def build(config):\n    raise ValueError(7)\n")
    suite = 'metrics = ["flops/forward"]\n[shape]\nd_model = 32\n[grid]\nseq_len = [8]\n[[variants]]\nmodel = "dense"\n'
    (tmp_path / "s.toml").write_text(suite)
    words = ("--model", "bad.py:build", "--device", "cpu", "--effort", "smoke", "--json", *["--strict"] * strict)
    done = modbench("run", "s.toml", *words, cwd=tmp_path)
    assert done.returncode == int(strict)
    assert json.loads(done.stdout)["failed"] == ["bad:build[T8-B1-fp32-cpu1]"]
