"""Training of verifiers on the Hugging Face `Trainer`.

- `data`: labeled rows -> token ids, step ends and targets.
- `losses`: the objectives, scaled by the global number of labeled steps.
- `trainer`: `VerifierTrainer`, evaluation per step, checkpoints that say how to read them.
"""
