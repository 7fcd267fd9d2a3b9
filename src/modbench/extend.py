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
    from modbench.commands._flags import Flags, JsonFlag, ModelName, VerboseFlag, checked_capacity, with_flags
    from modbench.commands._output import print_summary, say, say_json
    from modbench.harness.core import extras, files, model_specs, printable
    from modbench.harness.core.config import ModelConfig
    from modbench.harness.core.contracts import UNASKED, Corpus, Cost, DecodeCost, Examples, Metric, Source, Task, Text
    from modbench.harness.core.errors import (
        IncompleteError,
        ModbenchError,
        UnreadableError,
        UsageError,
        in_short,
        in_words,
        near_path,
        shown,
        unknown,
    )
    from modbench.harness.core.files import naming, write_atomically
    from modbench.harness.core.grouped import grouped
    from modbench.harness.core.labels import of_cell
    from modbench.harness.core.language_model import Decision
    from modbench.harness.core.printable import WIDTH, aligned
    from modbench.harness.core.sinks import Opening, Sink, Writer
    from modbench.harness.core.train_plan import TrainRun
    from modbench.harness.core.units import check_capacity, counted, human_duration
    from modbench.harness.domain.case import Case, Device, GridPoint, Job
    from modbench.harness.domain.evidence import Doubt
    from modbench.harness.domain.notes import Notes
    from modbench.harness.domain.passes import Pass
    from modbench.harness.domain.records import Death, Missing
    from modbench.harness.domain.suite import EFFORTS
    from modbench.harness.execution import ranks, stopping, worker
    from modbench.harness.execution.launch.local import LocalLauncher
    from modbench.harness.execution.launching import Launcher, MakeLauncher
    from modbench.harness.execution.phase import Run, Slots, death, write_failure
    from modbench.harness.execution.progress_tracker import Tracker
    from modbench.harness.execution.stopping import Stop
    from modbench.harness.execution.user_model_costs import UserModelCosts
    from modbench.harness.execution.worker import NODE
    from modbench.harness.flops.closed_form import closed_form
    from modbench.harness.machine import certificate, environment
    from modbench.harness.planning import plan
    from modbench.harness.planning.load_suite import parse_suite
    from modbench.harness.planning.overrides import Overrides, override
    from modbench.harness.planning.plan import Plan
    from modbench.harness.planning.select import compile_expression
    from modbench.harness.planning.variants import unsolved_variants
    from modbench.harness.process import exit_codes, graceful_stop, processes, torchrun
    from modbench.harness.process.graceful_stop import Stopped
    from modbench.harness.process.torchrun import Ranks
    from modbench.harness.registry import catalogue
    from modbench.harness.results import components, lock, run_folder, workspace
    from modbench.harness.results.outcomes import attempt, measured, missing
    from modbench.harness.results.run_folder import RunFolder, read
    from modbench.harness.results.sealed_records import read_record
    from modbench.harness.stats.effects import t_quantile
    from modbench.harness.subject.subject import Subject
    from modbench.harness.text import disk_cache
    from modbench.harness.text.corpus import corpus_entry, from_documents
    from modbench.harness.text.tokens import encode
    from modbench.harness.training import parallel
    from modbench.harness.training.batches import Windows
    from modbench.harness.training.trainer import Progress, Trainer
    from modbench.models import dense
    from modbench.models.layers.context import Selection, from_mask
    from modbench.models.layers.router import Calibrated, Threshold, own_precision
    from modbench.models.mod import top_k
    from modbench.progress import StepProgress
    from modbench.reports.data_table import DataTable, number, text
    from modbench.reports.format import Format
    from modbench.reports.model import Estimate, Table
    from modbench.reports.panel import Panel
    from modbench.reports.questions.machine import check_measured
    from modbench.reports.writers.number_format import estimate, share
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
