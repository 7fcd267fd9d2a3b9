"""Keeps secrets out of what is written: values of options named like one, and the texts in `MODBENCH_MASK`.

`MODBENCH_MASK` holds texts joined by commas. Each is replaced by `***` in the recorded command and environment, in reasons
of failures, in the views and in what is printed. The plan keeps them, since a run is resumed from it, and so do logs.
"""

from __future__ import annotations

import os
import re
from typing import Any

MASK = "***"
# Ends of the words in an option's name; `tokens`, a number of them, is no secret.
SECRET = ("token", "key", "secret", "password", "passwd", "passphrase", "credential", "credentials", "auth")
# A variable as a launcher passes it on: `--export=HF_TOKEN=…`.
_VARIABLE = re.compile(r"(?<![A-Za-z0-9_])([A-Z][A-Z0-9_]+)=[^,\s]*")
_IN_URL = re.compile(r"://[^/@\s]+@")
_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=([^,\s]+)")


def masked(text: str) -> str:
    """A text with the texts of `MODBENCH_MASK` replaced."""
    named = os.environ.get("MODBENCH_MASK")
    if not named:
        return text
    # The longest first: one may hold another.
    for secret in sorted(filter(None, (each.strip() for each in named.split(","))), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def everywhere(data: Any) -> Any:  # noqa: ANN401  # JSON of any kind
    """Mask all texts in JSON, but not fingerprints of machines, which are compared."""
    if isinstance(data, dict):
        return {key: value if key == "machine" else everywhere(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [everywhere(each) for each in data]
    return masked(data) if isinstance(data, str) else data


def command(words: list[str]) -> list[str]:
    """A command line without values of options and settings that are named like secrets, nor of environment variables."""
    shown, hide = [], False
    for word in words:
        option = word.startswith("-")
        if hide and not option:
            shown.append(MASK)
            hide = False
            continue
        hide = option and "=" not in word and _is_secret(word)
        text = _VARIABLE.sub(rf"\1={MASK}", _IN_URL.sub(f"://{MASK}@", word))
        name, equals, _ = text.partition("=")
        if option and equals and _is_secret(name):
            text = f"{name}={MASK}"
        text = _SETTING.sub(lambda found: f"{found[1]}={MASK}" if _is_secret(found[1]) else found[0], text)
        shown.append(masked(text))
    return shown


def _is_secret(name: str) -> bool:
    return any(word.endswith(SECRET) for word in re.split(r"[^a-z]+", name.lower()))
