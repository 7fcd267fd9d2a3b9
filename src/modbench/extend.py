"""What a plug-in imports of modbench: contracts, tables, the comparison, renderers' data, and planted runs for its tests.

Each name is imported when it is first asked for, so that neither torch nor pandas is loaded before it is used. docs/extend.md
explains those that a plug-in of your own begins with, and those stay; the others serve the plug-ins that modbench ships.
"""

from __future__ import annotations

import ast
import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modbench import api
    from modbench.commands._app import command
    from modbench.commands._flags import JsonFlag, VerboseFlag, checked_capacity
    from modbench.commands._output import say, say_json
    from modbench.commands.cost.costs import Request, costs
    from modbench.commands.cost.costs import as_text as costs_as_text
    from modbench.commands.plan.forecast import as_text as forecast_as_text
    from modbench.commands.plan.forecast import forecast, took_in_words
    from modbench.harness.core import extras, printable, titles, units
    from modbench.harness.core.config import ModelConfig
    from modbench.harness.core.contracts import UNASKED, Corpus, Cost, DecodeCost, Examples, Metric, Source, Task, Text
    from modbench.harness.core.errors import (
        ModbenchError,
        UnreadableError,
        UsageError,
        brief,
        in_short,
        in_words,
        near_path,
        shown,
        unknown,
    )
    from modbench.harness.core.files import naming, write_atomically
    from modbench.harness.core.grouped import grouped
    from modbench.harness.core.labels import ESCAPED, Label
    from modbench.harness.core.language_model import Decision
    from modbench.harness.core.printable import WIDTH, aligned
    from modbench.harness.core.public import public
    from modbench.harness.core.sinks import Sink
    from modbench.harness.core.train_plan import TrainRun
    from modbench.harness.core.units import check_capacity, counted, human, human_duration, parse_duration
    from modbench.harness.domain.case import VARIANTS_PER_BLOCK, Case, Device, GridPoint, Job
    from modbench.harness.domain.evidence import Doubt
    from modbench.harness.domain.notes import Notes, TrainNotes
    from modbench.harness.domain.passes import Pass
    from modbench.harness.domain.records import Death, Missing, Outcome, Record
    from modbench.harness.domain.suite import EFFORTS
    from modbench.harness.execution import limits, ranks
    from modbench.harness.execution.command import call_in_process
    from modbench.harness.execution.launch.local import LocalLauncher
    from modbench.harness.execution.launching import Launcher, MakeLauncher
    from modbench.harness.execution.phase import Run, Slots, death, write_failure
    from modbench.harness.execution.stopping import Stop
    from modbench.harness.execution.user_model_costs import UserModelCosts
    from modbench.harness.execution.worker import NODE
    from modbench.harness.flops import counter
    from modbench.harness.flops.closed_form import closed_form
    from modbench.harness.machine import certificate, counter_sampler, environment, nvml
    from modbench.harness.machine.counter_sampler import CounterSampler
    from modbench.harness.planning.plan import Plan
    from modbench.harness.planning.select import compile_expression
    from modbench.harness.process import processes
    from modbench.harness.process.graceful_stop import Stopped
    from modbench.harness.registry import catalogue, plugins
    from modbench.harness.results import components
    from modbench.harness.results.outcomes import attempt, measured, missing
    from modbench.harness.results.run_file import StoredRun
    from modbench.harness.results.run_folder import RunFolder, read
    from modbench.harness.results.sealed_records import read_record
    from modbench.harness.stats import block_effects, effects, noise, paired
    from modbench.harness.stats.against_anchor import Process
    from modbench.harness.stats.contrast import INCONCLUSIVE, SIZE_OPEN, Contrast, Rule, contrast, together
    from modbench.harness.stats.effects import t_quantile
    from modbench.harness.stats.reason import Reason, both
    from modbench.harness.subject import after_timing, build, output_caching_guard, process_settings, skip_claims
    from modbench.harness.subject.subject import Subject
    from modbench.harness.subject.uncounted_work import escapes
    from modbench.harness.text import disk_cache
    from modbench.harness.text.corpus import corpus_entry, from_documents
    from modbench.harness.text.tokens import encode
    from modbench.harness.timing.interleave import SHORTEST_SAMPLE_S, Call, Clock, Effort, Samples, Session
    from modbench.harness.timing.threads import at_threads, crowded, working_threads
    from modbench.harness.training.batches import Windows
    from modbench.harness.training.trainer import Progress, Trainer
    from modbench.models import dense
    from modbench.models.layers.context import Selection, from_mask
    from modbench.models.layers.router import Calibrated, Threshold, own_precision
    from modbench.models.mod import top_k
    from modbench.progress import StepProgress, in_notebook, progress_for
    from modbench.python import keywords
    from modbench.reports.data_table import DataTable, number, text
    from modbench.reports.figures.axes import ends_of, name_rows, ratio_axis
    from modbench.reports.figures.style import HAIR, MUTED, PAPER, beside, new_figure, to_svg
    from modbench.reports.format import PAGE, Format
    from modbench.reports.model import Estimate, Finding, Listed, Sentence, Table, Value
    from modbench.reports.panel import Panel
    from modbench.reports.questions import first_screen, machine, results
    from modbench.reports.reasons import in_words as reason_in_words
    from modbench.reports.tables.comparisons import COMPARISONS, against_theoretical
    from modbench.reports.tables.findings import by_length
    from modbench.reports.tables.load import Loaded, load, subsample_evenly
    from modbench.reports.terminal import summary
    from modbench.reports.wording import DECIDED, TIMED, cut, name, short, verdict_words
    from modbench.reports.writers.data import csv
    from modbench.reports.writers.html import inline
    from modbench.reports.writers.number_format import (
        NONE,
        about,
        estimate,
        grid_point,
        interval,
        percent,
        plain,
        ratio,
        share,
    )
    from modbench.reports.writers.number_format import number as number_text
    from modbench.reports.writers.plain_html import html, html_lines, html_table
    from modbench.reports.writers.plain_html import text as printable_text
    from modbench.reports.writers.short import Short, cells, explained
    from modbench.reports.writers.text import wrapped
    from modbench.suites.corpora._records import as_document, column, split

else:  # else type checkers would believe that there is every name

    @functools.cache
    def _homes() -> dict[str, tuple[str, str]]:
        """The module and the name there of each name, as the imports above say."""
        tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        return {
            each.asname or each.name: (node.module, each.name)
            for node in imports
            if node.module.startswith("modbench")
            for each in node.names
        }

    def __getattr__(name: str) -> object:
        if name not in _homes():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, attribute = _homes()[name]
        found = getattr(importlib.import_module(module), attribute, None)
        if found is None:  # a module, which its package does not import by itself
            found = importlib.import_module(f"{module}.{attribute}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return [*_homes()]
