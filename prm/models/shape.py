"""The shape of a model, which decides what a token costs (`prm.costs.ModelShape`)."""

from __future__ import annotations

from transformers import PreTrainedModel

from prm.costs import ModelShape


def model_shape(model: PreTrainedModel) -> ModelShape:
    """Of a causal language model or a token classifier with attention in every layer.

    An input embedding that is also the output layer is multiplied there, so it counts; one of its own does not.
    """
    config = model.config.get_text_config().to_dict()
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    embedding, output = model.get_input_embeddings().weight, model.get_output_embeddings()
    tied = output is not None and output.weight is embedding
    weights = sum(p.numel() for p in model.parameters()) - (0 if tied else embedding.numel())  # type: ignore[operator]
    return ModelShape(weights, config["num_hidden_layers"] * config["num_attention_heads"] * size)
