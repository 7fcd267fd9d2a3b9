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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from expected_cards import check_card, stored
from page_tables import placed

from modbench.harness.planning.overrides import Overrides
from modbench.plugins.audit import targets
from modbench.plugins.audit.probing import audit, built, probes
from modbench.plugins.audit.question import side_by_side
from modbench.plugins.audit.report import Architecture, AuditReport, Finding
from modbench.reports.markup import markdown

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "audits.md"
SHIPPED = (
    *("dense", "mod", "mode_staged", "mode_integrated", "moe", "early_exit"),
    *("depth_branches", "depth_predictor", "depth_scale"),
)


@dataclass(frozen=True)
class Compared:
    """A table of the page.

    Attributes:
        of: what its models are held to.
        columns: the stored card of each model, and how its column is headed.
    """

    of: Architecture | None
    columns: Mapping[str, str]


TABLES = {
    "mod": Compared(
        "mod",
        {
            "page_mod": "mod",
            "released_astramind": "astramind.py",
            "released_kyegomez": "kyegomez.py",
            "released_sramshetty": "sramshetty.py",
            "released_a_mod": "a_mod.py",
            "released_mor": "mor.py",
            "released_router_tuning_block": "router_tuning.py(part=block,level=token)",
            "released_skipgpt": "skipgpt.py",
        },
    ),
    "originals": Compared(
        "mod",
        {
            "rivals_mixture_of_depth": "rivals/mixture_of_depth.py",
            "original_router_tuning": "originals/router_tuning.py(granularity=block_token)",
            "original_skipgpt": "originals/skipgpt.py",
        },
    ),
    "nothing": Compared(
        None,
        {
            "hf_llama": "hf:llama",
            "rivals_longcat": "rivals/longcat.py",
            "released_zero_experts": "zero_experts.py",
            "released_router_tuning": "router_tuning.py",
            "released_skipgpt": "skipgpt.py",
            "released_dr_llm": "dr_llm.py",
            "released_dr_llm_uncoupled": "dr_llm.py(coupled=false)",
            "released_layerskip": "layerskip.py",
        },
    ),
    "shipped": Compared(None, {name: name for name in SHIPPED}),
}
# Models whose cards are stored here, and not by a test.
ELSEWHERE: dict[str, tuple[str, Architecture | None]] = {
    "page_mod": ("mod", "mod"),
    "rivals_mixture_of_depth": (f"{ROOT}/examples/matched baselines/mixture_of_depth.py:build", "mod"),
    "original_router_tuning": (
        f"{ROOT}/examples/released/originals/router_tuning.py:build(granularity=block_token)",
        "mod",
    ),
    "original_skipgpt": (f"{ROOT}/examples/released/originals/skipgpt.py:build", "mod"),
    "hf_llama": ("hf:llama", None),
    "rivals_longcat": (f"{ROOT}/examples/matched baselines/longcat.py:build", None),
}


def column(name: str, heading: str, of: Architecture | None) -> AuditReport:
    """A stored card as a column of a table; held to nothing, what is not always judged is reported."""
    known, always, found = probes(of), set(ALWAYS), stored(name)
    findings = {
        key: found[key] if of is not None or key in always else _reported(found[key]) for key in known if key in found
    }
    titles = {key: probe.title for key, probe in known.items()}
    return AuditReport(
        target=heading,
        of=of,
        params=0,
        seq_len=1,
        batch_size=1,
        dtype="",
        findings=findings,
        titles=titles,
        wall_s=0.0,
    )


# Judged whatever a model is held to.
ALWAYS = ("causal", "rows_independent", "deterministic", "alone", "decode")


def _reported(found: Finding) -> Finding:
    return found if found.verdict == "not observable" else found.model_copy(update={"verdict": "reported"})


def filled(page: str) -> str:
    """Return the page with its tables."""
    for name, table in TABLES.items():
        made = side_by_side([column(card, heading, table.of) for card, heading in table.columns.items()])
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
