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
    from modbench.commands._flags import (
        Flags,
        JsonFlag,
        RunOrNewest,
        TitleFlag,
        VerboseFlag,
        checked_capacity,
        listed,
        matching,
        names_in,
        one_of,
        refuse,
        with_flags,
    )
    from modbench.commands._output import chosen_run, say, say_json
    from modbench.commands.cost.costs import Request as CostRequest
    from modbench.commands.cost.costs import case_of
    from modbench.harness.core import extras, labels, printable, titles
    from modbench.harness.core.config import ROUTING_KEYS, ModelConfig, check_sizes, kept
    from modbench.harness.core.contracts import (
        UNASKED,
        AnyMetric,
        Corpus,
        Cost,
        DecodeCost,
        Examples,
        Metric,
        Source,
        Task,
        Text,
    )
    from modbench.harness.core.errors import (
        IncompleteError,
        ModbenchError,
        NumericsError,
        Unmeasured,
        UnreadableError,
        UsageError,
        in_short,
        in_words,
        near_path,
        shown,
        unknown,
    )
    from modbench.harness.core.files import naming, write_atomically
    from modbench.harness.core.frozen import Frozen
    from modbench.harness.core.grouped import grouped
    from modbench.harness.core.labels import LOOKED_AHEAD, OF_WORK, Label, of_cell
    from modbench.harness.core.language_model import Decision, Observation
    from modbench.harness.core.measure_plans import SearchPlan
    from modbench.harness.core.printable import WIDTH, aligned, masked
    from modbench.harness.core.protocols import PAGE, Parts, parts_of
    from modbench.harness.core.public import public
    from modbench.harness.core.sinks import Sink
    from modbench.harness.core.titles import checked, slug
    from modbench.harness.core.train_plan import MOST_MORE, ConfirmPlan, Role, TrainRun, TrendPlan
    from modbench.harness.core.units import (
        Range,
        check_capacity,
        check_seed,
        counted,
        human_duration,
        parse_bytes,
        parse_duration,
        parse_share,
        percent,
        scale_of,
    )
    from modbench.harness.domain.case import ELEMENT_BYTES, Case, Comparison, Device, Dtype, GridPoint, Job, Protocol
    from modbench.harness.domain.evidence import Doubt, Evidence, doubt
    from modbench.harness.domain.notes import Causality, Notes, TrainNotes
    from modbench.harness.domain.passes import Pass
    from modbench.harness.domain.phases import Phase
    from modbench.harness.domain.records import Death, Missing, Outcome, Record
    from modbench.harness.domain.suite import EFFORTS, Suite
    from modbench.harness.execution import ranks
    from modbench.harness.execution.command import answering, answers, call_on_cases, given_cases
    from modbench.harness.execution.launch.local import LocalLauncher
    from modbench.harness.execution.launching import Launcher, MakeLauncher
    from modbench.harness.execution.phase import Run, Slots, death, write_failure
    from modbench.harness.execution.stopping import Stop
    from modbench.harness.execution.worker import NODE
    from modbench.harness.flops import counter
    from modbench.harness.flops.closed_form import case_cost, closed_form
    from modbench.harness.flops.counter import is_product
    from modbench.harness.machine import certificate, environment
    from modbench.harness.metrics.loss import causal
    from modbench.harness.passes._training import Trained, rates_job, runs, train
    from modbench.harness.passes.train import notes_of
    from modbench.harness.planning.adaptive import LEFT_OUT, AdaptiveRule
    from modbench.harness.planning.adaptive import Decision as AdaptiveDecision
    from modbench.harness.planning.comparisons import in_search, is_timed
    from modbench.harness.planning.jobs import JobMaker, run_flops, train_run
    from modbench.harness.planning.load_suite import check_called
    from modbench.harness.planning.overrides import Overrides
    from modbench.harness.planning.plan import Plan
    from modbench.harness.planning.select import compile_expression
    from modbench.harness.process import clocks, processes
    from modbench.harness.process.graceful_stop import Stopped
    from modbench.harness.process.torch_modes import Operator, OperatorMode, name_of
    from modbench.harness.registry import catalogue, user_code, user_models
    from modbench.harness.registry.model_sources import adopted, sourced
    from modbench.harness.results import components, run_folder, workspace
    from modbench.harness.results.outcomes import attempt, measured, missing, single
    from modbench.harness.results.process_effects import effect_in_process
    from modbench.harness.results.run_folder import RunFolder, read
    from modbench.harness.results.sealed_records import read_record
    from modbench.harness.results.workspace import artifact
    from modbench.harness.stats import effects, paired, power
    from modbench.harness.stats.contrast import (
        APART,
        BETTER,
        BETTER_OPEN,
        EQUIVALENT,
        INCONCLUSIVE,
        WORSE,
        ByClock,
        Contrast,
        Rule,
        Side,
        contrast,
        estimated,
    )
    from modbench.harness.stats.contrast import counted as counted_of_contrast
    from modbench.harness.stats.effects import (
        LEVEL,
        Effect,
        by_seed,
        over_processes,
        quantile,
        t_quantile,
        welch_freedom,
    )
    from modbench.harness.stats.fieller import Line
    from modbench.harness.stats.interim import FEWEST, Analysis, fractions_of, schedule
    from modbench.harness.stats.interim import LEVEL as ERROR_LEVEL
    from modbench.harness.stats.power import MOST, above_0, fewest
    from modbench.harness.stats.reason import Reason
    from modbench.harness.subject import causality, decode_guard
    from modbench.harness.subject.build import evaluating
    from modbench.harness.subject.generation import Generation, set_missing
    from modbench.harness.subject.output_caching_guard import same_draws
    from modbench.harness.subject.rewinding import COPIED, held_bytes, rewinder, tensors_of
    from modbench.harness.subject.rows import RowWatch, factors
    from modbench.harness.subject.subject import Subject
    from modbench.harness.text import disk_cache
    from modbench.harness.text.corpus import corpus_entry, from_documents
    from modbench.harness.text.tokens import encode
    from modbench.harness.training.batches import Windows, joined
    from modbench.harness.training.held_out import autocast_of, why_not_causal
    from modbench.harness.training.trainer import Progress, Trainer
    from modbench.models import dense
    from modbench.models.layers.context import Selection, from_mask
    from modbench.models.layers.router import Calibrated, Threshold, own_precision
    from modbench.models.mod import top_k
    from modbench.progress import StepProgress
    from modbench.python import keywords
    from modbench.reports import reasons, wording
    from modbench.reports.data_table import DataTable, count, flag, grid_point, interval, number, text
    from modbench.reports.figures.axes import name_rows, ticks
    from modbench.reports.figures.point_labels import label
    from modbench.reports.figures.style import (
        HAIR,
        INK,
        MUTED,
        OTHER,
        PAPER,
        Look,
        Mark,
        Marks,
        in_lines,
        look,
        new_figure,
    )
    from modbench.reports.format import Format
    from modbench.reports.model import (
        Block,
        Code,
        Estimate,
        Figure,
        Finding,
        Interval,
        Kind,
        Listed,
        Note,
        Sentence,
        Table,
        Value,
        known,
        known_text,
        pivot,
        where_it_ran,
    )
    from modbench.reports.page import layout
    from modbench.reports.panel import InPlace, Lead, Panel
    from modbench.reports.questions.machine import nothing_measured
    from modbench.reports.questions.results import TABLES
    from modbench.reports.tables import comparisons, losses, pair_verdicts
    from modbench.reports.tables.cases import no_interval
    from modbench.reports.tables.cell import Trouble, columns_of, joined_reasons
    from modbench.reports.tables.comparisons import SMOKE, pair_row, ratio_columns
    from modbench.reports.tables.findings import between, has_tail, held_against, labels_of, of_pair, of_row
    from modbench.reports.tables.load import Loaded, load, matched_beside
    from modbench.reports.tables.losses import (
        BITS,
        NATS,
        beside,
        in_flops,
        lengths,
        mixed,
        seconds_of,
        seeds_in_words,
        unit_of,
    )
    from modbench.reports.tables.outcomes import CAUSAL_LOSS, HELD_OUT, PER_TOKEN, Tables
    from modbench.reports.tables.pair_verdicts import SMOKE as SMOKE_RUN
    from modbench.reports.tables.pair_verdicts import UNCHECKED
    from modbench.reports.tables.rerun_command import Again, NotAgainError, suite_of
    from modbench.reports.wording import BYTES, MATCHED, WORKLOADS, in_title, name, short, verdict_words
    from modbench.reports.writers import data, html, latex, markdown, plain_html
    from modbench.reports.writers import text as text_writer
    from modbench.reports.writers.html import fill
    from modbench.reports.writers.number_format import estimate, plain, share
    from modbench.reports.writers.number_format import number as written_number
    from modbench.reports.writers.text import labelled, width, wrapped
    from modbench.reports.writers.text import written as written_as_text
    from modbench.suites.corpora._records import as_document, column, split
    from modbench.version import __version__

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
