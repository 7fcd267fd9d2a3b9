"""The user's own files that a plan runs or reads: models, routers, additions from folders and packages, corpora, tasks' files.

`run.json` holds them with their hashes, so that a resumed run, or a reader, can tell whether they are the same. What these files
import is known when it has run: records hold it (`Record.code`). What they read by themselves is not followed.

So it holds the sources of additions that a run included, that they are found again. What it says is only said: it may come from a
stranger. Folders are included again without a word only where this user's own state, outside the run, says that he began the
run with them.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.model_specs import Pairs, is_user_model
from modbench.harness.domain.case import Case, UnitOfWork
from modbench.harness.registry import catalogue, discovery, user_code, user_models
from modbench.harness.registry.model_sources import sourced

BLOCK = 1 << 20

Kind = Literal["model", "router", "addition", "corpus", "task", "launcher", "sink", "import"]
# A folder, a data set that is fetched by its name, options of a launcher, or nothing: none of them has a hash of its own.
What = Literal["file", "folder", "fetched", "options", "sent", "missing"]


class UserFile(Frozen):
    """A file of the user's that a run depends on.

    Attributes:
        kind: what it is used for; code is run, text is read. `import`: code that the plan does not name.
        name: as the plan names it, such as `mine.py:build`; of a package that importing it runs, `my.model:build (my)`; of an
            import its path, from the folder of the run on.
        what: a file, a folder (whose texts the plan's own hash covers), a data set that is fetched by name, or missing.
        path: absolute path; None for a data set that is fetched.
        size: in bytes; None if it is no file.
        sha256: hash of its bytes; None if it is no file.
    """

    kind: Kind
    name: str
    what: What = "file"
    path: str | None = None
    size: int | None = None
    sha256: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Its kind and its name."""
        return self.kind, self.name

    @property
    def identity(self) -> str | None:
        """Its hash, or its place if it has none: while this is the same, the file is unchanged."""
        return self.sha256 or (None if self.what == "missing" else self.path or self.name)


def of(units: Iterable[UnitOfWork], launcher: str, options: Sequence[str] | None = None) -> tuple[UserFile, ...]:
    """The user's files that these units run or read. Nothing is imported; files are read to be hashed.

    Args:
        units: all that may run. What only a plan's comparisons name is never run.
        launcher: the launcher's name.
        options: its options; they may name programs of their own. None: they need no agreement.
    """
    units = list(units)
    cases = list(dict.fromkeys(case for unit in units for case in unit.comparison.arms))
    found = list(dict.fromkeys(file for model, given in _models(cases) for file in _files_of("model", model, given)))
    routers = dict.fromkeys(case.config.router for case in cases if is_user_model(case.config.router))
    found += [file for router in routers for file in _files_of("router", router)]
    found += _additions(units, cases, launcher)
    protocols = [unit.protocol for unit in units]
    for kind, paths in (
        ("corpus", dict.fromkeys(each.corpus_path for each in protocols if each.corpus_path is not None)),
        ("task", dict.fromkeys(each.task_path for each in protocols if each.task_path is not None)),
    ):
        found += [_text(kind, path) for path in paths]  # type: ignore[arg-type]  # the two kinds above
    # Shipped sinks but one may send what they get to a server.
    found += [UserFile(kind="sink", name=name, what="sent") for name in sorted(sinks(units) - {"tensorboard"})]
    if options is not None and (launcher != "local" or options):
        found.append(UserFile(kind="launcher", name=shlex.join([launcher, *options]), what="options"))
    return tuple(found)


def imports(ran: Mapping[str, str], others: Iterable[UserFile]) -> tuple[tuple[UserFile, ...], tuple[UserFile, ...]]:
    """Files that the plan does not name and that units ran: as they are now, and as they were.

    Args:
        ran: SHA-256 by name (`user_code.name_of`).
        others: the files that the plan names.
    """
    here = Path.cwd()
    known = {user_code.name_of(each.path, here) for each in others if each.path}
    found = [(_file("import", name, here / name), sha256) for name, sha256 in sorted(ran.items()) if name not in known]
    return tuple(file for file, _ in found), tuple(
        UserFile(kind="import", name=file.name, path=file.path, sha256=sha256) for file, sha256 in found
    )


def _models(cases: Sequence[Case]) -> list[tuple[str, Pairs]]:
    """Users' models, with options where these may name other files."""
    own = (case for case in cases if is_user_model(case.model))
    return list(dict.fromkeys((case.model, case.options if sourced(case.model) else ()) for case in own))


def _files_of(kind: Kind, model: str, given: Pairs = ()) -> Iterator[UserFile]:
    if found := sourced(model, given):
        try:
            yield from (_file(kind, f"{model} ({path.name})", path) for path in found.files())
        except UsageError:  # it is gone
            yield UserFile(kind=kind, name=model, what="missing")
        return
    where = model.rpartition(":")[0] or model
    if where.endswith(".py"):
        yield _file(kind, model, Path(where))
        return
    files = user_models.files_of_module(where)
    for module, file in files.items():
        yield _file(kind, model if module == where else f"{model} ({module})", file)
    if where not in files:  # a module without a file, or none
        yield UserFile(kind=kind, name=model, what="missing")


def sinks(units: Sequence[UnitOfWork]) -> set[str]:
    """Names of the sinks that units send numbers to."""
    return {unit.protocol.train.log_to for unit in units if unit.protocol.train and unit.protocol.train.log_to}


def _additions(units: Sequence[UnitOfWork], cases: Sequence[Case], launcher: str) -> Iterator[UserFile]:
    """Files of included folders and of packages that take part in measuring; doubts and panels do not."""
    metrics = {key for unit in units for key in (*unit.comparison.metrics, *(made.key for made in unit.facts.makes))}
    used = {
        "passes": {unit.made_in for unit in units},
        "rules": {unit.rule for unit in units},
        "metrics": {catalogue.file_of_metric(key).name for key in metrics},
        "models": {case.model for case in cases},
        "routers": {case.config.router for case in cases},
        "corpora": {unit.protocol.corpus for unit in units},
        "tasks": {case.task for case in cases},
        "launchers": {launcher},
        "sinks": sinks(units),
    }
    for kind, names in used.items():
        for name, entry in catalogue.entries(kind).items():
            if name in names and not entry.shipped:
                yield _file("addition", f"{kind}/{name}", entry.path)


def _text(kind: Kind, asked: str) -> UserFile:
    """The source of a corpus or task: `PATH`, `PATH?option=value`, or `hf:NAME`, which may also name a file."""
    name = asked.removeprefix("hf:")
    path = Path(name)
    if not _exists(path) and "?" in name:
        path = Path(name.rpartition("?")[0])
    if asked.startswith("hf:") and not _exists(path):
        return UserFile(kind=kind, name=asked, what="fetched")
    return _file(kind, asked, path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def _file(kind: Kind, name: str, path: Path) -> UserFile:
    at = str(path.absolute())
    if not _exists(path):
        return UserFile(kind=kind, name=name, what="missing", path=at)
    if not path.is_file():  # a device is not read
        return UserFile(kind=kind, name=name, what="folder" if path.is_dir() else "missing", path=at)
    size = path.stat().st_size
    digest, left = hashlib.sha256(), size
    try:
        with path.open("rb") as file:
            while left > 0 and (block := file.read(min(left, BLOCK))):  # a file of the kernel may have no end
                digest.update(block)
                left -= len(block)
    except OSError:
        return UserFile(kind=kind, name=name, what="missing", path=at, size=size)
    return UserFile(kind=kind, name=name, path=at, size=size, sha256=digest.hexdigest())


class Origin(Frozen):
    """Where additions came from.

    Attributes:
        kind: a folder that was included, or an installed package with entry points.
        name: the folder's absolute path, or the package's name and version.
    """

    kind: Literal["folder", "package"]
    name: str

    def in_words(self) -> str:
        """The source in words, and how to bring it back."""
        if self.kind == "folder":
            return f"the folder {shown(self.name, 200)}; if you trust it, add --include {self.name}"
        return f"the package {shown(self.name, 100)}; install it"


def sources() -> tuple[Origin, ...]:
    """The sources that this process includes."""
    folders = [Origin(kind="folder", name=str(folder)) for folder in discovery.included_folders()]
    known = dict.fromkeys(point.package for point in discovery.entry_points())
    return (*folders, *(Origin(kind="package", name=name) for name in known))


def include_again(folders: Iterable[str]) -> None:
    """Include folders that this user began a run with, where they are still there; others are named as missing later."""
    discovery.include(folder for folder in folders if discovery.holds_additions(Path(folder)))


def missing_sources(told: Sequence[Origin]) -> list[Origin]:
    """The sources that a run included and this process does not."""
    here = set(sources())
    return [each for each in told if each not in here]
