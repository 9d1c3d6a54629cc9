"""Tensor code that generators and verifiers share.

- `packing`: sequences -> one row in which shared prefixes are stored once.
- `tree_attention`: attention over such a row.
- `step_classifier`: a language model with a two-label head at step ends.
- `prefix_cache`: keys and values that are read once and forked to many continuations.
- `loading`: models and tokenizers from folders, hub names and GGUF files; fingerprints of weights; hashes of
  bases; 4-bit weights.
"""
