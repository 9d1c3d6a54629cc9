r"""Fine-tune a generator on solved problems (TRL `SFTTrainer`), or train the small embedded one from scratch.

The generator learns the exact token layout that sampling uses: prompt ids as `prm.encoding.prompts` builds them, then
steps joined by the separator, then the end token. The loss is on the steps and the end token only. Left out: packing, and
fine-tuning on multi-turn chats.

Reads   arithmetic       made on the fly by prm.datasets.arithmetic (the student's traces), or
        train.jsonl      rows {"prompt": "...", "completion": "step 1\nstep 2\n#### 18"}, or GSM8K's {"question", "answer"}
Writes  <output_dir>/    a plain Hugging Face folder that `--generator` takes everywhere

    python recipes/train_generator.py --config recipes/configs/generator_arithmetic.yaml
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prm.command_line import SFT_CONFIG, run_script
from prm.datasets import arithmetic
from prm.datasets.problems import load_examples
from prm.encoding.prompts import HELP, PromptTemplate, prompt_template
from prm.training.resume import check_output_dir, find_checkpoint

if TYPE_CHECKING:
    from trl import SFTConfig


@dataclass
class ScriptArguments:
    """What to train on, and from which model. All other flags are those of TRL's `SFTConfig`."""

    data: str = field(metadata={"help": "`arithmetic`, or a JSON Lines file of solved problems"})
    model: str | None = field(
        default=None, metadata={"help": "folder or hub name; without it, a new Llama (sizes below)"}
    )
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file inside the model folder"})
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {HELP}"})
    limit: int | None = field(default=None, metadata={"help": "use the first rows only (arithmetic: how many to make)"})
    hidden_size: int = field(default=128, metadata={"help": "new model: width"})
    intermediate_size: int = field(default=384, metadata={"help": "new model: width of the MLP"})
    num_layers: int = field(default=4, metadata={"help": "new model: layers"})
    num_heads: int = field(default=4, metadata={"help": "new model: attention heads"})
    lora_r: int = field(default=0, metadata={"help": "LoRA rank on all linear layers; 0 = full fine-tuning"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "replace a finished model in --output_dir"})

    def __post_init__(self) -> None:
        if self.data == "arithmetic" and self.limit is None:
            raise ValueError("--data arithmetic needs --limit: how many traces of the student to make")


def main(script: ScriptArguments, training: SFTConfig) -> None:
    check_output_dir(str(training.output_dir), training.resume_from_checkpoint, script.overwrite_output_dir)
    # Not at the top: help and a typo must not wait for torch.
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTTrainer

    torch.manual_seed(training.seed)
    model, tokenizer = build_model(script)

    if script.data == "arithmetic":
        rows = arithmetic.student_examples(script.limit, training.seed)
    else:
        rows = load_examples(script.data)[: script.limit]
    template = prompt_template(script.prompt)
    examples = [encode(tokenizer, template, row, training.max_length) for row in rows]
    if not examples:
        raise ValueError(f"no rows in the train split of {script.data}; give a larger file")
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
    trainer.train(resume_from_checkpoint=find_checkpoint(training.resume_from_checkpoint, str(training.output_dir)))

    model = trainer.accelerator.unwrap_model(trainer.model)
    if script.lora_r:
        model = model.merge_and_unload()
    model.save_pretrained(training.output_dir)
    tokenizer.save_pretrained(training.output_dir)
    print(f"saved {training.output_dir}: {model.num_parameters():,} parameters")


def build_model(script: ScriptArguments):
    """The model named on the command line, or a new Llama for the embedded problem set."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from prm.models.loading import load_model_and_tokenizer

    if script.model is not None:
        return load_model_and_tokenizer(script.model, script.gguf_file)
    tokenizer = arithmetic.build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=script.hidden_size,
        intermediate_size=script.intermediate_size,
        num_hidden_layers=script.num_layers,
        num_attention_heads=script.num_heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config), tokenizer


def encode(tokenizer, template: PromptTemplate, row: dict[str, str], max_length: int | None) -> dict[str, list[int]]:
    """Token ids of one solved problem, with labels for its steps and its end token and none (-100) for its prompt."""
    prompt = template.encode(tokenizer, row["prompt"])
    if max_length is not None and len(prompt) >= max_length:
        raise ValueError(
            f"the prompt {row['prompt'][:60]!r} is {len(prompt)} tokens long and --max_length is {max_length}: no step"
            " is left to learn from; raise it or remove the row"
        )
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    labels = [-100] * len(prompt) + completion
    return {"input_ids": (prompt + completion)[:max_length], "labels": labels[:max_length]}


if __name__ == "__main__":
    run_script(main, ScriptArguments, SFT_CONFIG)
