"""Secrets are masked: values of options named like one, and the texts in `MODBENCH_MASK`, joined by commas.

Each is replaced by `***` in the recorded command and environment, in reasons of failures, in the views and in what is printed.
The plan keeps them, since a run is resumed from it, and so do logs. Workers mask their own records, so the variable is one of
those that a model can read.
"""

from __future__ import annotations

import os
import re

MASK = "***"
# Compiled when first needed, as all patterns here: few commands need one.
# Names of secrets: what the words of a name, in lower case, end with or are. `tokens`, a number of them, is no secret.
_NAMES = (
    r"(token|key|secret|password|credential|passphrase)(?![a-z])|(secrets|passwords|keys|credentials|passwd|auth)(?![a-z])"
    r"|(?<![a-z])(pass|pwd|jwt|cookie|pat)(?![a-z])"
)
# A value, which may be quoted: a launcher's option may hold a whole command.
_VALUE = r"""("[^"]*"|'[^']*'|[^\s"']*)"""
# A variable as a launcher passes it on: `--export=HF_TOKEN=…`.
_VARIABLE = rf"(?<![A-Za-z0-9_])([A-Z][A-Z0-9_]*)={_VALUE}"
_IN_URL = r"://\S*@"
# `name=value` and `?name=value`, and an option inside a word with its value.
_SETTING = rf"(?<![A-Za-z0-9_.-])([A-Za-z][A-Za-z0-9_.-]*)=(?={_VALUE})"
_OPTION = rf"(--?[A-Za-z][A-Za-z0-9-]*)\s+{_VALUE}"
_HEADER = r"(?i)\b(authorization|cookie|x-api-key)\s*:\s*[^\"']*"


def masked(text: str) -> str:
    """A text with the texts of `MODBENCH_MASK` replaced."""
    named = os.environ.get("MODBENCH_MASK")
    if not named:
        return text
    # The longest first: one may hold another.
    for secret in sorted(filter(None, (each.strip() for each in named.split(","))), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def masked_data(data: object) -> object:
    """Mask all texts in JSON, but not fingerprints of machines, which are compared."""
    if isinstance(data, dict):
        return {key: value if key == "machine" else masked_data(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [masked_data(each) for each in data]
    return masked(data) if isinstance(data, str) else data


def masked_command(words: list[str]) -> list[str]:
    """A command line without values of options and settings that are named like secrets, nor of environment variables."""
    shown, hide = [], False
    for word in words:
        if hide and not _is_option(word):
            shown.append(MASK)
            hide = False
            continue
        hide = word.startswith("-") and "=" not in word and is_secret(word)
        shown.append(masked(_without_secrets(word)))
    return shown


def _is_option(word: str) -> bool:
    return word.startswith("--") or (len(word) == 2 and word[0] == "-")  # a letter


def _without_secrets(word: str) -> str:
    text = re.sub(_IN_URL, f"://{MASK}@", word)
    text = re.sub(_VARIABLE, rf"\1={MASK}", re.sub(_HEADER, rf"\1: {MASK}", text))
    text = re.sub(_OPTION, lambda found: f"{found[1]} {MASK}" if is_secret(found[1]) else found[0], text)
    name, equals, _ = text.partition("=")
    if word.startswith("-") and equals and is_secret(name):
        return f"{name}={MASK}"
    for found in reversed(list(re.finditer(_SETTING, text))):
        if is_secret(found[1]):
            text = f"{text[: found.start(1)]}{found[1]}={MASK}{text[found.end() + len(found[2]) :]}"
    return text


def is_secret(name: str) -> bool:
    """Whether a variable or an option is named like a secret."""
    return re.search(_NAMES, name.lower()) is not None
