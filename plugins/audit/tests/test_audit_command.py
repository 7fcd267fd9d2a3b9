"""`modbench audit`: what it prints and writes, how it ends, and what it refuses; `mb.audit` on modules in memory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import schemas
from expected_cards import card
from torch import Tensor, nn

import modbench as mb
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.execution import command
from modbench.harness.planning.overrides import Overrides
from modbench.plugins.audit import files as audit_files
from modbench.plugins.audit import request as audits
from modbench.plugins.audit import targets
from modbench.plugins.audit.report import Architecture, AuditReport, deviates, holds, unseen
from modbench.plugins.audit.request import exit_code

SCHEMA = Path(__file__).parents[1] / "audit.schema.json"
SMALL = ("--seq-len", "16", "--batch-size", "2", "--set", "d_model=32", "--set", "n_layers=2", "--set", "n_heads=1")


def test_the_exit_code_is_what_was_found() -> None:
    good, bad, hidden = holds("yes"), deviates("{n:token}", "n", n=2), unseen("why")
    assert exit_code([card(causal=good, decode=hidden)], ()) == 0
    assert exit_code([card(causal=good, decode=hidden)], ("decode",)) == 5
    assert exit_code([card(causal=good), card(causal=bad, decode=hidden)], ("decode",)) == 1


@pytest.mark.plugin("paper")  # has LaTeX
def test_what_is_written_fits_its_schema() -> None:
    made = audit_files.as_data([card(c=deviates("{n:token}", "n", n=2))], ["modbench", "audit", "mine"])
    body = json.loads(audit_files.as_json(made))
    assert audit_files.Audit.model_validate(body) == made
    assert body["models"][0]["findings"]["c"] | {"said": "2 tokens", "shown": 2.0} == body["models"][0]["findings"]["c"]
    assert set(json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]) == set(body)
    files = audit_files.files([card(c=holds("yes"))], ["modbench"], ["html", "md", "tex"])
    assert list(files) == ["audit.json", "audit.html", "audit.md", "audit.tex"]


def test_the_schema_that_ships_is_that_of_the_class() -> None:
    """With MODBENCH_GOLDEN=write it is written."""
    content = schemas.text(audit_files.Audit.model_json_schema(mode="serialization"))
    if os.environ.get("MODBENCH_GOLDEN") == "write":
        SCHEMA.write_text(content, encoding="utf-8")
    assert SCHEMA.read_text(encoding="utf-8") == content


@pytest.mark.plugin("paper")  # has LaTeX
@pytest.mark.slow
def test_a_run_of_the_command(modbench: Any, tmp_path: Path) -> None:
    asked = ("--property", "causal,deterministic", *SMALL, "-o", str(tmp_path / "out"), "--format", "html,md,tex")
    done = modbench("audit", "dense", "mod", *asked, "--json")
    assert done.returncode == 1, done.stderr
    body = json.loads(done.stdout)
    assert [model["findings"]["causal"]["verdict"] for model in body["models"]] == ["yes", "no"]
    stored = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert stored == body
    assert {"audit.html", "audit.md", "audit.tex"} <= {path.name for path in (tmp_path / "out").iterdir()}
    again = modbench("audit", "dense", "--property", "causal", *SMALL, "-o", str(tmp_path / "out"))
    assert again.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dense", "--expect", "moo"), "unknown architecture"),
        (("nosuch",), "unknown model"),
        (("dense", "dense"), "named twice"),
        (("dense", "--seq-len", "8,16"), "one value"),
        (("dense", "--format", "pdf"), "unknown format"),
        (("dense", "--set", "d_model=1000000", "--seq-len", "100000000"), "more than any machine has"),
        (("dense", "--seq-len", "1000000000"), "more than this machine has"),
    ],
)
def test_what_is_refused(modbench: Any, arguments: tuple[str, ...], said: str) -> None:
    done = modbench("audit", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


# --- in the process of an audit


def case(model: str) -> Case:
    settings = {"d_model": 32, "n_layers": 2, "n_heads": 1}
    return targets.case_of_flags(model, Overrides(settings=settings, seq_len=(16,), batch_size=(2,)))


def in_this_process(
    folder: Path, cases: list[Case], of: Architecture | None = None, only: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """What the process of an audit writes."""
    asked = json.dumps([each.model_dump(mode="json") for each in cases])
    (folder / command.CASES).write_text(asked, encoding="utf-8")
    audits.child(str(folder), of, only)
    return command.answers(folder)


BROKEN = """
from torch import nn
class Takes(nn.Module):
    def forward(self, tokens, mask): ...
class Returns(nn.Module):
    def forward(self, tokens): return None
def raises(config): raise RuntimeError('no weights')
def no_module(config): return 3
def two_arguments(config): return Takes()
def no_logits(config): return Returns()
"""


@pytest.mark.parametrize(
    ("build", "said"),
    [("raises", "no weights"), ("no_module", "int"), ("two_arguments", "mask"), ("no_logits", "must map tokens")],
)
def test_a_model_that_cannot_be_audited(build: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused where it is built, before any other is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN, encoding="utf-8")
    found = in_this_process(tmp_path, [case("dense"), case(f"broken.py:{build}")])
    assert [each.keys() for each in found] == [{"model"}, {"model"}, {"error"}]
    assert said in found[-1]["error"]


@pytest.mark.parametrize(("of", "name"), [(None, "nosuch"), (None, "mod_k"), ("dense", "mod_k")])
def test_properties_that_there_are_not(of: Architecture | None, name: str, tmp_path: Path) -> None:
    (found,) = in_this_process(tmp_path, [case("dense")], of, (name,))
    assert name in found["error"]


def test_the_process_says_what_it_is_about_to_do(tmp_path: Path) -> None:
    found = in_this_process(tmp_path, [case("dense")], only=("causal",))
    assert found[:2] == [{"model": 0}, {"model": 0, "probe": "causal"}]
    assert AuditReport.model_validate(found[2]["card"])["causal"].verdict == "yes"


AT_CAUSAL = {"model": 0, "probe": "causal"}


@pytest.mark.parametrize(
    ("written", "ended", "said"),
    [
        ([{"error": "no weights"}], "exit code 0", "no weights"),
        ([{"model": 0}, {"model": 1}], "exit code 3", "mod' cannot be audited: it ended its process (exit code 3)"),
        ([AT_CAUSAL], "exit code -11", "dense' cannot be audited: it ended its process at 'causal'"),
        ([AT_CAUSAL], None, "dense' was not audited within 5 s: it was ended at 'causal'"),
        ([], "exit code -9", "dense' cannot be audited"),
    ],
)
def test_how_the_process_of_an_audit_ends_is_told(
    written: list[dict[str, Any]], ended: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(_function: Any, _cases: Any, folder: Path, *_: object, **__: object) -> str | None:
        lines = "".join(json.dumps(each) + "\n" for each in written)
        (folder / command.ANSWERS).write_text(lines, encoding="utf-8")
        return ended

    monkeypatch.setattr(audits, "call_on_cases", called)
    with pytest.raises(UsageError) as error:
        audits.audits([case("dense"), case("mod")], None, limit_s=5.0)
    assert said in str(error.value)


MINE = """
import os, threading
from torch import nn
def waits():
    threading.main_thread().join()  # which ends if Python waits for this thread
    os._exit(9)
def leaves_a_thread(config):
    threading.Thread(target=waits).start()
    return nn.Sequential(nn.Embedding(config.vocab_size, 8), nn.Linear(8, config.vocab_size))
"""


@pytest.mark.slow
def test_a_thread_that_a_model_left_does_not_hold_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends when the card is written, however long the thread would hold it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    ends, call = [], command.call_on_cases

    def called(*given: Any, **values: Any) -> str | None:
        ends.append(call(*given, **values))
        return ends[-1]

    monkeypatch.setattr(audits, "call_on_cases", called)
    (found,) = audits.audits([case("mine.py:leaves_a_thread")], None, ("causal",), limit_s=100.0)
    assert list(found.findings) == ["causal"]
    assert ends == ["exit code 0"]


@pytest.mark.slow
@pytest.mark.plugin("huggingface")
def test_a_module_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(hidden_size=32, intermediate_size=64, vocab_size=64, **heads)
    found = mb.audit(transformers.LlamaForCausalLM(config), expect="dense", seq_len=16)
    assert set(found.verdicts.values()) <= {"yes", "reported"}
    assert found["decode"].verdict == "yes"


# --- in Python


class Mean(nn.Module):
    """Each token gets the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(32, 8), nn.Linear(8, 32)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        logits_BTV: Tensor = self.head(x_BTD + x_BTD.mean(1, keepdim=True))
        return logits_BTV


class Leaves(nn.Module):
    """Ends its process when it is called."""

    def forward(self, tokens_BT: Tensor) -> Tensor:
        sys.exit(tokens_BT.numel())


def test_in_python() -> None:
    found = mb.audit(Mean(), properties=["causal"], seq_len=8)
    assert found.deviates == ("causal",)
    assert found["causal"].facts["first"] == 0
    assert found.as_json()["findings"]["causal"]["verdict"] == "no"
    assert "causal" in str(found)


@pytest.mark.parametrize(
    ("module", "asked", "said"),
    [
        (Mean(), {"properties": ["nosuch"]}, "nosuch"),
        (Mean(), {"d_model": 8}, "audited as it is"),
        (Mean(), {"seq_len": 10**12}, "more than anything that can be run"),
        (nn.Linear(2, 2), {}, "vocab_size"),
        (Leaves(), {"vocab_size": 32}, "SystemExit"),
    ],
)
def test_what_is_refused_in_python(module: nn.Module, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(mb.UsageError, match=said):
        mb.audit(module, **asked)
