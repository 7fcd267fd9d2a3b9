"""Models that would make a number false, by malice or by accident: none gets one without a word beside it."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from planted import ENVIRONMENT
from test_faults import planned, run_units

from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.subject import shared_state
from modbench.reports.questions import first_screen
from modbench.reports.tables.load import load
from modbench.reports.writers.number_format import plain

CHEATS = """
import time
import torch
class Plain(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(config.vocab_size, 16), torch.nn.Linear(16, config.vocab_size)
    def forward(self, tokens):
        return self.head(self.embedding(tokens))
def slow_everywhere(config):
    from modbench.harness.process import clocks
    from modbench.harness.results import workspace
    read, kernel = clocks.perf_counter, clocks.kernel_s
    clocks.perf_counter = lambda: read() / 2
    clocks.kernel_s = lambda: kernel() / 2
    if workspace.HERE.unit.startswith("time-"):
        time.sleep(2)
    return Plain(config)
"""


LEFT_ON = {
    "anomaly mode": ("torch.autograd.set_detect_anomaly(True)", "anomaly detection"),
    "a forward hook": (
        "torch.nn.modules.module.register_module_forward_hook(lambda module, given, made: None)",
        "the hooks of every module",
    ),
    "a backward hook": (
        "torch.nn.modules.module.register_module_full_backward_hook(lambda module, given, made: None)",
        "the hooks of every module",
    ),
    "a hook of optimizers": (
        "sys.modules['torch.optim.optimizer'].register_optimizer_step_pre_hook(lambda *given: None)",
        "the hooks of every optimizer",
    ),
    "saved tensors": (
        "torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t).__enter__()",
        "the hooks of saved tensors",
    ),
    "no oneDNN": ("torch.backends.mkldnn.set_flags(False)", "oneDNN's flags"),
    "no NNPACK": ("torch.backends.nnpack.set_flags(False)", "NNPACK"),
    "eager by stance": ("torch.compiler.set_stance('force_eager')", "the stance of torch.compile"),
    "inference mode": ("mode = torch.inference_mode(); mode.__enter__()", "inference mode"),
    "autocast": ("torch.autocast('cpu', torch.bfloat16).__enter__()", "autocast"),
    "a mode of functions": ("Functions().__enter__()", "modes of torch's functions"),
    "a mode of operators": ("Operators().__enter__()", "modes of torch's operators"),
    "a profiler": ("torch.autograd.profiler.profile().__enter__()", "torch's profiler"),
    "one thread of autograd": ("torch.autograd.set_multithreading_enabled(False)", "threads of the backward pass"),
    "no fast path": ("torch.backends.mha.set_fastpath_enabled(False)", "the fast path of attention"),
    "denormals": ("torch.set_flush_denormal(True)", "denormal numbers"),
    "no collector": ("gc.disable()", "the garbage collector"),
    "a trace": ("sys.settrace(lambda *_: None)", "a function that traces Python"),
    "a profile": ("sys.setprofile(lambda *_: None)", "a function that profiles Python"),
    "traced memory": ("tracemalloc.start()", "the tracing of memory"),
    "threads that switch": ("sys.setswitchinterval(1e-5)", "how often threads of Python switch"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(CHEATS)
    (tmp_path / "text.txt").write_text("abc " * 500)
    return tmp_path


def timed(model: str) -> Plan:
    """A plan of the unit that times it beside dense."""
    made = planned(model, ["latency/forward"])
    return made.model_copy(update={"units": tuple(unit for unit in made.units if unit.made_in == "time")})


def test_inputs_and_targets_share_no_memory() -> None:
    """A model that pads or shifts its input in place must not move what it is judged by."""
    from modbench.harness.core.contracts import Text
    from modbench.harness.core.train_plan import TrainRun
    from modbench.harness.text.tokens import encode
    from modbench.harness.training.batches import Windows

    tokens = encode(Text("t", b"a" * 500, b"b" * 200, "x"), "bytes", 256)
    made = Windows(tokens, TrainRun(seq_len=16, batch_size=1, steps=1, lr=1e-3), 0)
    for inputs_BT, targets_BT, *_ in (made.train(0), next(made.val())):
        inputs_BT.zero_()
        assert targets_BT.min() > 0


def test_what_all_models_share_is_put_back() -> None:
    import torch

    torch.set_num_threads(1)
    assert shared_state.restore(1) == []
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    assert len(shared_state.restore(1)) == 4
    assert shared_state.restore(1) == []
    assert torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize("what", LEFT_ON)
def test_what_a_users_file_leaves_on_is_put_back_and_named(what: str) -> None:
    """Each of these slows every model of the process, or changes what it computes; dense took 3 to 13 times as long."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    torch.set_num_threads(1)
    line, said = LEFT_ON[what]
    before = shared_state.read_all()
    # One statement at the top of a user's file.
    file = {"torch": torch, "gc": gc, "sys": sys, "tracemalloc": tracemalloc, **locals()}
    exec(line, file)  # noqa: S102
    changed = shared_state.restore(1)
    assert [each for each in changed if said in each], changed
    assert len(changed) == 1
    assert shared_state.read_all() == before
    assert shared_state.restore(1) == []
    torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()  # gradients flow as before


@pytest.mark.slow
def test_what_a_file_leaves_on_is_in_the_record_and_in_what_to_doubt(here: Path) -> None:
    (here / "bad.py").write_text("import torch\ntorch.autograd.set_detect_anomaly(True)\n" + CHEATS)
    (record,) = run_units(timed("Plain"), here, environment=ENVIRONMENT)
    ((arm, changed),) = record.restored.items()
    assert arm.startswith("bad:Plain[")
    assert changed == "anomaly detection to on"
    said = " ".join(map(plain, first_screen.doubts(load(here / "run"))))
    assert "bad:Plain changed anomaly detection" in said


def test_what_no_counter_sees_could_not_be_checked() -> None:
    from modbench.harness.subject.after_timing import why_unseen

    assert why_unseen(compiled=False) is None
    assert why_unseen(compiled=False, timer="parts") is None
    assert "compiled code" in str(why_unseen(compiled=True))
    assert "timed as 'device'" in str(why_unseen(compiled=False, timer="device"))


def test_every_label_is_unlike_every_other() -> None:
    labels: list[Any] = [catalogue.load("doubts", name).label for name in catalogue.entries("doubts")]
    worn = [label for label in labels if label]
    assert len(worn) == len(set(worn)) >= 5
