"""A folder of Hugging Face may bring code (`auto_map`): it never runs, whatever is typed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("tokenizers", reason="the extra bpe is not installed")

from hf_folders import SHAPE, text, tokenizer, write_llama  # after the checks

from modbench.harness.core.errors import UsageError
from modbench.plugins.huggingface.mod import MoDForCausalLM

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CODE = """
import pathlib
pathlib.Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "planted"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""
AUTO_MAP = {
    "AutoConfig": "code.Config",
    "AutoModelForCausalLM": "code.Model",
    "AutoTokenizer": [None, "code.Tokenizer"],
}
RUN = "run quick --only --effort smoke --device cpu --set train.steps=0 --seq-len 16 --set metrics=loss/val"
COMMANDS = {
    "convert": "convert hf:planted --to mod --corpus text.txt --seq-len 16 -o out",
    "run": f"{RUN} --model hf:planted --corpus text.txt -o out",
    "cost": "cost hf:planted --seq-len 16",
}


def plant(folder: Path, mark: Path, **changes: object) -> None:
    """A small Llama whose files say that its config, model and tokenizer are made by the code beside them."""
    folder.mkdir(exist_ok=True)
    write_llama(folder)
    made = tokenizer()
    (folder / "tokenizer.json").unlink()  # so that whoever needs the tokenizer asks the library
    made.model.save(str(folder))
    for name, more in (("config.json", changes), ("tokenizer_config.json", {"tokenizer_class": "Tokenizer"})):
        file = folder / name
        body = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(body | {"auto_map": AUTO_MAP} | more))
    (folder / "code.py").write_text(CODE.format(mark=str(mark)))


def typed(here: Path, modbench: Any, command: str) -> Any:
    """Run a command on the planted folder: its code is not run."""
    done = modbench(*COMMANDS[command].split())
    assert not (here / "mark").exists(), done.stderr
    return done


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user answers yes to whatever is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "text.txt").write_text(text())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_code_of_a_models_folder_never_runs(here: Path, modbench: Any, command: str) -> None:
    plant(here / "planted", here / "mark", model_type="planted")
    done = typed(here, modbench, command)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Do you wish" not in done.stdout + done.stderr
    assert "auto_map" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(here.glob("out*/config.json"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["convert", "cost"])  # `run` loads it as `convert` does
def test_a_type_that_transformers_knows_is_made_by_its_own_code(here: Path, modbench: Any, command: str) -> None:
    """Its attention too: a config may name a kernel on the hub, which is code as well."""
    plant(here / "planted", here / "mark", attn_implementation="somebody/kernel")
    (here / "planted" / "tokenizer_config.json").unlink()
    tokenizer().save(str(here / "planted" / "tokenizer.json"))
    done = typed(here, modbench, command)
    assert done.returncode == 0, done.stderr
    if command == "convert":
        assert "auto_map" not in (here / "out" / "config.json").read_text()
        made: Any = MoDForCausalLM.from_pretrained(str(here / "out"))
        assert made.config._attn_implementation == "sdpa"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["convert", "run"])
def test_code_of_a_tokenizer_alone_never_runs_either(here: Path, modbench: Any, command: str) -> None:
    plant(here / "planted", here / "mark")
    done = typed(here, modbench, command)
    assert done.returncode == 2, done.stderr
    assert "auto_map in" in done.stderr


def test_a_converted_model_runs_no_code_of_its_folder(here: Path) -> None:
    (here / "planted").mkdir()
    (here / "planted" / "config.json").write_text(json.dumps({**SHAPE, "model_type": "planted", "auto_map": AUTO_MAP}))
    (here / "planted" / "model.safetensors").write_bytes(b"")
    (here / "planted" / "code.py").write_text(CODE.format(mark=str(here / "mark")))
    with pytest.raises(UsageError, match="auto_map"):
        MoDForCausalLM.from_pretrained(str(here / "planted"))
    assert not (here / "mark").exists()
