"""A model that writes what it is told to."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def successor_model(tokenizer, successors: dict[str, str], default: str = "<pad>", **sizes):
    """A Llama that writes `successors[token]` after `token`: attention and MLP add nothing, the head is a table."""
    size = len(tokenizer)
    config = LlamaConfig(
        vocab_size=size, hidden_size=size + size % 2, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=0,
        tie_word_embeddings=False, **sizes,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, config.hidden_size))
        model.lm_head.weight.zero_()
        for i in range(size):
            token = tokenizer.convert_ids_to_tokens(i)
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(successors.get(token, default)), i] = 9.0
    return model
