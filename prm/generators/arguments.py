"""GeneratorArguments: the flags of every script that samples, and the generator that they describe.

@dataclass(kw_only=True)
class Arguments(GeneratorArguments):
    traces: str = ...

args.load()     # the generator; the bound method `args.load` can be sent to the actors of a cluster
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

from prm.encoding.prompts import HELP, prompt_template
from prm.generators import EMBEDDED, ENGINES, Generator, load_generator
from prm.secrets import api_key, check_url
from prm.storage.paths import check_name
from prm.types import Dtype, StepRule


@dataclass(kw_only=True)
class GeneratorArguments:
    generator: str = field(metadata={"help": "`arithmetic` (embedded), a Hugging Face folder, a hub name or a URL"})
    temperature: float = field(default=1.0, metadata={"help": "sampling temperature; 0 = greedy", "least": 0})
    top_p: float = field(
        default=1.0,
        metadata={"help": "nucleus sampling: share of the probability to sample from", "above": 0, "most": 1},
    )
    max_new_tokens: int = field(
        default=512, metadata={"help": "longest trace, rollout or step of beam search, in tokens", "least": 1}
    )
    batch_size: int = field(default=256, metadata={"help": "sequences decoded at once", "least": 1})
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {HELP}"})
    step_rule: StepRule | None = field(
        default=None,
        metadata={
            "help": "where a step ends (prm/encoding/steps.py); default: paragraph for chat prompts, line for others"
        },
    )
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file inside the generator's folder"})
    dtype: Dtype | None = field(
        default=None,
        metadata={
            "help": "hf, vllm: numbers to compute in; default: bfloat16 on a GPU that has it, else float32 (slower on a CPU"
            " with AMX or avx512_bf16)"
        },
    )
    engine: str = field(
        default="hf", metadata={"help": "hf, vllm, or openai (--generator is a URL)", "choices": list(ENGINES)}
    )
    tokenizer: str | None = field(default=None, metadata={"help": "openai: folder or hub name of the served model"})
    patience: float | None = field(
        default=None, metadata={"help": "openai: seconds of failures before giving up", "least": 0}
    )

    def __post_init__(self) -> None:
        # A wrong name is found before anything is loaded or compared. None: labeling takes it from the traces' record.
        if self.prompt is not None:
            prompt_template(self.prompt)
        if self.generator is not None and self.engine in ("hf", "vllm"):
            check_name(self.generator, EMBEDDED)
        elif self.generator is not None and self.engine == "openai":
            check_url(self.generator)
            api_key()

    def load(self) -> Generator:
        import torch  # help must not wait for it

        if self.engine == "hf" and torch.cuda.is_available() and find_spec("vllm") is not None:
            print("note: vLLM is installed: --engine vllm samples faster, eval/bench_generators.py says by how much")
        return load_generator(
            self.generator,
            engine=self.engine,
            tokenizer=self.tokenizer,
            patience=self.patience,
            gguf_file=self.gguf_file,
            dtype=self.dtype,
            template=prompt_template(self.prompt),
            step_rule=self.step_rule,
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )
