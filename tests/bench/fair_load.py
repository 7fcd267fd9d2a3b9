"""Which share of a core does a process get beside eight that spin, by the process sessions (`setsid`) that they are in?

    python tests/bench/fair_load.py

Linux shares a processor first between sessions (its autogroup), then inside them. Prints a Markdown table for docs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from load import load, run

TRIES, SECONDS, PROCESSES = 3, 3.0, 8
JOB = f"import time\nuntil = time.monotonic() + {SECONDS}\nwhile time.monotonic() < until: pass"
SESSIONS = {
    "all in one session": (False, False),
    "the job in its own": (True, False),
    "the job and each load process in its own": (True, True),
}


def main() -> None:
    autogroup = Path("/proc/sys/kernel/sched_autogroup_enabled")
    known = autogroup.read_text(encoding="ascii").strip() if autogroup.exists() else "not exposed"
    print(f"{PROCESSES} load processes, {SECONDS:g} s each; kernel.sched_autogroup_enabled: {known}\n")
    print("| process sessions | share of a core that the job got |\n| --- | --- |")
    for name, (own, each_own) in SESSIONS.items():
        shares = []
        for _ in range(TRIES):
            with load(PROCESSES, own_sessions=each_own):
                ran = run([sys.executable, "-S", "-c", JOB], own_session=own)
            shares.append(f"{ran.cpu_s / ran.wall_s:.0%}")
        print(f"| {name} | {', '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
