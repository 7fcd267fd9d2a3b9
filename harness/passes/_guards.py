"""What real tensors show about a case while it is counted: FLOPs that kernels executed, the guards, and a call's operators.

The guards of a shipped model run on few tokens, of a large one on fewer: tests cover these models at any length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from modbench.harness.domain.case import Case, Counts
from modbench.harness.domain.notes import Causality, CountNotes, Operators
from modbench.harness.domain.records import Gap
from modbench.harness.results.outcomes import attempt
from modbench.harness.roofline.work import listed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modbench.harness.profiling.operators_of_a_call import Found
    from modbench.harness.subject.subject import Subject

# Called with what is done next, in words.
Say: TypeAlias = Callable[[str], None]
# Most rows and tokens that guards use for shipped models, for which the result does not depend on the size; of models with more
# parameters than `LARGE`, which take a second for a hundred tokens.
GUARDED, GUARDED_LARGE, LARGE = (2, 128), (1, 32), 20e6
NO_CLAIM = "not reported: no module has capacity and executed_tokens (docs/protocols.md)"


def silent(_step: str) -> None:
    """Say nothing."""


def guarded(case: Case, params: int) -> tuple[int, int] | None:
    """Most rows and tokens that the guards of a model use; None: all, since nothing else has tested a user's model."""
    if case.facts.runs_user_code:
        return None
    return GUARDED if params < LARGE else GUARDED_LARGE


def subject_of(case: Case, seed: int, number: int) -> tuple[Subject, list[Tensor]]:
    """A checked model, and unused batches: a model that caches its answers must be counted on tokens that it has not seen."""
    from modbench.harness.subject.subject import Subject

    subject = Subject(case, seed)
    *batches, last_BT = subject.inputs(seed, number + 1)
    subject.check(last_BT)
    return subject, batches


def executed(
    case: Case, seed: int, known: CountNotes, *, hardware: bool, parts: Sequence[Counts], say: Say
) -> tuple[dict[str, float], CountNotes]:
    """FLOPs that kernels executed on real tensors, and the known notes extended by what the guards found."""
    from modbench.harness.flops import counter
    from modbench.harness.profiling.operators_of_a_call import Recorder
    from modbench.harness.subject import output_caching_guard, skip_claims
    from modbench.harness.subject.precision import Precision

    say("weights, and its contract")
    subject, (tokens_BT, second_BT, third_BT) = subject_of(case, seed, 3)
    module = subject.module
    precision = Precision(case.place.dtype)
    say("FLOPs and number formats of its kernels")
    recorder = Recorder()
    with recorder, precision:
        seen = counter.forward(module, tokens_BT)
    found = {"forward_executed": float(seen.total)}
    out_of_sight = known.operators.unknown if known.operators else {}
    say("whether it skips what it claims")
    stated = tuple(skip_claims.claims(module, second_BT))
    few, other = subject.inputs(seed + 1, 2)
    most = guarded(case, sum(p.numel() for p in module.parameters()))
    if most is not None:
        rows, tokens = most
        few, other = (batch[:rows, :tokens] for batch in (few, other))
    say("whether every call is computed")
    with precision:  # also calls on tokens seen before, which may compute something else
        reused = attempt(partial(output_caching_guard.reused, module, few, other))
    guard = _reads_future(case, module, few, seed, say)
    if hardware:
        say("FLOPs of a training step's kernels")
        del subject, module
        subject, _ = subject_of(case, seed, 0)  # nothing else is measured with it
        found["train_step_hardware"] = float(counter.train(subject.module, third_BT, subject.counted_loss()).total)
    del subject
    gaps = [known.guards, *(found.reason for found in (reused, guard) if isinstance(found, Gap))]
    notes = known.model_copy(
        update={
            "operators": Operators(cheap=seen.operators["cheap"], unknown=seen.operators["unknown"] | out_of_sight),
            "claims": stated,
            "claims_reason": None if stated else NO_CLAIM,
            "reused": None if isinstance(reused, Gap) else reused,
            "other_precision": precision.found(),
            "causality": None if isinstance(guard, Gap) else guard,
            "guards": "; ".join(filter(None, gaps)) or None,
        }
    )
    return found, notes.model_copy(update=_operators(case, seed, recorder.found, parts, say))


def _reads_future(case: Case, module: nn.Module, tokens_BT: Tensor, seed: int, say: Say) -> Causality | Gap:
    """Whether logits depend on later tokens."""
    from modbench.harness.subject import causality

    if case.config.bidirectional:
        reason = "a bidirectional model reads all tokens: there is no future to hide"
        return Causality(reads_future=None, reason=reason, tried=False)
    calls = 0

    def forward(x_BT: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        say(f"whether it reads the future, call {calls} of {causality.CUTS + 2}")
        logits_BTV: Tensor = module(x_BT)
        return logits_BTV

    return attempt(partial(causality.guard, forward, tokens_BT, case.config.vocab_size, seed))


def _operators(case: Case, seed: int, forward: Sequence[Found], parts: Sequence[Counts], say: Say) -> dict[str, object]:
    """The operators of a forward pass and of a training step, from which it follows what is attainable.

    Args:
        case: the case.
        seed: of weights and inputs.
        forward: the operators of a forward pass, as they ran.
        parts: which of the two are wanted.
        say: called with each step.
    """
    from modbench.harness.profiling.operators_of_a_call import of_real_tensors, why_not

    reason = why_not(case)
    if reason is not None:
        return {"operators_reason": reason}
    found: dict[str, object] = {}
    if "forward_operators" in parts:
        found["forward_operators"] = listed(forward, training=False)
    if "train_operators" in parts:
        say("the operators of a training step")
        trained = attempt(partial(of_real_tensors, case, seed, training=True))
        if isinstance(trained, Gap):
            return found | {"operators_reason": trained.reason}
        found["train_operators"] = trained
    return found
