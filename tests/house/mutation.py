"""How many small changes of the code tests notice: a sample of mutants for each area, made in a copy by mutmut.

    python tests/house/mutation.py FOLDER [AREA …] [--sample 150]

An area's share counts the mutants that a test noticed, or that made one run into its time limit, among all of the sample; a
mutant of a function that no test runs counts as survived. Mutants that change only a text of several words, or the message of
an error, are not drawn: tests hold data, not sentences. The same code gives the same sample. Tests that fail in the copy
before anything is changed (mutmut replaces functions by its own, which a few tests see) take no part; their number is
printed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What is changed, below src/modbench, and whose slow tests are asked too where no other notices a mutant.
AREAS = {
    "statistics": (["harness/stats/*.py"], ["tests/reports"]),
    "planning": (["harness/planning/*.py"], ["tests/harness"]),
    "tables": (["reports/tables/*.py"], ["tests/reports", "tests/harness/test_planted.py"]),
    "records": (
        ["harness/results/*.py", "harness/domain/*.py"],
        ["tests/harness", "tests/reports/test_absent.py"]
        + [f"tests/cli/test_{each}.py" for each in ("user_code", "include", "newest_run", "nothing_measured")],
    ),
    "closed forms": (["models/*.py", "models/layers/*.py", "harness/planning/flops/*.py"], ["tests/models"]),
}
# Which tests are asked first: the quick ones and the goldens, in one process, since a mutant is a fork of it.
TESTS = ["tests/harness", "tests/models", "tests/reports", "tests/goldens", "tests/cli", "plugins"]
QUICK = ["-m", "(not slow or golden) and not proof and not cuda", "-p", "no:cacheprovider", "-p", "no:xdist"]
SLOW = ["-m", "slow and not golden and not proof and not cuda", "-p", "no:cacheprovider", "-n", "2"]
# Read what is declared, which is made at import, and so in a new process alone from a mutant.
DECLARED = ["-p", "no:cacheprovider", "tests/docs/test_site.py"]
LEFT_OUT = (".git", ".*_cache", ".tox", ".hypothesis", "__pycache__", "build", "dist", "runs", "*.egg-info")
SEED = 0
# Added to conftest.py of a copy. A cache that another test filled hides from a test what it stands on, and a mutant with it.
NO_CACHES = """

@pytest.fixture(autouse=True)
def _no_caches() -> None:
    for name, module in [*sys.modules.items()]:
        if name.startswith({places!r}):
            for each in vars(module).values():
                getattr(each, "cache_clear", int)()
"""
# mutmut's exit codes of mutants that a test noticed, that none noticed, and that none runs.
SLOWLY = 1
NOTICED = re.compile(r"\d+ (?:failed|error)").search
UNNOTICED = {0: "survived", 33: "not run"}


class Data(ast.NodeTransformer):
    """Leaves of code what tests hold: no texts of several words, and of a `raise` only that there is one."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """Empty a sentence."""
        return ast.Constant("") if isinstance(node.value, str) and " " in node.value.strip() else node

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:  # noqa: ARG002  # all are alike
        """Forget what is raised."""
        return ast.Raise()


class Copy:
    """A copy of the checkout, with links followed: mutmut changes files below src.

    Args:
        folder: where it is made.
        changed: what mutmut changes, below src/modbench.
        slow_tests: whose slow tests are asked too.
    """

    def __init__(self, folder: Path, changed: Sequence[str], slow_tests: Sequence[str]) -> None:
        self.folder, self.changed, self.slow_tests = folder, changed, slow_tests
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        self.project = (folder / "pyproject.toml").read_text(encoding="utf-8")
        places = tuple(f"modbench.{each.rpartition('/')[0].replace('/', '.')}" for each in changed)
        with (folder / "conftest.py").open("a", encoding="utf-8") as conftest:
            conftest.write(NO_CACHES.format(places=places))

    def codes(self, sample: int) -> dict[str, int]:
        """mutmut's exit code of each mutant of a sample."""
        self._configure(["none"])
        self._run("-m", "mutmut", "run", "none")  # makes all mutants, and stops where it finds no test
        self._configure(TESTS, self._failing(*QUICK, *TESTS))
        self.changes = dict(self._changes())
        known = sorted(self._found().keys() & self.changes)
        drawn = random.Random(SEED).sample(known, min(sample, len(known)))
        self._run("-m", "mutmut", "run", *drawn)
        found = self._found()
        codes = {name: code for name in drawn if (code := found[name]) is not None}
        fresh = [[*each, *self._failing(*each)] for each in ([*SLOW, *self.slow_tests], DECLARED)]
        lives = [name for name, code in codes.items() if code in UNNOTICED]
        return codes | {name: SLOWLY for name in lives if any(self._notices(name, words) for words in fresh)}

    def _notices(self, mutant: str, words: Sequence[str]) -> bool:
        """Whether tests in a new process notice a mutant."""
        return NOTICED(self._run("-m", "pytest", "-qx", *words, mutant=mutant)) is not None

    def _failing(self, *words: str) -> list[str]:
        """Words that leave out the tests that fail in the copy before anything is changed."""
        printed = self._run("-m", "pytest", "-q", *words)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$", printed, re.MULTILINE)
        print(f"{len(failed)} tests fail in the copy and take no part", file=sys.stderr)
        return [word for each in failed for word in ("--deselect", each)]

    def _changes(self) -> Iterator[tuple[str, str]]:
        """Each mutant that changes more than sentences: its name, and the lines that differ."""
        source = self.folder / "mutants" / "src"
        for path in (path for each in self.changed for path in source.glob(f"modbench/{each}")):
            module = ".".join(path.relative_to(source).with_suffix("").parts)
            tree = Data().visit(ast.parse(path.read_text(encoding="utf-8")))
            texts = {each.name: ast.unparse(each) for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
            for name, text in texts.items():
                function, mutant, number = name.rpartition("__mutmut_")
                if mutant and number != "orig":
                    whole = texts[f"{function}__mutmut_orig"].replace("__mutmut_orig(", f"__mutmut_{number}(", 1)
                    lines = difflib.ndiff(whole.splitlines(), text.splitlines())
                    if differing := [each.strip() for each in lines if each[0] in "+-"]:
                        yield f"{module}.{name}", " ".join(differing)

    def _configure(self, tests: Sequence[str], deselected: Sequence[str] = ()) -> None:
        settings = {
            "source_paths": ["src"],
            "only_mutate": [f"src/modbench/{each}" for each in self.changed],
            "pytest_add_cli_args_test_selection": tests,
            "pytest_add_cli_args": [*QUICK, *deselected],
            "also_copy": sorted(each.name for each in self.folder.iterdir() if each.name not in {"src", "mutants"}),
            "use_git_change_detection": False,
            "process_isolation": "forkserver",  # a process that ran tests has caches, which hide a mutant
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        text = "\n".join([self.project, "[tool.mutmut]", *lines, ""])
        for place in (each for each in (self.folder, self.folder / "mutants") if each.is_dir()):
            (place / "pyproject.toml").write_text(text, encoding="utf-8")

    def _found(self) -> dict[str, int | None]:
        files = (self.folder / "mutants").rglob("*.meta")
        return {name: code for each in files for name, code in json.loads(each.read_text())["exit_code_by_key"].items()}

    def _run(self, *words: str, mutant: str = "") -> str:
        """Run Python in the copy, with the mutated modbench; returns its output."""
        mutants = self.folder / "mutants"
        seen = os.environ | {"PYTHONPATH": str(mutants / "src"), "OMP_NUM_THREADS": "1", "MUTANT_UNDER_TEST": mutant}
        command, where = [sys.executable, *words], mutants if "pytest" in words else self.folder
        done = subprocess.run(command, cwd=where, env=seen, capture_output=True, text=True, check=False)
        (self.folder / f"{words[1]}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        return done.stdout


def main(folder: Path, areas: Sequence[str], sample: int) -> None:
    """Plant, test and print each area's share, and the names of what survived."""
    for area in areas:
        copy = Copy(folder / area.replace(" ", "-"), *AREAS[area])
        codes = copy.codes(sample)
        if not codes:
            sys.exit(f"{area}: mutmut tested no mutant; its output is in {copy.folder}/mutmut.log")
        lives = {name: code for name, code in codes.items() if code in UNNOTICED}
        where = Counter(name.split(".x", 1)[0].removeprefix("modbench.") for name in lives)
        print(f"{area}: {1 - len(lives) / len(codes):.0%} of {len(codes)} mutants noticed; ", end="")
        print("survived:", ", ".join(f"{name} {number}" for name, number in where.most_common()), flush=True)
        for name, code in sorted(lives.items()):
            print(f"    {UNNOTICED[code]:8} {name}: {copy.changes[name]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("areas", nargs="*", metavar="AREA", default=list(AREAS), help=", ".join(AREAS))
    parser.add_argument("--sample", type=int, default=150, help="mutants of each area")
    told = parser.parse_args()
    main(told.folder.absolute(), told.areas, told.sample)
