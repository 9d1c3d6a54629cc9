"""Tensor code that generators and verifiers share.

- `packing`: sequences -> one row in which shared prefixes are stored once.
- `tree_attention`: attention over such a row.
- `step_classifier`: a language model with a two-label head at step ends.
- `prefix_cache`: keys and values that are read once: kept between calls that score, forked to continuations of one prefix.
- `shape`: what decides the FLOPs of a model.
- `loading`: models and tokenizers from folders, hub names and GGUF files; fingerprints of weights; hashes of
  bases; 4-bit weights.
"""
