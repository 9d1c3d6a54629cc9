"""StepClassifier: a Hugging Face `*ForTokenClassification` whose two-label head runs in fp32, at step ends only.

The class is derived at run time from the stock one (`LlamaForTokenClassification`, `Qwen2ForTokenClassification`, ...), so
a checkpoint is a plain Hugging Face folder: `AutoModelForTokenClassification`, PEFT and vLLM load it like any other.
The differences from the stock class, and their reasons:

- it reads packed rows (`prm.models.packing`), in which shared prefixes are computed once;
- it computes logits, and the MLP of the last layer, only where a score is read (`step_index`), not at every token;
- head and logits stay fp32 in a bf16 model: bf16 collapses 200 distinct probabilities near 1 into 5, so that ranks tie;
- no dropout before the head (stock default 0.1), which would make scores noisy outside `eval()`;
- no built-in loss: the stock one is wrong under gradient accumulation (transformers#47688). See `prm.training.losses`.

There are three heads (`HEADS`), all with two logits per step: `linear`; `mlp`, two layers with the names of
Qwen2.5-Math-PRM, which vLLM serves but the stock token classifier does not have; `lm_tokens`, a linear head that starts as
the language model's own rows of "-" and "+" (Math-Shepherd, RLHFlow), so that training starts from the model's judgment.

A model is loaded in one of two ways. `prm.models.loading.from_base` starts from a language model, which lacks the head and
nothing else. `prm.verifiers.loading.load_classifier` reads a finished checkpoint, which must have its head and our labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, get_args

import torch
from torch import nn
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, Cache, PreTrainedConfig
from transformers.modeling_outputs import TokenClassifierOutput

from prm.models import tree_attention
from prm.types import Head

HEADS: tuple[Head, ...] = get_args(Head)

LABELS = {0: "bad", 1: "good"}
HEAD = "score"
"""Name of the head module in the stock token classifiers of Llama, Qwen, Mistral, Gemma and most others."""


class Fp32Linear(nn.Linear):
    """A linear layer that computes in fp32, whatever the type of its input and the autocast around it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class StepClassifier:
    """Mixin before a stock token classifier. `forward` returns logits (steps, 2)."""

    accepts_loss_kwargs = False  # the Trainer's loss function scales by the global count itself
    head: Head = "linear"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        if HEAD not in self._modules:  # type: ignore[attr-defined]
            raise ValueError(
                f"the token classifier of {config.model_type!r} models has no head called {HEAD!r}; use a Llama, Qwen2,"
                " Qwen3, Mistral, Gemma ... base model"
            )
        stock: nn.Linear = self.score  # type: ignore[has-type]
        size = stock.in_features
        # An explicit dtype takes precedence over that of the folder, both for a new head and for a loaded one.
        last = Fp32Linear(size, stock.out_features, bias=stock.bias is not None, dtype=torch.float32)
        first = (Fp32Linear(size, size, dtype=torch.float32), nn.ReLU()) if self.head == "mlp" else ()
        self.score = nn.Sequential(*first, last) if first else last  # type: ignore[assignment]

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        subtree_end: torch.Tensor | None = None,
        step_index: torch.Tensor | None = None,
        kept: Cache | None = None,
        kept_below: torch.Tensor | None = None,
        return_dict: bool = True,
        **peft_defaults: None,
    ) -> TokenClassifierOutput:
        """
        Args:
            input_ids: (1, tokens) of a packed row, or (rows, tokens) of whole sequences of one length.
            position_ids: (1, tokens); None = 0, 1, 2, ...
            subtree_end: (1, tokens) of a packed row (`prm.models.packing`); None = plain causal rows.
            step_index: (steps,) indices into the flattened (rows * tokens) positions; None = every position.
            kept: keys and values of tokens that the row continues (`prm.models.prefix_cache`).
            kept_below: (kept tokens, 2) which tokens of the row continue each of them (`tree_attention.attention_calls`).
            return_dict: always true; PEFT's wrapper passes it.
            peft_defaults: arguments that PEFT's wrapper passes unset (`labels`, `inputs_embeds`, ...). There is no
                `attention_mask`, because no row has padding.

        Returns:
            `logits` (steps, 2) in fp32; without `step_index` (rows, tokens, 2).
        """
        # What a caller sets must have an effect.
        unknown = {name: value for name, value in peft_defaults.items() if value is not None}
        if unknown:
            raise TypeError(f"StepClassifier.forward does not take {', '.join(unknown)}")
        # Attention over a packed row: once for all layers, which receive it as a keyword argument.
        tree = {}
        if subtree_end is not None:
            if len(subtree_end) != 1:
                raise ValueError(
                    f"packed rows come one at a time, this batch has {len(subtree_end)}; pack them together"
                )
            tree = {"tree": tree_attention.attention_calls(subtree_end, kept_below)}
        # The body. Its last layer mixes tokens in the attention; the MLP after it works token by token, so that it is
        # needed only where a score is read. Under gradient checkpointing it is computed everywhere (`_only_at`).
        backbone = self.get_decoder()  # type: ignore[attr-defined]
        only = nullcontext()
        if step_index is not None and not backbone.layers[-1].gradient_checkpointing:
            only = _only_at(step_index.unique(), backbone.layers[-1].mlp)  # type: ignore[assignment]
        with only:
            hidden = backbone(
                input_ids=input_ids, position_ids=position_ids, past_key_values=kept, use_cache=False, **tree
            ).last_hidden_state
        # The head, at steps only. A position that several traces share is read once for each of them.
        if step_index is not None:
            hidden = hidden.flatten(0, 1)[step_index]
        return TokenClassifierOutput(logits=self.score(hidden))


def spread(logits: torch.Tensor) -> torch.Tensor:
    """How far the chances of steps that look like this one scatter: the standard deviation of Beta(e^good, e^bad), which has
    the softmax of the logits as its mean. It means something after training with the objective `beta_binomial` only.

    Args:
        logits: (steps, 2).
    """
    mean = torch.softmax(logits, -1)[:, 1]
    return (mean * (1 - mean)).sqrt() * torch.exp(-torch.nn.functional.softplus(torch.logsumexp(logits, -1)) / 2)


@contextmanager
def _only_at(index: torch.Tensor, mlp: nn.Module) -> Iterator[None]:
    """Compute the MLP of the last layer at these positions of the flattened rows only; elsewhere nobody reads its result.

    Measured at 10M parameters (10 layers, CPU, `eval/bench_training.py` and `bench_scoring.py` with and without it in turn,
    medians of 16 to 32 pairs): optimizer steps are 4% faster on GSM8K-shaped data and 7% on trees, scoring is 5% faster.
    This MLP has 7.5% of the weights of the body there, and 2.5% at 135M.

    Not under gradient checkpointing, which calls the layer again after the hooks are removed.
    """
    shape: list[torch.Size] = []

    def select(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        shape.append(inputs[0].shape)
        return (inputs[0].flatten(0, 1)[index],)

    def spread(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        rows = output.new_zeros(shape[-1]).flatten(0, 1)
        return rows.index_copy(0, index, output).view(shape.pop())

    hooks = [mlp.register_forward_pre_hook(select), mlp.register_forward_hook(spread)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def classifier_class(config: PreTrainedConfig, head: Head = "linear") -> Any:
    """The StepClassifier of this architecture, under the name of the stock class, which checkpoints record (with an MLP
    head: `...ForProcessRewardModel`, the name of the class of Qwen2.5-Math-PRM)."""
    try:
        stock: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
    except KeyError as error:
        raise ValueError(
            f"{config.model_type!r} models have no token-classification class in transformers, so no head can be put on"
            " them; use a Llama, Qwen2, Qwen3, Mistral, Gemma ... base model"
        ) from error
    name = stock.__name__
    if head == "mlp":
        name = name.replace("TokenClassification", "ProcessRewardModel")
    return type(name, (StepClassifier, stock), {"__module__": stock.__module__, "head": head})
