"""The first day on a card: every CUDA path once, then everything that can be measured, within 25 minutes on an H100.

    python benchmarks/gpu_day/gpu_day.py --first-look        # every step once, small: 6 minutes at most; then the same without it
    python benchmarks/gpu_day/gpu_day.py                     # the day; steps that are done are kept, so it can be called again
    python benchmarks/gpu_day/gpu_day.py --only gpu,doctor   # some steps; --list names them
    python benchmarks/gpu_day/gpu_day.py --rehearse          # on a CPU with a pretend card: does the script run? No number counts

Each step is a process with a limit of its own; one that fails or hangs does not stop the others. `--out` is one folder of at most
eight files and 16 MiB that can be carried away, and back to another machine, where `--out` continues from it. The machine needs
torch and no network: `--fill-wheels FOLDER` downloads the other packages elsewhere, `--wheels FOLDER` installs those that lack.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpu_day_folder import Day, Done, open_day
from gpu_day_steps import LOOK_LIMIT_S, STEPS, Mode, Step
from gpu_day_wheels import fill, install_missing

ROOT = Path(__file__).parents[2]
PRETEND = ROOT / "tests" / "gpu" / "pretend"
# Seconds between the end of a step's limit and the end of its patience: modbench writes what it has when it is interrupted.
GRACE_S = 20.0
# Minutes that are given to each size, unless `--minutes` says otherwise; a day and its first look together are 25.
MINUTES: dict[Mode, float] = {"look": 6.0, "day": 19.0, "rehearse": 60.0}
# How many steps run side by side: one where times count.
AT_ONCE: dict[Mode, int] = {"look": 3, "day": 1, "rehearse": 2}


def environment(day: Day, mode: Mode) -> dict[str, str]:
    """Environment of a step: our own checkout, what was installed from wheels, and for a rehearsal the pretend card."""
    paths = [str(PRETEND)] * (mode == "rehearse") + [str(ROOT / "src"), str(day.site), os.environ.get("PYTHONPATH", "")]
    changes = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MODBENCH_STATE": str(day.work / "state")}
    if mode == "rehearse":
        changes |= {"MODBENCH_PRETEND_CARD": "1", "OMP_NUM_THREADS": "1"}
    return os.environ | changes


def run_step(day: Day, step: Step, mode: Mode, most_s: float = math.inf) -> Done:
    """Run a step for `most_s` at most; its output goes to `STEP.out`, errors and progress to `STEP.log`."""
    limit_s = min(most_s, LOOK_LIMIT_S if mode == "look" else step.limit_s)
    start, folder = time.monotonic(), day.emptied(step.name, mode)
    command = step.command_line(mode, folder)
    with day.beside(folder, ".out").open("wb") as out, day.beside(folder, ".log").open("wb") as log:
        env = environment(day, mode)
        code = _limited(command, env, out.fileno(), log.fileno(), limit_s)
        if code == -signal.SIGINT and (folder / "run.json").exists():  # what was measured until then
            _limited(
                [sys.executable, "-m", "modbench", "report", str(folder)], env, out.fileno(), log.fileno(), GRACE_S
            )
    return Done(step.name, mode, code, time.monotonic() - start, limit_s, " ".join(command[1:]))


def _limited(command: list[str], env: dict[str, str], out: int, log: int, limit_s: float) -> int:
    """Exit code of a command; -SIGINT if it outlived its limit. Its process group ends with it."""
    process = subprocess.Popen(command, env=env, stdout=out, stderr=log, cwd=ROOT, start_new_session=True)
    code: int | None = None
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    # What it has started must not go on beside the next step.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return -signal.SIGINT if code is None else code


def main() -> int:
    options = _options()
    if options.list:
        for step in STEPS:
            print(f"{step.name:18}{step.minutes:4.1f} min, at most {step.limit_s / 60:.0f}: {step.about}")
        return 0
    if options.fill_wheels:
        return fill(Path(options.fill_wheels), options.python)
    steps = _chosen(options.only)
    if not options.rehearse:
        import torch  # here, since nothing else needs it

        if not torch.cuda.is_available():
            sys.exit(
                f"gpu_day: torch {torch.__version__} sees no CUDA device; --rehearse tries the script without one."
            )
    mode: Mode = "rehearse" if options.rehearse else "look" if options.first_look else "day"
    day = open_day(Path(options.out), Path(options.work) if options.work else None)
    if options.wheels:
        install_missing(Path(options.wheels), day.site)
    return _play(day, mode, steps, options.minutes or MINUTES[mode])


def _chosen(only: str) -> list[Step]:
    names = [name for name in only.split(",") if name]
    known = {step.name: step for step in STEPS}
    for name in names:
        if name not in known:
            sys.exit(f"gpu_day: there is no step {name!r}; the steps are {', '.join(known)}.")
    return [known[name] for name in names] or list(STEPS)


def _play(day: Day, mode: Mode, steps: list[Step], minutes: float) -> int:
    """Run the steps that are not done and have time left; then write the folder."""
    start, keeping = time.monotonic(), threading.Lock()

    def play(step: Step) -> None:
        left = minutes - (time.monotonic() - start) / 60
        needed = step.minutes if mode == "day" else 0.25
        if day.is_done(step.name, mode):
            print(f"{step.name}: done before", flush=True)
        elif needed > left:
            print(f"{step.name}: not run, {left:.1f} of {minutes:g} minutes are left; call again", flush=True)
        else:
            print(f"{step.name}: {step.about}", flush=True)
            done = run_step(day, step, mode, 60 * left)
            with keeping:
                day.keep(done)
                day.write()
            print(f"{step.name}: {done.in_words}", flush=True)

    first = [step for step in steps if step.alone and mode == "look"]
    for step in first:
        play(step)
    with ThreadPoolExecutor(AT_ONCE[mode]) as pool:
        list(pool.map(play, [step for step in steps if step not in first]))
    print(day.write(), flush=True)
    bad = [step.name for step in steps if not day.is_done(step.name, mode)]
    if bad:
        print(f"not done: {', '.join(bad)}", flush=True)
    return bool(bad)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-look", action="store_true", help="every step once, small")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU with a pretend card")
    parser.add_argument("--only", default="", metavar="STEP,…", help="some steps")
    parser.add_argument("--list", action="store_true", help="name the steps, and end")
    parser.add_argument("--out", default="gpu-day", metavar="FOLDER", help="what is carried away; default gpu-day")
    parser.add_argument("--work", metavar="FOLDER", help="everything else; default OUT.work")
    parser.add_argument("--minutes", type=float, help="start no step that needs more than is left of these")
    parser.add_argument("--wheels", metavar="FOLDER", help="install the packages that lack from here")
    parser.add_argument("--fill-wheels", metavar="FOLDER", help="download these wheels, and end")
    parser.add_argument("--python", default="3.12", help="the card machine's Python, for --fill-wheels")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
