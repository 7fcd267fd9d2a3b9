"""Times of several machines: a label where processes ran on more than one, no verdict where their hardware differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_gate import gate_run
from present import present
from resealed import reseal

from modbench.harness.core.labels import Label
from modbench.harness.machine import certificate
from modbench.reports.questions import machine_check
from modbench.reports.tables import provenance
from modbench.reports.tables.load import Loaded, load
from modbench.reports.tables.two_runs import TwoRuns


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))


def certified(name: str, hits: int = 4) -> dict[str, Any]:
    row = {
        "hit": False,
        "detectable": 0.01,
        "detectable_cpu": None,
        "width": 0.01,
        "noisy": 0.0,
        "processes": 10,
        "process_sd": 0.01,
    }
    certificate.keep(name, [row | {"hit": i < hits} for i in range(100)])
    found: Any = certificate.pooled(name, 10)
    return dict(found.__dict__)


def on_nodes(folder: Path, node_of: Callable[[int], dict[str, Any]]) -> Loaded:
    """A planted run whose units name the node of their process."""
    gate_run(folder, suite={"processes": 4, "grid": {"seq_len": [64]}})
    for file in sorted((folder / "jobs").glob("time-*.json")):
        body = json.loads(file.read_text())
        told = {"torch": "2.11", "threads": 1, "pid": 1, **node_of(int(file.stem.rpartition("process")[2]))}
        reseal(file, body | {"environment": told})
    return load(folder)


def node(host: str, hardware: str = "EPYC, 64 cores", **more: Any) -> dict[str, Any]:
    return {"host": host, "machine": f"{host}-cpu1", "hardware": hardware, "certificate": None, **more}


def labels_of(loaded: Loaded) -> set[str]:
    frames = (loaded.cases, loaded.pairs)
    return {each for frame in frames for said in frame.labels.dropna() for each in said.split(";")}


def test_processes_on_one_node_are_as_on_any_machine(tmp_path: Path) -> None:
    fit = certified("one")
    loaded = on_nodes(tmp_path / "run", lambda _: node("n1", certificate=fit))
    assert Label.SEVERAL_MACHINES not in labels_of(loaded)
    assert loaded.pairs.verdict.notna().all()
    assert present(loaded.certificate).verdict == "fit"
    (each,) = provenance.timed_on(loaded.run)
    assert (each.host, each.hardware) == ("n1", "EPYC, 64 cores")
    assert machine_check.jobs(loaded) == [("Timed on", each.in_words())]


def test_processes_on_two_nodes_of_one_kind_are_pooled_with_a_label(tmp_path: Path) -> None:
    fit, bad = certified("one"), certified("two", hits=30)
    loaded = on_nodes(tmp_path / "run", lambda n: node("n1", certificate=fit) if n % 2 else node("n2", certificate=bad))
    assert Label.SEVERAL_MACHINES in labels_of(loaded)
    assert loaded.pairs.verdict.notna().all()
    assert present(loaded.certificate).verdict == "unfit"  # the worst of them
    assert not TwoRuns(loaded.tables, loaded.tables, 0.02).same_machine


def test_processes_on_different_hardware_have_no_verdict(tmp_path: Path) -> None:
    fit = certified("one")
    loaded = on_nodes(
        tmp_path / "run",
        lambda n: node("n1", certificate=fit) if n % 2 else node("n2", hardware="Xeon, 8 cores", certificate=fit),
    )
    assert loaded.pairs.verdict.isna().all()
    said = "its processes ran on different hardware (EPYC, 64 cores and on Xeon, 8 cores), which no verdict may pool"
    assert loaded.pairs.reason.str.contains(said, regex=False).all()


def gpu(number: int, name: str = "A100") -> dict[str, Any]:
    return {"host": "here", "device": name, "device_uuid": f"GPU-{number}"}


def test_processes_on_two_gpus_of_one_machine_are_pooled_with_a_label(tmp_path: Path) -> None:
    loaded = on_nodes(tmp_path / "run", lambda n: gpu(n % 2))
    assert Label.SEVERAL_MACHINES in labels_of(loaded)
    assert not loaded.pairs.reason.fillna("").str.contains("different hardware").any()


def test_processes_on_gpus_of_two_models_have_no_verdict(tmp_path: Path) -> None:
    fit = certified("one")
    loaded = on_nodes(
        tmp_path / "run", lambda n: node("n1", certificate=fit) | (gpu(n % 2, "A100" if n % 2 else "H100"))
    )
    assert loaded.pairs.verdict.isna().all()
    said = "(EPYC, 64 cores, A100 and on EPYC, 64 cores, H100), which no verdict may pool"
    assert loaded.pairs.reason.str.contains(said, regex=False).all()


def test_a_node_without_a_certificate_leaves_the_run_unchecked(tmp_path: Path) -> None:
    fit = certified("one")
    loaded = on_nodes(tmp_path / "run", lambda n: node("n1", certificate=fit) if n % 2 else node("n2"))
    assert loaded.certificate is None
    assert provenance.certificates(loaded.run) == []
    assert loaded.pairs.verdict.isna().all()
