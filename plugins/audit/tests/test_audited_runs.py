"""`--audit`: each model of the user's is audited once in a run; its card is on the page, and what deviates labels its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from expected_cards import card
from pydantic import ValidationError

from modbench import api
from modbench.commands.plan.forecast import as_text, forecast
from modbench.extend import planted_plan, planted_run
from modbench.harness.core.atomic_files import now
from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Death, Record
from modbench.harness.planning import plan
from modbench.harness.planning.overrides import Overrides
from modbench.harness.planning.plan import Plan
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.audit import measurement as audit_pass
from modbench.plugins.audit.report import AuditFinding, deviates, holds, reported
from modbench.reports.formats.json import report
from modbench.reports.html_report import render
from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import printed_run

MINE = """
import torch
from torch import nn
class Mean(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding, self.head = nn.Embedding(config.vocab_size, 16), nn.Linear(16, config.vocab_size)
    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        return self.head(x_BTD + x_BTD.mean(0))
def build(config, scale=1.0):
    return Mean(config)
def raises(config):
    raise RuntimeError("no weights")
"""
VARIANTS = [{"model": "dense"}, {"model": "mine.py:build", "options": {"scale": [1.0, 2.0]}}]
FIRST, SECOND = "mine:build[scale1]", "mine:build[scale2]"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    return tmp_path


def planned(*also: str, variants: Any = VARIANTS) -> Plan:
    few = {"processes": 2, "rounds": 3, "grid": {"seq_len": [64]}, "shape": {"d_model": 32, "n_layers": 2}}
    metrics = ["flops/forward", "latency/forward"]
    suite = planted_plan("draft", variants=variants, train=None, metrics=metrics, **few).suite
    return plan.make_plan(suite, device="cpu", also=also)


def audited_jobs(made: Plan) -> list[Job]:
    return [job for job in made.jobs if job.made_in == "audit"]


def test_each_variant_that_is_the_users_has_one_job_where_it_is_asked_for() -> None:
    assert audited_jobs(planned()) == []
    found = audited_jobs(planned("audit"))
    assert [[case.variant for case in job.comparison.variants] for job in found] == [[FIRST], [SECOND]]
    assert all(job.facts.makes == () and job.flops > 0 for job in found)
    predicted = forecast(planned("audit"))
    assert predicted["audits"] == [FIRST, SECOND]
    assert 0 < predicted["audits_s"] < predicted["predicted_s"]
    assert FIRST in as_text(predicted)
    assert forecast(planned())["audits"] == []


def test_without_a_model_of_ones_own_it_is_refused() -> None:
    asked = Overrides(model=("dense",), only=True, audit=True, settings={"metrics": "flops/forward"})
    with pytest.raises(UsageError, match="--audit"):
        api.make_plan("quick", asked)


@pytest.mark.slow
def test_the_pass_leaves_a_card_or_why_there_is_none() -> None:
    (found,) = audit_pass.run(audited_jobs(planned("audit"))[0], [])
    assert found.card is not None
    assert found.card["rows_independent"].label == Label.ROWS_DEPEND
    assert found.card["rows_independent"].verdict == "no"
    (broken,) = audited_jobs(planned("audit", variants=[{"model": "dense"}, {"model": "mine.py:raises"}]))
    (found,) = audit_pass.run(broken, [])
    assert found.card is None
    assert "no weights" in str(found.reason)


MOVED = deviates("other rows move it by {n:token}", "n", n=7).labelled(Label.ROWS_DEPEND)
ZEROED = reported("{n:token} come to nothing", "n", n=3).labelled(Label.ZEROES)
PADDED = deviates("padding moves it by {n:token}", "n", n=5)


def run_of(folder: Path, made: Plan, first: AuditFinding) -> Loaded:
    """A stored run whose first variant has this audit; the process of the second died."""
    folder.mkdir()
    path = planted_run(folder, made)
    for job, found in zip(audited_jobs(made), (first, None), strict=False):
        died = None if found else Death(kind="crash", reason="the process died of SIGSEGV")
        RunFolder(path).write_record(Record(job=job, started=now(), wall_s=1.0, outcomes=(), findings=found, died=died))
    return load(path)


@pytest.fixture
def audited(tmp_path: Path) -> Loaded:
    found = card(zeroed=ZEROED, rows_independent=MOVED, alone=PADDED, decode=holds("as {n}", "n", n=1))
    return run_of(tmp_path / "one", planned("audit"), AuditFinding(card=found))


def test_a_stored_audit_is_in_every_output(audited: Loaded) -> None:
    """The card, its labels beside the numbers of its variant alone, and why another has none."""
    labels = audited.cases.groupby("variant").labels.first()
    assert {*labels[FIRST].split(";")} == {Label.ROWS_DEPEND, Label.ZEROES, Label.DEVIATES}
    assert labels[[SECOND, "dense"]].isna().all()
    said = " ".join(printed_run.closing(audited, Path("page"), None, verbose=True).split())
    words = ("other rows move it by 7 tokens", "3 tokens come to nothing", "padding moves it by 5 tokens")
    for shown in (render.html(audited), said):
        assert [each for each in (*words, "died of SIGSEGV") if each not in shown] == []
    data = printed_run.as_json(audited, Path("page"), None)["audits"]
    assert data[FIRST]["card"]["findings"]["alone"]["said"].endswith(" by 5 tokens")
    assert data[SECOND] == {"card": None, "reason": "the process died of SIGSEGV"}
    assert report(audited).audits == data


@pytest.mark.parametrize("before", ["clean", "not audited"])
def test_a_gate_fails_what_an_audit_found_anew_and_nothing_that_was_not_audited_before(
    before: str, audited: Loaded, tmp_path: Path
) -> None:
    held = AuditFinding(card=card(rows_independent=holds("as {n}", "n", n=1)))
    base = run_of(tmp_path / "base", planned("audit") if before == "clean" else planned(), held)
    assert base.cases.labels.isna().all()
    failed = [each for each in gate.gate(base, audited, 0.02).findings if each.verdict == "fail"]
    assert any(Label.ROWS_DEPEND in str(each.reason) for each in failed) is (before == "clean")
    assert any("mine" in each.what for each in failed) is (before == "clean")


@pytest.mark.parametrize(
    ("where", "change", "said"),
    [
        ("alone", {"words": "{m:token}"}, "'m' is named, and not given"),
        ("alone", {"words": "{n.__class__}"}, "is named, and not given"),
        ("alone", {"verdict": "fine"}, "Input should be"),
        ("titles", {"alone": "\x1b[2J"}, "not printed"),
    ],
)
def test_a_card_that_no_writer_could_fill_in_is_refused(where: str, change: dict[str, str], said: str) -> None:
    """No writer could fill in the words, or name the property."""
    body = AuditFinding(card=card(alone=PADDED)).model_dump(mode="json")
    if where == "titles":
        body["card"]["titles"] = change
    else:
        body["card"]["findings"][where] |= change
    with pytest.raises(ValidationError, match=said):
        AuditFinding.model_validate(body)
