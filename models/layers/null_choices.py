"""How many null choices a token has beside its N experts, and what follows for shapes: numbers only.

`capacity` is rho, the share of all choices that reach a real expert. Among N + M choices taken equally often it is N / (N + M),
so M = N (1 - rho) / rho (arXiv 2601.15370).
"""

from __future__ import annotations

from dataclasses import dataclass

from modbench.harness.core.config import MOST_EXPERTS, ModelConfig

# rho is a decimal number such as 0.3, whose M is whole up to rounding.
NEARLY = 1e-6


@dataclass(frozen=True)
class NullChoices:
    """Null choices of one shape.

    Attributes:
        number: M, null choices beside the real experts; 0 where rho is 1.
        logits: of these, how many have a logit of their own: all, or one for all.
        columns: null choices that a token's top-k compares; of copies it can take no more than k.
        constants: constant experts that the block holds; copies are one expert.
    """

    number: int
    logits: int
    columns: int
    constants: int


def null_choices(config: ModelConfig) -> NullChoices:
    """The null choices of a shape whose tokens choose.

    `n_no_ops` given by hand counts: `capacity` is still the share that is held, and M says only among how many no-ops the rest
    is divided. Left out, it follows from `capacity`.

    Raises:
        ValueError: if no whole M gives `capacity`, or M is so small that some of a token's choices must be real.
    """
    assert config.capacity is not None
    n, k, rho = config.n_experts, config.experts_top_k, config.capacity
    m = _whole(n, rho) if config.n_no_ops is None else config.n_no_ops
    if m > MOST_EXPERTS:
        raise ValueError(
            f"capacity {rho:g} asks for {m} no-ops beside {n} experts; at most {MOST_EXPERTS} are possible"
        )
    if rho * k < k - m - NEARLY:
        raise ValueError(
            f"a token has {k} choices and {m} no-ops, so at least {(k - m) / k:g} of its choices are real: capacity "
            f"{rho:g} needs n_no_ops of at least {-(-k * (1 - rho) // 1):.0f}"
        )
    shared = config.no_op_logits == "shared"
    logits = min(m, 1) if shared else m
    return NullChoices(m, logits, min(m, k) if shared else m, logits if config.no_op == "constant" else 0)


def _whole(n: int, rho: float) -> int:
    """M = N (1 - rho) / rho, if it is a whole number."""
    m = n * (1 - rho) / rho
    if abs(m - round(m)) <= NEARLY * max(1.0, m):
        return round(m)
    near = sorted({n / (n + each) for each in (int(m), int(m) + 1)})
    others = [
        each
        for away in range(1, 64)
        for each in (n - away, n + away)
        if each >= 1 and abs(each * (1 - rho) / rho - round(each * (1 - rho) / rho)) <= NEARLY * max(1.0, m)
    ]
    experts = f"n_experts {others[0]}, " if others else ""
    raise ValueError(
        f"capacity {rho:g} with n_experts {n} asks for {m:.4g} no-ops, which is no whole number. Nearest: {experts}"
        f"capacity {' or '.join(f'{each:.4g}' for each in near)}; or set n_no_ops"
    )


def refuse_unused(config: ModelConfig) -> None:
    """Refuse what only tokens that choose can have.

    Raises:
        ValueError: if experts choose, and an option of token choice is set.
    """
    for key, default in (("no_op", "zero"), ("no_op_logits", "own"), ("balance", "loss")):
        value = getattr(config, key)
        if config.choice == "expert" and value != default:
            raise ValueError(
                f"{key} {value!r} needs choice 'token': where experts choose, no token takes a no-op, and each expert's "
                "share is fixed"
            )


def real_pairs(config: ModelConfig, tokens: int) -> int:
    """Pairs of a token and a real expert that are expected among so many tokens: capacity x top-k each."""
    assert config.capacity is not None
    return int(config.capacity * config.experts_top_k * tokens + 1e-9)


def spread(pairs: int, n_experts: int) -> list[int]:
    """Pairs of each expert, as equal as can be."""
    return [pairs // n_experts + (e < pairs % n_experts) for e in range(n_experts)]
