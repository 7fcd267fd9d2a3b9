"""`modbench.audit`: what a model computes, and whether it may be believed, found by calls alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from modbench.extend import UsageError, check_seed, keywords, plain, plain_html, public
from modbench.plugins.audit import files, targets
from modbench.plugins.audit.probing import audit as fill
from modbench.plugins.audit.probing import built, probes
from modbench.plugins.audit.question import MARKS, answer
from modbench.plugins.audit.sentences import sentence
from modbench.plugins.audit.terminal import card as as_text

if TYPE_CHECKING:
    from modbench.plugins.audit.report import AuditReport, Finding


@dataclass(frozen=True, repr=False)
class Audit:
    """What the probes found of a model.

    Attributes:
        card: the findings as typed values, by property.
    """

    card: AuditReport

    def __getitem__(self, name: str) -> Finding:
        """The finding of a property."""
        return self.card.findings[name]

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each property."""
        return {name: found.verdict for name, found in self.card.findings.items()}

    @property
    def deviates(self) -> tuple[str, ...]:
        """Properties that do not hold."""
        return self.card.deviates

    def as_json(self) -> dict[str, Any]:
        """The audit report, as `modbench audit --json` prints it among `models`."""
        return files.as_data([self.card], ()).models[0].model_dump(mode="json")

    def __repr__(self) -> str:
        return f"<modbench audit of {self.card.target}: {len(self.deviates)} properties deviate>"

    def __str__(self) -> str:
        return plain_html.text([as_text(self.card, 80)])

    def _repr_html_(self) -> str:
        card = self.card
        rows = [
            (card.titles[name], MARKS[found.verdict], plain(sentence(found))) for name, found in card.findings.items()
        ]
        return plain_html.html(f"<p>{plain(answer(card))}</p>", plain_html.html_table(("", "", ""), rows))


@public("mb.audit(module, expect='mod')")
def audit(
    model: nn.Module | str,
    *,
    expect: str | None = None,
    properties: str | Sequence[str] = (),
    vocab_size: int | None = None,
    seq_len: int | None = None,
    batch_size: int | None = None,
    capacity: float | None = None,
    seed: int = 0,
    option: Mapping[str, object] | str | Sequence[str] | None = None,
    **settings: object,
) -> Audit:
    """Find out by calls alone what a model computes, as `modbench audit` does; its source is not read.

    Args:
        model: a module that maps int64 tokens [B, T] to logits [B, T, V], or a name: of the catalogue, `FILE.py:build` or
            `hf:FOLDER`. A module is called in evaluation mode; training is tried on copies.
        expect: what it is checked against: `dense`, `mod`, `mode`, `moe` or `early_exit`; None: to nothing but being a causal
            model.
        properties: names of properties to look at; none: all.
        vocab_size: V of a module; None: the rows of its first embedding.
        seq_len: tokens of a row; default 64.
        batch_size: rows; default 4.
        capacity: of a model that is named.
        seed: of weights and tokens.
        option: options of a user's build, one value each.
        **settings: shape and routing of a model that is named, such as `d_model=256`.

    Raises:
        UsageError: if something that was asked is impossible, or the model cannot be built or called.
    """
    held = targets.architecture(expect)
    named = keywords.several("properties", properties, str) if properties else ()
    probes(held, named)
    check_seed(seed)
    values = {"option": option, "capacity": capacity, "seq_len": seq_len, "batch_size": batch_size}
    if isinstance(model, nn.Module):
        if option or settings or capacity is not None:
            raise UsageError("a module is audited as it is: options and settings need a name, such as 'mine.py:build'.")
        called = targets.called(keywords.overrides(values, {}), seed)
        audited = targets.in_memory(model, held, called, vocab_size=vocab_size)
    else:
        if not isinstance(model, str):
            raise UsageError(f"model takes a module or a name, such as 'mine.py:build'; got {type(model).__name__}.")
        if vocab_size is not None:
            settings["vocab_size"] = vocab_size
        audited = built(targets.case_of_flags(model, keywords.overrides(values, settings)), held, seed)
    return Audit(fill(audited, only=named))
