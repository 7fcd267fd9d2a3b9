"""What a user's code leaves on for its whole process fails that model by name, and nothing else is timed under it."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import folder_of, run_jobs, small_plan
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from modbench.harness.call.subject import check_timed_calls, process_settings
from modbench.harness.execution import worker
from modbench.harness.machine.process.graceful_stop import ProcessChangedError

MODELS = """
import torch
class Plain(torch.nn.Module):
    built, changes_at, raises = False, None, False
    def __init__(self, config):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(config.vocab_size, 16), torch.nn.Linear(16, config.vocab_size)
        self.calls = 0
        if self.built:
            torch.set_num_threads(2)
    def forward(self, tokens):
        self.calls += 1
        if self.calls == self.changes_at:
            torch.set_num_threads(2)
            if self.raises:
                raise ValueError("its own error")
        return self.head(self.embedding(tokens))
class Built(Plain):
    built = True
class AtOnce(Plain):
    changes_at = 1
class Later(Plain):
    changes_at = 7
class Raises(Later):
    raises = True
"""


class Functions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


OWN = ("Built", "AtOnce", "Later", "Raises")
BACKENDS: Any = torch.backends  # its modules are objects
GPU, CUDNN = BACKENDS.cuda, BACKENDS.cudnn
# A statement at the top of a user's file, the values that change and undo what it sets, and what that is called.
SET = [
    ("torch.set_num_threads({})", 2, 1, "the number of threads"),
    ("torch.set_default_dtype({})", "torch.float64", "torch.float32", "the default number format"),
    ("torch.set_default_device({})", "'meta'", None, "the default device"),
    ("torch.set_grad_enabled({})", False, True, "gradients"),
    ("torch.set_float32_matmul_precision({})", "'high'", "'highest'", "precision of fp32"),
    ("GPU.matmul.fp32_precision = {}", "'tf32'", "'ieee'", "precision of fp32"),
    ("CUDNN.benchmark = {}", True, False, "cuDNN's flags"),
    ("GPU.enable_cudnn_sdp({})", False, True, "the kernels of attention"),
    ("GPU.matmul.allow_bf16_reduced_precision_reduction = {}", False, True, "reductions of bf16"),
    ("torch.use_deterministic_algorithms({})", True, False, "deterministic"),
    ("torch.autograd.set_detect_anomaly({})", True, False, "anomaly detection"),
    ("torch.backends.mkldnn.set_flags({})", False, True, "oneDNN's flags"),
    ("torch.compiler.set_stance({})", "'force_eager'", "'default'", "the stance of torch.compile"),
    ("torch.autograd.set_multithreading_enabled({})", False, True, "backward"),
    ("torch.set_flush_denormal({})", True, False, "denormal numbers"),
    ("gc.{}()", "disable", "enable", "the garbage collector"),
    ("tracemalloc.{}()", "start", "stop", "the tracing of memory"),
    ("sys.settrace({})", "lambda *_: None", "sys_trace", "traces Python"),
    ("sys.setprofile({})", "lambda *_: None", "sys_profile", "profiles Python"),
    ("sys.setswitchinterval({})", 1e-5, "sys_switch", "switch"),
]
HOOKS = [
    ("modules.register_module_forward_hook(print)", "the hooks of every module"),
    ("optimizers.register_optimizer_step_pre_hook(print)", "the hooks of every optimizer"),
]
MODES = [
    ("torch.autograd.graph.saved_tensors_hooks(id, id)", "the hooks of saved tensors"),
    ("torch.inference_mode()", "inference mode"),
    ("torch.autocast('cpu', torch.bfloat16)", "autocast"),
    ("Functions()", "the modes of torch's functions"),
    ("Operators()", "the modes of torch's operators"),
    ("torch.autograd.profiler.profile()", "torch's profiler"),
]
LEFT_ON = [
    *((line.format(new), line.format(old), said) for line, new, old, said in SET),
    *((f"hook = {made}", "hook.remove()", said) for made, said in HOOKS),
    *((f"mode = {mode}; mode.__enter__()", "mode.__exit__(None, None, None)", said) for mode, said in MODES),
]


@pytest.mark.parametrize(("line", "undo", "said"), LEFT_ON)
def test_what_is_left_on_is_named(line: str, undo: str, said: str) -> None:
    """Each of these slows every model of the process, or changes what it computes; dense took 3 to 13 times as long."""
    torch.set_num_threads(1)
    before = process_settings.read()
    modules, optimizers = sys.modules["torch.nn.modules.module"], sys.modules["torch.optim.optimizer"]
    sys_trace, sys_profile, sys_switch = sys.gettrace(), sys.getprofile(), sys.getswitchinterval()
    names = {"torch": torch, "gc": gc, "sys": sys, "tracemalloc": tracemalloc, **globals(), **locals()}
    exec(line, names)  # noqa: S102  # as a file of a user's
    try:
        changed = process_settings.changed(before)
    finally:
        exec(undo, names)  # noqa: S102  # for the tests after it
    assert said in changed
    assert process_settings.changed(before) == ""


# A count is not moved by threads.
@pytest.mark.parametrize(
    ("made_in", "model"), [("count", "Built"), ("count", "AtOnce"), *(("time", model) for model in OWN)]
)
def test_a_call_that_changes_the_process_ends_it_under_the_name_of_its_model(
    model: str, made_in: str, here: Path
) -> None:
    """Wherever it does so: when it is built, in its first call, later, or before it raises an error of its own."""
    (here / "bad.py").write_text(MODELS)
    made = small_plan(["latency/forward", "flops/forward"], "dense", f"bad.py:{model}")
    (job,) = [each for each in made.jobs if each.made_in == made_in]
    try:
        with pytest.raises(ProcessChangedError, match=rf"^bad:{model}\[.* changed the number of threads from 1 to 2"):
            worker.make_record(job)
    finally:
        torch.set_num_threads(1)


@pytest.mark.slow
def test_the_other_models_are_timed_in_a_process_without_it(here: Path) -> None:
    (here / "bad.py").write_text(f"import torch\ntorch.autograd.set_detect_anomaly(True)\n{MODELS}")
    made = small_plan(["latency/forward"], "dense", "bad.py:Plain")
    made = made.model_copy(update={"jobs": tuple(job for job in made.jobs if job.made_in == "time")})
    (record,) = run_jobs(made, folder_of(made, here))
    dense, bad = sorted(record.outcomes, key=lambda outcome: outcome.case.startswith("bad:"))
    assert (bad.status, bad.kind, dense.status) == ("failed", "error", "ok")
    assert "its process was ended: bad:Plain[" in str(bad.reason)
    assert "changed anomaly detection from off to on" in str(bad.reason)


def test_inputs_and_targets_share_no_memory() -> None:
    """A model that pads or shifts its input in place must not move what it is judged by."""
    from modbench.harness.core.contracts import Text
    from modbench.harness.core.train_plan import TrainRun
    from modbench.harness.planning.text.tokens import encode
    from modbench.harness.training.batches import Windows

    tokens = encode(Text("t", b"a" * 500, b"b" * 200, "x"), "bytes", 256)
    made = Windows(tokens, TrainRun(seq_len=16, batch_size=1, steps=1, lr=1e-3), 0)
    for inputs_BT, targets_BT, *_ in (made.train(0), next(made.val())):
        inputs_BT.zero_()
        assert targets_BT.min() > 0


def test_what_no_counter_sees_could_not_be_checked() -> None:
    assert check_timed_calls.why_unseen(compiled=False) is None
    assert check_timed_calls.why_unseen(compiled=False, timer="parts") is None
    assert "compiled code" in str(check_timed_calls.why_unseen(compiled=True))
    assert "timed as 'device'" in str(check_timed_calls.why_unseen(compiled=False, timer="device"))
