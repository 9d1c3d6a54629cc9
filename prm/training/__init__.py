"""Training of verifiers on the Hugging Face `Trainer`, in the order of a run.

- `arguments`: the flags that both recipes share.
- `data`: the folder, file or hub name that they name.
- `run`: `read_rows`, then `fit`, from examples to a checkpoint that is checked. The rest is what they use:
- `examples`: labeled rows -> token ids, positions and targets.
- `preflight`: refuses data that cannot train a verifier, and shows what the model will read.
- `batches`: examples -> packed rows.
- `losses`: the objectives.
- `trainer`: `VerifierTrainer`, evaluation per step, checkpoints that say how to read them.
- `settings`: config.yaml, with which the run can be repeated.
- `distributed`, `resume`, `throughput`, `tracking`: several processes, killed runs, speed, W&B.
"""
