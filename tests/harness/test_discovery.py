"""What the user adds: folders, packages with entry points, and what cannot be used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fresh_catalogue import forget
from own_plugin import use, write

from modbench.harness.core.errors import UsageError
from modbench.harness.registry import catalogue, discovery, plugin_manifests
from modbench.harness.registry.catalogue import BrokenError

METRIC = '''
"""Layers."""
from modbench.harness.core.contracts import Metric
METRICS = (Metric(key="{key}", unit="count", better="lower", measured_by="{measured_by}", workload="forward",
                  about="Layers", measure=lambda subject: 1.0, scored_as="difference"),)
'''
ROUTER = '"""Mine."""\nimport torch_that_nobody_has\nROUTER = 1\n'


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What a test installs is gone for the next one."""
    yield
    forget()


def install(folder: Path, name: str, version: str, files: dict[str, str], init: str = "raise SystemExit(4)") -> None:
    """A distribution as pip leaves it: metadata with an entry point, and a package that ends who imports it."""
    told = folder / f"{name}-{version}.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (told / "entry_points.txt").write_text(f"[modbench.plugins]\n{name} = {name}\n[console_scripts]\nx = {name}:y\n")
    (write(folder / name, files) / "__init__.py").write_text(init)


def test_the_order_is_ours_then_folders_then_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a name is used; every later one is named, with what took the name."""

    def metric(key: str) -> dict[str, str]:
        return {"metrics/mine.py": METRIC.format(key=key, measured_by="inspect")}

    one = write(tmp_path / "one", metric("a"))
    two = write(tmp_path / "two", metric("b") | {"routers/norm.py": '"""Norm."""\nROUTER = 1\n'})
    install(tmp_path, "pack", "1.0", metric("c"), init="")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    use(monkeypatch, one, two)
    assert catalogue.find("metrics", "mine").origin == str(one)
    assert "a" in catalogue.metrics()
    assert not {"b", "c"} & catalogue.metrics().keys()
    taken = [(entry.origin, entry.problem) for entry in catalogue.broken("metrics")]
    assert [where for where, _ in taken] == [str(two), "pack 1.0"]
    assert all(f"'mine' is taken by {one}" in str(problem) for _, problem in taken)
    assert catalogue.is_shipped("routers", "norm")
    (norm,) = [entry for entry in discovery.every("routers") if entry.problem]
    assert norm.origin == str(two)
    assert "taken by modbench" in str(norm.problem)
    use(monkeypatch, two)
    assert "b" in catalogue.metrics()


MANIFESTS = {
    "about = ": "plugin.toml: Invalid value",
    '[metric]\nx = "x.py"': "unknown key 'metric'. Did you mean 'metrics'",
    'metrics = ["x.py"]': '[metrics]: write a line NAME = "FILE"',
    '[metrics]\nx = "x.py"': "[metrics] x = 'x.py': there is no such file",
    'needs = "sweeps"': "needs: write a list of names",
    'needs = ["nobody"]': "it needs the plug-in 'nobody', which is absent",
}


@pytest.mark.parametrize("text", MANIFESTS)
def test_a_wrong_manifest_is_named_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modbench: Any, text: str
) -> None:
    (tmp_path / "plugin.toml").write_text(text)
    use(monkeypatch, tmp_path)
    assert MANIFESTS[text] in next(each.problem for each in plugin_manifests.every() if each.name == tmp_path.name)
    assert modbench("list", "metrics").returncode == 0
    listed = modbench("list", "plugins", "--check")
    assert (listed.returncode, MANIFESTS[text] in listed.stdout) == (1, True)
    with pytest.raises(UsageError, match="is in the plug-in"):
        catalogue.find_metric("layers/x")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("METRICS = (", "line 1: '(' was never closed"),
        ("X = 1", "it defines no METRICS"),
        ("METRICS = 3", "METRICS is no tuple"),
        (
            METRIC.format(key="layers/x", measured_by="inspect").replace('"count"', '"m"'),
            "with unit='m': give one of s, B, ",
        ),
        (
            METRIC.format(key="layers/x", measured_by="inspect")
            .replace("lower", "neither")
            .replace("difference", "ratio"),
            "set scored_as='difference'",
        ),
        ("import no_such_module\nMETRICS = ()", "line 1: ModuleNotFoundError: "),
        ("METRICS = ()\n1 / 0", "line 2: ZeroDivisionError: "),
        ("raise SystemExit(3)\nMETRICS = ()", "line 1: SystemExit: 3"),
        (
            METRIC.format(key="layers/x", measured_by="weigh"),
            "'layers/x' is made in the pass 'weigh'",
        ),
        (METRIC.format(key="latency/forward", measured_by="time"), "'latency/forward' already"),
    ],
)
def test_a_broken_metric_stops_nothing_and_is_named_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    shipped = set(catalogue.metrics())
    use(monkeypatch, write(tmp_path, {"metrics/layers.py": text}))
    assert set(catalogue.metrics()) == shipped
    (entry,) = catalogue.broken("metrics")
    assert said in entry.problem
    asked = "latency/forward" if "latency/forward" in text else "layers/x"
    with pytest.raises(UsageError) as raised:
        catalogue.find_metric(asked)
    assert f"{tmp_path / 'metrics' / 'layers.py'} cannot be used: " in str(raised.value)
    assert said in str(raised.value)


SECTIONS = '''
"""Sections of mine."""
from modbench.reports.section import Section
def made(order):
    return Section(title=str(order), order=order, span=12, render=lambda _: None)
SECTION = made(4)
_BASE = Section(title="1", order=1, span=12, render=lambda _: None)
NEAR_MISS = Section(title="2", order=2, span=12, render=lambda _: None)
"""Which came close?

More of it.
"""
LAST = Section(title="3", order=3, span=12, render=lambda _: None)
'''


def test_a_file_may_hold_several_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its name in lower case, beside the one that has the name of the file."""
    use(monkeypatch, write(tmp_path, {"sections/mine.py": SECTIONS}))
    found = {name: entry.about for name, entry in catalogue.entries("sections").items() if not entry.shipped}
    assert found == {"mine": "Sections of mine.", "near_miss": "Which came close?", "last": "Sections of mine."}
    assert {name: catalogue.load("sections", name).order for name in found} == {"mine": 4, "near_miss": 2, "last": 3}
    assert catalogue.broken("sections") == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "exported", "said"),
    [
        ("models", "MODEL", "is no Model but 1"),
        ("passes", "PASS", "is no Pass but 1"),
        ("warnings", "WARNING", "no check, advice, label"),
        ("probes", "PROBE", "no title, check, order, of"),
        ("tasks", "TASK", "is no Task but 1"),
        ("corpora", "CORPUS", "is no Corpus but 1"),
        ("loggers", "LOGGER", "is no Logger but 1"),
        ("routers", "ROUTER", "a method `score`"),
        ("launchers", "LAUNCHER", "cannot be called: 1"),
        ("model_loaders", "LOADER", "cannot be called: 1"),
        ("recorders", "RECORDER", "cannot be called: 1"),
        ("reports", "REPORT", "cannot be called: 1"),
        ("machine_checks", "CHECK", "no device, processes, run"),
        ("sections", "SECTION", "title, order, span, render"),
        ("formats", "FORMAT", "no files"),
        ("adaptive_rules", "RULE", "no groups, is_conditional, decide"),
        ("suite_tables", "TABLE", "no plan, check, settled, on_grid, selected"),
    ],
)
def test_what_is_of_another_type_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, exported: str, said: str
) -> None:
    assert set(plugin_manifests.KINDS) - {"suites", "metrics"} == {
        *("models", "passes", "warnings", "probes", "tasks", "corpora", "loggers"),
        *("routers", "launchers", "model_loaders", "recorders", "reports", "sections", "formats", "adaptive_rules"),
        *("suite_tables", "machine_checks"),
    }
    use(monkeypatch, write(tmp_path, {f"{kind}/mine.py": f"{exported} = 1"}))
    with pytest.raises(BrokenError, match=said):
        catalogue.load(kind, "mine")
    assert "mine" not in catalogue.usable(kind)
    (entry,) = catalogue.broken(kind)
    assert f"{exported} " in str(entry.problem)
    assert said in str(entry.problem)


def test_every_shipped_entry_is_of_its_type() -> None:
    """Else the check of types would refuse what a user copies from ours."""
    from modbench.harness.registry import catalogue

    for kind, (_, exported) in plugin_manifests.KINDS.items():
        names = [each.name for each in discovery.every(kind)]
        assert len(names) == len({*names}), f"two entries of {kind} have one name"
        for name in catalogue.entries(kind) if exported else ():
            assert catalogue.type_error(kind, catalogue.load(kind, name)) == "", (kind, name)
        for entry in discovery.every(kind) if kind not in {*discovery.SEVERAL, "suites"} else ():
            assert entry.about == discovery.read(entry.path, exported)[0], (kind, entry.name)
        assert catalogue.broken(kind) == ()


def test_a_package_is_listed_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `__init__` would end the process. Its files are found, read and shown."""
    suite = 'about = "Tiny"\nmetrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\n'
    install(tmp_path, "pack", "2.1", {"routers/mine.py": ROUTER, "routers/bad.py": "X = 1", "suites/tiny.toml": suite})
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    mine = catalogue.find("routers", "mine")
    assert (mine.about, mine.origin, mine.path) == ("Mine.", "pack 2.1", tmp_path / "pack" / "routers" / "mine.py")
    problems = {entry.name: entry.problem for entry in discovery.every("routers") if entry.problem}
    assert problems == {"bad": "it defines no ROUTER"}
    assert catalogue.find("suites", "tiny").about == "Tiny"
    assert "pack" not in sys.modules
    install(tmp_path, "bare", "1.0", {})
    (tmp_path / "bare" / "plugin.toml").unlink()
    forget()
    (bare,) = [each for each in plugin_manifests.every() if each.name == "bare"]
    assert "'bare', which is no package" in bare.problem
    with pytest.raises(BrokenError, match=r"'mine' \(pack 2\.1\): .*mine\.py .*SystemExit"):
        catalogue.load("routers", "mine")


@pytest.mark.plugin("tasks")
def test_tasks_of_a_folder_are_metrics_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "task/mine" not in catalogue.metrics()
    use(monkeypatch, write(tmp_path, {"tasks/mine.py": '"""Mine."""\nTASK = 1\n'}))
    assert catalogue.metrics()["task/mine"].about == "Accuracy: Mine."


def test_a_folder_must_exist_and_hold_a_manifest(tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "none", "there is no such folder"), (tmp_path, r"holds no plugin\.toml")):
        with pytest.raises(UsageError, match=said):
            plugin_manifests.include([folder])


@pytest.mark.slow
def test_list_says_where_each_comes_from_and_loads_neither_torch_nor_the_package(tmp_path: Path) -> None:
    """In a process of its own, whose path holds a package and whose folder holds a router that imports torch."""
    install(tmp_path / "site", "pack", "1.0", {"sections/mine.py": '"""A section."""\nSECTION = 1\n'})
    router = '"""Lean."""\nimport torch\nROUTER = 1\n'
    bench = write(tmp_path / "bench", {"routers/lean.py": router, "warnings/bad.py": "WARNING = ("})
    code = (
        "import sys; from modbench.cli import main\ntry: main()\n"
        "except SystemExit: print({'torch', 'pandas', 'pack'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "--json", "--plugin", "bench"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.stderr.strip() == "set()"
    told = json.loads(done.stdout)
    assert told["routers"]["lean"] == {
        "about": "Lean.",
        "kind": "folder",
        "from": str(bench),
        "path": str(bench / "routers" / "lean.py"),
    }
    assert told["sections"]["mine"]["from"] == "pack 1.0"
    assert [(each["name"], each["reason"]) for each in told["broken"]] == [("bad", "line 1: '(' was never closed")]


def test_check_imports_what_was_added(tmp_path: Path, modbench: Any) -> None:
    suite = 'metrics = ["no/such"]\n[[variants]]\nmodel = "dense"\n'
    bench = write(tmp_path / "bench", {"routers/mine.py": ROUTER, "suites/wrong.toml": suite})
    plain = modbench("list", "routers", "--plugin", bench)
    assert plain.returncode == 0
    assert f"mine        Mine. [{bench}]" in plain.stdout
    checked = modbench("list", "routers", "--check", "--plugin", bench)
    assert checked.returncode == 1
    assert re.search(r"\bmine .*line 2: ModuleNotFoundError: .*'torch_that_nobody_has'", checked.stdout)
    suites = modbench("list", "suites", "--check", "--plugin", bench)
    assert suites.returncode == 1
    assert "wrong" in suites.stdout
    assert "unknown metric 'no/such'" in suites.stdout
    late = write(tmp_path / "late", {"commands/late.py": "TOLD = 1\nimport torch_that_nobody_has\n"})
    plugins = modbench("list", "plugins", "--check", "--plugin", late)
    assert plugins.returncode == 1
    assert "'late' of [commands] cannot be used" in plugins.stdout


def test_the_options_of_a_model_are_those_that_its_file_has_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook's process outlives an edit."""
    file = tmp_path / "mine.py"
    monkeypatch.setattr(catalogue, "find", lambda _room, _name: SimpleNamespace(path=file))
    for capacity in (0.5, 0.25):
        file.write_text(f"MODEL = Model(options={{'capacity': {capacity}}})\n")
        assert catalogue.model_options("mine") == {"capacity": capacity}


def test_a_file_of_a_plugin_that_cannot_be_used_is_named_with_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modbench: Any
) -> None:
    use(monkeypatch, write(tmp_path, {"passes/mine.py": "X = 1"}))
    assert modbench("list", "plugins").returncode == 0
    listed = modbench("list", "plugins", "--check")
    assert listed.returncode == 1
    assert "pass 'mine'" in listed.stdout


DOUBTS = '''
"""Doubts of mine."""
from modbench.harness.domain.evidence import warning
@warning("Count again.")
def odd(evidence):
    """Something is odd.

    More of it.
    """
    return helper(evidence)
@warning("Look.", "strange")
def strange(evidence):
    """Something is strange."""
    return evidence
def helper(evidence):
    return f"odd {evidence}"
'''


def test_a_file_may_hold_several_doubts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, write(tmp_path, {"warnings/mine.py": DOUBTS}))
    own = {name: entry.about for name, entry in catalogue.entries("warnings").items() if not entry.shipped}
    assert own == {"odd": "Something is odd.", "strange": "Something is strange."}
    found = {name: catalogue.load("warnings", name).check("seen") for name in own}
    assert found == {"odd": "odd seen", "strange": "strange: seen"}
    assert [catalogue.load("warnings", name).check("") for name in own] == ["odd ", None]


def test_a_package_serves_what_it_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"metrics/mine.py": METRIC.format(key="layers/x", measured_by="inspect")}
    install(tmp_path, "packed", "1.0", files, init="")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    assert catalogue.find_metric("layers/x").about == "Layers"
    assert catalogue.file_of_metric("layers/x").origin == "packed 1.0"
