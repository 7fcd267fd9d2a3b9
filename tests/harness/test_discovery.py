"""What the user adds: folders, packages with entry points, and what cannot be used."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
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
METRICS = (Metric(key="layers/x", unit="count", better="lower", measured_by="inspect", workload="forward",
                  about="Layers", measure=lambda subject: 1.0, scored_as="difference"),)
'''
ROUTER = '"""Mine."""\nimport torch_that_nobody_has\nROUTER = 1\n'


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What a test installs is gone for the next one."""
    yield
    forget()


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds a plug-in of these files by KIND/NAME.py, as the only one of the user's."""

    def add(**files: str) -> Path:
        made = write(tmp_path / "added", {f"{name.replace('__', '/')}.py": text for name, text in files.items()})
        use(monkeypatch, made)
        return made

    return add


def metric(key: str) -> dict[str, str]:
    return {"metrics/mine.py": METRIC.replace("layers/x", key)}


def install(folder: Path, name: str, version: str, files: dict[str, str], init: str = "raise SystemExit(4)") -> None:
    """A distribution as pip leaves it: metadata with an entry point, and a package that ends who imports it."""
    told = folder / f"{name}-{version}.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (told / "entry_points.txt").write_text(f"[modbench.plugins]\n{name} = {name}\n[console_scripts]\nx = {name}:y\n")
    (write(folder / name, files) / "__init__.py").write_text(init)


def test_the_order_is_ours_then_folders_then_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a name is used; every later one is named, with what took the name."""
    one = write(tmp_path / "one", metric("a"))
    two = write(tmp_path / "two", metric("b") | {"routers/norm.py": '"""Norm."""\nROUTER = 1\n'})
    install(tmp_path, "served", "1.0", metric("c"), init="")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    use(monkeypatch, one, two)
    assert catalogue.find("metrics", "mine").origin == str(one)
    taken = {entry.origin: str(entry.problem) for entry in catalogue.broken("metrics")}
    assert list(taken) == [str(two), "served 1.0"]
    assert all(f"'mine' is taken by {one}" in problem for problem in taken.values())
    (norm,) = [entry for entry in discovery.every("routers") if entry.problem]
    assert norm.origin == str(two)
    assert "taken by modbench" in str(norm.problem)
    for folders, served in (((one, two), "a"), ((two,), "b"), ((), "c")):
        use(monkeypatch, *folders)
        assert {"a", "b", "c"} & catalogue.metrics().keys() == {served}
    assert catalogue.find_metric("c").about == "Layers"
    assert catalogue.file_of_metric("c").origin == "served 1.0"


def test_a_package_is_listed_but_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modbench: Any) -> None:
    """Its `__init__` would end the process, and nobody has what its router imports. Its files are found, read and shown."""
    suite = 'about = "Tiny"\nmetrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\n'
    install(tmp_path, "pack", "2.1", {"routers/mine.py": ROUTER, "routers/bad.py": "X = 1", "suites/tiny.toml": suite})
    install(tmp_path, "bare", "1.0", {})
    (tmp_path / "bare" / "plugin.toml").unlink()
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    told = json.loads(modbench("list", "--json").stdout)
    file = str(tmp_path / "pack" / "routers" / "mine.py")
    assert told["routers"]["mine"] == {"about": "Mine.", "kind": "package", "from": "pack 2.1", "path": file}
    assert told["suites"]["tiny"]["about"] == "Tiny"
    broken = {each["name"]: each["reason"] for each in told["broken"]}
    assert broken["bad"] == "it defines no ROUTER"
    assert "'bare', which is no package" in next(
        each.problem for each in plugin_manifests.every() if each.name == "bare"
    )
    assert "pack" not in sys.modules
    with pytest.raises(BrokenError, match=r"'mine' \(pack 2\.1\): .*mine\.py .*SystemExit"):
        catalogue.load("routers", "mine")


MADE = "Section(title='', order={}, span=12, render=lambda _: None)"
SECTIONS = f'''"""Sections of mine."""
from modbench.reports.section import Section
SECTION = {MADE.format(4)}
_BASE = {MADE.format(1)}
NEAR_MISS = {MADE.format(2)}
"""Which came close?

More of it.
"""
LAST = {MADE.format(3)}
'''
WARNINGS = '''"""Warnings of mine."""
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


@pytest.mark.parametrize(
    ("kind", "text", "abouts"),
    [
        # Each by its name in lower case, beside the one that has the name of the file.
        (
            "sections",
            SECTIONS,
            {"mine": "Sections of mine.", "near_miss": "Which came close?", "last": "Sections of mine."},
        ),
        ("warnings", WARNINGS, {"odd": "Something is odd.", "strange": "Something is strange."}),
    ],
)
def test_a_file_may_hold_several(kind: str, text: str, abouts: dict[str, str], added: Any) -> None:
    added(**{f"{kind}__mine": text})
    assert {name: each.about for name, each in catalogue.entries(kind).items() if not each.shipped} == abouts
    found = {name: catalogue.load(kind, name) for name in abouts}
    if kind == "sections":
        assert {name: each.order for name, each in found.items()} == {"mine": 4, "near_miss": 2, "last": 3}
    else:
        said = {name: [each.check(seen) for seen in ("seen", "")] for name, each in found.items()}
        assert said == {"odd": ["odd seen", "odd "], "strange": ["strange: seen", None]}
    assert catalogue.broken(kind) == ()


def test_every_shipped_entry_is_of_its_type() -> None:
    """Else the check of types would refuse what a user copies from ours."""
    for kind, (_, exported) in plugin_manifests.KINDS.items():
        names = [each.name for each in discovery.every(kind)]
        assert len(names) == len({*names}), f"two entries of {kind} have one name"
        for name in catalogue.entries(kind) if exported else ():
            assert catalogue.type_error(kind, catalogue.load(kind, name)) == "", (kind, name)
        for entry in discovery.every(kind) if kind not in {*discovery.SEVERAL, "suites"} else ():
            assert entry.about == discovery.read(entry.path, exported)[0], (kind, entry.name)
        assert catalogue.broken(kind) == ()
    for name in catalogue.entries("models"):  # read without importing
        assert catalogue.model_options(name) == catalogue.load("models", name).options, name


# --- what cannot be used


MANIFESTS = {
    "about = ": "plugin.toml: Invalid value",
    '[metric]\nx = "x.py"': "unknown key 'metric'. Did you mean 'metrics'",
    '[metrics]\nx = "x.py"': "[metrics] x = 'x.py': there is no such file",
    'needs = ["nobody"]': "it needs the plug-in 'nobody', which is absent",
}


@pytest.mark.parametrize("text", MANIFESTS)
def test_a_wrong_manifest_is_named_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modbench: Any, text: str
) -> None:
    (tmp_path / "plugin.toml").write_text(text)
    use(monkeypatch, tmp_path)
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
        (METRIC.replace('"count"', '"m"'), "with unit='m': give one of s, B, "),
        (METRIC.replace("lower", "neither").replace("difference", "ratio"), "set scored_as='difference'"),
        ("METRICS = ()\n1 / 0", "line 2: ZeroDivisionError: "),
        (METRIC.replace("inspect", "weigh"), "'layers/x' is made in the pass 'weigh'"),
        (METRIC.replace("layers/x", "latency/forward").replace("inspect", "time"), "'latency/forward' already"),
    ],
)
def test_a_broken_metric_stops_nothing_and_is_named_where_it_is_asked_for(text: str, said: str, added: Any) -> None:
    shipped = set(catalogue.metrics())
    folder = added(metrics__layers=text)
    assert set(catalogue.metrics()) == shipped
    (entry,) = catalogue.broken("metrics")
    assert said in entry.problem
    with pytest.raises(UsageError) as raised:
        catalogue.find_metric("latency/forward" if "latency/forward" in text else "layers/x")
    assert f"{folder / 'metrics' / 'layers.py'} cannot be used: " in str(raised.value)
    assert said in str(raised.value)


# What a kind wants of what a file exports, where that is no class of ours: callables, methods, attributes.
WANTS = {
    "models": "is no Model but 1",
    "launchers": "cannot be called: 1",
    "routers": "a method `score`",
    "formats": "no files",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({*plugin_manifests.KINDS} - {"suites", "metrics"}))
def test_what_is_of_another_type_is_refused(kind: str, added: Any) -> None:
    exported = plugin_manifests.KINDS[kind][1]
    added(**{f"{kind}__mine": f"{exported} = 1"})
    with pytest.raises(BrokenError, match=f"{exported} .*{WANTS.get(kind, '')}"):
        catalogue.load(kind, "mine")
    assert "mine" not in catalogue.usable(kind)
    (entry,) = catalogue.broken(kind)
    assert re.search(f"{exported} .*{WANTS.get(kind, '')}", str(entry.problem))


def test_a_folder_must_exist_and_hold_a_manifest(tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "none", "there is no such folder"), (tmp_path, r"holds no plugin\.toml")):
        with pytest.raises(UsageError, match=said):
            plugin_manifests.include([folder])


@pytest.mark.parametrize(
    ("kind", "name", "text", "said"),
    [
        ("routers", "routers/mine.py", ROUTER, r"\bmine .*line 2: ModuleNotFoundError: .*'torch_that_nobody_has'"),
        ("plugins", "commands/late.py", "TOLD = 1\n" + ROUTER, r"'late' of \[commands\] cannot be used"),
        ("plugins", "passes/mine.py", "X = 1", "pass 'mine'"),
    ],
)
def test_check_imports_what_is_added(kind: str, name: str, text: str, said: str, tmp_path: Path, modbench: Any) -> None:
    bench = write(tmp_path / "bench", {name: text})
    assert modbench("list", kind, "--plugin", bench).returncode == 0
    checked = modbench("list", kind, "--check", "--plugin", bench)
    assert checked.returncode == 1
    assert re.search(said, checked.stdout, re.DOTALL)
