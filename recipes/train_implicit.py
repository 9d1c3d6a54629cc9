r"""Train an implicit PRM from outcomes alone: a language model whose likelihood ratio to its start scores every step.

Reads   traces.jsonl     checked traces (data/sample_traces.py), or labeled ones; also a folder or a data set on the hub
Writes  <output_dir>/    a language model that `prm.load_verifier` takes, with family.yaml, which says how; config.yaml with
                         all settings; README.md, its card; eval_results.json with its validation metrics

    accelerate launch --quiet recipes/train_implicit.py --config recipes/configs/implicit_arithmetic.yaml
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from prm.command_line import TRAINING_ARGUMENTS, run_script
from prm.encoding.layouts import Layout
from prm.encoding.prompts import HELP, prompt_template
from prm.encoding.steps import SEPARATORS
from prm.storage.rows import read_outcomes
from prm.training.arguments import check_given, step_rule_of

if TYPE_CHECKING:
    from transformers import TrainingArguments


@dataclass
class ImplicitArguments:
    """What to train on, from which model, and how traces become text."""

    model: str = field(
        metadata={"help": "language model to start from, which is the reference, too: folder or hub name"}
    )
    data: str = field(metadata={"help": "checked traces: a file, a folder of data/build_dataset.py, or a hub name"})
    eval_data: str | None = field(
        default=None, metadata={"help": "the same for validation; default: as of the other training scripts"}
    )
    beta: float = field(default=0.05, metadata={"help": "factor on the log-likelihood ratio", "above": 0})
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {HELP}"})
    max_length: int = field(default=1024, metadata={"help": "longest trace in tokens", "least": 1})
    overlong: Literal["error", "drop"] = field(
        default="error", metadata={"help": "longer traces: stop, or leave them out"}
    )
    limit: int | None = field(
        default=None, metadata={"help": "use only this many rows of `data`, from the first", "least": 1}
    )
    allow_benchmark: bool = field(default=False, metadata={"help": "train on rows of a benchmark, too"})
    license: str | None = field(default=None, metadata={"help": "license of the model, for its card (e.g. apache-2.0)"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "replace a finished model in --output_dir"})

    def __post_init__(self) -> None:
        prompt_template(self.prompt)  # a wrong name is found before anything is loaded


def main(script: ImplicitArguments, training: TrainingArguments) -> dict[str, float]:
    # Not at the top: help and a typo must not wait for torch.
    from prm.models.loading import load_tokenizer
    from prm.training.examples import orm_examples
    from prm.training.implicit import fit_implicit
    from prm.training.preflight import check_targets
    from prm.training.run import read_rows
    from prm.training.settings import settings_text

    settings = settings_text(script, training)
    train_rows, eval_rows = read_rows(script, read_outcomes)
    prompt, rule = prompt_template(script.prompt), step_rule_of(train_rows)
    form: Literal["answer", "text"] = "answer" if prompt.chat else "text"
    layout = Layout(prompt, SEPARATORS[rule or "line"], None, script.max_length, form=form)
    tokenizer = load_tokenizer(script.model)
    train, validation = (
        orm_examples(rows, layout, tokenizer, overlong=script.overlong) for rows in (train_rows, eval_rows)
    )
    check_targets(script.data, train.examples)
    print(f"train       {train.report}\nvalidation  {validation.report}\n")
    return fit_implicit(script.model, training, layout, script.beta, tokenizer, train, validation, settings)


if __name__ == "__main__":
    run_script(main, ImplicitArguments, TRAINING_ARGUMENTS, check_given)
    from prm.training.distributed import close_process_group

    close_process_group()
