r"""Train an outcome reward model: one score per trace, read at its last step.

Reads   traces.jsonl     checked traces (data/sample_traces.py), or labeled ones (data/label_steps.py)
Writes  <output_dir>/    a verifier checkpoint that `prm.load_verifier` takes; eval_results.json with its validation metrics

    accelerate launch recipes/train_orm.py --config recipes/configs/orm_arithmetic.yaml
"""

from __future__ import annotations

from transformers import TrainingArguments, set_seed
from trl import TrlParser

from prm.formats import file_hash, read_outcomes
from prm.training.arguments import LogArguments, VerifierArguments, hold_out, run_training
from prm.training.data import orm_examples
from prm.training.trainer import VerifierTrainer
from prm.verifiers.checkpoint import DEFAULT_AGGREGATION, VerifierConfig


def main() -> None:
    script, training = TrlParser((VerifierArguments, TrainingArguments)).parse_args_and_config()
    set_seed(training.seed)

    rows = read_outcomes(script.data)[: script.limit]
    if not rows:
        raise SystemExit(f"{script.data} has no trace whose outcome is known")
    train_rows, eval_rows = (rows, read_outcomes(script.eval_data)) if script.eval_data else hold_out(rows)
    if not eval_rows:
        raise SystemExit(f"{script.eval_data} has no trace whose outcome is known")

    tokenizer, codec = script.load_tokenizer(), script.codec()
    train_examples, train_report = orm_examples(train_rows, codec, tokenizer)
    eval_examples, eval_report = orm_examples(eval_rows, codec, tokenizer)
    print(f"train       {train_report}\nvalidation  {eval_report}")

    config = VerifierConfig(
        kind="orm",
        codec=codec,
        semantics="outcome",
        aggregation=DEFAULT_AGGREGATION["outcome"],
        base_model=script.model,
        data_hash=file_hash(script.data),
    )
    trainer = VerifierTrainer(
        script.load_model(), training, config, tokenizer, train_examples, eval_examples, [LogArguments(script)]
    )
    metrics = run_training(trainer, eval_rows)
    print("\n".join(f"{name:40} {value:.4f}" for name, value in metrics.items() if isinstance(value, float)))


if __name__ == "__main__":
    main()
