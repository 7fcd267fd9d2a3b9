"""Three-way inference over templates: passive, conjunction, preposition, quantifiers, negation, if-then."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modbench.extend import Examples, Source, Task
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import Drawn, Ints, Writer, choose, generator

PEOPLE = ("doctor", "judge", "lawyer", "farmer", "baker", "pilot")
VERBS = ("helped", "called", "thanked", "warned")
ACTIONS = ("slept", "ran", "sang", "laughed")
LABELS = ("entailment", "neutral", "contradiction")

# Capitals are slots: A-D are different people, V is a verb, X-Z are different actions. A premise has the same words under every
# label, and hypotheses use the same words under every label, in other roles: neither the hypothesis alone nor the bag of words
# predicts the label better than chance. The lines of a label have equal weight, and so have the hypotheses of a line.
Lines = tuple[tuple[str, ...], ...]
Case = tuple[tuple[str, ...], Mapping[str, Lines]]
TEMPLATES: Mapping[str, tuple[Case, ...]] = {
    "negation": (
        (
            ("the A V the B but never the C", "the A never V the C but V the B"),
            {
                "entailment": (("the A V the B",),),
                "neutral": (("the B V the A", "the C V the A", "the B V the C", "the C V the B"),),
                "contradiction": (("the A V the C",),),
            },
        ),
    ),
    "passive": (
        (
            ("the A V the B but never the C", "the A never V the C but V the B"),
            {
                "entailment": (("the B was V by the A",),),
                "neutral": (("the A was V by the B", "the A was V by the C"),),
                "contradiction": (("the C was V by the A",),),
            },
        ),
        (
            ("the B was V by the A but never by the C", "the B was never V by the C but by the A"),
            {
                "entailment": (("the A V the B",),),
                "neutral": (("the B V the A", "the B V the C"),),
                "contradiction": (("the C V the B",),),
            },
        ),
    ),
    "conjunction": (
        (
            ("the A and the B but not the C V the D", "not the C but the A and the B V the D"),
            {
                "entailment": (("the A V the D", "the B V the D"),),
                "neutral": (("the D V the A", "the D V the B", "the D V the C"),),
                "contradiction": (("the C V the D",),),
            },
        ),
        (
            ("the D V the A and the B but not the C", "the D V not the C but the A and the B"),
            {
                "entailment": (("the D V the A", "the D V the B"),),
                "neutral": (("the A V the D", "the B V the D", "the C V the D"),),
                "contradiction": (("the D V the C",),),
            },
        ),
    ),
    "preposition": (
        (
            ("the A near the B V the C but never the D", "near the B the A V the C but never the D"),
            {
                "entailment": (("the A V the C",),),
                "neutral": (("the B V the C", "the B V the D"),),
                "contradiction": (("the A V the D",),),
            },
        ),
    ),
    "quantifiers": (
        (
            (
                "every A V the B , some A the C , no A the D",
                "some A V the C , no A the D , every A the B",
                "no A V the D , every A the B , some A the C",
            ),
            {
                "entailment": (("every A V the B",), ("some A V the B", "some A V the C"), ("no A V the D",)),
                "neutral": (
                    ("every A V the C",),
                    ("some B V the A", "some D V the A"),
                    ("no C V the A", "no B V the A"),
                ),
                "contradiction": (("every A V the D",), ("some A V the D",), ("no A V the B", "no A V the C")),
            },
        ),
    ),
    "if-then": (
        (
            ("if the A X , the B Y but the C never Z . the A X", "the A X . the B Y but the C never Z if the A X"),
            {
                "entailment": (("the B Y",),),
                "neutral": (("the B Z", "the C Y"),),
                "contradiction": (("the C Z",),),
            },
        ),
        (
            ("if the A X , the B Y but the C never Z . the B X", "the C X . the B Y but the C never Z if the A X"),
            {"neutral": (("the B Y", "the C Z"),)},
        ),
    ),
}
SLOTS = "ABCDVXYZ"
FIXED = tuple(
    sorted(
        {
            word
            for cases in TEMPLATES.values()
            for premises, hypotheses in cases
            for text in (*premises, *(text for lines in hypotheses.values() for line in lines for text in line))
            for word in text.split()
        }
        - set(SLOTS)
        - {"."}
    )
)
WORDS = (*LABELS, ".", *FIXED, *PEOPLE, *VERBS, *ACTIONS)
STOP = 1 + WORDS.index(".")


def _coded(text: str, width: int) -> list[int]:
    """Tokens of a text, padded with 0 on the left to the width; slot i of `SLOTS` is -1 - i."""
    codes = [-1 - SLOTS.index(word) if word in SLOTS else 1 + WORDS.index(word) for word in text.split()]
    return [0] * (width - len(codes)) + codes


def _forms() -> tuple[Ints, Ints, np.typing.NDArray[np.float64]]:
    """Coded premises and hypotheses of every form, and the cumulative weight of the forms: 1 per template and label."""
    premises_FW, hypotheses_FW, shares_F = [], [], []
    for cases in TEMPLATES.values():
        for label in LABELS:
            cases_of_label = [(premises, hypotheses[label]) for premises, hypotheses in cases if label in hypotheses]
            for premises, lines in cases_of_label:
                for line in lines:
                    for premise in premises:
                        for hypothesis in line:
                            premises_FW.append(_coded(premise, 17))
                            hypotheses_FW.append(_coded(hypothesis, 7))
                            shares_F.append(1 / (len(cases_of_label) * len(lines) * len(premises) * len(line)))
    return np.array(premises_FW), np.array(hypotheses_FW), np.round(np.cumsum(shares_F), 9)


_PREMISES_FW, _HYPOTHESES_FW, _ENDS_F = _forms()


def _make(rng: np.random.Generator, n: int) -> Drawn:
    template_N, label_N = rng.integers(0, len(TEMPLATES), n), rng.integers(0, len(LABELS), n)
    form_N = np.searchsorted(_ENDS_F, template_N * len(LABELS) + label_N + rng.random(n), side="right")
    people = 1 + WORDS.index(PEOPLE[0])
    verb_N1 = people + len(PEOPLE) + rng.integers(0, len(VERBS), (n, 1))
    actions_N3 = people + len(PEOPLE) + len(VERBS) + choose(rng, n, len(ACTIONS), 3)
    fillers_NS = np.concatenate([people + choose(rng, n, len(PEOPLE), 4), verb_N1, actions_N3], axis=1)
    premise_NW, hypothesis_NW = (_filled(codes_FW[form_N], fillers_NS) for codes_FW in (_PREMISES_FW, _HYPOTHESES_FW))
    writer = Writer(n)
    writer.write(*premise_NW.T, STOP, *hypothesis_NW.T)
    writer.ask(1 + label_N, template_N)
    return writer.drawn(premise_NW)


def _filled(codes_NW: Ints, fillers_NS: Ints) -> Ints:
    filled_NW: Ints = np.where(
        codes_NW < 0, np.take_along_axis(fillers_NS, np.maximum(-1 - codes_NW, 0), axis=1), codes_NW
    )
    return filled_NW


def _open(_path: str | None) -> Source:
    return generator(WORDS, LABELS, tuple(TEMPLATES), 21, _make)


def _shortcuts(train: Examples, held_out: Examples) -> Mapping[str, float]:
    return {
        "majority": rules.majority(train, held_out),
        "bag of words": rules.bag(train, held_out),
        "hypothesis only": rules.bag(train, held_out, rules.after(STOP)),
        "single word": rules.cue(train, held_out),
    }


TASK = Task(open=_open, shortcuts=_shortcuts, steps=2400, batch_size=64)
