"""Tensor code that generators and verifiers share.

- `packing`: sequences -> one row in which shared prefixes are stored once.
- `tree_attention`: attention over such a row.
- `step_classifier`: a language model with a two-label head at step ends.
- `prefix_cache`, `prefix_tree`: keys and values that a verifier keeps between calls, of all prompts and of one.
- `kept_tokens`: keys and values that a generator keeps between the calls of a search.
- `growing_rows` with `roomy_layer`, `slots`: the batch of a generator, on a CPU and on a GPU.
- `token_tree`: which token sequences are known.
- `shape`: what decides the FLOPs of a model.
- `loading`: models and tokenizers from folders, hub names and GGUF files; fingerprints of weights; hashes of
  bases; 4-bit weights.
"""
