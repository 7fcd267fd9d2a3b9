"""The grid of a suite: lengths, batches, number formats and ways to run that every arm is measured at."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from modbench.harness.core.config import MOST_TOKENS
from modbench.harness.core.frozen import Frozen
from modbench.harness.domain.case import Dtype

Execution = Literal["eager", "compiled", "graph"]


class Grid(Frozen):
    """Axes of the grid: every arm runs at each point of their Cartesian product.

    Attributes:
        seq_len: sequence lengths in tokens; when decoding, lengths of the context.
        batch_size: sequences in a call.
        dtype: number formats of weights and computation.
        execution: as written (`eager`), by torch.compile (`compiled`), or decode steps as a CUDA graph (`graph`).
        request: whole requests of `latency/request`, in place of lengths: a prompt and new tokens, such as `512+128`; none: each
            length, with `decode.tokens` new ones.
    """

    seq_len: tuple[int, ...] = Field((128, 256, 512), min_length=1)
    batch_size: tuple[int, ...] = Field((1,), min_length=1)
    dtype: tuple[Dtype, ...] = Field(("fp32",), min_length=1)
    execution: tuple[Execution, ...] = Field(("eager",), min_length=1)

    request: tuple[str, ...] = ()

    @field_validator("seq_len", "batch_size", "dtype", "execution", "request", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Turn a single value into a list, and drop repeated values, which would measure a case twice."""
        if not isinstance(value, list | tuple):
            return (value,)
        return tuple(item for i, item in enumerate(value) if item not in value[:i])

    @field_validator("request")
    @classmethod
    def _are_requests(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not re.fullmatch(r"0*[1-9]\d{0,18}\+0*[1-9]\d{0,18}", text):
                raise ValueError(f"{text!r} is no request: write a prompt and new tokens, such as 512+128")
            cls._positive(tuple(map(int, text.split("+"))))
        return tuple(dict.fromkeys("+".join(str(int(part)) for part in text.split("+")) for text in value))

    def requests(self, new_tokens: int) -> list[tuple[int, int]]:
        """Tokens of the prompt and new tokens of each request; `new_tokens` where only lengths are given."""
        asked = [(int(prompt), int(new)) for prompt, new in (text.split("+") for text in self.request)]
        return asked or [(length, new_tokens) for length in self.seq_len]

    @field_validator("seq_len", "batch_size")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError(f"{min(value)} is not a number of at least 1")
        if max(value) > MOST_TOKENS:
            raise ValueError(f"a number over {MOST_TOKENS:,} is more than anything that can be run")
        return value
