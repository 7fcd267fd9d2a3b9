"""What is shipped: one top-level name, every module, every data file, and a source distribution that builds the same wheel."""

from __future__ import annotations

import email
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import docs_build
import pytest
import readme_renderer.markdown
from docs_links import links
from present import present
from product import PACKAGES

import modbench

ROOT = Path(__file__).parents[2]
PAGES = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md")


@dataclass(frozen=True)
class Built:
    """The files that a release consists of, and the wheel that the source distribution builds elsewhere."""

    sdist: Path
    wheel: Path
    again: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built from this checkout, without a network: the build backend is installed for the tests."""

    def build(*what: str) -> Path:
        out = tmp_path_factory.mktemp("built")
        # Not in the checkout: its build/ and egg-info may be old, and would be packed as well.
        (out / "extra.cfg").write_text(f"[build]\nbuild_base = {out / 'build'}\n[egg_info]\negg_base = {out}\n")
        command = [sys.executable, "-m", "build", *what, "--no-isolation", "-o", str(out / "dist"), str(ROOT)]
        environment = os.environ | {"DIST_EXTRA_CONFIG": str(out / "extra.cfg")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return out / "dist"

    both = build()  # the wheel from the source distribution
    (sdist,), (again,), (wheel,) = both.glob("*.tar.gz"), both.glob("*.whl"), build("--wheel").glob("*.whl")
    return Built(sdist, wheel, again)


@pytest.fixture(scope="module")
def wanted() -> set[str]:
    """Paths of all modules and data files, as the wheel has them."""
    front = ROOT / "src" / "modbench"
    own = [folder for folder in front.iterdir() if folder.is_dir() and not folder.is_symlink()]
    files = [
        *front.glob("*.py"),
        *(file for folder in own for end in ("py", "toml", "json") for file in folder.rglob(f"*.{end}")),
    ]
    found = {"modbench/py.typed"} | {str(file.relative_to(ROOT / "src")) for file in files}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and not {"__pycache__", "tests", "README.md"} & {*path.relative_to(ROOT).parts}:
                found.add(f"modbench/{path.relative_to(ROOT)}")
    return found


def files_in(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel but the list of them."""
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist() if not name.endswith("/RECORD")}


def inside(built: Built) -> dict[str, tarfile.TarInfo]:
    """What a source distribution has, folders left out, by the path below its only folder."""
    with tarfile.open(built.sdist) as packed:
        members = [member for member in packed.getmembers() if not member.isdir()]
    assert {PurePosixPath(member.name).parts[0] for member in members} == {f"modbench-{modbench.__version__}"}
    return {member.name.partition("/")[2]: member for member in members}


def metadata(built: Built) -> email.message.Message[str, str]:
    (name,) = [name for name in files_in(built.wheel) if name.endswith("/METADATA")]
    return email.message_from_bytes(files_in(built.wheel)[name])


def test_every_module_and_data_file_is_in_below_one_name_and_the_licence(built: Built, wanted: set[str]) -> None:
    found = {*files_in(built.wheel)}
    assert {name for name in found if ".dist-info/" not in name} == wanted
    assert any(name.endswith("licenses/LICENSE") for name in found)


def test_the_source_distribution_builds_the_same_wheel(built: Built) -> None:
    here, there = files_in(built.wheel), files_in(built.again)
    assert built.wheel.name == built.again.name == f"modbench-{modbench.__version__}-py3-none-any.whl"
    assert {*here} == {*there}
    assert [name for name in here if here[name] != there[name]] == []


def test_the_source_distribution_has_the_package_and_its_pages(built: Built, wanted: set[str]) -> None:
    """Nothing else: no tests, no run folders, nothing compiled, and no link, since where it leads may not exist."""
    found = inside(built)
    assert [name for name, member in found.items() if not member.isfile()] == []
    made = {name for name in found if name in {"PKG-INFO", "setup.cfg"} or ".egg-info/" in name}
    pages = {*PAGES, "MANIFEST.in", "pyproject.toml", "setup.py"}
    pages |= {
        str(file.relative_to(ROOT)) for glob in ("plugins/*/README.md", "suites/*.toml") for file in ROOT.glob(glob)
    }
    for folder in ("docs", "examples", "plugins/example", "benchmarks/data"):
        pages |= {name for name in found if name.startswith(f"{folder}/") and (ROOT / name).is_file()}
    assert {*found} - made == pages | {f"src/{name}" for name in wanted}
    assert [name for name in found if re.search(r"__pycache__|\.pyc|/runs/|report\.html$", name)] == []


def test_links_of_its_pages_lead_to_files_in_it(built: Built) -> None:
    found = {*inside(built)}
    folders = {str(parent) for name in found for parent in PurePosixPath(name).parents}
    for name in sorted(name for name in found if name.endswith(".md")):
        told = links((ROOT / name).read_text(encoding="utf-8"))
        for target in (target for target, _ in told if target and not docs_build.is_outside(target)):
            there = os.path.normpath(PurePosixPath(name).parent / target)
            assert there in found | folders, (
                f"{name}: {target} is not in the source distribution: add it to MANIFEST.in"
            )


def test_an_index_can_show_the_description(built: Built) -> None:
    """What a package index shows is README.md without what it could not find: relative links and pictures."""
    told = metadata(built)
    text = str(told.get_payload())
    assert (told["Version"], told["Description-Content-Type"]) == (modbench.__version__, "text/markdown")
    assert text.startswith("# modbench\n")
    assert re.search(r"\[`docs/[\w-]+\.md`\]", text)
    page = present(readme_renderer.markdown.render(text))
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert targets
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert page.count("<table>") == (ROOT / "README.md").read_text(encoding="utf-8").count("\n| ---")


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_the_wheel_alone_runs_quick(built: Built, tmp_path: Path) -> None:
    """In an empty environment, with what the wheel asks for and nothing else, away from the checkout; it needs a network."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    there = tmp_path / "env"
    run(sys.executable, "-m", "venv", there)
    python, torch = there / "bin" / "python", importlib.metadata.version("torch").partition("+")[0]
    run(python, "-m", "pip", "install", "--quiet", built.wheel, f"torch=={torch}")
    has = {each["name"] for each in json.loads(run(python, "-m", "pip", "list", "--format", "json"))}
    assert has >= {"fvcore", "pytest-benchmark"}
    assert not has & {"hypothesis", "transformers"}
    assert str(there) in run(python, "-c", "import modbench; print(modbench.__file__)")
    out = tmp_path / "out"
    assert "T = 128" in run(there / "bin" / "modbench", "demo")
    printed = run(there / "bin" / "modbench", "run", "quick", "--effort", "smoke", "--strict", "-o", out)
    assert f"report: {out / 'report.html'}" in printed
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))["environment"]
    assert (told["packages"]["modbench"], told["git"]["commit"]) == (modbench.__version__, None)
