"""All that modbench makes of stored runs is as it was: numbers, columns, exit codes, and every word."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import goldens
import pytest
from vocabulary import hits

from modbench.reports.markup.markdown import VARIABLE

DRAWN = {"quick", "isoflop"}


def needed(name: str) -> list[pytest.MarkDecorator]:
    """Skips a golden where a plug-in is absent without which its run cannot be read, or looks different."""
    own = [goldens.NEEDS[name]] if name in goldens.NEEDS else []
    return [pytest.mark.plugin(each) for each in (*own, *goldens.Settings.of(goldens.FOLDERS[name]).needs)]


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        *(pytest.param(name, name in DRAWN, marks=needed(name)) for name in goldens.NAMES),
        *(pytest.param(n, True, marks=[pytest.mark.proof, *needed(n)]) for n in goldens.NAMES if n not in DRAWN),
    ],
)
def test_a_stored_run_gives_what_it_gave(
    name: str, drawn: bool, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not drawn:
        request.getfixturevalue("undrawn")
    monkeypatch.delenv(VARIABLE, raising=False)  # as where GitHub takes no summary
    golden = goldens.made(name, tmp_path)
    if os.environ.get("MODBENCH_GOLDEN") == "write":
        goldens.store(name, golden)
    assert goldens.differences(name, golden) == []
    for file, text in golden.words.items():
        assert [*hits(text)] == [], file
    for page in tmp_path.glob("*/report.html"):
        check_file(page.read_text(encoding="utf-8"))


def test_the_summary_of_a_report_is_short() -> None:
    page = (goldens.FOLDERS[goldens.FIRST] / "words" / "page.txt").read_text(encoding="utf-8")
    answer = next(iter(goldens.sections(page).values())).splitlines()[1]
    assert len(answer.split()) <= 60


@pytest.mark.parametrize("owner", [goldens.CORE, *goldens.ADDED])
def test_each_section_of_a_report_has_its_words_in_a_golden(owner: str) -> None:
    pages = [goldens.folder_of(name, owner) / "words" / "page.txt" for name in goldens.NAMES]
    kept = [title for path in pages if path.exists() for title in goldens.sections(path.read_text(encoding="utf-8"))]
    assert len(kept) == len(set(kept))
    of_core = {title for name in goldens.NAMES for title in goldens.titles(name, goldens.CORE)}
    shown = {title for name in goldens.NAMES for title in goldens.titles(name, owner)}
    assert {*kept} == (shown - of_core if owner else shown)


def check_file(page: str) -> None:
    """A page is one small file that loads nothing, with links to its folder alone; no id twice; drawings follow the theme."""
    assert len(page) < 3e6
    assert not re.search(r'(?:src="(?!data:)|href="(?!#|data:|[a-z]+\.csv"|jobs/))', page)
    assert "http://www.w3.org" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"#010[2-6]\d\d|#020[3-5]\d\d", page)  # sentinels: a colour that remained would stay light
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 10
    assert 0 < sum(map(len, re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL))) < 16_000


def stored(name: str) -> goldens.Golden:
    """What is stored of a golden of the core."""
    parts = [
        {path.name: path.read_text(encoding="utf-8") for path in (goldens.FOLDERS[name] / part).glob("*")}
        for part in ("data", "words")
    ]
    return goldens.Golden(*parts)


def core_differences(golden: goldens.Golden) -> list[str]:
    """How a part of the core differs from what is stored of `quick`."""
    return [each for each in goldens.differences("quick", golden) if not each.startswith("plugins/")]


@pytest.mark.parametrize(
    ("part", "file", "change", "differs"),
    [
        ("data", "cases.csv", ("latency/forward", "latency/backward"), True),
        ("data", "cases.csv", ("case_id,variant", "variant,case_id"), True),
        ("data", "exit_codes.json", (": 0", ": 1"), True),
        ("data", "report.json", ('"margin": 0.02', '"margin": 0.020000001'), True),
        ("data", "report.json", ('"margin": 0.02', '"margin": 0.02000000000002'), False),  # in its last digits
        ("words", "report.txt", ("MoD", "Mod"), True),
    ],
)
def test_a_change_is_found(part: str, file: str, change: tuple[str, str], differs: bool) -> None:
    golden = stored("quick")
    files = dict(getattr(golden, part))
    assert change[0] in files[file]
    files[file] = files[file].replace(*change, 1)
    found = core_differences(dataclasses.replace(golden, **{part: files}))
    assert [each.partition(": line ")[0] for each in found] == [f"tests/goldens/quick/{part}/{file}"] * differs


def test_a_file_that_is_missing_or_new_is_found() -> None:
    golden = stored("quick")
    words = {"new.txt": "new", **{name: text for name, text in golden.words.items() if name != "page.txt"}}
    assert core_differences(dataclasses.replace(golden, words=words)) == [
        "tests/goldens/quick/words/page.txt: no longer made",
        "tests/goldens/quick/words/new.txt: new",
    ]
