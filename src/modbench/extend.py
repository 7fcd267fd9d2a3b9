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
        VerboseFlag,
        checked_capacity,
        listed,
        matching,
        names_in,
        one_of,
        with_flags,
    )
    from modbench.commands._output import say, say_json
    from modbench.commands.cost.costs import Request as CostRequest
    from modbench.commands.cost.costs import case_of
    from modbench.harness.core import extras, printable
    from modbench.harness.core.config import ModelConfig, check_sizes, kept
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
        ModbenchError,
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
    from modbench.harness.core.labels import Label
    from modbench.harness.core.language_model import Decision
    from modbench.harness.core.printable import WIDTH, aligned, masked
    from modbench.harness.core.protocols import Parts
    from modbench.harness.core.public import public
    from modbench.harness.core.sinks import Sink
    from modbench.harness.core.titles import checked, slug
    from modbench.harness.core.train_plan import TrainRun
    from modbench.harness.core.units import check_capacity, check_seed, counted, human_duration, parse_duration
    from modbench.harness.domain.case import Case, Comparison, Device, Dtype, GridPoint, Job
    from modbench.harness.domain.evidence import Doubt, Evidence, doubt
    from modbench.harness.domain.notes import Causality, Notes
    from modbench.harness.domain.passes import Pass
    from modbench.harness.domain.records import Death, Missing, Record
    from modbench.harness.domain.suite import EFFORTS
    from modbench.harness.execution import ranks
    from modbench.harness.execution.command import answering, answers, call_on_cases, given_cases
    from modbench.harness.execution.launch.local import LocalLauncher
    from modbench.harness.execution.launching import Launcher, MakeLauncher
    from modbench.harness.execution.phase import Run, Slots, death, write_failure
    from modbench.harness.execution.stopping import Stop
    from modbench.harness.execution.worker import NODE
    from modbench.harness.flops import counter
    from modbench.harness.flops.closed_form import closed_form
    from modbench.harness.flops.counter import is_product
    from modbench.harness.machine import certificate, environment
    from modbench.harness.planning.jobs import JobMaker
    from modbench.harness.planning.load_suite import check_called
    from modbench.harness.planning.overrides import Overrides
    from modbench.harness.planning.select import compile_expression
    from modbench.harness.process import clocks, processes
    from modbench.harness.process.graceful_stop import Stopped
    from modbench.harness.process.torch_modes import Operator, OperatorMode, name_of
    from modbench.harness.registry import catalogue, user_code, user_models
    from modbench.harness.registry.model_sources import adopted, sourced
    from modbench.harness.results import components, run_folder
    from modbench.harness.results.outcomes import attempt, measured, missing
    from modbench.harness.results.run_folder import RunFolder, read
    from modbench.harness.results.sealed_records import read_record
    from modbench.harness.stats.effects import t_quantile
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
    from modbench.harness.training.batches import Windows
    from modbench.harness.training.trainer import Progress, Trainer
    from modbench.models import dense
    from modbench.models.layers.context import Selection, from_mask
    from modbench.models.layers.router import Calibrated, Threshold, own_precision
    from modbench.models.mod import top_k
    from modbench.progress import StepProgress
    from modbench.python import keywords
    from modbench.reports import wording
    from modbench.reports.data_table import DataTable, number, text
    from modbench.reports.format import Format
    from modbench.reports.model import Block, Code, Estimate, Kind, Listed, Note, Sentence, Table, Value
    from modbench.reports.page import layout
    from modbench.reports.panel import Lead, Panel
    from modbench.reports.tables.load import Loaded
    from modbench.reports.writers import html, latex, markdown, plain_html
    from modbench.reports.writers.number_format import estimate, plain, share
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
