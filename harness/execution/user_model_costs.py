"""What users' models cost, counted before a run in a process of its own: on shapes alone, or if they need values, on this CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from modbench.harness.core.errors import Unmeasured, UsageError, in_short
from modbench.harness.core.units import human_duration
from modbench.harness.domain.case import Case
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.execution import command
from modbench.harness.machine import certificate, environment
from modbench.harness.machine.roofline import stored
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.results.measured_or_missing import SURVIVABLE

if TYPE_CHECKING:
    from modbench.harness.machine.roofline.work import Listed

# Seconds after which a process that counts is ended: a plan must not take longer than what it plans.
LIMIT_S = 120.0
TOO_LONG = f"is not counted, as that took longer than {human_duration(LIMIT_S)}"
# Random batches over which FLOPs are averaged where shapes alone do not tell.
BATCHES = 4


class UserModelCosts:
    """Counts each case once, however often it is asked for (`planning/matching.py`).

    Args:
        memory: whether the memory of a training step is forecast too.
    """

    def __init__(self, *, memory: bool = False) -> None:
        self.memory = memory
        self._known: dict[tuple[Case, bool], UserModelCost | str] = {}

    def counted(self, cases: Sequence[Case], *, operators: bool = False) -> list[UserModelCost | str]:
        """The costs of each case, or why they are not known.

        Args:
            cases: of the user's models.
            operators: whether the operators of a forward pass are recorded too.
        """
        wanted = [_plain(case) for case in cases]
        new = [case for case in dict.fromkeys(wanted) if (case, operators) not in self._known]
        if new:
            for case, found in zip(new, _in_processes(new, memory=self.memory, operators=operators), strict=True):
                self._known[case, operators] = found
        return [self._known[case, operators] for case in wanted]

    def seconds(self, case: Case) -> float:
        """Seconds of a forward pass, as the stored peaks of this machine predict.

        Raises:
            UsageError: if there are no peaks, or the model's operators are not known.
        """
        grid_point = case.grid_point
        table = stored.latest(
            certificate.fingerprint(self._machine, grid_point.device, grid_point.threads), grid_point.dtype
        )
        if grid_point.device != "cpu" or table is None:
            # The machine's check measures peaks in fp32 alone; a run that times measures those of its own number format.
            first = "`modbench doctor`" if grid_point.dtype == "fp32" else "a timed run"
            where = (
                "on a GPU"
                if grid_point.device != "cpu"
                else f"in {grid_point.dtype} before {first} has measured its peaks"
            )
            raise UsageError(f"no time is predicted {where}: match flops or params instead.")
        found = self._operators(case)
        why_not = table.lacks(found)
        if why_not is not None:
            raise UsageError(f"its time cannot be predicted: {why_not}.")
        return table.seconds(found)

    @cached_property
    def _machine(self) -> dict[str, object]:
        return environment.collect()

    def _operators(self, case: Case) -> Listed:
        from modbench.harness.execution import run_time

        if not case.is_user_model:
            found = run_time.operators(with_facts(_plain(case)), "forward")
            assert found is not None, "a dense model runs on shapes alone"
            return found
        (counted,) = self.counted([case], operators=True)
        if isinstance(counted, str) or counted.operators is None:
            why = counted if isinstance(counted, str) else counted.operators_reason
            raise UsageError(f"its time cannot be predicted: {why}.")
        return counted.operators


def _plain(case: Case) -> Case:
    """The case without what makes no difference to its costs."""
    grid_point = case.grid_point.model_copy(update={"compile": False, "graph": False})
    nothing = {
        "variant_parts": (),
        "sized": False,
        "matched": False,
        "conditions": (),
        "aa_control": False,
        "tokenizer": "",
    }
    return case.model_copy(update={**nothing, "grid_point": grid_point})


def _in_processes(cases: Sequence[Case], *, memory: bool, operators: bool) -> Iterator[UserModelCost | str]:
    """Count all cases in one process; if a case ends it, the others are counted in a further one."""
    done = 0
    while done < len(cases):
        with tempfile.TemporaryDirectory(prefix="modbench-count-") as name:
            folder, left, threads = Path(name), cases[done:], cases[0].grid_point.threads
            ended = command.call_on_cases(
                child, left, folder, LIMIT_S, threads=threads, memory=memory, operators=operators
            )
            found = command.answers(folder)
        yield from (each if isinstance(each, str) else UserModelCost.model_validate(each) for each in found)
        done += len(found)
        lost = len(cases) - done if ended is None else min(1, len(cases) - done)
        yield from [TOO_LONG if ended is None else f"ended the process that counted it: {ended}"] * lost
        done += lost


def child(folder: str, *, memory: bool, operators: bool) -> None:
    """Count every case that a folder's file names; runs in a process of its own.

    Args:
        folder: has the file, and takes the answers.
        memory: whether the memory of a training step is forecast too.
        operators: whether the operators of a forward pass are recorded too.
    """
    with command.answering(folder) as answer:
        for case in command.given_cases(folder):
            found = count(case, memory=memory, operators=operators)
            answer(found if isinstance(found, str) else found.model_dump(mode="json"))


def count(case: Case, *, memory: bool = False, operators: bool = False) -> UserModelCost | str:
    """What a user's model costs, counted in this process; a text says why it cannot be counted.

    Args:
        case: its model and grid point.
        memory: whether the memory of a training step is forecast too.
        operators: whether the operators of a forward pass are recorded too.
    """
    raised: dict[str, list[str]] = {}
    for on, device in (("shapes alone", "meta"), ("this CPU", "cpu")):
        try:
            found = counted_on(case, device)
        except SURVIVABLE as error:
            raised.setdefault(f"it raised {type(error).__name__}: {in_short(error, 120)}", []).append(on)
            continue
        if memory:
            found = found.model_copy(update=_memory(case))
        if operators:
            found = found.model_copy(update=_recorded(case))
        return found
    reasons = (f"on {' and '.join(devices)} {what}" for what, devices in raised.items())
    return f"cannot be counted: {'; '.join(reasons)}"


def counted_on(case: Case, device: str) -> UserModelCost:
    """Count a user's model on `meta`, by shapes alone, or on `cpu`; its memory and operators are not looked at.

    Raises:
        ValueError: if the counter has no formula for any of its operators; or whatever the model raises.
    """
    import torch

    from modbench.harness.call.subject.build import build_module, keys_read, noting
    from modbench.harness.planning.flops import counter

    config, read = noting(case.config)
    case = case.model_copy(update={"config": config})
    shape = (case.grid_point.batch_size, case.grid_point.seq_len)
    with torch.device(device):
        module = build_module(case, 0)
        if device == "meta":
            batches = [torch.zeros(shape, dtype=torch.int64)]
        else:
            batches = [torch.randint(case.config.vocab_size, shape) for _ in range(BATCHES)]
        counts = [counter.forward(module, tokens_BT) for tokens_BT in batches]
    unknown = tuple(dict.fromkeys(name for each in counts for name in each.unknown))
    forward = fmean(each.total for each in counts)
    if forward == 0:
        raise ValueError(f"the counter has no formula for {', '.join(unknown) or 'any of its operators'}")
    params = sum(parameter.numel() for parameter in module.parameters())
    with torch.device(device):
        keys = keys_read(module, batches[0], read)
    return UserModelCost(params=params, forward=forward, computed=device != "meta", unknown=unknown, read=keys)


def _memory(case: Case) -> dict[str, object]:
    from modbench.harness.measure.passes.memory import forecasts

    forecast = forecasts(case)
    return {"memory": forecast.bytes.get("memory/peak_allocated"), "memory_reason": forecast.reason}


def _recorded(case: Case) -> dict[str, object]:
    from modbench.harness.call import operators as calls

    try:
        try:
            return {"operators": calls.of_shapes(case, training=False)}
        except Unmeasured:
            return {"operators": calls.of_real_tensors(case, 0, training=False)}
    except SURVIVABLE as error:
        return {"operators_reason": f"its operators were not recorded: {type(error).__name__}: {in_short(error, 120)}"}
