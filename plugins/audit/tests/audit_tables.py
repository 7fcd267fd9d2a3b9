"""Puts the stored cards of `plugins/audit/tests/cards` into the tables of docs/audits.md.

    PYTHONPATH=src:docs/site python plugins/audit/tests/audit_tables.py

With `--audit NAME...` it first audits columns that no test does, since they need packages, or clones in the current folder,
and stores their cards: `page_mod`, `rivals_mixture_of_depth`, `original_router_tuning`, `original_skipgpt`, `hf_llama`,
`rivals_longcat`. The page names what they need.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from expected_cards import card, check_card, stored
from page_tables import placed

from modbench.harness.planning.overrides import Overrides
from modbench.plugins.audit import targets
from modbench.plugins.audit.probing import audit, built, probes
from modbench.plugins.audit.question import side_by_side
from modbench.plugins.audit.report import Architecture, AuditReport, Finding
from modbench.reports.markup import markdown

ROOT = Path(__file__).parents[3]
PAGE, EXAMPLES = ROOT / "docs" / "audits.md", ROOT / "examples"
SHIPPED = (
    *("dense", "mod", "mode_staged", "mode_integrated", "moe", "early_exit"),
    *("depth_branches", "depth_predictor", "depth_scale"),
)


# What the models of each table of the page are held to, and the stored card of each.
TABLES: dict[str, tuple[Architecture | None, tuple[str, ...]]] = {
    "mod": (
        "mod",
        (
            *("page_mod", "released_astramind", "released_kyegomez", "released_sramshetty", "released_a_mod"),
            *("released_mor", "released_router_tuning_block", "released_skipgpt"),
        ),
    ),
    "originals": ("mod", ("rivals_mixture_of_depth", "original_router_tuning", "original_skipgpt")),
    "nothing": (
        None,
        (
            *("hf_llama", "rivals_longcat", "released_zero_experts", "released_router_tuning", "released_skipgpt"),
            *("released_dr_llm", "released_dr_llm_uncoupled", "released_layerskip"),
        ),
    ),
    "shipped": (None, SHIPPED),
}
# How columns are headed: by the folder of the file, and where the name of a card does not tell its options by these.
FOLDERS = {"released": "", "rivals": "rivals/", "original": "originals/"}
HEADINGS = {
    **{name: name for name in SHIPPED},
    "page_mod": "mod",
    "hf_llama": "hf:llama",
    "released_router_tuning_block": "router_tuning.py(part=block,level=token)",
    "released_dr_llm_uncoupled": "dr_llm.py(coupled=false)",
    "original_router_tuning": "originals/router_tuning.py(granularity=block_token)",
}
# Models whose cards are stored here, and not by a test.
ELSEWHERE: dict[str, tuple[str, Architecture | None]] = {
    "page_mod": ("mod", "mod"),
    "rivals_mixture_of_depth": (f"{EXAMPLES}/rivals/mixture_of_depth.py:build", "mod"),
    "original_router_tuning": (f"{EXAMPLES}/released/originals/router_tuning.py:build(granularity=block_token)", "mod"),
    "original_skipgpt": (f"{EXAMPLES}/released/originals/skipgpt.py:build", "mod"),
    "hf_llama": ("hf:llama", None),
    "rivals_longcat": (f"{EXAMPLES}/rivals/longcat.py:build", None),
}
# Judged whatever a model is held to.
ALWAYS = {"causal", "rows_independent", "deterministic", "alone", "decode"}


def column(name: str, of: Architecture | None) -> AuditReport:
    """A stored card as a column of a table; held to nothing, what is not always judged is reported."""
    known, found = probes(of), stored(name)
    findings = {key: found[key] for key in known if key in found}
    if of is None:
        findings |= {key: _reported(each) for key, each in findings.items() if key not in ALWAYS}
    titles, (kind, _, file) = {key: probe.title for key, probe in known.items()}, name.partition("_")
    heading = HEADINGS.get(name) or f"{FOLDERS[kind]}{file}.py"
    return card(**findings).model_copy(update={"target": heading, "of": of, "titles": titles})


def _reported(found: Finding) -> Finding:
    return found if found.verdict == "not observable" else found.model_copy(update={"verdict": "reported"})


def filled(page: str) -> str:
    """Return the page with its tables."""
    for name, (of, columns) in TABLES.items():
        made = side_by_side([column(each, of) for each in columns])
        written = markdown.block(made)
        text = "\n".join([*written.head[2:], *written.rows])
        page = placed(page, name, text, str(Path(__file__).relative_to(ROOT)))
    return page


def main() -> None:
    """Audit what is named, then rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audit", nargs="*", default=[], choices=sorted(ELSEWHERE))
    # A file beside this one is named as a package that transformers imports.
    sys.path[:] = [each for each in sys.path if Path(each).resolve() != Path(__file__).resolve().parent]
    for name in parser.parse_args().audit:
        model, of = ELSEWHERE[name]
        os.environ["MODBENCH_GOLDEN"] = "write"
        check_card(audit(built(targets.case_of_flags(model, Overrides()), of)), name)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
