"""The user's own files in a run: plug-ins, in folders and packages, and whether what its processes loaded is as it was.

Records hold the SHA-256 of each file of the user's that their process loaded, and `run.json` of those that the command had loaded
when the run began, texts too. What a file reads by itself is not followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.immutable import Frozen
from modbench.harness.core.model_specs import Pairs
from modbench.harness.domain.case import Comparison, Job
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue, plugin_manifests, user_code
from modbench.harness.registry.catalogue import BrokenError
from modbench.harness.registry.model_loaders import from_loader


class Origin(Frozen):
    """Where additions came from.

    Attributes:
        kind: a plug-in's folder, or an installed package.
        name: the folder's absolute path, or the package's name and version.
    """

    kind: Literal["folder", "package"]
    name: str

    def in_words(self) -> str:
        """The source in words, and how to bring it back."""
        if self.kind == "folder":
            return f"the folder {shown(self.name, 200)}; to run what it holds, add --plugin {self.name}"
        return f"the package {shown(self.name, 100)}; install it"


def sources() -> tuple[Origin, ...]:
    """The sources of the user's plug-ins in this process."""
    return tuple(
        Origin(kind=each.source, name=each.origin) for each in plugin_manifests.every() if each.source != "shipped"
    )


def include_again(told: Iterable[Origin]) -> None:
    """Use the plug-ins that a run began with, in this process and in those that it starts, where they are still there."""
    folders = (Path(each.name) for each in told if each.kind == "folder")
    plugin_manifests.include(folder for folder in folders if (folder / plugin_manifests.MANIFEST).is_file())


def missing_sources(told: Sequence[Origin]) -> list[Origin]:
    """The sources of plug-ins that a run had and this process has not."""
    here = set(sources())
    return [each for each in told if each not in here]


def check_known(plan: Plan, file: Path, included: Sequence[Origin]) -> None:
    """Check that this process has the metrics, passes, rules and loggers that a stored plan names.

    Args:
        plan: the plan.
        file: run.json.
        included: folders and packages that the run began with.

    Raises:
        UsageError: if it lacks one; the message says where the run had it from.
    """
    trained = [job.protocol.train for job in plan.jobs if job.protocol.train is not None]
    loggers = {train.log_to for train in trained if train.log_to} - catalogue.entries("loggers").keys()
    for kind, unknown in {**_absent(plan), "logger": loggers}.items():
        for name in sorted(unknown):
            said = f"{file}: it uses the {kind} {shown(name)}, which this modbench does not have."
            raise UsageError(f"{said} {_from(kind, name, included)}")


def _absent(plan: Plan) -> dict[str, set[str]]:
    """Names by kind that a plan uses and this process does not have."""
    every = (*plan.comparisons, *(job.comparison for job in plan.jobs))
    metrics = {key for comparison in every for key in comparison.metrics} | {*plan.suite.metrics}
    return {
        "metric": metrics - catalogue.metrics().keys(),
        "pass": {job.made_in for job in plan.jobs} - catalogue.passes().keys(),
        "rule": {group.rule for group in plan.groups} - catalogue.entries("adaptive_rules").keys(),
    }


def readable(plan: Plan, file: Path, included: Sequence[Origin]) -> tuple[Plan, tuple[str, ...]]:
    """What this process can read of a stored plan, and the names of what it cannot: their plug-ins are absent.

    Raises:
        UsageError: if that leaves nothing.
    """
    absent = _absent(plan)
    names = tuple(sorted(set().union(*absent.values())))
    if not names:
        return plan, ()
    gone, kept = absent["metric"], dict[int, Comparison]()

    def left(comparison: Comparison) -> Comparison:
        metrics = tuple(key for key in comparison.metrics if key not in gone)
        return kept.setdefault(id(comparison), comparison.model_copy(update={"metrics": metrics}))

    jobs = []
    for job in plan.jobs:
        makes = tuple(made for made in job.facts.makes if made.key not in gone)
        if job.made_in in absent["pass"] or not (makes or not job.facts.makes):
            continue
        rule = {"rule": "", "group": ""} if job.rule in absent["rule"] else {}
        facts = job.facts.model_copy(update={"makes": makes})
        jobs.append(job.model_copy(update={"comparison": left(job.comparison), "facts": facts, **rule}))
    suite = plan.suite.model_copy(update={"metrics": tuple(key for key in plan.suite.metrics if key not in gone)})
    comparisons = tuple(each for each in map(left, plan.comparisons) if each.metrics)
    if not comparisons:
        check_known(plan, file, included)
    groups = tuple(group for group in plan.groups if group.rule not in absent["rule"])
    update = {"suite": suite, "comparisons": comparisons, "jobs": tuple(jobs), "groups": groups}
    return plan.model_copy(update=update), names


def _from(kind: str, name: str, included: Sequence[Origin]) -> str:
    """Where a name may come from."""
    kinds = "passes" if kind == "pass" else f"{kind}s"
    wrong = [e for e in catalogue.broken(kinds) if kind == "metric" or e.name == name]
    if wrong:
        return str(BrokenError(wrong[0]))
    gone = missing_sources(included)
    if gone:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        return f"The run began with {gone[0].in_words()}{more}."
    return "If it is your own, name its plug-in with --plugin DIR."


def loaded(jobs: Iterable[Job], here: Path | None = None, *, texts: bool = False) -> dict[str, str]:
    """SHA-256 by name of the user's files that this process loaded; those of models from a source, such as `hf:FOLDER`, too.

    Args:
        jobs: what it ran or planned.
        here: the folder in which it began; None: the current one.
        texts: whether it read the files of corpora and other data. Whoever trains on them compares them with the plan's hash.
    """
    jobs = list(jobs)
    models = dict.fromkeys((case.model, case.options) for job in jobs for case in job.comparison.variants)
    files = {file.absolute() for model in models for file in _files_of(*model)}
    if texts:
        files |= {Path(text).absolute() for job in jobs if (text := job.protocol.corpus_path)}
    hashes = user_code.ran() | {str(file): sha256 for file in files if (sha256 := sha256_of(file))}
    return {user_code.name_of(path, here or Path.cwd()): sha256 for path, sha256 in sorted(hashes.items())}


def _files_of(model: str, options: Pairs) -> Sequence[Path]:
    """The files of a model that comes from a source; none of any other, or where it is gone."""
    try:
        found = from_loader(model, options)
        return found.files() if found else ()
    except UsageError:
        return ()


def sha256_of(file: Path) -> str | None:
    """The hash of a file; None if there is none to read."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
