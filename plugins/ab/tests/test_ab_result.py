"""The result of `modbench ab` from planted blocks: one family, one table that a screen holds, and the same in every output."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cases import case_of

from modbench.harness.core.labels import Label
from modbench.harness.core.plain_text import SCREEN, WIDTH
from modbench.harness.domain.case import Case
from modbench.harness.stats import verdicts
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import Seen
from modbench.plugins.ab import question as ab
from modbench.plugins.ab.question import Effects, Result, Row, page_of
from modbench.plugins.ab.terminal import annotated, as_text, summary
from modbench.reports.html_report import layout
from modbench.reports.markup.data import value
from modbench.reports.questions.gate.fail_on import parse

SHAPE = {"d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 64, "vocab_size": 64, "max_seq_len": 64}
SIDES = ("main (1234567)", "the files in mine as they are")


def row(
    effect: float, seed: int = 1, *, blocks: int = 8, noise: float = 0.005, alike: float = 0.0, **more: object
) -> Row:
    """A row whose blocks have this effect, and whose base differs from itself by `alike`."""
    drawn = random.Random(seed)
    own = {block: drawn.gauss(effect, noise) for block in range(blocks)}
    same = {block: drawn.gauss(alike, noise) for block in range(blocks)}
    made = Row("wall time", "latency/forward", Effects(own), Effects(same), Seen(), 0.0123, 0.0123)
    return replace(made, **more)  # type: ignore[arg-type]


def result(measured: Sequence[Row], fail_on: str | None = None, **more: object) -> Result:
    checks = parse([fail_on]) if fail_on else None
    return Result(SIDES, ab.judge(measured, 0.02, checks), 0.02, checks, 8, 12, "runs/ab-1", **more)  # type: ignore[arg-type]


def printed(found: Result) -> list[str]:
    return as_text(found, WIDTH, found.exit_code())


def case(at: int) -> Case:
    return case_of("mod", SHAPE, variant_parts=("c0.125",), options={"capacity": 0.125}, seq_len=at)


@pytest.mark.parametrize(
    ("rows", "fail_on", "first"),
    [
        (1, None, "new over base: ▼ slower, 0.9"),
        (8, None, "5 ▼ slower"),
        (8, "cpu:2%", "fail: 5 of 8 checks (cpu:2%)"),
        (200, None, "133 ▼ slower"),
        (200, "cpu:2%", "fail: 133 of 200 checks (cpu:2%)"),
    ],
)
def test_the_answer_fits_on_a_screen_and_its_first_line_says_who_won(
    rows: int, fail_on: str | None, first: str
) -> None:
    """Every third row is noisy; there are rows of two metrics."""
    measured = []
    for i in range(rows):
        made = by_both(row(-0.05, i, what=case(1000 + i), noise=0.2 if i % 3 == 0 < rows - 1 else 0.005))
        metric = "latency/train_step" if i % 2 else "latency/forward"
        measured.append(replace(made, new_labels=(Label.UNCHECKED,), metric=metric))
    lines = printed(result(measured, fail_on, block_s=10.0))
    assert len(lines) <= SCREEN - 2
    assert max(map(len, lines)) <= WIDTH
    assert first in lines[0]


def test_rows_are_one_family() -> None:
    small = row(-0.01, blocks=6)
    alone, *_ = ab.judge([small], 0.02)
    among, *_ = ab.judge([small, *[row(0.0, i, blocks=6) for i in range(33)]], 0.02)
    assert alone.contrast is not None
    assert among.contrast is not None
    assert (alone.contrast.family, among.contrast.family) == (1, 34)
    assert alone.contrast.p_adjusted is not None
    assert among.contrast.p_adjusted == pytest.approx(34 * alone.contrast.p_adjusted)


def test_a_base_that_differs_from_itself_leaves_no_verdict() -> None:
    fooled = result([row(-0.1, alike=0.1)])
    assert fooled.rows[0].verdict == verdicts.INCONCLUSIVE
    assert (fooled.exit_code(), fooled.exit_code(allow_inconclusive=True)) == (5, 0)
    # In directions that are drawn, a drift within each block is no difference.
    signs = {block: 1 if block % 2 else -1 for block in range(8)}
    assert ab.judge([row(-0.1, alike=0.1)], 0.02, None, signs=signs)[0].verdict == verdicts.WORSE


@pytest.mark.parametrize(
    ("effects", "fail_on", "verdict", "code"),
    [
        ([0.0, -0.1], None, None, 0),
        ([0.0, -0.1], "slower:2%", verdicts.FAIL, 1),
        ([0.0, 0.1], "slower:2%", verdicts.PASS, 0),
        ([0.0, -0.021], "slower:2%", verdicts.INCONCLUSIVE, 5),
    ],
)
def test_exit_codes(effects: list[float], fail_on: str | None, verdict: str | None, code: int) -> None:
    found = result([row(effect, i) for i, effect in enumerate(effects)], fail_on)
    assert (found.verdict, found.exit_code()) == (verdict, code)


def by_both(of: Row, cpu: float | None = None) -> Row:
    """The same by CPU time, too, or with another effect by it; it stands for the work."""
    assert of.blocks is not None
    own = of.blocks.wall if cpu is None else {block: cpu + each for block, each in of.blocks.wall.items()}
    return replace(of, blocks=Effects(of.blocks.wall, own), seen=Seen(unfit=None))


def test_cpu_time_decides_where_it_is_asked_to_and_stands_for_the_work() -> None:
    assert result([by_both(row(0.0), -0.1)], "cpu:2%").verdict == verdicts.FAIL
    unfit = replace(by_both(row(0.0), -0.1), seen=Seen(unfit=Reason("several_threads")))
    assert result([unfit], "cpu:2%").verdict == verdicts.INCONCLUSIVE
    assert result([row(-0.1)], "cpu:2%").verdict == verdicts.INCONCLUSIVE


@pytest.mark.parametrize(("lacking", "code"), [("new", 1), ("base", 5), (None, 5)])
def test_a_row_without_numbers(lacking: str | None, code: int) -> None:
    gone = Row("a case", "latency/forward", why="failed: it broke", lacking=lacking)  # type: ignore[arg-type]
    for fail_on in (None, "slower:2%"):
        found = result([gone], fail_on)
        assert found.exit_code() == code
        assert "it broke" in "\n".join(printed(found))
    # Beside rows that are compared, a base without a number leaves nothing open.
    assert result([gone, row(0.0)], "slower:2%").exit_code() == (0 if lacking == "base" else code)


def test_numbers_that_are_only_reported_get_no_verdict_and_are_of_no_family() -> None:
    memory = Row("memory", "rss_bytes", base_value=2e6, new_value=1e6, unit="B", judged=False)
    found = result([row(0.0), memory, row(-0.5, judged=False)])
    assert [each.verdict for each in found.rows] == [verdicts.EQUIVALENT, None, None]
    assert found.rows[0].contrast is not None
    assert found.rows[0].contrast.family == 1
    assert found.rows[1].ratio.value == 2


def test_every_output_says_the_same() -> None:
    found = result([row(-0.1), row(0.0, 2, noise=0.5)], "slower:2%", block_s=60.0)
    data = json.loads(json.dumps(found.as_dict(), default=value, allow_nan=False))
    assert (data["verdict"], data["exit_code"]) == (verdicts.FAIL, 1)
    assert [each["check"] for each in data["rows"]] == [verdicts.FAIL, verdicts.INCONCLUSIVE]
    assert data["rows"][0]["ratio"] == pytest.approx(found.rows[0].ratio.value)
    assert data["rows"][0]["ci_low"] < data["rows"][0]["ratio"] < data["rows"][0]["ci_high"]
    lines = [*annotated(found)]
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::warning"]
    page, told = layout.html(page_of(found, ["modbench", "ab"])), summary(found)
    for output in (page, told, "\n".join(printed(found))):
        assert "0.905" in output or "0.904" in output or "0.903" in output
    assert summary(found, 10) == ""
