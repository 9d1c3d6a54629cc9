"""What is written to disk and read back.

- `jsonl`: JSON Lines files, written completely or not at all.
- `rows`: traces and labeled traces as rows.
- `features`: the types of their columns, for Hugging Face `datasets`.
- `step_scores`: judged traces, and what a verifier said of each of their steps.
- `sources`: rows of a file or of a hub data set, one at a time.
- `rollout_store`: keeps every sampled rollout exactly once.
- `journal`: rows committed in chunks, so that a killed run can continue.
- `provenance`: records settings, versions and inputs of every output; refuses to mix outputs of different settings.
- `wandb_artifacts`: files as W&B artifacts.
"""
