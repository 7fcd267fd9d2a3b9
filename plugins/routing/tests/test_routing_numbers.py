"""Strata, surprisal, overlaps, ranks and errors against closed forms, slow references and hand-written text."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_routing import (
    BYTES,
    TEXT,
    VOCAB,
    windows,
)
from present import present
from scipy import stats

from modbench.plugins.routing.ngram import surprisal
from modbench.plugins.routing.overlap import between_layers, expected_jaccard, jaccard
from modbench.plugins.routing.rank_correlation import rank_correlation, within_windows
from modbench.plugins.routing.strata import KINDS, kinds_of, positions, quarters, text_strata
from modbench.plugins.routing.tally import confusion, ratio

# --- kinds and strata


def kinds(pieces: list[bytes]) -> list[str]:
    return [KINDS[kind] for kind in kinds_of(np.arange(len(pieces))[None], pieces)[0]]


def test_kinds_of_bytes_as_a_person_reads_them() -> None:
    said = kinds([bytes([byte]) for byte in "Hi x_1: 42a\té".encode()])
    w, c, d, p, s = KINDS
    #               H  i  sp x  _  1  :  sp 4  2  a  tab é (two bytes)
    assert said == [w, c, s, w, c, d, p, s, d, d, c, s, w, c]


def test_kinds_of_pieces_of_several_bytes() -> None:
    pieces = [b"The", b" quick", b"ly", b" 12", b"th", b"\n\n", b" (", b"foo", b"'s", "—".encode(), "ß".encode(), b""]
    w, c, d, p, s = KINDS
    assert kinds(pieces) == [w, w, c, d, c, s, p, w, p, p, w, p]


@given(st.lists(st.integers(0, 255), min_size=2, max_size=60))
def test_every_token_has_one_kind_and_a_word_never_starts_inside_one(ids: list[int]) -> None:
    row_T = np.array(ids)
    kind_T = kinds_of(row_T[None], BYTES)[0]
    assert set(kind_T.tolist()) <= set(range(len(KINDS)))
    for before, now, kind in zip(ids, ids[1:], kind_T[1:], strict=False):
        letter = bytes([now]).isalpha() or now == ord("_") or now >= 0x80
        glued = bytes([before]).isalnum() or before == ord("_") or before >= 0x80
        assert (kind == KINDS.index("continuation")) == (letter and glued)
        assert (kind == KINDS.index("word start")) == (letter and not glued)


@given(st.integers(1, 5), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_bins_partition_the_tokens(n: int, t: int, seed: int) -> None:
    values_NT = np.random.default_rng(seed).integers(0, 6, (n, t)).astype(float)
    for stratum in (positions(values_NT.astype(int)), quarters("loss", "nat", values_NT)):
        bins = len(stratum.labels)
        assert stratum.ranges is not None
        assert len(stratum.ranges) == bins
        assert np.bincount(stratum.bin_NT.ravel(), minlength=bins).min() > 0
        assert stratum.bin_NT.max() < bins
        # Bins are ordered and no value is in two.
        assert all(a[1] < b[0] for a, b in itertools.pairwise(stratum.ranges))


def test_quarters_are_quarters_and_positions_eighths() -> None:
    stratum = quarters("difficulty", "nat", np.random.default_rng(0).random((4, 100)))
    assert np.bincount(stratum.bin_NT.ravel()).tolist() == [100] * 4
    assert stratum.labels == ("easiest", "easy", "hard", "hardest")
    stratum = positions(np.zeros((3, 256), dtype=int))
    assert stratum.labels[0] == "0–31"
    assert np.bincount(stratum.bin_NT.ravel()).tolist() == [96] * 8


def test_frequency_is_of_the_training_text() -> None:
    inputs_NT = np.array([[0, 1, 2, 3] * 4])
    train = np.array([0] * 1 + [1] * 10 + [2] * 100 + [3] * 889)
    tokens = SimpleNamespace(train=train, pieces=BYTES)
    stratum = text_strata(inputs_NT, inputs_NT, tokens)["frequency"]
    assert stratum.bin_NT[0, :4].tolist() == [0, 1, 2, 3]
    assert stratum.ranges == ((1000, 1000), (10000, 10000), (100000, 100000), (889000, 889000))


def slow_surprisal(train: list[int], context: list[int], token: int, vocab: int) -> float:
    """Witten-Bell from the definition, one token at a time."""
    p = 1 / vocab
    for order in range(len(context) + 1):
        wanted = tuple(context[len(context) - order :])
        followers = Counter(train[i] for i in range(order, len(train)) if tuple(train[i - order : i]) == wanted)
        if followers:
            p = (followers[token] + len(followers) * p) / (followers.total() + len(followers))
    return -math.log(p)


@pytest.mark.parametrize("vocab", [5, 500])
def test_surprisal_is_witten_bell(vocab: int) -> None:
    """Against the definition; the two sizes count by place and by sorting."""
    rng = np.random.default_rng(0)
    train = (rng.zipf(1.5, 400) % min(vocab, 40)).tolist()
    text_NT = rng.integers(0, min(vocab, 45), (3, 13))
    found_NT = surprisal(np.array(train, dtype=np.uint16), text_NT[:, :-1], text_NT[:, 1:], vocab)
    for n, t in np.ndindex(found_NT.shape):
        context = text_NT[n, max(0, t - 1) : t + 1].tolist()
        assert found_NT[n, t] == pytest.approx(slow_surprisal(train, context, int(text_NT[n, t + 1]), vocab))


def test_surprisal_is_a_distribution_and_lower_on_text_like_its_own() -> None:
    train = np.frombuffer(TEXT, dtype=np.uint8)
    for context in (b"th", b"zz"):
        inputs_NT = np.tile(np.frombuffer(context, dtype=np.uint8), (VOCAB, 1))
        targets_NT = np.stack([np.full(VOCAB, context[1]), np.arange(VOCAB)], axis=1)
        assert np.exp(-surprisal(train, inputs_NT, targets_NT, VOCAB)[:, 1]).sum() == pytest.approx(1)
    own, noise = windows()[0].numpy(), np.random.default_rng(0).integers(0, 256, (6, 48))
    hard = [surprisal(train, each[:, :-1], each[:, 1:], VOCAB).mean() for each in (own, noise)]
    assert hard[0] < 0.5
    assert hard[1] > 5


def test_a_text_of_one_token_still_counts() -> None:
    one = np.array([[3]])
    assert surprisal(np.array([3]), one, one, 10)[0, 0] == pytest.approx(-math.log((1 + 0.1) / 2))


# --- closed forms


def test_jaccard_in_closed_form() -> None:
    one = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    other = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    found = present(jaccard(one, other))
    assert found[0] == pytest.approx((1 / 3 + 1) / 2)  # the third window has nothing to compare
    assert found[1] == pytest.approx((expected_jaccard(2, 2, 4) + expected_jaccard(1, 1, 4)) / 2)
    # Two of four twice: 1/6 of the pairs share both (index 1), 4/6 one (1/3), 1/6 none.
    assert expected_jaccard(2, 2, 4) == pytest.approx(1 / 6 + 4 / 6 / 3)
    assert expected_jaccard(3, 8, 8) == pytest.approx(3 / 8)
    assert jaccard(one[2:], other[2:]) is None


def test_expected_jaccard_is_what_draws_give() -> None:
    rng = np.random.default_rng(0)
    masks = rng.permuted(np.tile(np.arange(32) < 8, (4000, 1)), axis=1)
    other = rng.permuted(np.tile(np.arange(32) < 5, (4000, 1)), axis=1)
    found = present(jaccard(masks, other))
    assert found[0] == pytest.approx(found[1], abs=0.005)
    matrix, chance = between_layers(np.stack([masks, other]))
    assert matrix[0][0] == chance[1][1] == 1
    assert matrix[0][1] == matrix[1][0] == found[0]


def test_confusion_in_numbers() -> None:
    chosen = np.array([1] * 10 + [0] * 90, dtype=bool)
    told = np.array([1] * 8 + [0] * 2 + [1] * 4 + [0] * 86, dtype=bool)
    found = confusion(chosen, told)
    assert [found[name] for name in ("tp", "fp", "fn", "tn")] == [8, 4, 2, 86]
    assert found["accuracy"] == 0.94
    assert found["base_rate"] == 0.9
    assert found["precision"] == pytest.approx(8 / 12)
    assert found["recall"] == 0.8
    assert found["f1"] == pytest.approx(16 / 22)
    assert found["balanced_accuracy"] == pytest.approx((0.8 + 86 / 90) / 2)
    silent = confusion(chosen, np.zeros_like(chosen))
    assert silent["precision"] is None
    assert silent["accuracy"] == silent["base_rate"]
    assert confusion(~chosen, ~told)["base_rate"] == 0.9  # "all pass" is a constant answer too


def test_the_error_of_a_ratio_takes_windows_as_the_unit() -> None:
    """With equal windows it is the textbook error of a mean of windows; tokens that agree add nothing."""
    means_N = np.random.default_rng(1).random(20)
    value, error = ratio(means_N * 50, np.full(20, 50))
    assert value == pytest.approx(means_N.mean())
    assert error == pytest.approx(means_N.std(ddof=1) / math.sqrt(20))
    assert ratio(np.array([3.0]), np.array([6])) == (0.5, None)
    assert ratio(np.zeros(2), np.zeros(2)) == (None, None)


@given(st.integers(0, 2**32 - 1), st.integers(6, 40))
def test_rank_correlation_is_spearmans(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x_n, y_n = rng.integers(0, 9, n), rng.normal(size=n)
    found = rank_correlation(x_n, y_n, np.zeros(n), np.arange(n) % 4)
    assert (
        found.rho is None if len(set(x_n.tolist())) == 1 else found.rho == pytest.approx(stats.spearmanr(x_n, y_n)[0])
    )


def test_rank_correlation_forgets_what_groups_have_apart() -> None:
    """Layers whose scores lie apart, and whose effects do too, say nothing by that."""
    rng = np.random.default_rng(0)
    layer_n = np.repeat([0, 1], 200)
    x_n, y_n = rng.normal(size=400) + 9 * layer_n, rng.normal(size=400) + 9 * layer_n
    assert stats.spearmanr(x_n, y_n)[0] > 0.7
    found = rank_correlation(x_n, y_n, layer_n, np.arange(400) % 16)
    assert found.rho == pytest.approx(0, abs=0.1)


@pytest.mark.slow
def test_the_interval_covers_as_often_as_it_says() -> None:
    """Independent sides whose windows have levels of their own: pooled tokens would be far too sure."""
    rng, missed = np.random.default_rng(0), 0
    window_n = np.repeat(np.arange(16), 12)
    for seed in range(80):
        x_n, y_n = (rng.normal(size=16)[window_n] + rng.normal(size=192) for _ in range(2))
        found = rank_correlation(x_n, y_n, np.zeros(192), window_n, seed)
        missed += not present(found.low) <= 0 <= present(found.high)
    assert missed <= 14  # 5 % would be 4; a bootstrap of 16 windows is somewhat short


def test_correlations_that_cannot_be_say_why() -> None:
    few = rank_correlation(np.arange(3), np.arange(3), np.zeros(3), np.arange(3))
    assert few.rho is None
    assert "3 values" in str(few.reason)
    flat = rank_correlation(np.ones(20), np.arange(20), np.zeros(20), np.arange(20))
    assert flat.rho is None
    assert "same everywhere" in str(flat.reason)
    near = rank_correlation(np.arange(20), np.arange(20), np.zeros(20), np.arange(20) % 2)
    assert near.rho == pytest.approx(1)
    assert near.low is None
    assert "2 held-out sequences" in str(near.reason)
    assert within_windows(np.ones((3, 9)), np.ones((3, 9))).rho is None
