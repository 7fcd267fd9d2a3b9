"""A contract for import-linter: the core imports no addition, in no function and for no type; additions may import each other."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.application import contract_utils
from importlinter.domain import helpers


class AdditionsContract(Contract):
    """Only additions import additions.

    Attributes:
        additions: modules and packages that the core runs without.
        ignore_imports: imports that load nothing by themselves.
    """

    additions = fields.ListField(subfield=fields.ModuleExpressionField())
    ignore_imports = fields.SetField(subfield=fields.ImportExpressionField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # as the base class has it
        """Find imports of additions by the core."""
        del verbose
        contract_utils.remove_ignored_imports_and_report(
            graph=graph,
            ignore_imports=self.ignore_imports,  # type: ignore[arg-type]  # a field, read through its descriptor
            unmatched_alerting=contract_utils.AlertLevel.ERROR,
        )
        found = helpers.module_expressions_to_modules(graph=graph, expressions=self.additions, as_packages=True)  # type: ignore[arg-type]  # as above
        additions = {module.name for module in found}
        core = graph.modules - additions
        illegal = [
            f"{importer} imports {imported}"
            for importer in sorted(core)
            for imported in sorted(graph.find_modules_directly_imported_by(importer) & additions)
        ]
        return ContractCheck(kept=not illegal, metadata={"illegal": illegal})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print them."""
        for line in check.metadata["illegal"]:
            output.print_error(line)
