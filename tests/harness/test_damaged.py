"""A damaged file of a run folder: what no run can have written is refused with file and field, and never becomes a number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import left, planted_suite
from resealed import plainly, reseal

from modbench.harness.core.labels import Label
from modbench.harness.core.units import Range
from modbench.harness.execution import resuming
from modbench.harness.registry import catalogue
from modbench.harness.results.reading import DamagedError
from modbench.harness.results.reading import load as read_json
from modbench.harness.results.record_checks import check
from modbench.harness.results.run_folder import RunFolder, read
from modbench.harness.results.sealed_records import ALTERED, as_record, implausible, read_record, usable
from modbench.harness.results.workspace import artifact
from modbench.reports.format import PAGE
from modbench.reports.page import render
from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import load

LAUNCH = "time-forward-T64-B1-fp32-cpu1-launch3.json"
MEMORY = "memory-T64-B1-fp32-cpu1.json"
COUNT = "count-T64-B1-fp32-cpu1.json"
Body = dict[str, Any]


@pytest.fixture(scope="module")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing is damaged."""
    folder = tmp_path_factory.mktemp("whole")
    made = planted_suite("draft", grid={"seq_len": [64]}, arms=[{"model": "dense"}, {"model": "mod", "capacity": 0.5}])
    left(folder, made)
    return folder / "run"


@pytest.fixture
def run(planted_run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for file in planted_run.rglob("*.json"):
        copy = folder / file.relative_to(planted_run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return folder


def change(file: Path, edit: Callable[[Body], object]) -> None:
    """Change a file, and let a record have the digest of its new content, as a forger would."""
    body = json.loads(file.read_text())
    edit(body)
    reseal(file, body)


def column(name: str, index: int, value: object) -> Callable[[Body], object]:
    return lambda body: body["outcomes"][0]["samples"][name].__setitem__(index, value)


def operators(work: list[Body]) -> Callable[[Body], object]:
    """Let the operators of a forward pass be these."""
    return lambda body: next(each for each in body["outcomes"] if each["metric"] == "flops/forward")["notes"].update(
        forward_operators={"work": work}
    )


def in_other_blocks(body: Body) -> None:
    """An arm as if it was never timed beside its anchor."""
    samples = body["outcomes"][-1]["samples"]
    samples["block"] = [block + 1000 for block in samples["block"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        (LAUNCH, column("wall_s", 3, float("inf")), r"outcomes\.0\.samples\.wall_s\[3\]: inf is not"),
        (LAUNCH, column("wall_s", 3, 10**400), r"wall_s\[3\]: .*beyond 2\^63"),
        (LAUNCH, column("wall_s", 0, 0.0), r"wall_s\[0\]: 0 is not above 0"),
        (LAUNCH, column("wall_s", 0, 1e-320), r"wall_s\[0\]: 1e-320 is too small"),
        (LAUNCH, lambda b: b.update(wall_s=5e-324), r"wall_s: 5e-324 is too small"),
        (COUNT, operators([{"kind": "product", "size": [4]}]), r"work\.0: .*\(4,\) .*product.* 4 "),
        (COUNT, operators([{"kind": "pointwise", "size": [-8]}]), r"work\.0: .* pointwise"),
        (COUNT, operators([{"kind": "pointwise", "size": [8], "calls": 0}]), r"work\.0\.calls"),
        (LAUNCH, column("wall_s", 0, 1e300), r"wall_s\[0\]: 1e\+300 .*1e\+09"),
        (LAUNCH, column("wall_s", 0, True), r"wall_s(\.0|\[0\]): True .*type"),
        (LAUNCH, column("calls", 0, 0), r"calls\[0\]: 0 .*least 1"),
        (LAUNCH, column("round", 0, 0.5), r"round\[0\]: 0\.5 .*whole number"),
        (LAUNCH, column("cpu_s", 0, -1e-9), r"cpu_s\[0\]: -1e-09 .*least 0"),
        (LAUNCH, lambda b: b["outcomes"][0]["samples"]["wall_s"].pop(), r"values, where others have"),
        (LAUNCH, in_other_blocks, r"outcomes\.\d+\.samples\.block: no block of the anchor"),
        (LAUNCH, lambda b: b["outcomes"][0]["samples"].pop("wall_s"), r"samples\.wall_s: missing"),
        (LAUNCH, lambda b: b["outcomes"][0]["samples"].update(wal_s=[1.0]), r"samples\.wal_s: "),
        (LAUNCH, lambda b: b["outcomes"].append(b["outcomes"][0]), r"is there twice"),
        (LAUNCH, lambda b: b["outcomes"][0].update(unit="B"), r"outcomes\.0\.unit: 'B', .*latency/forward"),
        (LAUNCH, lambda b: b["outcomes"][0].update(case="x" * 10**7), r"'x+…? is not a case"),
        (LAUNCH, lambda b: b["outcomes"][0].update(notes={}), r"outcomes\.0\.notes: missing"),
        (LAUNCH, lambda b: b["outcomes"][0]["notes"].update(tokens=0), r"notes\.tokens: 0 .*least 1"),
        (LAUNCH, lambda b: b["unit"].update(name="other"), r"unit\.name: 'other'"),
        (LAUNCH, lambda b: b["unit"].update(launch=4), "damaged at unit: a record of another plan"),
        (LAUNCH, lambda b: b.update(busy=[[2.0, 1.0]]), "ends before it begins"),
        (LAUNCH, lambda b: b["outcomes"][0].update(metric="loss/val"), r"outcomes\.0"),
        (LAUNCH, lambda b: b.update(blocks=[{"group": "decode", "columns": {}}]), "blocks"),
        (LAUNCH, lambda b: b.update(findings={"flop_per_s": 0}), "findings"),
        (LAUNCH, lambda b: b.update(more=1), "more"),
        (LAUNCH, lambda b: b.update(token="f" * 32), "token: the record of another run"),
        (LAUNCH, lambda b: (b.update(schema_version=10), b.pop("token")), "token: the record of another run"),
        (MEMORY, column("value", 0, 0.0), r"value\[0\]: 0 is not above 0"),
        (MEMORY, lambda b: b["outcomes"][0]["samples"]["value"].append(1.0), r"2 values, but .* has one"),
        (MEMORY, lambda b: b["outcomes"][0]["notes"].update(forecast=-5.0), r"notes\.forecast: -5 .*least 0"),
    ],
)  # fmt: skip
def test_what_no_run_writes_is_refused_with_its_place(
    name: str, edit: Callable[[Body], object], said: str, run: Path
) -> None:
    """Its digest is made anew; what is changed by hand is found by that alone, below."""
    change(run / "units" / name, edit)
    found = read(str(run))
    (damaged,) = found.damaged
    with pytest.raises(DamagedError, match=said) as error:
        raise damaged.error
    assert name in str(error.value)
    assert len(str(error.value)) < len(str(run)) + 250
    assert "\n" not in str(error.value)
    assert found.missing == []
    stand_in = next(record for record in found.records if record.unit.name == damaged.unit)
    assert {outcome.kind for outcome in stand_in.outcomes} == {"damaged"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[1]", "holds no JSON object"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b'{"schema_version": 10, "unit": "\\ud800"}', "not Unicode text"),
        (b'{"schema_version": 10, "started": "' + b"\xff\xfe" * 10 + b'"}', "not JSON"),
        (b'{"schema_version": 10, "' + b"x" * 10_000_000 + b'": 1}', "its content is not what was written"),
        (b'{"schema_version": "7"}', "'7' is no version"),
    ],
)
def test_a_file_that_is_no_record_at_all(content: bytes, said: str, run: Path) -> None:
    (run / "units" / LAUNCH).write_bytes(content)
    (damaged,) = read(str(run)).damaged
    assert said in str(damaged.error)
    assert len(str(damaged.error)) < len(str(run)) + 350


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_page_shows_the_cell_as_failed_and_nothing_else_moves(run: Path) -> None:
    render.views(load(run), ["csv"])
    before = pd.read_csv(run / "comparisons.csv")
    change(run / "units" / LAUNCH, column("wall_s", 0, float("inf")))
    loaded = render.write(run)
    cases, pairs = pd.read_csv(run / "cases.csv"), pd.read_csv(run / "comparisons.csv")
    timed = cases[cases.metric == "latency/forward"]
    assert set(timed.status) == {"failed"}
    assert set(timed.labels) == {Label.DAMAGED}
    assert timed.reason.str.contains(r"wall_s\[0\]: inf").all()
    assert set(pairs[pairs.metric == "latency/forward"].status) == {"failed"}
    assert pairs[pairs.metric == "latency/forward"].ratio.isna().all()
    pd.testing.assert_frame_equal(pairs[pairs.metric != "latency/forward"], before[before.metric != "latency/forward"])
    page = (run / PAGE).read_text()
    assert "damaged: 1 unit" in page
    assert LAUNCH in page
    assert loaded.run.incomplete is not None


def test_a_value_whose_checks_are_lost_wears_the_label(run: Path) -> None:
    """Guards leave what they found in the notes of counting: without them a time is a time of unchecked work."""
    change(run / "units" / COUNT, column("value", 0, -1.0))
    render.views(load(run), ["csv"])
    cases = pd.read_csv(run / "cases.csv")
    timed = cases[cases.metric == "latency/forward"]
    assert set(timed.status) == {"ok"}
    assert set(timed.labels) == {Label.DAMAGED}


@pytest.mark.parametrize(("side", "name"), [("now", LAUNCH), ("before", COUNT)])
def test_a_gate_never_passes_on_a_damaged_unit(side: str, name: str, run: Path, planted_run: Path) -> None:
    change(run / "units" / name, lambda body: body.update(wall_s=-1))
    now, before = (run, planted_run) if side == "now" else (planted_run, run)
    found = gate.gate(load(now), load(before))
    assert found.exit_code(lenient=True) == 4
    assert name in str(found.incomplete)
    timed = [finding for finding in found.findings if finding.metric == "latency/forward"]
    assert {finding.verdict for finding in timed} == {"not compared"}
    assert all("damaged at wall_s" in str(finding.reason) for finding in timed)
    assert not [finding for finding in found.findings if finding.verdict == "worse"]


def halve(body: Body) -> None:
    samples = body["outcomes"][0]["samples"]
    samples |= {name: values[: len(values) // 2] for name, values in samples.items()}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (column("wall_s", 0, 500.0), r"samples\.wall_s.0.: 500 s .* 1 s"),
        (halve, r"samples\.round: "),
        (column("round", 0, 1.0), r"samples\.round: "),
        (column("block", 0, 1.0), r"samples\.(round|position)"),
        (lambda body: body["outcomes"][0]["samples"].pop("cpu_s"), r"samples\.cpu_s: missing"),
        (lambda body: body["outcomes"][0]["notes"].update(tokens=99), r"notes\.tokens: 99, where 64 were planned"),
    ],
)
def test_what_cannot_have_been_measured_is_not_written(edit: Callable[[Body], object], said: str, run: Path) -> None:
    """Fewer rounds than planned would move a median. By hand it is damage; with its digest made anew it is read."""
    file = run / "units" / LAUNCH
    body = json.loads(file.read_text())
    edit(body)
    made = usable(as_record(body, run))
    assert [(outcome.status, outcome.kind) for outcome in made.outcomes] == [("failed", "numerics"), ("ok", None)]
    assert re.search(said.removeprefix(r"samples\.").removeprefix(r"notes\."), str(made.outcomes[0].reason))
    plainly(file, edit)
    (damaged,) = read(str(run)).damaged
    assert damaged.error.problem == ALTERED
    change(file, lambda _: None)
    assert read(str(run)).damaged == []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (column("wall_s", 0, float("inf")), "inf is not a finite number"),
        (lambda body: body["outcomes"][0]["samples"]["cpu_s"].pop(), "values, where others have"),
        (lambda body: body["outcomes"][0].update(unit="B"), "'B', but latency/forward is in s"),
    ],
)
def test_what_a_pass_gets_wrong_fails_its_arm_alone(edit: Callable[[Body], object], said: str, run: Path) -> None:
    body = json.loads((run / "units" / LAUNCH).read_text())
    edit(body)
    made = usable(as_record(body, run))
    assert [outcome.status for outcome in made.outcomes] == ["failed", "ok"]
    assert re.search(said, str(made.outcomes[0].reason))


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        (LAUNCH, lambda body: body["outcomes"].pop(), "latency/forward of .* is missing"),
        (
            LAUNCH,
            lambda body: body["blocks"].append({"group": "decode", "columns": {"block": [0], "wall_s": [1]}}),
            "group",
        ),
    ],
)
def test_a_pass_that_leaves_something_else_ends_with_the_reason(
    name: str, edit: Callable[[Body], object], said: str, run: Path
) -> None:
    body = json.loads((run / "units" / name).read_text())
    edit(body)
    with pytest.raises(ValueError, match=said):
        usable(as_record(body, run))


def test_a_damaged_unit_is_set_aside_to_be_run_again(run: Path) -> None:
    change(run / "units" / LAUNCH, column("wall_s", 0, 0.0))
    found = read(str(run))
    assert [unit.name for unit in resuming.remaining(found, retry_failed=False)] == [LAUNCH.removesuffix(".json")]
    RunFolder(run).set_aside(found.damaged[0])
    assert not (run / "units" / LAUNCH).exists()
    assert (run / "units" / f"{LAUNCH}.damaged").is_file()
    assert read(str(run)).missing == [LAUNCH.removesuffix(".json")]


def test_an_honest_pass_never_writes_what_the_reader_refuses(planted_run: Path) -> None:
    """A clock too coarse for a call fails the arm where it is measured, in words, not where it is read."""
    record = read_record(planted_run / "units" / LAUNCH)
    assert [*check(record, record.unit), *implausible(record)] == []
    assert usable(record) is record
    arm = record.outcomes[1]
    short = {**arm.samples, "wall_s": [0.0, *arm.samples["wall_s"][1:]]}
    outcomes = (record.outcomes[0], arm.model_copy(update={"samples": short}))
    made = usable(record.model_copy(update={"outcomes": outcomes}))
    assert made.outcomes[0] == record.outcomes[0]
    assert (made.outcomes[1].status, made.outcomes[1].kind) == ("failed", "numerics")
    assert "clock is too coarse" in str(made.outcomes[1].reason)
    assert [*check(made, record.unit), *implausible(made)] == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("finished.json", {"wall_s": float("inf"), "timed_wall_s": 1, "parent_cpu_s": 1}, "wall_s: inf"),
        ("finished.json", {}, "damaged at wall_s: .*Remove the file"),
    ],
)
def test_a_damaged_end_of_the_run(name: str, content: Body, said: str, run: Path) -> None:
    (run / name).write_text(json.dumps(content))
    with pytest.raises(DamagedError, match=said):
        read(str(run))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda body: body["plan"].update(units=body["plan"]["units"][1:]), "no unit measures"),
        (lambda body: body["plan"]["units"].pop(4), r"launches .* 9, .*0 to 9"),
        (lambda body: body["plan"]["units"].append(body["plan"]["units"][0]), "is there 2 times"),
        (lambda body: body["plan"]["units"][4]["comparison"]["metrics"].pop(), r"units\.4\.comparison: differs"),
        (lambda body: body["plan"].update(comparisons=[]), r"damaged at comparisons: "),
        (lambda body: body["plan"]["units"][2]["comparison"]["arms"][1].update(config=0.5), r"arms\.1\.config"),
        (lambda body: body["plan"]["units"][0].update(flops=-1.0), r"units\.0\.flops"),
        (lambda body: body["plan"]["comparisons"][0]["arms"][1]["place"].update(seq_len=0), r"arms\.1\.place\.seq_len"),
        (lambda body: body["plan"]["comparisons"][0].update(metrics=[]), r"comparisons\.0\.metrics: none"),
        (lambda body: body["plan"]["comparisons"][0].update(arms=[], facts=[]), r"comparisons\.0\.arms: "),
        (lambda body: [each.append(each[0]) for each in map(body["plan"]["comparisons"][0].get, ("arms", "facts"))], "twice"),
        (lambda body: body["plan"]["comparisons"][0]["facts"].pop(), r"comparisons\.0: of 2 arms 1 have facts"),
        (lambda body: body["environment"].update(gpu=[]), r"environment\.gpu"),
        (lambda body: body["environment"]["certificate"].update(low=float("nan")), r"certificate\.low: nan"),
        (lambda body: body.update(command="modbench"), r"damaged at command"),
    ],
)  # fmt: skip
def test_a_damaged_plan(edit: Callable[[Body], object], said: str, run: Path) -> None:
    change(run / "run.json", edit)
    with pytest.raises(DamagedError, match=said) as error:
        read(str(run))
    assert error.value.exit_code == 2
    assert "run.json" in str(error.value)


def test_a_report_needs_to_know_the_machine(run: Path) -> None:
    change(run / "run.json", lambda body: body["environment"].pop("cpu"))
    with pytest.raises(DamagedError, match=r"environment\.cpu: missing"):
        load(run)


@pytest.mark.parametrize("content", ['{"routing": []}', '{"routing": {"a": NaN}}'])
def test_a_damaged_artifact(content: str, tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "u.json").write_text(content)
    with pytest.raises(ValueError, match=r"u\.json: damaged"):
        artifact(tmp_path, "u")


def test_every_metric_says_what_it_can_be() -> None:
    for metric in catalogue.metrics().values():
        assert metric.allowed.lacks(float("nan"))
        assert metric.allowed.lacks(1e300)
        if metric.unit == "s":
            assert metric.allowed.lacks(0.0), metric.key
    assert catalogue.metrics()["memory/peak_allocated"].allowed.lacks(0.0)
    assert not catalogue.metrics()["loss/gap"].allowed.lacks(-0.1)
    assert catalogue.metrics()["loss/val"].allowed.lacks(-0.1)
    assert catalogue.metrics()["task/copying" if "task/copying" in catalogue.metrics() else "task/copy"].allowed.lacks(
        1.1
    )


@pytest.mark.parametrize(
    ("allowed", "value", "said"),
    [
        (Range(0, 1), 1.5, "1.5 is over 1"),
        (Range(0, above=True), 0.0, "0 is not above 0"),
        (Range(1), 0.5, "0.5 is not at least 1"),
        (Range(0, whole=True), 0.5, "0.5 is not a whole number"),
        (Range(), float("inf"), "inf is not a finite number"),
        (Range(0, 1), 0.5, None),
    ],
)
def test_a_range_says_what_is_wrong_and_agrees_with_its_fast_form(
    allowed: Range, value: float, said: str | None
) -> None:
    assert allowed.lacks(value) == said
    assert (allowed.holds([value]) if abs(value) < 1e300 else False) == (said is None)


@pytest.mark.parametrize(("opens", "depth"), [("[", 900), ('{"a":', 200), ("[", 100_000)])
def test_a_deep_nest_is_refused(tmp_path: Path, depth: int, opens: str) -> None:
    """Python's parser of JSON takes more levels than functions that walk through what it made."""
    file = tmp_path / "deep.json"
    closes = {"[": "]"}.get(opens, "}")
    file.write_text('{"found":' + opens * depth + "1" + closes * depth + "}")
    with pytest.raises(DamagedError, match=r"deep\.json"):
        read_json(file)
