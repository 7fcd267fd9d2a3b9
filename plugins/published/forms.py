"""The closed forms that `numbers.toml` names: those of our models, and of models with latent attention.

Nothing is built: `cost` and `decode_cost` of our models are called.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from modbench.extend import Cost, DecodeCost, ModelConfig, UsageError, catalogue, closed_form, unknown

OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
# Our MoE as published ones are: experts in every block (from `first_routed` on), chosen by tokens.
PUBLISHED_MOE = {"every": 1, "first_routed": 0, "choice": "token"}


class Latent(BaseModel):
    """A model with multi-head latent attention (MLA) and DeepSeek's experts, which our catalogue cannot express.

    Multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434, section 2.1 and appendix C): keys and values of a token are
    made from one latent vector, and one rotated key is shared by all heads; queries may have a latent of their own. SwiGLU
    throughout, RMSNorm before each sub-layer and at the end; embedding and head are separate.

    Attributes:
        d_model: width of the stream.
        n_heads: heads.
        q_rank: width of the queries' latent; 0: queries are projected directly.
        kv_rank: width of the latent of keys and values.
        nope: width of a head's key without positions, and of its query's part.
        rope: width of the rotated key that all heads share, and of each query's part.
        value: width of a head's value.
        vocab_size: tokens.
        dense_layers: layers with an MLP of width `d_ff` in place of experts.
        expert_layers: layers with experts.
        d_ff: width of dense MLPs.
        expert_d_ff: width of an expert.
        n_experts: routed experts.
        experts_top_k: experts of these that a token gets.
        shared_experts: experts that every token passes.
        choices: what the router chooses among, where that is more than the experts (no-op experts); 0: the experts.
        doubled: whether a layer with experts also has two attentions and two dense MLPs (LongCat-Flash).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    d_model: int
    n_heads: int
    q_rank: int
    kv_rank: int
    nope: int = 128
    rope: int = 64
    value: int = 128
    vocab_size: int = 0
    dense_layers: int = 0
    expert_layers: int = 0
    d_ff: int = 0
    expert_d_ff: int = 0
    n_experts: int = 0
    experts_top_k: int = 0
    shared_experts: int = 0
    choices: int = 0
    doubled: bool = False

    @property
    def attention(self) -> int:
        """Parameters of one attention, with the norms of both latents."""
        d, h, q, kv = self.d_model, self.n_heads, self.q_rank, self.kv_rank
        queries = d * q + q + q * h * (self.nope + self.rope) if q else d * h * (self.nope + self.rope)
        down = d * (kv + self.rope) + kv
        return queries + down + kv * h * (self.nope + self.value) + h * self.value * d

    @property
    def cache(self) -> int:
        """Elements that one token leaves in the cache: of each layer the latent and the shared key."""
        return (self.dense_layers + self.expert_layers) * (self.kv_rank + self.rope)

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the head."""
        return self.vocab_size * self.d_model

    @property
    def routers(self) -> int:
        """Parameters of all routers."""
        return self.expert_layers * self.d_model * (self.choices or self.n_experts)

    @property
    def expert(self) -> int:
        """Parameters of one expert."""
        return 3 * self.d_model * self.expert_d_ff

    @property
    def params(self) -> int:
        """All parameters."""
        return self._with_experts(self.n_experts)

    @property
    def active(self) -> int:
        """Parameters that one token meets: all but the experts that it does not choose."""
        return self._with_experts(self.experts_top_k)

    def _with_experts(self, number: int) -> int:
        half, mlp = self.attention + 2 * self.d_model, 3 * self.d_model * self.d_ff
        block = (2 * (half + mlp) if self.doubled else half) + (number + self.shared_experts) * self.expert
        dense = self.dense_layers * (half + mlp)
        return dense + self.expert_layers * block + self.routers + self.d_model + 2 * self.embedding


@dataclass(frozen=True)
class Shape:
    """A published configuration.

    Attributes:
        model: our model that has this shape, or `latent`.
        keys: keys of `ModelConfig`, or of `Latent`. One sequence is `max_seq_len` long (default 1).
        given: more numbers that the source names, such as tokens and GPUs.
        terms: expressions with a name.
    """

    model: str
    keys: Mapping[str, Any]
    given: Mapping[str, float]
    terms: Mapping[str, str]

    def config(self, **changed: Any) -> Any:  # noqa: ANN401  # keys of a configuration, of either type
        """The configuration, or one that differs in some keys."""
        if self.model == "latent":
            return Latent.model_validate({**self.keys, **changed})
        options = {**catalogue.model_options(self.model), **(PUBLISHED_MOE if self.model == "moe" else {})}
        return ModelConfig.model_validate({"max_seq_len": 1, **options, **self.keys, **changed})

    def cost(self, **changed: Any) -> Cost:  # noqa: ANN401  # as above
        """Closed-form cost of our model, at batch size 1."""
        config = self.config(**changed)
        return closed_form(self.model, config, config.max_seq_len, 1)

    def __getitem__(self, name: str) -> float:
        """A number that is given, of a term, of a closed form, or a key of the configuration.

        Raises:
            UsageError: if there is none of this name.
        """
        config = self.config()
        if name in self.given:
            return self.given[name]
        if name in self.terms:
            return evaluate(self.terms[name], self)
        if name in CATALOGUE and not isinstance(config, Latent):
            return CATALOGUE[name](self)
        value = getattr(config, name, None)
        if not isinstance(value, int | float):
            raise unknown("number", name, {*self.given, *self.terms, *CATALOGUE, *type(config).model_fields})
        return value


def cache(of: Shape) -> float:
    """Elements of keys and values that our model keeps after `max_seq_len` tokens."""
    made = of.config()
    decode: DecodeCost = catalogue.load("models", of.model).decode_cost(made, made.max_seq_len, 1)
    return decode.held


def routers(of: Shape) -> float:
    """Parameters of all routers of our MoE."""
    made = of.config()
    return float((made.n_layers - made.first_routed) * made.d_model * made.n_experts)


def active(of: Shape) -> float:
    """Parameters of our MoE that one token meets: all but the experts that it does not choose."""
    few = replace(of, keys={**of.keys, "n_experts": of.config().experts_top_k})
    return few.cost().params - routers(few) + routers(of)


def experts_saved(of: Shape) -> float:
    """How many times fewer FLOPs our experts do if only real choices take capacity.

    Real and no-op experts are chosen as `tau` weighs the ones against the `no_ops` others (MoE++, section 3.4).
    """
    chosen = of["tau"] * of["n_experts"]
    # Long enough that the whole number of tokens that an expert takes is the exact share, to eight digits.
    long = 2**30
    full = of.cost(max_seq_len=long, capacity_factor=1.0).parts["experts"]
    return full / of.cost(max_seq_len=long, capacity_factor=chosen / (chosen + of["no_ops"])).parts["experts"]


# Closed forms of our models. FLOPs are those of one sequence.
CATALOGUE: dict[str, Callable[[Shape], float]] = {
    "params": lambda of: of.cost().params,
    "embedding": lambda of: of["vocab_size"] * of["d_model"],
    "routers": routers,
    "active": active,
    "cache": cache,
    "forward": lambda of: of.cost().forward,
    "forward_headless": lambda of: of.cost().forward_headless,
    "train_step": lambda of: of.cost().train_step,
    "score_flops": lambda of: of.cost().parts["scores"],
    "value_flops": lambda of: of.cost().parts["values"],
    "head_flops": lambda of: of.cost().parts["head"],
    "experts_saved": experts_saved,
}


def names_in(expression: str) -> set[str]:
    """The names of an expression."""
    return {node.id for node in ast.walk(ast.parse(expression, mode="eval")) if isinstance(node, ast.Name)}


def evaluate(expression: str, numbers: Shape) -> float:
    """The value of an expression of numbers, names and + - * / **, such as `6 * params * tokens`.

    Raises:
        UsageError: if it holds anything else, or a name that is no number of the shape.
    """

    def value(node: ast.expr) -> float:
        match node:
            case ast.BinOp(op=op) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(node.left), value(node.right))
            case ast.Name():
                return numbers[node.id]
            case ast.Constant(value=int() | float() as constant):
                return constant
        raise UsageError(f"{expression!r} holds more than numbers, names and + - * / **")

    return value(ast.parse(expression, mode="eval").body)
