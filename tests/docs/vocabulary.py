"""Words that nothing may hold which a person reads: names of modbench's own, where the field has one that everybody knows.

Only what cannot mean anything else is looked for: `unit` of a metric, a GPU's card or a kernel's launch are no hits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Our own word, as a pattern, and what is said instead.
OURS: dict[str, str] = {
    r"\b[Aa]rms?\b(?! ?64)|\bARM=|=ARM\b": "variant",
    r"\b[Tt]wins?\b": "A/A control",
    r"\b[Rr]ungs?\b|\b(?:dense )?[Ll]adders?\b|(?<![\w/.])[Rr]ivals?\b(?!/)|\b(?:of|at) equal cost\b": "matched baseline",
    r"(?<!\{)\b[Aa]nchors?\b(?! \w*=|-)": "baseline",
    r"(?<![Kk]ernel )\blaunches\b(?! (?:of )?(?:a |one |the |no |fewer |more |its )?\w*kernels?)"
    r"|\b(?:per|each|fresh|cold|forked|\d+|whole) launch\b(?! (?:of )?(?:a |the )?kernels?)": "process",
    r"\bunits? of work\b|\b(?:failed|missing|finished|planned|left|\d+|all|these|same|other) units\b"
    r"|\b(?:each|every|one|longest) unit\b(?! of)|\ba unit's\b|\bunits/": "job",
    r"\btold apart\b|\btell\w* (?:\w+ )?apart\b|\btold from\b|\btells? \w+ from\b": "significantly different",
    r"\bcannot tell\b|\bcannot be told\b|\bundecided\b|\bdoubtful\b|\bmay fit\b|\bmay hold\b": "inconclusive",
    r"\b[Cc]ontaminat\w+|\b[Dd]isturb\w*|\b[Rr]estless\b": "noisy",
    r"\b(?:effective|realised|ideal|attainable) speed-up\b|\b(?:realised|ideal|attainable|efficiency)_?(?:ci_|low|high)"
    r"|\bof the ideal\b|\bthe ideal\b|\b[Aa]ttainable\b": "theoretical, predicted, achieved share",
    r"\b[Ee]xchange rates?\b|\beffective_(?:speedup|low|high)\b|\bworth_\w+": "compute-equivalent gain",
    r"\b[Pp]ays (?:from|off|nowhere|always|never|at|on)\b|\bskipping pays\b|\bSkipping pays\b|\bpay from\b|\bbegins? to pay\b"
    r"|\bstops? paying\b|\bnowhere pays\b": "is faster from",
    r"\b[Ff]resh seeds?\b": "new seeds",
    r"\b[Rr]out\w+ by noise\b|\bnoise routing\b": "random routing",
    r"\bsees? the future\b|\bsees future\b|\bseeing the future\b|\bread\w* the future\b": "non-causal",
    r"\b[Hh]eld-out windows?\b|\b\d+ windows\b": "held-out sequences",
    r"\b[Ww]hole requests?\b": "end-to-end request",
    r"\bheld to (?:be|what|nothing)\b|\b[Aa]udit cards?\b|\b(?:has|[Rr]ead) its card\b": "audit report, checked against",
    r"\b(?:the|on the|this) page\b|\bfirst screen\b|\b[Ss]hort answer\b": "HTML report, summary",
    r"\bat (?:look|the (?:first|last|\w+) look)\b|\blook \d|\b\d+ looks\b": "interim analysis",
    r"\b[Tt]ypical\b(?! text)": "median-based",
    r"\bprefill \(TTFT\)|\bdecode step \(TPOT\)": "prefill, decode step",
}
PATTERN = re.compile("|".join(f"({each})" for each in OURS))


def hits(text: str) -> Iterator[str]:
    """Our own words in a text, each with what stands around it and what is said instead."""
    for found in PATTERN.finditer(text):
        start, end = max(0, found.start() - 30), found.end() + 30
        said = [*OURS.values()][(found.lastindex or 1) - 1]
        yield f"{' '.join(text[start:end].split())!r}: say {said}"
