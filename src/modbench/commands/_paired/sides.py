"""The sides of a paired comparison: a revision of a git repository, its files as they are, or an installed environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import in_parentheses, is_user_model, parse_spec
from modbench.harness.process import processes
from modbench.harness.registry.user_models import no_python_file

# Names the files of a repository as they lie there, changes that are not committed included.
AS_IT_IS = "."
# A module that the modbench of both sides must have.
TURNS = "modbench.harness.timing.turns"


class SideFailsError(UsageError):
    """A side does not run. Not that it cannot be had, which is a mistake of the command.

    Args:
        said: which side, and why.
        second: whether it is the second one.
    """

    def __init__(self, said: str, *, second: bool) -> None:
        super().__init__(said)
        self.second = second


@dataclass(frozen=True)
class Side:
    """One side of the comparison.

    Attributes:
        name: as the user typed it.
        label: the name with what it stands for, such as `HEAD~1 (3f2a9c1)`.
        python: the interpreter.
        folder: where its files lie and where it runs; None: the current folder.
        source: the folder of its modbench, at the front of the interpreter's path; None: the modbench that is found there.
        imported: more folders at the front of that path: modules that its models import come from there.
        models: models of the user with the file of this side.
        files: what else it runs.
        second: whether it is the second of two.
    """

    name: str
    label: str
    python: str
    folder: Path | None = None
    source: Path | None = None
    imported: tuple[Path, ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    second: bool = False

    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        found = dict(os.environ)
        first = [str(each) for each in (self.source, *self.imported) if each is not None]
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (*first, found.get("PYTHONPATH", ""))))
        return found

    def identity(self) -> str:
        """A digest of what it runs: its files, its modbench, and the version of torch.

        Raises:
            UsageError: if its modbench cannot be used.
        """
        where, *versions = self.modbench()
        digest = hashlib.sha256("\n".join(versions).encode())
        for top in filter(None, (self.folder, Path(where).parent)):
            seen = set[Path]()  # a link may lead to a folder that holds it
            for folder, inside, names in os.walk(top, followlinks=True):
                seen.add(Path(folder).resolve())
                new = {each for each in inside if Path(folder, each).resolve() not in seen}
                inside[:] = sorted(new - {"__pycache__"})
                for name in sorted(names):
                    file = Path(folder, name)
                    digest.update(f"\0{file.relative_to(top)}\0".encode(errors="surrogateescape"))
                    if file.is_file():
                        digest.update(file.read_bytes())
        for file in self.files:
            digest.update(f"\0{file}\0".encode(errors="surrogateescape") + file.read_bytes())
        return digest.hexdigest()

    def modbench(self) -> tuple[str, str, str]:
        """Return where its modbench lies, its version, and that of torch.

        Raises:
            SideFailsError: if it cannot be imported.
            UsageError: if it is too old, or another one is found first.
        """
        fields = "modbench.__file__, modbench.__version__, metadata.version('torch')"
        code = f"from importlib import metadata; import modbench, {TURNS}; print({fields}, sep='\\n')"
        done = processes.answer([self.python, "-P", "-c", code], environment=self.environment())
        if done.returncode:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
            if TURNS in last:
                raise UsageError(f"{self.name}: its modbench is too old for --paired: it has no {TURNS}.")
            said = f"{self.name}: modbench cannot be imported there ({last[:160]})."
            raise SideFailsError(said, second=self.second)
        where, version, torch = os.fsdecode(done.stdout).splitlines()[-3:]  # a start-up file may print, too
        if self.source is not None and not Path(where).resolve().is_relative_to(self.source.parent.resolve()):
            raise UsageError(
                f"{self.name}: another modbench is found first, {where}. Is PYTHONPATH set by a start-up file?"
            )
        return where, version, torch


def is_interpreter(name: str) -> bool:
    """Whether a side is named by a Python interpreter instead of a revision."""
    return os.sep in name and Path(name).is_file() and os.access(name, os.X_OK)


def side(name: str, models: tuple[str, ...], into: Path) -> Side:
    """Prepare one side.

    Without a model of the user, a revision is one of the repository that this modbench runs from; with one, one of the repository
    that holds its file, and modbench is the same on both sides.

    Args:
        name: a git revision, `.` for the files as they lie there, or the path of an interpreter.
        models: values of `--model`.
        into: an empty folder for the files of the revision.

    Raises:
        UsageError: if there is no such revision, no repository, or the revision lacks the model's file.
    """
    own = [Path(parse_spec(model)[0].rpartition(":")[0]) for model in models if is_user_model(model)]
    if is_interpreter(name):
        return Side(name, name, name, files=_files_of(own))
    for file in own:
        if not file.is_file():
            raise UsageError(f"--model: {no_python_file(str(file))} --paired reads it from both revisions.")
    root = _root(own[0].resolve().parent if own else Path(__file__).resolve().parent, named=bool(own))
    label = _copy_files(root, name, into)
    if not own:
        return Side(name, label, sys.executable, into, into / "src")
    found: dict[str, str] = {}
    for model in models:
        where, _, attribute = parse_spec(model)[0].rpartition(":")
        if not is_user_model(model):
            continue
        if not Path(where).resolve().is_relative_to(root):
            raise UsageError(f"--model {where} lies outside {root}: all models of --paired come from one repository.")
        file = into / Path(where).resolve().relative_to(root)
        if not file.is_file():
            raise UsageError(
                f"{name} has no file {Path(where).resolve().relative_to(root)}: the model is younger, or was moved."
            )
        _, inside = in_parentheses(model.strip())
        found[model] = f"{file}:{attribute}" + (f"({inside})" if inside is not None else "")
    imported = tuple(_imported(root, into))
    return Side(name, label, sys.executable, into, imported=imported, models=found)


def builds(models: tuple[str, ...]) -> Side:
    """The one side of two builds, timed as they are: its processes time both."""
    own = [Path(parse_spec(model)[0].rpartition(":")[0]) for model in models if is_user_model(model)]
    return Side("both", " against ".join(models), sys.executable, files=_files_of(own))


def _files_of(own: Sequence[Path]) -> tuple[Path, ...]:
    """The files of a user's models, with the modules and packages beside them."""
    found = set[Path]()
    for folder in {file.resolve().parent for file in own if file.is_file()}:
        packages = (each.parent for each in folder.glob("*/__init__.py"))
        found |= {*folder.glob("*.py"), *(file for package in packages for file in package.rglob("*.py"))}
    return tuple(sorted(found))


def _imported(root: Path, into: Path) -> Iterator[Path]:
    """Where modules of a repository come from, in a revision's files: also those that are installed, or that a path names.

    Not where modbench lies, which is the same on both sides, nor where a file would hide a module of Python.
    """
    named = (Path(each).resolve() for each in sys.path if each)
    inside = [into / each.relative_to(root) for each in named if each.is_relative_to(root) and each != root]
    for folder in dict.fromkeys([*inside, into / "src", into]):
        if folder.is_dir():
            modules = {each.name.partition(".")[0] for each in folder.iterdir()}
            if "modbench" not in modules and not modules & sys.stdlib_module_names:
                yield folder


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    git = shutil.which("git")
    if git is None:
        raise UsageError("--paired reads revisions with git, which is not installed. Or name two Python interpreters.")
    return processes.answer([git, "-C", str(folder), *arguments])


def _root(folder: Path, *, named: bool) -> Path:
    found = _git(folder, "rev-parse", "--show-toplevel")
    why = found.stderr.decode(errors="replace").partition("\n")[0].strip()
    if found.returncode and "not a git repository" not in why:
        raise UsageError(f"git cannot read {folder}: {why[:160]}")
    if found.returncode:
        if named:
            raise UsageError(f"{folder} is in no git repository: --paired compares two revisions of the model's file.")
        raise UsageError(
            "this modbench does not run from a git checkout, so that it has no revisions. Add --model FILE.py:build to compare "
            "two revisions of a model, or name two Python interpreters."
        )
    return Path(os.fsdecode(found.stdout).strip())


def _copy_files(root: Path, name: str, into: Path) -> str:
    """Copy the files of a revision, or those that lie there, into a folder; return the side in words."""
    into.mkdir(parents=True)
    if name == AS_IT_IS:
        listed = os.fsdecode(_git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout).split(
            "\0"
        )
        for each in filter(None, listed):
            source, target = root / each, into / each
            if (
                source.is_symlink() or source.is_file()
            ):  # a file that was removed, but not from git's index, is not there
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        return f"the files in {root.name} as they are"
    known = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if known.returncode:
        shallow = _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        fetch = " The clone is shallow: git fetch --unshallow, or fetch-depth: 0, brings older ones." if shallow else ""
        raise UsageError(
            f"{root.name} has no revision {name!r}. Give a branch, a tag or a commit; `.` for the files as they are.{fetch}"
        )
    commit = known.stdout.decode().strip()
    archive = _git(root, "archive", "--format=tar", commit)
    if archive.returncode:
        raise UsageError(
            f"git cannot read {name} of {root.name}: {archive.stderr.decode(errors='replace').strip()[:160]}"
        )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(into, filter="tar")
    return f"{name} ({commit[:7]})" if not commit.startswith(name) else commit[:7]
