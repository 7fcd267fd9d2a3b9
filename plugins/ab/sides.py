"""A side of `ab revisions` or `ab builds`: a revision of a git repository, its files as they are, an interpreter, or a build."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from io import BytesIO
from pathlib import Path

from modbench.extend import ModbenchError, UsageError, __version__, is_user_model, no_python_file, parse_spec, processes
from modbench.plugins.ab.compared import fails

# Names the files of a repository as they lie there, changes that are not committed included.
AS_IT_IS = "."
# What `one_process.py` imports: the modbench of both sides must have it.
EXTEND, TURNS = "modbench.extend", "turns"


@dataclass(frozen=True)
class Side:
    """One side of the comparison.

    Attributes:
        label: what it is, such as `HEAD~1 (3f2a9c1)`.
        python: the interpreter.
        folder: where its files lie and where it runs; None: the current folder.
        source: the folder of its own modbench, at the front of the interpreter's path; None: the modbench that is found there.
        imported: more folders at the front of that path: modules that its models import come from there.
        models: values of `--model`, with the files of this side.
        files: what else it runs.
        new: whether it is the new one of two.
    """

    label: str
    python: str
    folder: Path | None = None
    source: Path | None = None
    imported: tuple[Path, ...] = ()
    models: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    new: bool = False

    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        found = dict(os.environ)
        first = [str(each) for each in (self.source, *self.imported) if each is not None]
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (*first, found.get("PYTHONPATH", ""))))
        return found

    def fails(self, why: str) -> ModbenchError:
        """The error where it does not run."""
        return fails(f"{self.label}: {why}", new=self.new)

    def identity(self) -> str:
        """A digest of what it runs: its files, its modbench, and the version of torch.

        Raises:
            UsageError: if its modbench cannot be used.
            SideFailsError: if that of the new side cannot be imported.
        """
        where, *versions = self.modbench()
        digest = hashlib.sha256("\n".join(versions).encode())
        folder = self.folder and self.folder.resolve()
        # The package of a checkout holds links to folders.
        tops = [*Path(where).parent.iterdir(), *self.files, *([folder] if folder else [])]
        for file in sorted({each for top in tops for each in (top.resolve(), *top.resolve().rglob("*"))}):
            if file.is_file() and file.suffix != ".pyc":
                digest.update(os.fsencode(os.path.relpath(file, folder)) + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def modbench(self) -> tuple[str, str, str]:
        """Return where its modbench lies, its version, and that of torch.

        Raises:
            UsageError: if it is too old, or another one is found first, or that of the base cannot be imported.
            SideFailsError: if that of the new side cannot be imported.
        """
        if self.source is None and self.python == sys.executable:
            return str(Path(__file__).parents[2] / "__init__.py"), __version__, metadata.version("torch")
        fields = "modbench.__file__, modbench.__version__, metadata.version('torch')"
        code = (
            f"from importlib import metadata; import modbench; from {EXTEND} import {TURNS}; print({fields}, sep='\\n')"
        )
        done = processes.answer([self.python, "-P", "-c", code], environment=self.environment())
        if done.returncode:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
            if EXTEND in last:
                raise UsageError(f"{self.label}: its modbench is too old for `ab`: it has no {EXTEND}.{TURNS}.")
            raise self.fails(f"modbench cannot be imported there ({last[:160]}).")
        where, version, torch = os.fsdecode(done.stdout).splitlines()[-3:]  # a start-up file may print, too
        if self.source is not None and not Path(where).resolve().is_relative_to(self.source.parent.resolve()):
            raise UsageError(
                f"{self.label}: another modbench is found first, {where}. Is PYTHONPATH set by a start-up file?"
            )
        return where, version, torch


def build(model: str) -> Side:
    """A build of a model, as its file lies there."""
    return Side(model, sys.executable, models=(model,), files=_beside([_file(model)]))


def revision(name: str, models: tuple[str, ...], into: Path, *, own: bool = False, apart: Sequence[Path] = ()) -> Side:
    """Prepare a revision of the repository that holds the model's file, or of modbench's own.

    Args:
        name: a git revision, `.` for the files as they lie there, or the path of an interpreter.
        models: values of `--model`.
        into: a folder for the files of the revision, which does not exist.
        own: whether the repository is the one that this modbench runs from.
        apart: folders whose files belong to no revision: those of results.

    Raises:
        UsageError: if there is no such revision, no repository, or the revision lacks the model's file.
    """
    files = [_file(model) for model in models if is_user_model(model)]
    if os.sep in name and Path(name).is_file() and os.access(name, os.X_OK):
        return Side(name, name, models=models, files=_beside(files))
    if own:
        label = _copy_files(_root(Path(__file__).resolve().parent, own=True), name, into, apart)
        return Side(label, sys.executable, folder=into, source=into / "src")
    if not files:
        raise UsageError(
            "ab revisions compares revisions of your model: name it with --model FILE.py:build. "
            "Revisions of modbench itself: add --self."
        )
    for file in files:
        if not file.is_file():
            raise UsageError(f"--model: {no_python_file(str(file))} It is read from both revisions.")
    root = _root(files[0].resolve().parent, own=False)
    label = _copy_files(root, name, into, apart)
    side = Side(label, sys.executable, folder=into, imported=tuple(_imported(root, into)))
    return replace(side, models=tuple(_in_revision(model, name, root, into) for model in models))


def _typed(model: str) -> str:
    """The file of a value of `--model`, as it is typed."""
    return parse_spec(model)[0].rpartition(":")[0]


def _file(model: str) -> Path:
    return Path(_typed(model))


def _in_revision(model: str, name: str, root: Path, into: Path) -> str:
    """A value of `--model` with the file of a revision."""
    if not is_user_model(model):
        return model
    file = _file(model).resolve()
    if not file.is_relative_to(root):
        raise UsageError(f"--model {_file(model)} lies outside {root}: all models come from one repository.")
    inside = file.relative_to(root)
    if not (into / inside).is_file():
        raise UsageError(f"{name} has no file {inside}: the model is younger, or was moved.")
    return f"{into / inside}{model.strip().removeprefix(_typed(model))}"


def _beside(models: Sequence[Path]) -> tuple[Path, ...]:
    """The files of a user's models, with the modules and packages beside them."""
    found = set[Path]()
    for folder in {file.resolve().parent for file in models if file.is_file()}:
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
        raise UsageError(
            "revisions are read with git, which is not installed. Or compare two files: `modbench ab builds`."
        )
    return processes.answer([git, "--no-optional-locks", "-C", str(folder), *arguments])


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode(errors="replace").partition("\n")[0].strip()[:160]


def _root(folder: Path, *, own: bool) -> Path:
    found = _git(folder, "rev-parse", "--show-toplevel")
    if found.returncode:
        whose = f"--self: this modbench, in {folder}," if own else folder
        raise UsageError(
            f"{whose} is in no git repository that can be read ({_said(found)}). Compare revisions of a file in one, --model "
            "FILE.py:build, or two files: `modbench ab builds`."
        )
    return Path(os.fsdecode(found.stdout).strip())


def _copy_files(root: Path, name: str, into: Path, apart: Sequence[Path]) -> str:
    """Copy the files of a revision, or those that lie there, into a folder; return the side in words."""
    into.mkdir(parents=True)
    if name == AS_IT_IS:
        return _copy_as_it_is(root, into, apart)
    known = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if known.returncode:
        raise UsageError(
            f"{root.name} has no revision {name!r}. Give a branch, a tag or a commit; `.` for the files as they are. A shallow "
            "clone lacks older ones: git fetch --unshallow, or fetch-depth: 0."
        )
    commit = known.stdout.decode().strip()
    archive = _git(root, "archive", "--format=tar", commit)
    if archive.returncode:
        raise UsageError(f"git cannot read {name} of {root.name}: {_said(archive)}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(into, filter="tar")
    return f"{name} ({commit[:7]})" if not commit.startswith(name) else commit[:7]


def _copy_as_it_is(root: Path, into: Path, apart: Sequence[Path]) -> str:
    inside = [each.resolve().relative_to(root) for each in apart if each.resolve().is_relative_to(root)]
    chosen = ["--", ".", *(f":(exclude,top){each}" for each in inside)]
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", *chosen).stdout
    for each in filter(None, os.fsdecode(listed).split("\0")):
        source, target = root / each, into / each
        if source.is_symlink() or source.is_file():  # a file that was removed, but not from git's index, is not there
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    commit = _git(root, "rev-parse", "--short=7", "HEAD").stdout.decode().strip()
    changed = " with changes" if _git(root, "status", "--porcelain", *chosen).stdout else ""
    return f"{root.name} as it is ({commit or 'no commit yet'}{changed})"
