"""Rules that ask, while a run goes on, for jobs of its plan. A file of `adaptive_rules/` exports one as `RULE`.

A plan holds every job that a rule may ask for. Each of them names its rule and its group: the jobs that the rule looks at
together, and decides about in one file of `decisions/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from modbench.harness.core.immutable import Frozen

if TYPE_CHECKING:
    from modbench.harness.domain.case import Job
    from modbench.harness.domain.records import Record
    from modbench.harness.domain.suite import Suite

# Why a search left a place out, which tables of break-even points know.
LEFT_OUT = "not measured: the search did not need it"
# The type of what a rule leaves for reports.
Result = TypeVar("Result", bound=Frozen)


class Decision(NamedTuple):
    """A decision of a rule about a group.

    Attributes:
        asked: names of jobs to run. Those that it asked for before may be among them.
        turns: of those that run after others of the same decision, after how many turns; the others run in the first.
        ended: whether it asks for nothing after these. A decision that asks for nothing new is the last as well.
        why: what it asked for and why, in a few words.
        found: its result for reports, of the rule's type `found`; None: it has none.
    """

    asked: Sequence[str] = ()
    ended: bool = False
    why: str = ""
    found: Frozen | None = None
    turns: Mapping[str, int] = MappingProxyType({})


class AdaptiveRule(ABC, Generic[Result]):
    """A rule. It keeps nothing: what it decides follows from the records, so that a resumed run decides the same.

    Attributes:
        found: type of its result for reports; None: it has none.
        unasked: why a job that it has not asked for has no value: before it has ended, and after; None: in general words.
    """

    found: type[Result] | None = None
    unasked: tuple[str, str] | None = None

    @abstractmethod
    def groups(self, suite: Suite, jobs: Sequence[Job]) -> Mapping[str, Sequence[Job]]:
        """Return the jobs that are looked at together, by the name of their group; empty if the suite needs no such rule.

        Args:
            suite: the suite.
            jobs: all jobs of its plan, in order.
        """

    @abstractmethod
    def is_conditional(self, suite: Suite, job: Job) -> bool:
        """Whether a job of a group runs only if the rule asks for it; the others run in any case."""

    @abstractmethod
    def decide(self, suite: Suite, jobs: Sequence[Job], records: Mapping[str, Record]) -> Decision:
        """Decide which jobs of a group run.

        It is called when all jobs of the group that run in any case, and all that it asked for, have ended.

        Args:
            suite: the suite.
            jobs: all jobs of the group.
            records: records by name of these jobs.
        """

    def shares(self, suite: Suite, jobs: Sequence[Job]) -> tuple[float, float]:  # noqa: ARG002  # for others
        """Return the shares of a group's conditional jobs that it usually asks for, and that it asks for at most."""
        return 0.0, 1.0

    def check(self, suite: Suite, jobs: Sequence[Job], select: str | None) -> None:
        """Check that the rule can decide about a group.

        Args:
            suite: the suite.
            jobs: the jobs of the group.
            select: the `-k` expression that chose them.

        Raises:
            UsageError: if it cannot.
        """

    def forecast(self, suite: Suite, groups: Mapping[str, Sequence[Job]]) -> Mapping[str, Any]:  # noqa: ARG002
        """Return what `modbench plan --json` has of what the rule may request, by key, in base units.

        Args:
            suite: the suite.
            groups: the jobs of each of its groups, by the group's name.
        """
        return {}

    def forecast_in_words(self, forecast: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002  # for others
        """Yield a sentence for each thing that `modbench plan` says of it, from the whole forecast."""
        yield from ()

    def stands(self, found: Result) -> bool:  # noqa: ARG002  # for others
        """Whether what it decided is kept where jobs of the group are measured again; else it decides anew."""
        return False
