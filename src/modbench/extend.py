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
    from modbench import api, keywords
    from modbench.commands._app import app, command, list_in
    from modbench.commands._flags import (
        Flags,
        FormatFlag,
        JsonFlag,
        ModelName,
        OptionFlag,
        RunOrNewest,
        SelectFlag,
        SeqLenFlag,
        SetFlag,
        SuiteName,
        TimeoutFlag,
        TitleFlag,
        VerboseFlag,
        checked_format,
        checked_margin,
        listed,
        matching,
        names_in,
        one_of,
        refuse,
        with_flags,
    )
    from modbench.commands._flags import runs as known_runs
    from modbench.commands._output import add_summary, chosen_run, print_summary, say, say_json
    from modbench.commands.cost.costs import Request, case_of, costs
    from modbench.commands.cost.costs import Request as CostRequest
    from modbench.commands.cost.costs import as_text as costs_as_text
    from modbench.commands.doctor.checkup import MachineCheck, MachineFinding, about_machine
    from modbench.commands.plan.forecast import as_text as forecast_as_text
    from modbench.commands.plan.forecast import forecast, took_in_words
    from modbench.harness.call.machine_peak import measure_peak
    from modbench.harness.call.step_peak_memory import StorageTracker, bytes_of, resident
    from modbench.harness.call.subject import (
        build,
        check_caching,
        check_causality,
        check_decoding,
        check_skipping,
        check_timed_calls,
        process_settings,
    )
    from modbench.harness.call.subject.build import evaluating
    from modbench.harness.call.subject.check_caching import same_draws
    from modbench.harness.call.subject.check_counts import escapes
    from modbench.harness.call.subject.generation import Generation, set_missing
    from modbench.harness.call.subject.rewinding import COPIED, held_bytes, rewinder, tensors_of
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.call.subject.weight_rows import RowWatch, factors
    from modbench.harness.call.timing import interleave
    from modbench.harness.call.timing.interleave import SHORTEST_SAMPLE_S, Call, Clock, Effort, Samples, Session
    from modbench.harness.core import (
        atomic_files,
        labels,
        model_specs,
        optional_packages,
        units,
        variant_titles,
    )
    from modbench.harness.core.atomic_files import naming, now, refuse_inside, write_atomically
    from modbench.harness.core.config import MOST_TOKENS, ROUTING_KEYS, ModelConfig, check_sizes, kept
    from modbench.harness.core.contracts import (
        SOLVED,
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
        UnfitError,
        Unmeasured,
        UnreadableError,
        UsageError,
        brief,
        in_short,
        in_words,
        near_path,
        shown,
        unknown,
    )
    from modbench.harness.core.group_by import grouped
    from modbench.harness.core.immutable import Frozen, Margin
    from modbench.harness.core.labels import ESCAPED, LOOKED_AHEAD, OF_WORK, Label, of_cell
    from modbench.harness.core.language_model import Decision, Observation
    from modbench.harness.core.loggers import Logger, Opening, Writer
    from modbench.harness.core.masking import masked, masked_command
    from modbench.harness.core.model_methods import PAGE, Parts, parts_of
    from modbench.harness.core.model_specs import is_user_model, parse_spec
    from modbench.harness.core.plain_text import SCREEN, WIDTH, aligned, escaped
    from modbench.harness.core.python_calls import public
    from modbench.harness.core.train_plan import BUDGETS, MOST_FLOPS, MOST_MORE, MOST_STEPS, TrainPlan, TrainRun
    from modbench.harness.core.units import (
        SHARE,
        Range,
        check_capacity,
        check_seed,
        counted,
        human,
        human_duration,
        parse_bytes,
        parse_duration,
        parse_share,
        percent,
        scale_of,
    )
    from modbench.harness.core.variant_titles import checked, short_name, slug
    from modbench.harness.domain.case import (
        ELEMENT_BYTES,
        VARIANTS_PER_BLOCK,
        Case,
        Comparison,
        Condition,
        Device,
        Dtype,
        GridPoint,
        Job,
        Protocol,
    )
    from modbench.harness.domain.evidence import CellWarning, Evidence, warning
    from modbench.harness.domain.notes import (
        Causality,
        CompileNotes,
        Divisor,
        FitNotes,
        MemoryNotes,
        Notes,
        PeakFinding,
        TimeNotes,
        TrainNotes,
        WithoutUserCodeFinding,
    )
    from modbench.harness.domain.passes import Pass
    from modbench.harness.domain.phases import Phase
    from modbench.harness.domain.records import Blocks, Death, Missing, Outcome, Record
    from modbench.harness.domain.suite import EFFORTS, TWO_STAGE, Suite, TablePlan
    from modbench.harness.execution import limits, ranks, run_phase, stopping, worker
    from modbench.harness.execution.command import answering, answers, call_in_process, call_on_cases, given_cases
    from modbench.harness.execution.command import started as start_command
    from modbench.harness.execution.launcher import Launcher, MakeLauncher
    from modbench.harness.execution.launchers import local
    from modbench.harness.execution.launchers.local import LAUNCHER as LOCAL_LAUNCHER
    from modbench.harness.execution.launchers.local import LocalLauncher
    from modbench.harness.execution.limits import LONGEST_S, Limits
    from modbench.harness.execution.progress_and_time_left import Tracker
    from modbench.harness.execution.run_phase import Progress as PhaseProgress
    from modbench.harness.execution.run_phase import Run, Slots, death, write_failure
    from modbench.harness.execution.runner import run_in_temporary_folder
    from modbench.harness.execution.stopping import Stop, interrupt_on_end
    from modbench.harness.execution.user_model_costs import UserModelCosts
    from modbench.harness.execution.worker import NODE, run_job
    from modbench.harness.machine import certificate, counter_sampler, cuda_driver, environment, nvml
    from modbench.harness.machine.counter_sampler import CounterSampler
    from modbench.harness.machine.environment import free_memory
    from modbench.harness.machine.process import child as child_process
    from modbench.harness.machine.process import clocks, exit_codes, graceful_stop, processes, torchrun
    from modbench.harness.machine.process.child import Child, signal_group
    from modbench.harness.machine.process.clocks import busy
    from modbench.harness.machine.process.graceful_stop import CannotWrite, Stopped
    from modbench.harness.machine.process.torch_modes import Operator, OperatorMode, makes_a_view, name_of
    from modbench.harness.machine.process.torchrun import Ranks
    from modbench.harness.machine.roofline.table import Table as PeakTable
    from modbench.harness.machine.roofline.table import amount
    from modbench.harness.machine.roofline.work import Listed as CallWork
    from modbench.harness.machine.roofline.work import Work
    from modbench.harness.measure.adaptive_rules.process_count import samples_in_process
    from modbench.harness.measure.metrics.latency import generation
    from modbench.harness.measure.metrics.loss import causal
    from modbench.harness.measure.metrics.memory import ONE_STEP, SOME_BYTES
    from modbench.harness.measure.passes import time as time_pass
    from modbench.harness.measure.passes.memory import Weighed, forecasts
    from modbench.harness.measure.passes.train import notes_of, runs, train_once
    from modbench.harness.planning import plan, suite_tables
    from modbench.harness.planning.adaptive import LEFT_OUT, AdaptiveRule
    from modbench.harness.planning.adaptive import Decision as AdaptiveDecision
    from modbench.harness.planning.comparisons import is_timed, name_of_variant
    from modbench.harness.planning.flops import counter
    from modbench.harness.planning.flops import counter as flop_counter
    from modbench.harness.planning.flops.closed_form import case_cost, closed_form
    from modbench.harness.planning.flops.counter import is_product
    from modbench.harness.planning.jobs import Data, JobMaker, run_flops, train_run
    from modbench.harness.planning.load_suite import check_called, parse_suite
    from modbench.harness.planning.overrides import Overrides, override
    from modbench.harness.planning.plan import Plan, no_case, training_tokens
    from modbench.harness.planning.select import compile_expression
    from modbench.harness.planning.suite_tables import (
        Budget,
        MakesComparisons,
        Sizes,
        SuiteTable,
        sizes_of,
    )
    from modbench.harness.planning.text import disk_cache
    from modbench.harness.planning.text.corpus import corpus_entry, from_documents
    from modbench.harness.planning.text.tokens import encode
    from modbench.harness.planning.variants import ResolvedVariant, unsolved_variants
    from modbench.harness.registry import catalogue, plugin_manifests, user_code, user_models
    from modbench.harness.registry.model_loaders import adopted, from_loader
    from modbench.harness.registry.user_models import no_python_file
    from modbench.harness.results import layout as run_layout
    from modbench.harness.results import lock, progress_file, run_folder, workspace
    from modbench.harness.results.json_files import DamagedError, unsealed, write_sealed
    from modbench.harness.results.json_files import load as load_json
    from modbench.harness.results.json_files import parse as parse_stored
    from modbench.harness.results.measured_or_missing import attempt, measured, missing, missing_after, single
    from modbench.harness.results.record_files import read_record
    from modbench.harness.results.run_file import StoredRun
    from modbench.harness.results.run_folder import FINISHED, RunFolder, planned_job, read
    from modbench.harness.results.user_files import sha256_of
    from modbench.harness.results.workspace import artifact
    from modbench.harness.stats import (
        effects,
        interim,
        noise,
        paired,
        power,
        verdicts,
    )
    from modbench.harness.stats.against_baseline import Process, ticked
    from modbench.harness.stats.effects import (
        LEVEL,
        POWER,
        Effect,
        by_seed,
        over_processes,
        quantile,
        t_quantile,
        welch_freedom,
    )
    from modbench.harness.stats.fieller import Line
    from modbench.harness.stats.interim import (
        FEWEST,
        LEAST_FRACTION,
        ONE,
        Analysis,
        analysis_at,
        fractions_of,
        schedule,
    )
    from modbench.harness.stats.interim import LEVEL as ERROR_LEVEL
    from modbench.harness.stats.noise import Columns
    from modbench.harness.stats.over_seeds import Compared, OverSeeds
    from modbench.harness.stats.paired import MOST_BLOCKED, MOST_OTHERS
    from modbench.harness.stats.power import MOST, above_0, fewest, smallest
    from modbench.harness.stats.reason import Reason, both
    from modbench.harness.stats.verdicts import (
        APART,
        BETTER,
        BETTER_OPEN,
        EQUIVALENT,
        INCONCLUSIVE,
        NOT_RECORDED,
        NOT_TICKED,
        SEVERAL_THREADS,
        SIZE_OPEN,
        WORSE,
        WORSE_OPEN,
        ByClock,
        Contrast,
        Direction,
        Limited,
        Rule,
        Seen,
        Side,
        contrast,
        estimated,
        minus,
        together,
    )
    from modbench.harness.stats.verdicts import counted as counted_of_contrast
    from modbench.harness.training import parallel
    from modbench.harness.training.batches import Batch, Windows, joined
    from modbench.harness.training.held_out import autocast_of, calibrate, set_progress, why_not_causal
    from modbench.harness.training.trainer import Progress, Trainer
    from modbench.harness.training.training_run import Trained, train, trainer_of
    from modbench.models import dense
    from modbench.models.layers.context import Selection, from_mask
    from modbench.models.layers.router import Calibrated, Threshold, own_precision
    from modbench.models.mod import top_k
    from modbench.planted_runs import (
        ENVIRONMENT,
        EVERY_VARIANT,
        FIT,
        PLANTED,
        UNFIT,
        PlantedTrouble,
        planted_plan,
        planted_record,
        planted_run,
        unsynced,
    )
    from modbench.progress_bar import Counter, Lines, Live, StepProgress, progress_for
    from modbench.reports import reasons, wording
    from modbench.reports.blocks import (
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
        is_number,
        known,
        known_text,
        pivot,
        where_it_ran,
    )
    from modbench.reports.data_table import Column, DataTable, count, flag, grid_point, interval, number, text
    from modbench.reports.figures import heat_map, style
    from modbench.reports.figures.axes import ends_of, name_rows, ratio_axis, ticks
    from modbench.reports.figures.point_labels import label
    from modbench.reports.figures.style import (
        HAIR,
        INK,
        MAP,
        MAP_INK,
        MUTED,
        OTHER,
        PAPER,
        Look,
        Mark,
        Marks,
        headline,
        in_lines,
        look,
        new_figure,
        to_svg,
    )
    from modbench.reports.figures.style import beside as line_beside
    from modbench.reports.html_report import layout
    from modbench.reports.html_report import layout as page_layout
    from modbench.reports.html_report import render as page_render
    from modbench.reports.html_report.layout import Page, PageSection
    from modbench.reports.markup import data, html, markdown, plain_html
    from modbench.reports.markup import text as text_writer
    from modbench.reports.markup.data import csv, value
    from modbench.reports.markup.html import fill, inline
    from modbench.reports.markup.number_format import NONE, Inline, about, estimate, half, plain, ratio, share
    from modbench.reports.markup.number_format import grid_point as grid_point_in_words
    from modbench.reports.markup.number_format import interval as interval_in_words
    from modbench.reports.markup.number_format import number as number_text
    from modbench.reports.markup.number_format import number as written_number
    from modbench.reports.markup.number_format import percent as percent_in_words
    from modbench.reports.markup.plain_html import html as plain_html_of
    from modbench.reports.markup.plain_html import html_lines, html_table
    from modbench.reports.markup.plain_html import text as printable_text
    from modbench.reports.markup.short import GLYPHS, Short, cells, explained
    from modbench.reports.markup.text import alike, labelled, width, wrapped
    from modbench.reports.markup.text import written as written_as_text
    from modbench.reports.output_format import PAGE as REPORT_FILE
    from modbench.reports.output_format import Format, of_tables
    from modbench.reports.questions import machine_check, summary, value_tables
    from modbench.reports.questions.gate.fail_on import ALTERNATED, CPU, FailOn
    from modbench.reports.questions.gate.fail_on import parse as parse_fail_on
    from modbench.reports.questions.machine_check import check_measured, nothing_measured
    from modbench.reports.questions.user_models import first_variant
    from modbench.reports.questions.value_tables import TABLES
    from modbench.reports.reasons import in_words as reason_in_words
    from modbench.reports.reasons import sentence
    from modbench.reports.section import InPlace, Lead, Section, shared_blocks
    from modbench.reports.sections.speedup_map import heat_cell
    from modbench.reports.tables import best_variants, claims, comparisons, losses, provenance
    from modbench.reports.tables.axes import in_words as axis_value
    from modbench.reports.tables.cases import no_interval
    from modbench.reports.tables.cell import Trouble, columns_of, joined_reasons
    from modbench.reports.tables.claims import SMOKE as SMOKE_RUN
    from modbench.reports.tables.claims import UNCHECKED
    from modbench.reports.tables.comparisons import (
        COMPARISONS,
        RECORDED,
        SMOKE,
        against_theoretical,
        pair_row,
        ratio_columns,
    )
    from modbench.reports.tables.load import Loaded, load, matched_beside, once_a_run, subsample_evenly
    from modbench.reports.tables.losses import (
        BITS,
        NATS,
        beside,
        lengths,
        mixed,
        seconds_of,
        seeds_in_words,
        unit_of,
    )
    from modbench.reports.tables.pairs import between, by_length, labels_of, of_pair, of_row
    from modbench.reports.tables.rerun_command import Again, NotAgainError, suite_of
    from modbench.reports.tables.two_runs import UNKNOWN as UNKNOWN_FAILURES
    from modbench.reports.tables.two_runs import differences, other_quantity
    from modbench.reports.tables.values import CAUSAL_LOSS, HELD_OUT, PER_TOKEN, Tables
    from modbench.reports.terminal import printed_run
    from modbench.reports.wording import (
        BYTES,
        DECIDED,
        EXACT,
        MATCHED,
        TIMED,
        WORKLOADS,
        cut,
        in_title,
        model_name,
        name,
        short,
        verdict_words,
    )
    from modbench.reports.wording import name as variant_name
    from modbench.reports.wording import short as short_variant_name
    from modbench.suites.corpora._records import as_document, column, split
    from modbench.version import __version__

else:  # else type checkers would believe that there is every name

    @functools.cache
    def _homes() -> dict[str, tuple[str, str]]:
        """The module and the name there of each name, as the imports above say."""
        tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
        (listed,) = (node for node in tree.body if isinstance(node, ast.If))
        return {
            each.asname or each.name: (str(node.module), each.name)
            for node in listed.body
            if isinstance(node, ast.ImportFrom)
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
