"""The result of `modbench ab` from planted blocks: one family, one table that a screen holds, and the same in every output."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from modbench.harness.core.plain_text import WIDTH
from modbench.harness.stats import verdicts
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import FAIL, INCONCLUSIVE, PASS, Seen
from modbench.plugins.ab import question as ab
from modbench.plugins.ab.question import Effects, Result, Row, page_of
from modbench.plugins.ab.terminal import annotated, as_text, summary
from modbench.reports.html_report import layout
from modbench.reports.markup.data import value
from modbench.reports.questions.gate.fail_on import parse

SIDES = ("main (1234567)", "the files in mine as they are")


def row(effect: float, seed: int = 1, *, blocks: int = 8, noise: float = 0.005, alike: float = 0.0, **more: Any) -> Row:
    """A row whose blocks have this effect, and whose base differs from itself by `alike`."""
    drawn = random.Random(seed)
    own = {block: drawn.gauss(effect, noise) for block in range(blocks)}
    same = {block: drawn.gauss(alike, noise) for block in range(blocks)}
    made = Row("wall time", "latency/forward", Effects(own), Effects(same), Seen(), 0.0123, 0.0123)
    return replace(made, **more)


def by_both(of: Row, cpu: float = 0.0, unfit: Reason | None = None) -> Row:
    """The same by CPU time too, where the effect is so much larger."""
    assert isinstance(of.blocks, Effects)
    own = {block: cpu + each for block, each in of.blocks.wall.items()}
    return replace(of, blocks=Effects(of.blocks.wall, own), seen=Seen(unfit=unfit))


def gone(lacking: Any) -> Row:
    return Row("a case", "latency/forward", why="failed: it broke", lacking=lacking)


def result(measured: Sequence[Row], fail_on: str | None = None, **more: Any) -> Result:
    checks = parse([fail_on]) if fail_on else None
    return Result(SIDES, ab.judge(measured, 0.02, checks), 0.02, checks, 8, 12, "runs/ab-1", **more)


def printed(found: Result) -> list[str]:
    return as_text(found, WIDTH, found.exit_code())


MEMORY = Row("memory", "rss_bytes", base_value=2e6, new_value=1e6, unit="B", judged=False)


@pytest.mark.parametrize(
    ("rows", "fail_on", "verdict", "code"),
    [
        pytest.param([row(0.0), row(-0.1, 2)], None, None, 0, id="nothing asked"),
        pytest.param([row(0.0), row(-0.1, 2)], "slower:2%", FAIL, 1, id="slower"),
        pytest.param([row(0.0), row(0.1, 2)], "slower:2%", PASS, 0, id="faster"),
        pytest.param([row(0.0), row(-0.021, 2)], "slower:2%", INCONCLUSIVE, 5, id="near the limit"),
        pytest.param([row(-0.1, alike=0.1)], None, None, 5, id="the base differs from itself"),
        pytest.param([by_both(row(0.0), -0.1)], "cpu:2%", FAIL, 1, id="slower by CPU time"),
        pytest.param([by_both(row(0.0), -0.1, Reason("several_threads"))], "cpu:2%", INCONCLUSIVE, 5, id="threads"),
        pytest.param([row(-0.1)], "cpu:2%", INCONCLUSIVE, 5, id="without CPU time"),
        pytest.param([gone("new")], None, FAIL, 1, id="the new side fails"),
        pytest.param([gone("new"), row(0.0)], "slower:2%", FAIL, 1, id="the new side fails in one case"),
        pytest.param([gone("base")], None, None, 5, id="the base fails"),
        pytest.param([gone("base")], "slower:2%", INCONCLUSIVE, 5, id="the base fails, nothing is checked"),
        pytest.param([gone("base"), row(0.0)], "slower:2%", PASS, 0, id="the base fails in one case"),
        pytest.param([gone(None), row(0.0)], "slower:2%", INCONCLUSIVE, 5, id="a case without a number"),
        pytest.param([row(0.0), MEMORY, row(-0.5, judged=False)], "slower:2%", PASS, 0, id="reported"),
    ],
)
def test_the_verdict_and_the_exit_code(rows: list[Row], fail_on: str | None, verdict: str | None, code: int) -> None:
    found = result(rows, fail_on)
    assert (found.verdict, found.exit_code()) == (verdict, code)
    assert found.exit_code(allow_inconclusive=True) == (0 if code == 5 and found.compared else code)
    assert ("it broke" in "\n".join(printed(found))) is any(each.why for each in rows)


def test_rows_are_one_family_and_what_is_only_reported_is_of_none() -> None:
    small = row(-0.01, blocks=6)
    reported = [MEMORY, row(-0.5, blocks=6, judged=False)]
    alone, *others = ab.judge([small, *reported], 0.02)
    among, *_ = ab.judge([small, *[row(0.0, i, blocks=6) for i in range(33)]], 0.02)
    assert alone.contrast is not None
    assert among.contrast is not None
    assert (alone.contrast.family, among.contrast.family) == (1, 34)
    assert alone.contrast.p_adjusted is not None
    assert among.contrast.p_adjusted == pytest.approx(34 * alone.contrast.p_adjusted)
    assert [each.verdict for each in others] == [None, None]
    assert others[0].ratio.value == 2


def test_a_drift_within_each_block_is_no_difference_of_the_base_from_itself() -> None:
    """In directions that are drawn."""
    signs = {block: 1 if block % 2 else -1 for block in range(8)}
    (found,) = ab.judge([row(-0.1, alike=0.1)], 0.02, None, signs=signs)
    assert found.verdict == verdicts.WORSE


def test_every_output_says_the_same() -> None:
    found = result([row(-0.1), row(0.0, 2, noise=0.5)], "slower:2%", block_s=60.0)
    data = json.loads(json.dumps(found.as_dict(), default=value, allow_nan=False))
    assert (data["verdict"], data["exit_code"]) == (FAIL, 1)
    assert [each["check"] for each in data["rows"]] == [FAIL, INCONCLUSIVE]
    assert data["rows"][0]["ci_low"] < data["rows"][0]["ratio"] < data["rows"][0]["ci_high"]
    assert [line.partition(" ")[0] for line in annotated(found)] == ["::error", "::warning"]
    ratio = f"{data['rows'][0]['ratio']:.3f}"
    for output in (layout.html(page_of(found, ["modbench", "ab"])), summary(found), "\n".join(printed(found))):
        assert ratio in output
    assert summary(found, 10) == ""
