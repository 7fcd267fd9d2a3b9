"""Plants faults that this project once had, and looks whether tests find them: python benchmarks/plant_faults.py

    python benchmarks/plant_faults.py            all of them, some minutes
    python benchmarks/plant_faults.py 4 17       these alone

It works on a copy of the checkout. First it runs every named test without a fault; then it replaces a few lines so that a fault
is there again, and runs the test that must fail. It ends with 1 if a fault is not found, or if the lines of one are no longer
there: whoever changed them writes the fault anew, so that it is planted where the mend now is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# What a copy does without: a compiled file may be older than the source that is replaced in the same second.
LEFT_OUT = (".git", ".*_cache", ".tox", ".hypothesis", "__pycache__", "build", "dist", "runs", "*.egg-info")
# Seconds until a test that waits in vain has found its fault: many times as long as it takes without.
LONGEST_S = 20
FOUND = "found"


class Change(NamedTuple):
    """A change of a file of the checkout: lines that are there once, and what replaces them."""

    file: str
    old: str
    new: str

    def made(self) -> str | None:
        """The file with the change in it; None where its lines are not there once."""
        file = ROOT / self.file
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        return text.replace(self.old, self.new) if text.count(self.old) == 1 else None


class Fault:
    """A fault, and how it is planted.

    Args:
        number: its number.
        about: what goes wrong, in a sentence.
        test: the test that must fail.
        *changes: file, old and new of each.
        waits: whether the test does not fail, but waits in vain.
    """

    def __init__(self, number: int, about: str, test: str, *changes: tuple[str, str, str], waits: bool = False) -> None:
        self.number, self.about, self.test, self.waits = number, about, test, waits
        self.changes = [Change(*each) for each in changes]


FAULTS = (
    Fault(
        1,
        "A list of values that reaches no option of a model measures one model under two names.",
        "tests/harness/test_variant_keys.py::test_a_list_that_reaches_nothing_is_refused_before_anything_is_measured",
        (
            "harness/planning/variants.py",
            "            if read is not None and key not in read:\n",
            "            if False:\n",
        ),
    ),
    Fault(
        2,
        "A run that measured nothing ends with 0.",
        "tests/cli/test_nothing_measured.py::test_to_resume_such_a_run_ends_with_1",
        (
            "reports/questions/machine_check.py",
            "    if not loaded.measured:\n        raise NothingMeasuredError(",
            "    if False:\n        raise NothingMeasuredError(",
        ),
    ),
    Fault(
        3,
        "A margin of 5, which is 500 %, is taken.",
        "tests/cli/test_margins.py::test_a_suite_takes_no_other_number",
        (
            "harness/core/units.py",
            '    if not 0 < number < 1:\n        raise UsageError(f"{asked} is no share',
            '    if not 0 < number:\n        raise UsageError(f"{asked} is no share',
        ),
    ),
    Fault(
        4,
        "A gate that compared nothing passes.",
        "tests/reports/test_gate.py::test_an_empty_comparison_never_passes",
        (
            "reports/questions/gate/gate.py",
            "if INCONCLUSIVE in words or not self.compared else PASS",
            "if INCONCLUSIVE in words else PASS",
        ),
    ),
    Fault(
        5,
        "A limit of 0 % counts as none, and a rise of counted FLOPs within the margin passes `flops:0%`.",
        "tests/reports/test_gate.py::test_counts_are_compared_exactly",
        (
            "reports/questions/gate/fail_on.py",
            "        own = self.fail_on.limits[check] or Fraction(0)",
            "        own = self.fail_on.limits[check] or Fraction(str(self.margin))",
        ),
    ),
    Fault(
        6,
        "A model that writes into its input changes what the next model is given.",
        "tests/cheats/test_museum.py::test_every_mistake_is_named[WritesIntoItsInput]",
        (
            "harness/call/subject/subject.py",
            "        if not torch.equal(given_BT, tokens_BT):\n",
            "        if False:\n",
        ),
    ),
    Fault(
        7,
        "`convert` takes a tokenizer that loses text.",
        "plugins/huggingface/tests/test_convert.py::test_a_tokenizer_that_loses_text_is_refused_as_run_refuses_it",
        ("harness/planning/text/tokens.py", '    if back not in {data, b" " + data}:\n', "    if False:\n"),
    ),
    Fault(
        8,
        "`hf:` runs code that the folder names in `auto_map`.",
        "plugins/huggingface/tests/test_foreign_code.py::test_code_of_a_tokenizer_alone_never_runs_either",
        (
            "plugins/huggingface/model/loading.py",
            "local_files_only=True, trust_remote_code=False, **options)",
            "local_files_only=True, trust_remote_code=True, **options)",
        ),
    ),
    Fault(
        8,
        "`hf:` reads pickled weights, which run code.",
        "plugins/huggingface/tests/test_model_loaders.py::test_what_cannot_be_made_is_refused_in_one_line[pickled weights]",
        (
            "plugins/huggingface/model/spec.py",
            "    if others:\n        raise UsageError(",
            "    if others:\n        return tuple(folder / each for each in others)\n    if False:\n        raise UsageError(",
        ),
        ("plugins/huggingface/model/loading.py", '        options |= {"use_safetensors": True}\n', "        pass\n"),
    ),
    Fault(
        9,
        "A file that a model imports is edited before `resume`, and nobody sees it.",
        "tests/cli/test_user_code.py::test_resume_names_what_changed_since_a_process_loaded_it[parts.py]",
        (
            "harness/execution/resuming.py",
            "        ran |= {} if record.job.name in again else record.code or {}\n",
            "        pass\n",
        ),
    ),
    Fault(
        9,
        "Times of two versions of a file that a model imports share a table, unlabelled.",
        "tests/cli/test_user_code.py::test_a_run_that_changed_on_purpose_goes_on_with_both_versions_on_show",
        (
            "reports/tables/values.py",
            "[Label.CODE_CHANGED] * bool(self.tables.changed & self.cell.versions.keys())\n",
            "[]\n",
        ),
    ),
    Fault(
        10,
        "An honest model whose gates flip between steps is accused of stored answers.",
        "tests/models/test_guards.py::test_a_gate_that_hovers_at_its_threshold_is_not_accused",
        (
            "harness/call/subject/check_timed_calls.py",
            "        self.before = None if trains else attempt(self._look)\n",
            "        self.before = attempt(self._look)\n",
        ),
    ),
    Fault(
        11,
        "Anomaly mode, a global hook or another precision that one model leaves on slows another, unlabelled.",
        "tests/harness/test_process_settings.py::test_the_other_models_are_timed_in_a_process_without_it",
        ("harness/call/subject/process_settings.py", "    if found := changed(before):\n", "    if False:\n"),
    ),
    Fault(
        12,
        "A process that hangs outlives a parent that was killed.",
        "tests/harness/test_parent_death.py::test_a_job_ends_with_its_parent_even_without_its_minder",
        (
            "harness/machine/process/child.py",
            "        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)\n",
            "",
        ),
        waits=True,
    ),
    Fault(
        12,
        "What such a process started outlives the parent.",
        "tests/harness/test_parent_death.py::test_a_hanging_job_ends_with_its_parent_and_so_does_what_it_started",
        (
            "harness/machine/process/child.py",
            "                signal_group(group, SIGKILL)\n                wake_at",
            "                wake_at",
        ),
        waits=True,
    ),
    Fault(
        13,
        "A full disk ends in a traceback.",
        "tests/harness/test_refusals.py::test_what_the_system_refuses_ends_in_one_line",
        (
            "harness/machine/process/exit_codes.py",
            "        case OSError() | MemoryError():\n",
            "        case MemoryError():\n",
        ),
    ),
    Fault(
        14,
        "A run is written into a folder that holds other files.",
        "tests/cli/test_errors.py::test_a_folder_that_holds_something_is_left_alone",
        (
            "harness/results/run_folder.py",
            "    if path.is_dir() and not _only_begun(path):\n        what =",
            "    if False:\n        what =",
        ),
    ),
    Fault(
        15,
        "`recommend` ranks settings by the time of each alone, not by their pairs.",
        "plugins/recommend/tests/test_recommend.py::test_settings_that_a_busy_machine_spoils_are_ranked_by_cpu_time",
        (
            "plugins/recommend/question.py",
            "        effect = effect_between(loaded, one.ran(objective), other.ran(objective), mine.metric)\n",
            "        effect = None\n",
        ),
    ),
    Fault(
        16,
        "A failure of the tool ends with the code of a finding.",
        "tests/cli/test_errors.py::test_a_bug_of_ours_is_called_one",
        (
            "harness/machine/process/exit_codes.py",
            '    return f"{BUG}; the lines above say where.", 3\n',
            '    return f"{BUG}; the lines above say where.", 1\n',
        ),
    ),
    Fault(
        17,
        "A record of which a bit flipped changes a number silently.",
        "tests/harness/test_damaged.py::test_a_record_of_which_a_digit_changed_is_damaged",
        (
            "harness/results/json_files.py",
            "    if hashlib.sha256(rest).hexdigest().encode() != begins[1]:\n",
            "    if False:\n",
        ),
    ),
    Fault(
        17,
        "A record in the place of another counts as that one.",
        "tests/harness/test_facts.py::test_a_record_names_its_job_which_stands_in_the_plan",
        ("harness/domain/records.py", "        if job != _named(info.context.job):\n", "        if False:\n"),
    ),
    Fault(
        18,
        "Two runners write into one folder.",
        "tests/harness/test_lock.py::test_a_second_runner_is_refused_by_name",
        (
            "harness/results/lock.py",
            '        if (state == "dead" and _is(file, number))',
            '        if (state != "unknown" and _is(file, number))',
        ),
    ),
    Fault(
        19,
        "A wait that hits one model more often makes *worse* of a true +2 %: wall time decides whatever CPU time says.",
        "tests/harness/test_verdicts.py::test_wall_time_decides_where_cpu_time_agrees_with_it",
        ("harness/stats/verdicts.py", "    return widest < CLOSE * edge and (", "    return True or ("),
    ),
    Fault(
        20,
        "A budget whose seeds lie close together by luck narrows the forecast of a trend.",
        "plugins/sweeps/tests/test_trend.py::test_a_lucky_budget_does_not_narrow_an_interval",
        (
            "plugins/sweeps/trend/statistics.py",
            "np.full_like(own_K, pooled) if self.has_one_spread else own_K\n",
            "own_K\n",
        ),
    ),
    Fault(
        21,
        "A crossing is read from two budgets, through which every line goes.",
        "plugins/sweeps/tests/test_trend.py::test_two_budgets_have_a_slope_and_no_crossing_since_no_line_was_tested",
        (
            "plugins/sweeps/trend/statistics.py",
            "        if not self.is_straight or not any(signs):\n",
            "        if self.is_straight is False or not any(signs):\n",
        ),
    ),
    Fault(
        22,
        "Matched baselines are judged in the family of the variants of a map.",
        "tests/harness/test_estimands.py::test_capacities_are_judged_apart_from_the_matched_baselines",
        ("reports/tables/comparisons.py", '"matched" if case.matched else "variants"\n', '"variants"\n'),
    ),
    Fault(
        23,
        "A gate of two stored runs passes or fails by their times.",
        "tests/reports/test_gate.py::test_a_time_of_two_runs_is_printed_and_has_no_verdict",
        (
            "reports/tables/two_runs.py",
            'return self.contrast is not None and self.contrast.rule.kind == "time"',
            "return False",
        ),
    ),
    Fault(
        24,
        "A machine that becomes slower looks like a slower new side: of the four processes of a block two are compared.",
        "plugins/ab/tests/test_suite_blocks.py::test_a_steady_drift_moves_no_effect",
        (
            "plugins/ab/question.py",
            "[(first + second) / 2 - (one + other) / 2 for first, second, one, other in each]",
            "[first - one for first, _, one, _ in each]",
        ),
    ),
    Fault(
        25,
        "A newer set of seeds replaces an older one.",
        "plugins/tasks/tests/test_seed_sets.py::test_the_newest_set_does_not_replace_the_older_one",
        (
            "harness/results/pooled_seeds.py",
            "for record in each.records if record.job.name in names)],\n",
            "for record in each.records if False)],\n",
        ),
    ),
    Fault(
        26,
        "What a check finds after timing is lost where two sides alternate.",
        "plugins/ab/tests/test_suite_blocks.py::test_what_checks_find_belongs_to_a_side_wherever_they_ran",
        (
            "plugins/ab/blocks.py",
            "    for tables in (prepared, *processes):\n",
            "    for tables in (prepared,):\n",
        ),
    ),
    Fault(
        27,
        "*Process was changed* reads CPU time alone, where the verdict may stand on what a model waits as well.",
        "plugins/audit/tests/test_without_user_code.py::test_an_anchor_that_waits_beside_the_users_code_is_found",
        (
            "plugins/audit/without_user_code/warning.py",
            "    return [cpu + wall * share for cpu, wall, share in calls]\n",
            "    return [cpu for cpu, _wall, _share in calls]\n",
        ),
    ),
    Fault(
        28,
        "A revision that fails ends `ab` with 3, as if the tool had failed.",
        "plugins/ab/tests/test_ab_suites.py::test_a_new_side_that_does_not_run_is_a_finding_and_a_base_a_mistake",
        (
            "plugins/ab/suites.py",
            "            raise side.fails(why)\n",
            '            raise ModbenchError(f"{side.label}: {why}")\n',
        ),
    ),
    Fault(
        29,
        "A process runs a model's file twice, under two names.",
        "tests/cli/test_user_code.py::test_a_process_runs_a_file_once_under_whatever_names_it_is_loaded",
        (
            "harness/registry/user_code.py",
            "    if imported and _MODULES.setdefault(version, module) is not module:\n",
            "    if False:\n",
        ),
    ),
    Fault(
        30,
        "`audit` waits for a thread that a model left running.",
        "plugins/audit/tests/test_audit_command.py::test_a_thread_that_a_model_left_does_not_hold_the_audit",
        ("harness/execution/command.py", "    worker.ending(call)\n", "    sys.exit(call())\n"),
    ),
)


def code_of(checkout: Path, tests: Sequence[str], *more: str) -> tuple[int, str]:
    """Run tests of a checkout to the first that fails: pytest's exit code, 1 if one fails, and its last lines.

    What a fault leaves in modbench's caches would be found by other runs, so that each has caches of its own.
    """
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *more, *tests]
    with tempfile.TemporaryDirectory() as own:
        seen = os.environ | {"PYTHONPATH": str(checkout / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        seen |= {"MODBENCH_CACHE": f"{own}/cache", "MODBENCH_STATE": f"{own}/state"}
        done = subprocess.run(words, cwd=checkout, env=seen, capture_output=True, text=True, check=False)
    return done.returncode, "\n".join(done.stdout.splitlines()[-10:])


def main(numbers: Sequence[int]) -> int:
    """Plant the faults of these numbers, all if there are none, and print a row for each; 1 if one is not found."""
    chosen = [each for each in FAULTS if not numbers or each.number in numbers]
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        shutil.copytree(ROOT, checkout, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        code, said = code_of(checkout, list(dict.fromkeys(each.test for each in chosen)))
        if code:
            print(f"without a fault not all of their tests pass:\n{said}")
            return 1
        lost = 0
        for each in chosen:
            word = planted(checkout, each)
            lost += word != FOUND
            print(f"{each.number:>2} · {each.test} · {word}", flush=True)
    return min(lost, 1)


def planted(checkout: Path, fault: Fault) -> str:
    """Plant a fault and run its test: what became of it."""
    for each in fault.changes:
        made = each.made()
        if made is None:
            return f"NOT PLANTED: {each.file} has changed"
        (checkout / each.file).write_text(made, encoding="utf-8")
    code, said = code_of(checkout, [fault.test], *[f"--timeout={LONGEST_S}"] * fault.waits)
    for each in fault.changes:
        shutil.copyfile(ROOT / each.file, checkout / each.file)
    return FOUND if code == 1 else "NOT FOUND" if code == 0 else f"NOT RUN:\n{said}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Plant faults, and look whether a test finds each.")
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="of the faults; none: all")
    sys.exit(main(parser.parse_args().numbers))
