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
from modbench.harness.registry import catalogue

MODELS = """
import torch
class Plain(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(config.vocab_size, 16), torch.nn.Linear(16, config.vocab_size)
        self.calls = 0
    def forward(self, tokens):
        self.calls += 1
        return self.head(self.embedding(tokens))
class Built(Plain):
    def __init__(self, config):
        super().__init__(config)
        torch.set_num_threads(2)
class AtOnce(Plain):
    def forward(self, tokens):
        torch.set_num_threads(2)
        return super().forward(tokens)
class Later(Plain):
    def forward(self, tokens):
        if self.calls > 5:
            torch.set_num_threads(2)
        return super().forward(tokens)
class Raises(Plain):
    def forward(self, tokens):
        if self.calls > 5:
            torch.set_num_threads(2)
            raise ValueError("its own error")
        return super().forward(tokens)
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
BF16 = "allow_bf16_reduced_precision_reduction"
# One statement at the top of a user's file, the one that undoes it, and what it is called.
LEFT_ON = [
    ("torch.set_num_threads(2)", "torch.set_num_threads(1)", "the number of threads"),
    ("torch.set_default_dtype(torch.float64)", "torch.set_default_dtype(torch.float32)", "the default number format"),
    ("torch.set_default_device('meta')", "torch.set_default_device(None)", "the default device"),
    ("torch.set_grad_enabled(False)", "torch.set_grad_enabled(True)", "gradients"),
    (
        "torch.set_float32_matmul_precision('high')",
        "torch.set_float32_matmul_precision('highest')",
        "precision of fp32",
    ),
    ("GPU.matmul.fp32_precision = 'tf32'", "GPU.matmul.fp32_precision = 'ieee'", "precision of fp32"),
    ("CUDNN.allow_tf32 = False", "CUDNN.allow_tf32 = True", "precision of fp32"),
    ("CUDNN.benchmark = True", "CUDNN.benchmark = False", "cuDNN's flags"),
    ("GPU.enable_cudnn_sdp(False)", "GPU.enable_cudnn_sdp(True)", "the kernels of attention"),
    (f"GPU.matmul.{BF16} = False", f"GPU.matmul.{BF16} = True", "reductions of bf16"),
    ("torch.use_deterministic_algorithms(True)", "torch.use_deterministic_algorithms(False)", "deterministic"),
    ("torch.autograd.set_detect_anomaly(True)", "torch.autograd.set_detect_anomaly(False)", "anomaly detection"),
    ("hook = modules.register_module_forward_hook(print)", "hook.remove()", "the hooks of every module"),
    ("hook = modules.register_module_full_backward_hook(print)", "hook.remove()", "the hooks of every module"),
    ("hook = optimizers.register_optimizer_step_pre_hook(print)", "hook.remove()", "the hooks of every optimizer"),
    ("torch.backends.mkldnn.set_flags(False)", "torch.backends.mkldnn.set_flags(True)", "oneDNN's flags"),
    ("torch.backends.nnpack.set_flags(False)", "torch.backends.nnpack.set_flags(True)", "NNPACK"),
    ("torch.compiler.set_stance('force_eager')", "torch.compiler.set_stance('default')", "the stance of torch.compile"),
    ("torch.autograd.set_multithreading_enabled(False)", "torch.autograd.set_multithreading_enabled(True)", "backward"),
    (
        "torch.backends.mha.set_fastpath_enabled(False)",
        "torch.backends.mha.set_fastpath_enabled(True)",
        "the fast path",
    ),
    ("torch.set_flush_denormal(True)", "torch.set_flush_denormal(False)", "denormal numbers"),
    ("gc.disable()", "gc.enable()", "the garbage collector"),
    ("old = sys.gettrace(); sys.settrace(lambda *_: None)", "sys.settrace(old)", "traces Python"),
    ("old = sys.getprofile(); sys.setprofile(lambda *_: None)", "sys.setprofile(old)", "profiles Python"),
    ("tracemalloc.start()", "tracemalloc.stop()", "the tracing of memory"),
    ("old = sys.getswitchinterval(); sys.setswitchinterval(1e-5)", "sys.setswitchinterval(old)", "switch"),
    *(
        (f"mode = {mode}; mode.__enter__()", "mode.__exit__(None, None, None)", said)
        for mode, said in {
            "torch.autograd.graph.saved_tensors_hooks(id, id)": "the hooks of saved tensors",
            "torch.inference_mode()": "inference mode",
            "torch.autocast('cpu', torch.bfloat16)": "autocast",
            "Functions()": "the modes of torch's functions",
            "Operators()": "the modes of torch's operators",
            "torch.autograd.profiler.profile()": "torch's profiler",
        }.items()
    ),
]


@pytest.mark.parametrize(("line", "undo", "said"), LEFT_ON)
def test_what_is_left_on_is_named(line: str, undo: str, said: str) -> None:
    """Each of these slows every model of the process, or changes what it computes; dense took 3 to 13 times as long."""
    torch.set_num_threads(1)
    before = process_settings.read()
    modules, optimizers = sys.modules["torch.nn.modules.module"], sys.modules["torch.optim.optimizer"]
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


def test_every_label_is_unlike_every_other() -> None:
    labels: list[Any] = [catalogue.load("warnings", name).label for name in catalogue.entries("warnings")]
    worn = [label for label in labels if label]
    assert len(worn) == len(set(worn)) >= 5
