"""Runs one training run on a corpus: opens the data, watches the routers, keeps checkpoints, evaluates."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.train_plan import OF_THE_LOGGER, TrainRun
from modbench.harness.domain.case import Case, Job, Protocol
from modbench.harness.machine.process.torchrun import ALONE, Ranks
from modbench.harness.planning.jobs import reads_text
from modbench.harness.registry import catalogue
from modbench.harness.results import workspace
from modbench.harness.results.json_files import read_sealed

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.training.batches import Batches, Windows
    from modbench.harness.training.held_out import HeldOut
    from modbench.harness.training.logger_feed import LoggerFeed
    from modbench.harness.training.trainer import Progress, Trainer

# Held-out tokens per evaluation during training.
LOOK_TOKENS = 2048


class RoutingWatch(typing.Protocol):
    """Watches the routers of one training run."""

    @property
    def carried(self) -> dict[str, list[Any]]:
        """Lists of numbers and tensors that a checkpoint keeps."""

    def look(self, step: int) -> None:
        """Look at the routers after so many steps."""

    def described(self, subject: Subject) -> tuple[dict[str, Any] | None, str]:
        """Return the summary of what the routers of the trained model do, or None and the reason."""


@dataclass(frozen=True)
class Trained:
    """Result of a training run on a corpus.

    Attributes:
        held_out: held-out losses.
        tokens_per_byte: of the held-out tokens that were scored; 1 for byte tokens.
        tokenizer: what the tokens are (`Tokens.identity`).
        run: the run as made, its learning rate resolved.
        curve: `step`, `tokens`, `loss` (nats per token of each step's batch, before its update), `wall_s` of training.
        looks: `step` and held-out `loss` (on a few windows) during training.
        spent: seconds of `forward`, `backward`, `optimizer`, and `outside` of all three; without evaluation.
        resumed_at: steps that were made before the run was last resumed.
        routing: summary of what the routers did (`plugins/routing/`); None if they were not watched.
        routing_reason: why `routing` is None.
    """

    held_out: HeldOut
    tokens_per_byte: float
    tokenizer: str
    run: TrainRun
    curve: dict[str, list[float]]
    looks: dict[str, list[float]]
    spent: dict[str, float]
    resumed_at: int = 0
    routing: dict[str, Any] | None = None
    routing_reason: str = ""


def logger_feed(job: Job) -> LoggerFeed:
    """The log of a job's run, which goes to the logger that the run names; of several ranks the first one keeps it."""
    from modbench.harness.training.logger_feed import LoggerFeed

    run, here, (case,) = job.protocol.train, workspace.HERE, job.comparison.variants
    assert run is not None
    name = run.log_to if here is not None and here.ranks.first else None
    config = case.config.model_dump(mode="json") | run.model_dump(mode="json", exclude=set(OF_THE_LOGGER))
    folder = here.run if here is not None else Path()
    told = {"model": case.model, "seed": job.protocol.seed} | ({"options": dict(case.options)} if case.options else {})
    return LoggerFeed(name, run, folder, job.name, config | told)


def train(case: Case, protocol: Protocol, log: LoggerFeed | None = None) -> Trained:
    """Train on a corpus and evaluate on its held-out part. Of several ranks only the first evaluates.

    Args:
        case: what to train.
        protocol: how.
        log: gets the run's numbers as it goes on.

    Raises:
        Unmeasured: if the case cannot be trained by design.
        NumericsError: as soon as a loss is not finite.
        ValueError: if the corpus is not the one that the plan names.
    """
    _refuse(case)
    if case.config.bidirectional:
        raise Unmeasured("a bidirectional model has no next token to predict: it can train on tasks, not on a corpus")
    if protocol.train is not None and not reads_text(protocol.train.steps, case.model, case.options):
        raise Unmeasured("its weights are random and train.steps = 0 trains nothing: there is nothing to evaluate")
    from modbench.harness.planning.text.tokens import encode
    from modbench.harness.training import checkpoint
    from modbench.harness.training.batches import Windows
    from modbench.harness.training.held_out import autocast_of, evaluate, mean_loss

    plan, ranks = settled(protocol), workspace.HERE.ranks if workspace.HERE else ALONE
    if case.config.vocab_size < 256:
        raise Unmeasured(f"vocab_size {case.config.vocab_size} cannot hold the 256 byte tokens of the corpus")
    text: Text = catalogue.load("corpora", protocol.corpus).read(protocol.corpus_path)
    if text.sha256 != protocol.corpus_sha256:
        raise ValueError(
            f"corpus changed since the plan: its hash is {text.sha256[:12]}, not {protocol.corpus_sha256[:12]}"
        )
    tokens = encode(text, plan.tokenizer, case.config.vocab_size)
    windows = Windows(tokens, plan, protocol.seed)
    subject = _subject(case, protocol, windows)
    looks: dict[str, list[float]] = {"step": [], "loss": []}
    watched = _watched(subject, windows, plan, ranks)

    def look(step: int) -> None:
        subject.module.eval()
        loss = mean_loss(subject, windows.val(min(LOOK_TOKENS, plan.val_tokens))).loss
        looks["step"].append(step)
        looks["loss"].append(loss)
        if not isinstance(watched, str):
            with autocast_of(case):
                watched.look(step)

    carried = {f"looks_{key}": values for key, values in looks.items()}
    carried |= {} if isinstance(watched, str) else watched.carried
    trainer = _trainer(subject, windows, plan, ranks, look if ranks.world == 1 else None, carried, log)
    trainer.train()
    subject = _whole(trainer, ranks)
    if not ranks.first:
        raise Unmeasured("only the first rank evaluates")
    if workspace.HERE is not None and workspace.HERE.keeps_weights:
        checkpoint.save(workspace.HERE.weights, dict(subject.module.state_dict()))
    held_out = evaluate(subject, windows)
    routing, reason = (None, watched) if isinstance(watched, str) else watched.described(subject)
    return Trained(
        held_out,
        windows.tokens_per_byte(),
        tokens.identity,
        plan,
        trainer.curve,
        looks,
        trainer.spent.seconds | {"outside": trainer.spent.outside},
        trainer.resumed_at,
        routing,
        reason,
    )


def trainer_of(case: Case, protocol: Protocol, batches: Batches) -> Trainer:
    """What trains a case on batches of a plug-in's, in this process alone; it has the trained model (`subject`).

    Raises:
        Unmeasured: if the case cannot be trained by design.
    """
    _refuse(case)
    return _trainer(_subject(case, protocol, batches), batches, settled(protocol), ALONE, None)


def _watched(subject: Subject, windows: Windows, plan: TrainRun, ranks: Ranks) -> RoutingWatch | str:
    """What watches the routers of a run, or why they are not watched."""
    if not plan.watch:
        return "routers were not watched: train.watch is off"
    if ranks.world > 1:
        return "trained by several ranks: routers are watched only with one"
    made: RoutingWatch | str = catalogue.load("recorders", "routing")(subject, windows)
    return made


def _refuse(case: Case) -> None:
    if case.grid_point.dtype == "fp16":
        raise Unmeasured("fp16 training needs loss scaling, which is not implemented; train in bf16 or fp32")


def settled(protocol: Protocol) -> TrainRun:
    """The run with its learning rate resolved from the rates that were tried.

    Raises:
        Unmeasured: if no rate was found.
    """
    run = protocol.train
    assert run is not None
    if run.rate_from is None:
        return run
    here = workspace.HERE
    file = here.record_of(run.rate_from) if here else None
    if file is None or not file.exists():
        raise Unmeasured(f"no learning rate: {run.rate_from} has no record")
    for outcome in read_sealed(file)["outcomes"]:
        if outcome["status"] == "ok":
            return run.model_copy(update={"lr": run.lr * outcome["samples"]["value"][0]})
        raise Unmeasured(f"no learning rate: {outcome['reason']}")
    raise Unmeasured(f"no learning rate: {run.rate_from} has no outcome")


def _subject(case: Case, protocol: Protocol, batches: Batches) -> Subject:
    import torch

    from modbench.harness.call.subject.subject import Subject

    subject = Subject(case, protocol.seed, dtype=torch.float32)  # weights stay fp32; bf16 is autocast
    subject.check(batches.train(0).tokens_BT.to(case.grid_point.device))
    return subject


def _trainer(
    subject: Subject,
    batches: Batches,
    plan: TrainRun,
    ranks: Ranks,
    look: Callable[[int], None] | None,
    carried: dict[str, list[Any]] | None = None,
    log: LoggerFeed | None = None,
) -> Trainer:
    from modbench.harness.training.trainer import Trainer

    here = workspace.HERE
    settings = plan.model_dump_json(exclude=set(OF_THE_LOGGER))
    case = subject.case
    options = f" {dict(case.options)}" if case.options else ""
    fingerprint = f"{case.id} {case.config.model_dump_json()}{options} {settings} {subject.seed}"

    def tell(progress: Progress) -> None:
        if here is not None:
            here.say(progress)
        if log is not None:
            log.look(trainer.curve, trainer.carried, trainer.resumed_at)

    trainer = Trainer(
        subject,
        batches,
        plan,
        ranks=ranks,
        keep=here.checkpoint if here else None,
        fingerprint=fingerprint,
        on_progress=tell if here and ranks.first else None,
        look=look,
        carried=carried,
    )
    return trainer


def _whole(trainer: Trainer, ranks: Ranks) -> Subject:
    """The whole trained model, gathered from the ranks if there are several."""
    if ranks.world == 1:
        return trainer.subject
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.training.parallel import whole_state

    state = whole_state(trainer.model, ranks)
    subject = Subject(trainer.subject.case, trainer.subject.seed, dtype=next(trainer.subject.module.parameters()).dtype)
    if ranks.first:
        subject.module.load_state_dict(state)
    return subject
