"""What is written to disk and read back.

- `jsonl`: JSON Lines files, whole or not at all.
- `rows`: traces and labeled traces as rows.
- `sources`: rows of a file or of a hub data set, one at a time.
- `rollout_store`: every rollout that was sampled, once.
- `journal`: rows committed in chunks, so that a killed run goes on.
- `provenance`: settings, versions and inputs beside every output.
- `wandb_artifacts`: files as W&B artifacts.
"""
