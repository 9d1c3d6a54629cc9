r"""Sample traces: n attempts at every problem, answers extracted and checked.

Problems are worked on in chunks of fixed size and order; a finished chunk is committed to a journal, so a killed run goes
on where it stopped and ends with the same file. Nothing is dropped: traces that were cut, have no answer or could not be
checked are rows with a `status`.

Reads   problems         arithmetic, gsm8k, or a JSON Lines file (prm.problems)
Writes  traces.jsonl     Trace rows (data/label_steps.py and recipes/train_orm.py read them)

    python data/sample_traces.py --generator arithmetic --problems arithmetic --limit 800 --split train \
        --samples 4 --output outputs/traces.jsonl
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm
from trl import TrlParser

from prm.formats import file_hash, trace_to_row, write_jsonl
from prm.generators import load_generator
from prm.generators.traces import sample_traces
from prm.problems import load_problems
from prm.prompts import PROMPTS, prompt_template
from prm.provenance import write_provenance
from prm.store import Journal


@dataclass
class Arguments:
    generator: str = field(metadata={"help": "`arithmetic` (embedded), a Hugging Face folder or a hub name"})
    problems: str = field(metadata={"help": "`arithmetic`, `gsm8k`, a hub name or a JSON Lines file"})
    output: str = field(metadata={"help": "traces file to write"})
    split: str = field(default="train", metadata={"help": "train, validation, test or all"})
    limit: int | None = field(default=None, metadata={"help": "first problems of the split only"})
    samples: int = field(default=4, metadata={"help": "traces per problem"})
    temperature: float = field(default=1.0, metadata={"help": "sampling temperature; 0 = greedy"})
    top_p: float = field(default=1.0, metadata={"help": "nucleus of the sampling distribution"})
    max_new_tokens: int = field(default=512, metadata={"help": "longest trace in tokens"})
    batch_size: int = field(default=256, metadata={"help": "sequences decoded at once"})
    prompt: str = field(default="plain", metadata={"help": "prompt template", "choices": list(PROMPTS)})
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file inside the generator's folder"})
    chunk: int = field(default=64, metadata={"help": "problems between two commits"})
    seed: int = field(default=0, metadata={"help": "seed of the run"})


def main() -> None:
    (args,) = TrlParser(Arguments).parse_args_and_config()
    started = time.monotonic()
    problems = load_problems(args.problems, args.split, args.limit)
    if not problems or args.samples < 1:
        sys.exit(
            f"nothing to sample: {len(problems)} problems in the {args.split} split of {args.problems}, {args.samples}"
            " samples each; give another --split, or more --samples"
        )
    generator = load_generator(
        args.generator,
        gguf_file=args.gguf_file,
        prompt=prompt_template(args.prompt),
        temperature=args.temperature,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
    )
    journal = Journal(
        args.output + ".journal",
        {
            "generator": generator.name,
            "problems": args.problems,
            "input": file_hash(args.problems) if Path(args.problems).is_file() else None,
            "split": args.split,
            "limit": args.limit,
            "samples": args.samples,
            "chunk": args.chunk,
            "seed": args.seed,
        },
    )

    chunks = [problems[i : i + args.chunk] for i in range(0, len(problems), args.chunk)]
    if len(journal.done) == len(chunks) and Path(args.output).exists():
        print(f"{args.output} is complete already")
        return
    tokens = 0
    progress = tqdm(enumerate(chunks), total=len(chunks), unit="chunk", desc="sample")
    for number, chunk in progress:
        if number in journal.done:
            continue
        traces_P = sample_traces(chunk, generator, args.samples, args.seed)
        pairs = [(problem, trace) for problem, traces in zip(chunk, traces_P, strict=True) for trace in traces]
        journal.append(number, [trace_to_row(problem, trace) for problem, trace in pairs])
        tokens += sum(trace.num_tokens for _, trace in pairs)
        progress.set_postfix_str(f"{tokens / (time.monotonic() - started):,.0f} tokens/s")

    rows = list(journal.rows())
    statuses = Counter(row["status"] for row in rows)
    correct = sum(bool(row["correct"]) for row in rows) / len(rows)
    generated = sum(row["num_tokens"] for row in rows)
    seconds = time.monotonic() - started
    inputs = [args.problems]
    write_provenance(
        args.output,
        "data/sample_traces.py",
        args,
        inputs,
        seconds=seconds,
        generated_tokens=generated,
        statuses=statuses,
    )
    write_jsonl(args.output, rows)  # last: where it is, the run is complete
    print(f"{args.output}: {len(rows)} traces of {len(problems)} problems, {correct:.1%} correct, {dict(statuses)},")
    print(f"{generated:,} tokens in {seconds:.0f} s")


if __name__ == "__main__":
    main()
