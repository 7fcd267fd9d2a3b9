"""Published numbers as rows: read from `numbers.toml`, checked key by key, and recomputed."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modbench.extend import UsageError, in_words, unknown
from modbench.plugins.published.forms import CATALOGUE, Shape, evaluate, names_in

T = TypeVar("T", bound=BaseModel)
Verdict = Literal["reproduced", "not reproduced", "wrong"]
Form = Literal["catalogue", "catalogue and more", "own"]

FILE = Path(__file__).with_name("numbers.toml")
# Letters and signs after a printed number, and what they stand for.
SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "%": 0.01}
# Rounding to a tie goes either way: 15.625 is printed as 15.62 or as 15.63.
TIE = 1e-9
_PRINTED = re.compile(r"(?P<digits>[\d,]+)(?:\.(?P<decimals>\d+))?(?:E\+?(?P<power>-?\d+))?(?P<sign>[KMBT%]?)")


@dataclass(frozen=True)
class Printed:
    """A number as its source prints it, such as `46.7B`, `124,337,664`, `3.14E+23` or `25.2%`.

    Attributes:
        text: the number as printed.
        zeros: trailing zeros of a whole number that are there because it was rounded: 1 for `1,320` that means 1,315 to 1,325.
    """

    text: str
    zeros: int = 0

    def __post_init__(self) -> None:
        """Check that it is one."""
        if not _PRINTED.fullmatch(self.text):
            raise UsageError(f"{self.text!r} is no printed number, such as 46.7B, 124,337,664, 3.14E+23 or 25.2%")

    @property
    def _parts(self) -> tuple[str, str, str, str]:
        found = _PRINTED.fullmatch(self.text)
        assert found
        return found["digits"].replace(",", ""), found["decimals"] or "", found["power"] or "", found["sign"]

    @property
    def _scale(self) -> float:
        _, _, power, sign = self._parts
        return float(SCALES[sign] * 10.0 ** int(power or 0))

    @property
    def value(self) -> float:
        """The number in base units."""
        digits, decimals, *_ = self._parts
        return float(f"{digits}.{decimals or 0}") * self._scale

    @property
    def tolerance(self) -> float:
        """Half a unit in the last digit, in base units: the largest error of rounding."""
        return float(0.5 * 10.0 ** (self.zeros - len(self._parts[1])) * self._scale)

    def like(self, value: float) -> str:
        """Another number in this form, with two more digits if this one is rounded."""
        _, decimals, power, sign = self._parts
        if not (decimals or sign or power or self.zeros):
            return f"{value:,.0f}"
        exponent = f"E+{power}" if power else ""
        return f"{value / self._scale:,.{len(decimals) + (0 if self.zeros else 2)}f}{exponent}{sign}"


@dataclass(frozen=True)
class Row:
    """A published number, and ours.

    Attributes:
        source: name of its source in the file.
        title: the paper, page or repository.
        address: where that is found.
        what: the quantity, in a few words; unique in its source.
        where: where in the source it is printed.
        config: the configuration that it is for, and where that is printed, if elsewhere.
        printed: the published value.
        ours: our value.
        unit: the base unit of both: `parameters`, `FLOP`, `B`, `elements`, `days`, or empty for a ratio.
        convention: what is counted and how, so that ours is comparable; where it reproduces the number, this is the finding.
        form: whose closed form computes ours: `catalogue` (our models'), `catalogue and more` (with parameters that our
            models lack), or `own` (one of this room).
        achieved_share: where the published value is a measured gain and ours the theoretical one: (ratio - 1) / (theoretical
            - 1).
        why_not: why no convention of ours reproduces the number. Empty: one does, and beyond the tolerance `verify` fails.
    """

    source: str
    title: str
    address: str
    what: str
    where: str
    config: str
    printed: Printed
    ours: float
    unit: str
    convention: str
    form: Form
    achieved_share: float | None = None
    why_not: str = ""

    @property
    def key(self) -> str:
        """The text that `-k` matches."""
        return f"{self.source} {self.what}"

    @property
    def residual(self) -> float:
        """Ours less the published value."""
        return self.ours - self.printed.value

    @property
    def relative(self) -> float:
        """The residual over the published value."""
        return self.residual / self.printed.value

    @property
    def verdict(self) -> Verdict:
        """`wrong` where a convention is claimed to reproduce the number and does not."""
        if self.why_not:
            return "not reproduced"
        within = abs(self.residual) <= self.printed.tolerance + TIE * abs(self.printed.value)
        return "reproduced" if within else "wrong"

    def as_dict(self) -> dict[str, Any]:
        """One entry of `--json`."""
        return {
            "source": self.source,
            "title": self.title,
            "address": self.address,
            "what": self.what,
            "where": self.where,
            "config": self.config,
            "printed": self.printed.text,
            "published": self.printed.value,
            "ours": self.ours,
            "unit": self.unit,
            "residual": self.residual,
            "relative": self.relative,
            "tolerance": self.printed.tolerance,
            "convention": self.convention,
            "form": self.form,
            "verdict": self.verdict,
            "achieved_share": self.achieved_share,
            "reason": self.why_not or None,
        }


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Number(_Table):
    """`[[SOURCE.numbers]]`: a number, or one for each of several shapes. `numbers.toml` says what the keys mean."""

    what: str
    where: str
    config: str = "{shape}"
    printed: str | dict[str, str]
    zeros: dict[str, int] = Field(default_factory=dict)
    unit: str
    ours: str
    convention: str
    of: str = ""
    shape: dict[str, Any] = Field(default_factory=dict)
    achieved_share: str = ""
    why_not: str | dict[str, str] = ""


class _Shape(_Table):
    """What `shape` of a source and of a number, and one of `shapes`, have beside keys of the configuration."""

    model_config = ConfigDict(extra="allow")

    model: str = "dense"
    config: str = ""
    given: dict[str, float] = Field(default_factory=dict)


class _Source(_Table):
    """`[SOURCE]`. Keys of a number hold for all its numbers."""

    title: str
    address: str
    shape: dict[str, Any] = Field(default_factory=dict)
    shapes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    numbers: list[dict[str, Any]]


def read(text: str) -> list[Row]:
    """The rows of a file of published numbers, in its order.

    Raises:
        UsageError: if a key or value is wrong; the message names it.
    """
    tables = tomllib.loads(text)
    terms = tables.pop("terms", {})
    rows: list[Row] = []
    for name, table in tables.items():
        with _named(name):
            shared = {key: table.pop(key) for key in _Number.model_fields.keys() & table.keys() - {"shape"}}
            source = _checked(_Source, table)
        for number in (shared | own for own in source.numbers):
            with _named(f"{name}: {number.get('what')}"):
                rows += _rows(name, source, _checked(_Number, number), terms)
    return rows


def _checked(kind: type[T], table: dict[str, Any]) -> T:
    for key in table:
        if key not in kind.model_fields:
            raise unknown("key", key, kind.model_fields)
    return kind.model_validate(table)


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Name the table of the file that something is wrong with."""
    try:
        yield
    except ValidationError as error:
        raise UsageError(f"{FILE.name}: {what}: {in_words(error)}") from error
    except (ValueError, TypeError, AttributeError, LookupError, SyntaxError) as error:
        raise UsageError(f"{FILE.name}: {what}: {error}") from error


def _rows(name: str, source: _Source, number: _Number, terms: Mapping[str, str]) -> Iterator[Row]:
    """The rows of one table of numbers."""
    printed = number.printed if isinstance(number.printed, dict) else {number.of: number.printed}
    reasons = number.why_not if isinstance(number.why_not, dict) else dict.fromkeys(printed, number.why_not)
    for of in (*number.zeros, *reasons):
        if of not in printed:
            raise unknown("shape", of, printed)
    for of, text in printed.items():
        if of and of not in source.shapes:
            raise unknown("shape", of, source.shapes)
        table = _Shape.model_validate(source.shape | number.shape | source.shapes.get(of, {}))
        shape = Shape(table.model, table.model_extra or {}, table.given, terms)
        achieved_share = evaluate(number.achieved_share, shape) if number.achieved_share else None
        yield Row(
            source=name,
            title=source.title,
            address=source.address,
            what=number.what.format(of=of),
            where=number.where,
            config=number.config.replace("{shape}", table.config).format_map(shape),
            printed=Printed(text, number.zeros.get(of, 0)),
            ours=float(evaluate(number.ours, shape)),
            unit=number.unit,
            convention=number.convention,
            form=_form(number.ours, shape),
            achieved_share=achieved_share,
            why_not=reasons.get(of, "").format(achieved_share=achieved_share),
        )


def _form(expression: str, shape: Shape) -> Form:
    """Whose closed form an expression is."""
    names = names_in(expression)
    if shape.model == "latent" or names.isdisjoint(CATALOGUE):
        return "own"
    return "catalogue" if names.isdisjoint(shape.terms) else "catalogue and more"
