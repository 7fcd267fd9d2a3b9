"""Which files of modbench one case enters: `python tests/bench/files_entered.py [--list]`.

Plans, runs and reports one case of `quick` at smoke effort, the last two in one folder, and counts the files of modbench in which
a function was called, in the parent and in its workers; a file that is only imported does not count. Beside them stand the places
in the code that asked the catalogue about a case after it was planned: for the metrics, passes and models of a plan that has them
already. Loading code that is to be run then (a model's `build`, a pass) does not count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

SELECT = "mod[c0.125-T128"
ROOT = Path(__file__).parents[2]
COMMANDS = {
    "plan": ("plan", "quick", "--effort", "smoke", "-k", SELECT),
    "run": ("run", "quick", "--effort", "smoke", "-k", SELECT, "--out", "RUN", "--quiet"),
    "report": ("report", "RUN"),
}
# Every process of a command starts with this: it writes a line for each file and for each place that asks, once.
TRACER = """
import os, sys, threading
ROOT, TO, BEFORE = os.environ["MODBENCH_TRACED"].split("|")
CATALOGUE = os.sep + os.path.join("core", "catalogue.py")
PLANNED = os.sep + os.path.join("planning", "plan.py")
FACTS = {"metrics", "find_metric", "file_of_metric", "passes", "pass_of", "needed", "model_options", "routes", "is_shipped"}
TO_RUN = {"models", "tasks", "corpora"}
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

def traced(frame, event, _):
    if event not in {"call", "return"}:
        return
    code = frame.f_code
    file = inside(code.co_filename)
    if not file or not code.co_flags & 1:  # the body of a module or of a class
        return
    if event == "return":
        if code.co_name == "make_plan" and file.endswith(PLANNED.lstrip(os.sep)):
            state["planning"] = False
        return
    if ("file", file) not in seen:
        seen.add(("file", file))
        note("file " + file)
    if file.endswith(CATALOGUE.lstrip(os.sep)) and not state["planning"]:
        back = frame.f_back
        by = inside(back.f_code.co_filename) if back else ""
        room = frame.f_locals.get("room")
        if by and by != file and (code.co_name in FACTS or (code.co_name in {"load", "find"} and room in TO_RUN)):
            what = code.co_name + ("" if room is None else " " + str(room))
            note(f"asked {by}:{back.f_lineno} {what}")

threading.setprofile(traced)
sys.setprofile(traced)
"""


def trace(command: tuple[str, ...], folder: Path, *, plans: bool) -> list[str]:
    """Run a command with its processes traced, and return their lines."""
    to = folder / "lines"
    to.unlink(missing_ok=True)
    (folder / "sitecustomize.py").write_text(TRACER, encoding="utf-8")
    known = os.environ | {
        "PYTHONPATH": str(folder),
        "MODBENCH_TRACED": f"{ROOT}|{to}|{'plan' if plans else ''}",
    }
    words = [str(folder / "run") if word == "RUN" else word for word in command]
    done = subprocess.run(
        [sys.executable, "-m", "modbench", *words], env=known, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"modbench {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return sorted({*to.read_text(encoding="utf-8").splitlines()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the files and the places")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, command in COMMANDS.items():
            lines = trace(command, Path(folder), plans=name != "report")
            kinds = Counter(line.partition(" ")[0] for line in lines)
            print(f"{name}: {kinds['file']} files entered, {kinds['asked']} places asked the catalogue about a case")
            for line in lines if arguments.list else ():
                print(f"  {line}")


if __name__ == "__main__":
    main()
