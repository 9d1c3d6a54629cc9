r"""Fine-tune a generator on solved problems (TRL `SFTTrainer`), or train the small embedded one from scratch.

The generator learns the exact token layout that sampling uses: prompt ids as `prm.encoding.prompts` builds them, then
steps joined by the separator, then the end token. The loss is on the steps and the end token only. Left out: packing, and
fine-tuning on multi-turn chats.

A reviser is a generator that learns from prompts with earlier attempts (data/build_revisions.py), nothing else. A generative
verifier is one that learns from critiques of traces (data/sample_critiques.py).

Reads   arithmetic       made on the fly by prm.datasets.arithmetic (the students' traces; also arithmetic_hard), or
        train.jsonl      rows {"prompt": "...", "completion": "step 1\nstep 2\n#### 18"}, or GSM8K's form, or
        traces.jsonl     checked or labeled traces, or a folder of data/build_dataset.py: those that end right are learned
Writes  <output_dir>/    a plain Hugging Face folder that `--generator` takes everywhere; config.yaml with all settings and
                         the command; README.md, its card

    python recipes/train_generator.py --config recipes/configs/generator_arithmetic.yaml
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.command_line import SFT_CONFIG, run_script
from prm.datasets import arithmetic
from prm.datasets.arithmetic_critiques import critique_examples
from prm.datasets.benchmarks import check_training
from prm.datasets.problems import load_examples
from prm.encoding.prompts import HELP, PromptTemplate, prompt_template
from prm.files import write_whole
from prm.training.arguments import check_given
from prm.training.data import training_source
from prm.training.resume import check_examples, find_checkpoint
from prm.types import Problem
from prm.verifiers.checkpoint import SETTINGS_FILE

if TYPE_CHECKING:
    from trl import SFTConfig


@dataclass
class ScriptArguments:
    """What to train on, and from which model. All other flags are those of TRL's `SFTConfig`."""

    data: str = field(
        metadata={
            "help": "`arithmetic`, `arithmetic_hard`, or solved problems or checked traces: file, folder of"
            " data/build_dataset.py, or hub name"
        }
    )
    model: str | None = field(
        default=None, metadata={"help": "folder or hub name; without it, a new Llama (sizes below)"}
    )
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file inside the model folder"})
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {HELP}"})
    limit: int | None = field(
        default=None, metadata={"help": "use the first rows only (embedded sets: how many to make)", "least": 1}
    )
    exercises: float | None = field(
        default=None,
        metadata={
            "help": "embedded sets: share of rows that are corrected exercises; default: that of the set",
            "least": 0,
            "most": 1,
        },
    )
    critiques: bool = field(
        default=False,
        metadata={"help": "embedded sets: learn exact critiques of the students' traces, for a generative verifier"},
    )
    hidden_size: int = field(default=128, metadata={"help": "new model: width", "least": 1})
    intermediate_size: int = field(default=384, metadata={"help": "new model: width of the MLP", "least": 1})
    num_layers: int = field(default=4, metadata={"help": "new model: layers", "least": 1})
    num_heads: int = field(default=4, metadata={"help": "new model: attention heads", "least": 1})
    context: int | None = field(
        default=None,
        metadata={
            "help": "longest text of the model in tokens, if not its own (new model: 256); needs rotary positions",
            "least": 1,
        },
    )
    lora_r: int = field(
        default=0, metadata={"help": "LoRA rank on all linear layers; 0 = full fine-tuning", "least": 0}
    )
    allow_benchmark: bool = field(default=False, metadata={"help": "train on problems of a benchmark, too"})
    license: str | None = field(default=None, metadata={"help": "license of the model, for its card (e.g. apache-2.0)"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "replace a finished model in --output_dir"})

    def __post_init__(self) -> None:
        prompt_template(self.prompt)  # a wrong name is found before anything is loaded
        if self.data in arithmetic.SETS and self.limit is None:
            raise ValueError(f"--data {self.data} needs --limit: how many traces of the student to make")
        if self.critiques and (self.data not in arithmetic.SETS or self.exercises is not None):
            raise ValueError(
                "--critiques makes rows of an embedded set, all of them: give --data arithmetic, no --exercises"
            )


def main(script: ScriptArguments, training: SFTConfig) -> None:
    # Not at the top: help and a typo must not wait for torch.
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTTrainer

    from prm.training.settings import settings_text

    settings = settings_text(script, training)
    torch.manual_seed(training.seed)
    model, tokenizer = build_model(script)

    if variant := arithmetic.SETS.get(script.data):
        if script.exercises is not None:
            variant = replace(variant, exercises=script.exercises)
        make = critique_examples if script.critiques else arithmetic.student_examples
        rows = make(script.limit, training.seed, variant)
    else:
        rows, left_out = load_examples(training_source(script.data))
        rows = rows[: script.limit]
        if not script.allow_benchmark:
            check_training((script.data, Problem("", row["prompt"], "", "")) for row in rows)
        if left_out:
            print(f"{left_out} traces do not end right, or it is unknown whether they do; they are left out")
    template = prompt_template(script.prompt)
    examples = [encode(tokenizer, template, row, training.max_length) for row in rows]
    if not examples:
        raise ValueError(f"no solved problem in the train split of {script.data}; give a larger file")
    cut = sum(example["input_ids"][-1] != tokenizer.eos_token_id for example in examples)
    print(f"{len(examples)} traces, {sum(len(example['input_ids']) for example in examples):,} tokens;")
    print(f"{cut} are longer than --max_length {training.max_length} and lose their end")

    training.dataset_kwargs = {"skip_prepare_dataset": True}  # the examples are tokenized already
    lora = None
    if script.lora_r:
        lora = LoraConfig(
            r=script.lora_r, lora_alpha=2 * script.lora_r, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    trainer = SFTTrainer(
        model=model,
        args=training,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=lora,
    )
    output_dir = str(training.output_dir)
    checkpoint = find_checkpoint(training.resume_from_checkpoint, output_dir)
    check_examples(checkpoint, output_dir, hashlib.sha256(repr(examples).encode()).hexdigest()[:16])
    trainer.train(resume_from_checkpoint=checkpoint)

    model = trainer.accelerator.unwrap_model(trainer.model)
    if script.lora_r:
        model = model.merge_and_unload()
    model.save_pretrained(training.output_dir)
    tokenizer.save_pretrained(training.output_dir)
    describe(Path(str(training.output_dir)), script, settings, len(examples))
    print(f"saved {training.output_dir}: {model.num_parameters():,} parameters")


def build_model(script: ScriptArguments):
    """The model named on the command line, or a new Llama for the embedded problem set."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from prm.models.loading import load_model_and_tokenizer

    if script.model is not None:
        model, tokenizer = load_model_and_tokenizer(script.model, script.gguf_file)
        if script.context:
            if "rope_parameters" not in model.config.to_dict():
                raise ValueError(f"--context {script.context}: {script.model} learned its positions, it has no others")
            model.config.max_position_embeddings = tokenizer.model_max_length = script.context
        return model, tokenizer
    tokenizer = arithmetic.build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=script.hidden_size,
        intermediate_size=script.intermediate_size,
        num_hidden_layers=script.num_layers,
        num_attention_heads=script.num_heads,
        max_position_embeddings=script.context or 256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config), tokenizer


def describe(folder: Path, script: ScriptArguments, settings: str, traces: int) -> None:
    """Write config.yaml and the model card."""
    from prm.verifiers.origin import origins, training_section, write_card

    write_whole(folder / SETTINGS_FILE, settings)
    start = f"from `{script.model}`" if script.model else "from scratch"
    head = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["reasoning"]}
    sections = [
        f"# {folder.name}",
        f"A generator of step-by-step solutions, trained {start} on {traces} traces of `{script.data}`. Its prompts are made"
        f" by the template `{script.prompt}`, and each line of a solution is a step.",
        training_section(folder),
    ]
    write_card(folder, head | origins(folder, script.model), sections)


def encode(tokenizer, template: PromptTemplate, row: dict[str, Any], max_length: int | None) -> dict[str, list[int]]:
    """Token ids of one solved problem, with labels for its steps and its end token and none (-100) for its prompt.

    A row of exercises has `turns` instead of a completion: texts that are given, each with what is to be learned after it.
    """
    ids = template.encode(tokenizer, row["prompt"])
    if max_length is not None and len(ids) >= max_length:
        raise ValueError(
            f"the prompt {row['prompt'][:60]!r} is {len(ids)} tokens long and --max_length is {max_length}: no step"
            " is left to learn from; raise it or remove the row"
        )
    labels = [-100] * len(ids)
    for given, learned in row.get("turns") or [("", row["completion"])]:
        given_ids, learned_ids = tokenizer([given, learned], add_special_tokens=False)["input_ids"]
        ids = ids + given_ids + learned_ids
        labels += [-100] * len(given_ids) + learned_ids
    end = [tokenizer.eos_token_id]
    return {"input_ids": (ids + end)[:max_length], "labels": (labels + end)[:max_length]}


if __name__ == "__main__":
    run_script(main, ScriptArguments, SFT_CONFIG, check_given)
