"""Which files of modbench one case enters: `python tests/bench/files_entered.py [--list] [--effort NAME]`.

Plans, runs and reports one case of `quick`, the last two in one folder, in a machine's fresh state (no stored peaks). Counted are
the files of modbench in which a function was called, in the parent and in its workers; beside them those of these in which that
happened only while they were imported. A file that is imported and no more does not count.

Then the places in the code that asked the catalogue about a case after it was planned: for facts about its model, metrics or pass
that a plan has already. Code that is loaded to be run (a model's `build`, a metric's `measure`) does not count, nor what `APART`
names.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SELECT = "mod[c0.125-T128"
ROOT = Path(__file__).parents[2]
COMMANDS = {
    "plan": ("plan", "quick", "--effort", "EFFORT", "-k", SELECT),
    "run": ("run", "quick", "--effort", "EFFORT", "-k", SELECT, "--out", "RUN", "--quiet"),
    "report": ("report", "RUN"),
}
# Files that ask about something else than a case.
APART = {
    "harness/results/path_names.py": "whether this installation has what a stored plan names",
    "harness/results/user_files.py": "which files of the user's take part, to be hashed",
    "harness/results/sealed_records.py": "of which types notes are: code of a pass",
    "harness/results/decisions.py": "of which type a result is: code of a rule",
    "harness/results/record_checks.py": "which values a metric may have, before a record is written",
    "reports/tables/outcomes.py": "what metrics mean, once in a report",
}
# Every process of a command starts with this: it writes a line for each file and for each place that asks, once.
TRACER = """
import os, sys, threading
ROOT, TO, BEFORE = os.environ["MODBENCH_TRACED"].split("|")
CATALOGUE, PLANNED = os.path.join("registry", "catalogue.py"), os.path.join("planning", "plan.py")
FACTS = {"metrics", "file_of_metric", "passes", "pass_of", "with_sources", "model_options", "is_shipped", "facts_of_unit"}
# A worker's first word is `-c`: whatever it does is done after planning.
seen, names, state = set(), {}, {"planning": BEFORE == "plan" and sys.argv[0] == "-m"}

def inside(path):
    if path not in names:
        real = os.path.realpath(path) if path.endswith(".py") else ""
        names[path] = os.path.relpath(real, ROOT) if real.startswith(ROOT + os.sep) else ""
    return names[path]

def note(line):
    if line not in seen:
        seen.add(line)
        with open(TO, "a", encoding="utf-8") as out:
            out.write(line + "\\n")

def imported(frame):
    while frame is not None:
        if frame.f_code.co_name == "exec_module":
            return True
        frame = frame.f_back
    return False

def traced(frame, event, _):
    if event not in {"call", "return"}:
        return
    code = frame.f_code
    file = inside(code.co_filename)
    if not file or not code.co_flags & 1:  # the body of a module or of a class
        return
    if event == "return":
        if code.co_name == "make_plan" and file.endswith(PLANNED):
            state["planning"] = False
        return
    if ("called", file) not in seen:
        if imported(frame.f_back):
            note("imported " + file)
        else:
            seen.add(("called", file))
            note("called " + file)
    if file.endswith(CATALOGUE) and not state["planning"]:
        back = frame.f_back
        if code.co_name in FACTS and back is not None and inside(back.f_code.co_filename) != file:
            while back is not None and os.sep + "registry" + os.sep in inside(back.f_code.co_filename):
                back = back.f_back  # who asks is whoever wants to know
            while back is not None and not inside(back.f_code.co_filename):
                back = back.f_back
            note(f"asked {inside(back.f_code.co_filename)}:{back.f_lineno} {code.co_name}" if back else "asked ?")

threading.setprofile(traced)
sys.setprofile(traced)
"""


def trace(command: tuple[str, ...], folder: Path, *, plans: bool) -> dict[str, list[str]]:
    """Run a command with its processes traced, and return what they wrote, by kind."""
    to = folder / "lines"
    to.unlink(missing_ok=True)
    (folder / "sitecustomize.py").write_text(TRACER, encoding="utf-8")
    known = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT / "src"))),
        "MODBENCH_STATE": str(folder / "state"),
        "MODBENCH_TRACED": f"{ROOT}|{to}|{'plan' if plans else ''}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "modbench", *command], env=known, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"modbench {' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    found: dict[str, set[str]] = {"called": set(), "imported": set(), "asked": set()}
    for line in to.read_text(encoding="utf-8").splitlines():
        kind, _, what = line.partition(" ")
        found[kind].add(what)
    found["imported"] -= found["called"]
    found["apart"] = {place for place in found["asked"] if place.partition(":")[0] in APART}
    found["asked"] -= found["apart"]
    return {kind: sorted(each) for kind, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the files and the places")
    parser.add_argument("--effort", default="smoke")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = {"EFFORT": arguments.effort, "RUN": str(folder / "run")}
        for title, command in COMMANDS.items():
            found = trace(tuple(words.get(word, word) for word in command), folder, plans=title != "report")
            number = {kind: len(each) for kind, each in found.items()}
            print(
                f"{title}: {number['called'] + number['imported']} files entered, {number['imported']} of them only while "
                f"imported; {number['asked']} places asked about a case, {number['apart']} about something else"
            )
            for kind, each in found.items() if arguments.list else ():
                print("\n".join(f"  {kind} {what}" for what in each))


if __name__ == "__main__":
    main()
