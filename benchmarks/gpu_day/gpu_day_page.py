"""From the outputs of a first day's steps to its summary, its CSV files and the docs page of GPUs."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_day_folder import Day, Done, read_json
from gpu_day_steps import STEPS, Mode

DOCS = Path(__file__).parents[2] / "docs" / "gpu-and-clusters.md"
# The page is replaced from this heading on.
HEADING = "## Results"
NOT_YET = "**Nothing was measured on a GPU yet"
SUITES = {
    "gpu": "Prefill and decode: does it pay?",
    "train-gpu": "Forward passes and training steps",
    "prefill-gpu": "Long inputs",
    "decode-gpu": "Decode steps",
    "fit": "The longest sequence whose training step fits",
}
WHICH = {
    "day": "the day",
    "look": "a first look: small shapes, no claims",
    "rehearse": "a rehearsal on a CPU: no number counts",
}


def best(day: Day, step: str) -> Done | None:
    """The step's largest size that ended well, else the last one that did not."""
    found = {done.mode: done for done in day.all_done() if done.name == step}
    order: tuple[Mode, ...] = ("day", "look", "rehearse")
    tried = [found[mode] for mode in order if mode in found]
    return next((done for done in tried if done.code == 0), tried[0] if tried else None)


def collected(day: Day) -> dict[str, Any]:
    """Everything that is worth keeping, as JSON data: nothing that no step has found."""
    facts: dict[str, Any] = {"made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
    facts["steps"] = [{**vars(done), "in_words": done.in_words} for done in day.all_done()]
    facts["sizes"] = {step.name: done.mode for step in STEPS if (done := best(day, step.name))}
    for step in STEPS:
        done = best(day, step.name)
        if done is None:
            continue
        folder = day.work / done.mode / step.name
        out = day.beside(folder, ".out")
        if step.name == "tests":
            facts["tests"] = _tests(day.beside(folder, ".xml"))
        elif step.name == "doctor":
            facts["doctor"] = read_json(out)
        elif step.name.startswith("train-") and step.name not in SUITES:
            facts.setdefault("training", []).append(read_json(out))
        elif step.name == "profile":
            facts["profile"] = _profile(read_json(folder / "profile.json"))
        else:
            run = read_json(folder / "run.json")
            if run:
                facts.setdefault("environment", run["environment"])
            text = out.read_text(encoding="utf-8", errors="replace") if out.exists() else ""
            # The last line is a path of the machine, and logs of failed cells are named by one.
            said = text.partition("\nreport: ")[0].replace(f"{folder}/", "")
            facts.setdefault("suites", {})[step.name] = said.strip()
    facts["training"] = [each for each in facts.get("training", ()) if each]
    return facts


def _tests(file: Path) -> dict[str, Any] | None:
    """Numbers of tests by outcome, and the first line of each failure."""
    if not file.exists():
        return None
    root = ET.parse(file).getroot()  # noqa: S314  # pytest has just written it
    cases = list(root.iter("testcase"))
    failures = {
        f"{case.get('classname')}::{case.get('name')}": str(bad.get("message", "")).split("\n")[0][:200]
        for case in cases
        for bad in (*case.findall("failure"), *case.findall("error"))
    }
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"passed": len(cases) - len(failures) - skipped, "skipped": skipped, "failures": failures}


def _profile(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {key: found[key] for key in ("case", "wall_s", "components")} | {"operators": found["operators"][:12]}


def csv_of(day: Day, name: str) -> str:
    """The tables of all suites in one, with the step and its size in front."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head: list[str] | None = None
    for step in STEPS:
        done = best(day, step.name)
        file = day.work / (done.mode if done else "") / step.name / name
        if done is None or not file.exists():
            continue
        rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
        if head is None:
            head = rows[0]
            writer.writerow(["step", "size", *head])
        assert rows[0] == head, f"{file} has other columns"
        writer.writerows([step.name, done.mode, *row] for row in rows[1:])
    return text.getvalue() if head else ""


def summary_of(facts: dict[str, Any]) -> str:
    """The page without Markdown's decoration, for a terminal."""
    return "\n".join(line for line in _results(facts) if not line.startswith(("```", "| ---"))).strip() + "\n"


def page_of(facts: dict[str, Any]) -> str:
    """`docs/gpu-and-clusters.md` with these results."""
    before = DOCS.read_text(encoding="utf-8").partition(HEADING)[0] if DOCS.exists() else "# GPU and clusters\n\n"
    if "day" in facts["sizes"].values():  # the page's paragraph on that is no longer true
        before = "\n\n".join(part for part in before.split("\n\n") if not part.startswith(NOT_YET))
    return "\n".join([before.rstrip(), "", HEADING, "", *_results(facts)]).rstrip() + "\n"


def _results(facts: dict[str, Any]) -> Iterator[str]:
    yield from _where(facts)
    yield from _table(
        "Steps", ("step", "size", "how it ended"), [_row(s, "name", "mode", "in_words") for s in facts["steps"]]
    )
    tests = facts.get("tests")
    if tests:
        yield from ("### Tests on the card", "")
        yield f"{tests['passed']} passed, {tests['skipped']} skipped, {len(tests['failures'])} failed."
        yield from ["", *(f"- `{name}`: {why}" for name, why in tests["failures"].items()), ""]
    yield from _doctor(facts)
    for name, title in SUITES.items():
        text = facts.get("suites", {}).get(name)
        if text:
            yield from (
                f"### {title}",
                "",
                f"`{_command(facts, name)}`, {WHICH[facts['sizes'][name]]}:",
                "",
                "```text",
                text,
                "```",
                "",
            )
    yield from _training(facts)
    yield from _profiled(facts)


def _where(facts: dict[str, Any]) -> Iterator[str]:
    card, environment = _card(facts), facts.get("environment") or {}
    drivers = sorted({str(gpu.get("driver")) for gpu in environment.get("gpu", {}).get("devices", ())})
    known = {
        "card": card.get("name"),
        "driver": ", ".join(drivers),
        "torch": card.get("torch"),
        "Python": facts.get("python"),
        "modbench": (environment.get("git") or {}).get("commit"),
        "clocks": (card.get("clocks") or {}).get("verdict"),
        "measured": facts["made"],
        "sizes": "; ".join(sorted({WHICH[size] for size in facts["sizes"].values()})),
    }
    yield from [*(f"- {name}: {value}" for name, value in known.items() if value), ""]


def _card(facts: dict[str, Any]) -> dict[str, Any]:
    return (facts.get("doctor") or {}).get("card") or {}


def _doctor(facts: dict[str, Any]) -> Iterator[str]:
    card = _card(facts)
    if not card:
        return
    sheet = card.get("sheet") or {}
    copied = max(peak["bytes_per_s"] for peak in card["peaks"])
    rows = [
        (
            peak["dtype"],
            f"{peak['flop_per_s'] / 1e12:.3g} TFLOP/s",
            _promised(peak["flop_per_s"], sheet.get(peak["dtype"])),
        )
        for peak in card["peaks"]
    ]
    rows.append(("copy", f"{copied / 1e12:.3g} TB/s", _promised(copied, sheet.get("bytes_per_s"))))
    yield from _table("The card: measured peak", ("", "measured", "of the data sheet's"), rows)
    certificate = facts["doctor"]["certificate"]
    yield f"Identical models called different: {certificate['hits']} of {certificate['comparisons']} comparisons."
    yield ""


def _promised(measured: float, promised: float | None) -> str:
    return "" if promised is None else f"{measured / promised:.0%} of {promised / 1e12:.3g}"


def _training(facts: dict[str, Any]) -> Iterator[str]:
    peak = next((p["flop_per_s"] for p in _card(facts).get("peaks", ()) if p["dtype"] == "bf16"), None)
    rows = [
        (
            run["model"],
            f"{run['tokens_per_s']:,.0f}",
            f"{run['flop_per_s'] / peak:.1%}" if peak and run["flop_per_s"] else "",
            f"{run['steps']:,}",
            f"{run['seconds']:.0f}",
            "" if run["loss_val"] is None else f"{run['loss_val']:.3f}",
        )
        for run in facts["training"]
    ]
    yield from _table("Training", ("model", "tokens/s", "MFU", "steps", "seconds", "held-out loss, nats"), rows)
    if rows:
        shape = ", ".join(f"{key} {value}" for key, value in facts["training"][0]["shape"].items())
        yield f"bf16 autocast, compiled; {shape}. MFU: model FLOP/s with causal attention over the measured bf16 peak."
        yield ""


def _profiled(facts: dict[str, Any]) -> Iterator[str]:
    found = facts.get("profile")
    if not found:
        return
    rows = [(each["component"], f"{each['share']:.1%}") for each in found["components"]]
    yield from _table(f"Where {found['case']} spends its time", ("component", "share"), rows)
    operators = [(o["name"], f"{o['calls']:.0f}", f"{1e3 * o['own_seconds']:.3f}") for o in found["operators"]]
    yield from _table("Its operators", ("operator", "calls", "own ms"), operators)


def _command(facts: dict[str, Any], name: str) -> str:
    """A step's command line, without what belongs to this script."""
    step = next(s for s in facts["steps"] if s["name"] == name and s["mode"] == facts["sizes"][name])
    words = str(step["command"]).split()
    return " ".join(
        w for before, w in zip(["", *words], words, strict=False) if w not in {"-m", "-o"} and before != "-o"
    )


def _row(step: dict[str, Any], *keys: str) -> tuple[str, ...]:
    return tuple(str(step[key]) for key in keys)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table with a heading; nothing if it has no row, and no column that is empty in every row."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    if not rows:
        return
    yield from (f"### {title}", "", f"| {' | '.join(head[i] for i in kept)} |", f"|{' --- |' * len(kept)}")
    yield from (f"| {' | '.join(row[i] for i in kept)} |" for row in rows)
    yield ""
