"""Text in LaTeX: names may hold anything, and mean nothing there; characters that pdflatex has no letter for are spelt out."""

from __future__ import annotations

import re

from modbench.harness.core.printable import escaped

_SPELT = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"''",
    # After the end of a row these begin an option.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{letter: f"\\{letter}" for letter in "{}$&#_%"},
    "×": r"$\times$",
    "÷": r"$\div$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "µ": r"$\mu$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
}
_ANY = re.compile("|".join(map(re.escape, _SPELT)))
# What LaTeX prints without further packages: ASCII, and the letters of Western Europe.
_OTHER = re.compile(r"[^\x20-\x7e\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]")
_KNOWN = re.compile(f"({'|'.join(map(re.escape, _SPELT))})")


def text(said: str, most: int = 400) -> str:
    """Escape a text, on one line of at most about `most` characters."""
    plain = escaped(said, lines=False)
    plain = plain if len(plain) <= most else f"{plain[:most]} …"
    parts = _KNOWN.split(plain)
    return "".join(_SPELT.get(part) or _plain(part) for part in parts)


def _plain(part: str) -> str:
    """Keep dashes apart, which would melt into one, and spell out other characters."""
    return _OTHER.sub(
        lambda found: rf"\texttt{{U+{ord(found[0]):04X}}}", part.replace("--", "-{}-").replace("--", "-{}-")
    )
