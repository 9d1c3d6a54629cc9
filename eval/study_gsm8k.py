r"""A real chat model on grade school math: what do a PRM and an ORM gain over voting, at 1 to N samples and what cost?

One command, from nothing to a table, in a given time. A pilot, which is a part of the work, measures what samples, labels
and training cost here; then the sizes that fit into `--hours` are printed and kept. Stopped and started again, the study
goes on where it stopped. Where the hours run out, the table has the problems that were searched by then, and the next start
goes on.

    sample    --traces attempts at each problem of one part of the set (split train)
    label     their steps by first_error, for the problems that have right and wrong ones: nothing else tells a verifier
              which of the attempts at one problem to prefer, and a problem that is never solved costs the most rollouts
    train     PRM and ORM, both on these traces, as LoRAs of --base
    search    problems of another part (--tested_split), by other prompts, by a larger model, and by all that chooses

Each stage is a command that can be run by hand; <output_dir>/study.log has them and what they print. On one GPU, ten minutes
(`--hours 0.17`) are meant for 500 labeled and 300 tested problems. On a CPU with AMX or avx512_bf16 give --dtype bfloat16.

Reads   problems   GSM8K's train file, `gsm8k` from the hub, or any file of problems; no problem of GSM8K's test set unless
                   --tested_split test asks the hub for it (of a file it is a part, prm.datasets.splits)
Writes  <output_dir>/   plan.json, study.json, study.md; traces, labels, verifiers and search runs

    python eval/study_gsm8k.py --generator Qwen2.5-Coder-0.5B-Instruct --base Qwen2.5-Coder-0.5B-Instruct \
        --problems gsm8k-train.jsonl --dtype bfloat16 --hours 2 --output_dir outputs/gsm8k
"""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prm.command_line import run_script
from prm.datasets.arithmetic import SETS
from prm.datasets.mixed import divide, keep_mixed
from prm.datasets.problems import load_problems
from prm.encoding.prompts import prompt_template
from prm.evaluation.equal_samples import (
    against_larger,
    equal_samples,
    exchange_table,
    gains,
    method_table,
    on_common_problems,
)
from prm.evaluation.reading import percent
from prm.evaluation.search_metrics import FEWEST
from prm.evaluation.search_runs import read_runs
from prm.evaluation.tables import as_markdown, as_text
from prm.files import write_whole
from prm.generators import EMBEDDED
from prm.stages import Stages
from prm.storage.jsonl import file_hash, read_jsonl
from prm.storage.paths import check_name
from prm.storage.provenance import check_same_settings
from prm.training.arguments import check_model
from prm.types import Dtype

ROOT = Path(__file__).parent.parent
LABEL_SHARE = 0.5
"""Of the time: for problems that are learned from; the rest is for those that are tested."""
CHUNK = 16
"""Problems of the main search that are searched together, at most: what is whole when the hours are over."""
LARGER = 3
"""Samples of the generator that take as long as one of the larger model: what the plan assumes."""


@dataclass
class Arguments:
    generator: str = field(metadata={"help": "folder or hub name of a chat model"})
    base: str = field(metadata={"help": "folder or hub name of the model that becomes PRM and ORM"})
    problems: str = field(metadata={"help": "`gsm8k`, or a JSON Lines, JSON, CSV or Parquet file (GSM8K's train file)"})
    output_dir: Path = field(metadata={"help": "folder to write"})
    hours: float = field(default=2.0, metadata={"help": "time in all; a later start has so many again", "above": 0})
    larger: str | None = field(default=None, metadata={"help": "a larger model, to answer once at equal FLOPs"})
    labeled: int | None = field(default=None, metadata={"help": "problems to sample and label", "least": 2})
    tested: int | None = field(default=None, metadata={"help": "problems to search", "least": 1})
    tested_split: str = field(
        default="validation", metadata={"help": "where they are from", "choices": ["validation", "test"]}
    )
    pilot: int = field(default=16, metadata={"help": "labeled problems that the pilot measures on", "least": 2})
    samples: int = field(default=16, metadata={"help": "N of the search", "least": 1})
    traces: int = field(default=4, metadata={"help": "samples of each labeled problem", "least": 2})
    tree: list[int] = field(default_factory=lambda: [4, 16], metadata={"help": "N of REBASE, one or more", "least": 1})
    prompt: str = field(default="chat_cot", metadata={"help": "prompt template of everything but the baselines"})
    baselines: list[str] = field(
        default_factory=lambda: ["direct", "zero_shot_cot", "few_shot_cot"], metadata={"help": "other prompt templates"}
    )
    baseline_samples: int = field(default=4, metadata={"help": "samples with each of these", "least": 1})
    temperature: float = field(default=0.7, metadata={"help": "of all samples", "above": 0})
    max_new_tokens: int = field(default=512, metadata={"help": "longest trace in tokens", "least": 1})
    batch_size: int = field(default=256, metadata={"help": "sequences decoded at once", "least": 1})
    engine: str = field(default="hf", metadata={"help": "hf or vllm", "choices": ["hf", "vllm"]})
    dtype: Dtype | None = field(default=None, metadata={"help": "numbers of all models, as in data/sample_traces.py"})
    lora_r: int = field(default=16, metadata={"help": "rank of the LoRAs; 0 = full fine-tuning", "least": 0})
    learning_rate: float = field(default=2e-4, metadata={"help": "of both verifiers", "above": 0})
    epochs: int = field(default=3, metadata={"help": "of training, of both verifiers", "least": 1})
    max_length: int = field(default=1024, metadata={"help": "longest trace that is learned, in tokens", "least": 1})
    seed: int = field(default=0, metadata={"help": "seed of the run", "least": 0})


def main(args: Arguments) -> None:
    deadline = time.monotonic() + 3600 * args.hours
    for name in filter(None, (args.generator, args.larger)):
        check_name(name, EMBEDDED)
    check_model(args.base)
    for prompt in (args.prompt, *args.baselines):
        prompt_template(prompt)
    limit = 2000 if args.problems in SETS else None  # these are endless
    there = {split: len(load_problems(args.problems, split, limit)) for split in ("train", args.tested_split)}
    for name, split in (("labeled", "train"), ("tested", args.tested_split)):
        if (wanted := getattr(args, name) or 1) > there[split]:
            raise ValueError(f"--{name} {wanted}: {args.problems} has {there[split]} problems in its split {split}")
    stages = Stages(args.output_dir, "study", width=48, root=ROOT)
    check_settings(args)
    print(f"What the stages print: {stages.log}\n", flush=True)
    commands = Commands(args)
    plan = make_plan(args, stages, commands, there, deadline)

    minutes = plan["minutes"]
    left = [sum(list(minutes.values())[i:]) for i in range(len(minutes))]
    titles = iter(
        f"{i}/{len(minutes)} {name}, {minutes[name]:.0f} of {rest:.0f} min"
        for i, (name, rest) in enumerate(zip(minutes, left, strict=True), 1)
    )

    def sampled(command: str, mark: str, meta: str) -> int:
        """Run a stage that samples until the hours are over; how many problems it has left."""
        hours = max(deadline - time.monotonic(), 60) / 3600
        path = args.output_dir / meta
        stages.once(
            next(titles), command, mark, limit=f"--max_hours {hours:.3f}", complete=lambda: not unfinished(path)
        )
        if not path.exists() or (unfinished(path) and mark != "search"):
            raise SystemExit(f"\nerror: the {args.hours:g} hours are over; the same command, started again, goes on")
        return unfinished(path)

    # What the verifiers learn from.
    traces, labels = args.output_dir / "traces.jsonl", args.output_dir / "labeled.jsonl"
    sampled(commands.sample(plan["labeled"], traces), "traces", "traces.meta.json")
    sampled(commands.label(keep_mixed(traces)), "labels", "labeled.meta.json")
    divide(labels)
    for kind in ("prm", "orm"):
        stages.once(next(titles), commands.train(kind, labels, args.output_dir / kind, args.epochs, save=True), kind)

    # What they are tested on. The last search is the longest; what it has when the hours are over is a result.
    for i, prompt in enumerate(args.baselines):
        name = f"baseline_{i}"
        sampled(commands.baseline(prompt, plan["tested"], name), name, f"{name}/meta.json")
    if args.larger:
        sampled(commands.one_answer(plan["tested"]), "larger", "larger/meta.json")
    missing = sampled(commands.search(plan["tested"]), "search", "search/meta.json")
    stages.run("write the report", commands.report())
    write_tables(args, plan, missing)


def unfinished(meta: Path) -> int:
    """How many problems a limit has kept out of an output, by its record; 1 if not even the record is there."""
    return json.loads(meta.read_text())["unfinished_problems"] if meta.exists() else 1


class Commands:
    """The command line of every stage; scripts are named as in the project's folder."""

    def __init__(self, args: Arguments) -> None:
        self.args = args
        self.folder = args.output_dir
        self.sampler = ["--engine", args.engine, "--temperature", args.temperature, "--batch_size", args.batch_size]
        self.sampler += ["--max_new_tokens", args.max_new_tokens, "--seed", args.seed]
        self.sampler += ["--dtype", args.dtype] if args.dtype else []

    def sample(self, problems: int, output: Path) -> str:
        words = ["--generator", self.args.generator, "--prompt", self.args.prompt, "--problems", self.args.problems]
        words += ["--split", "train", "--limit", problems, "--samples", self.args.traces, "--output", output]
        return join("data/sample_traces.py", *words, "--store", self.folder / "rollouts", *self.sampler)

    def label(self, traces: Path) -> str:
        words = ["--traces", traces, "--method", "first_error", "--output", traces.with_name("labeled.jsonl")]
        words += ["--store", self.folder / "rollouts", "--chunk", 64, "--batch_size", self.args.batch_size]
        return join("data/label_steps.py", *words, "--seed", self.args.seed)

    def train(self, kind: str, labels: Path, output: Path, epochs: int, save: bool = False) -> str:
        args, folder = self.args, labels.parent
        words = ["--model", args.base, "--data", folder / "train.jsonl", "--eval_data", folder / "validation.jsonl"]
        words += ["--output_dir", output, "--prompt", args.prompt, "--max_length", args.max_length]
        words += ["--overlong", "truncate", "--lora_r", args.lora_r, "--learning_rate", args.learning_rate]
        words += ["--num_train_epochs", epochs, "--per_device_train_batch_size", 2 * args.traces, "--seed", args.seed]
        words += ["--logging_steps", 5, "--report_to", "none", *(["--targets", "hard"] if kind == "prm" else [])]
        # Without a GPU, the Trainer takes bf16 only from those who say that the CPU is meant.
        words += ["--bf16", "true", *on_cpu()] if args.dtype == "bfloat16" else []
        going_on = ["--save_strategy", "epoch", "--save_total_limit", 1, "--resume_from_checkpoint", "auto"]
        words += going_on if save else ["--save_strategy", "no", "--overwrite_output_dir"]
        return join(f"recipes/train_{kind}.py", *words)

    def _search(self, generator: str, prompt: str, problems: int, samples: int, output: str, *words: object) -> str:
        most = CHUNK if output == "search" else problems
        chunk = max(1, min(most, self.args.batch_size // samples))
        where = ["--problems", self.args.problems, "--split", self.args.tested_split, "--limit", problems]
        where += ["--prompt", prompt, "--samples", samples, "--chunk", chunk, "--output_dir", self.folder / output]
        return join("eval/run_search.py", "--generator", generator, *where, *self.sampler, *words)

    def baseline(self, prompt: str, problems: int, output: str) -> str:
        samples = self.args.baseline_samples
        return self._search(self.args.generator, prompt, problems, samples, output, "--methods", "majority")

    def one_answer(self, problems: int) -> str:
        return self._search(str(self.args.larger), self.args.prompt, problems, 1, "larger", "--methods", "majority")

    def search(self, problems: int) -> str:
        args = self.args
        methods = ["majority", "best_of_n orm", "weighted_vote orm", "best_of_n prm", "weighted_vote prm"]
        methods += [f"rebase prm samples={n}" for n in args.tree]
        words = ["--verifiers", f"prm={self.folder / 'prm'}", f"orm={self.folder / 'orm'}", "--methods", *methods]
        return self._search(args.generator, args.prompt, problems, args.samples, "search", *words)

    def report(self) -> str:
        return join("eval/write_report.py", "--run", self.folder / "search", "--output_dir", self.folder)


def on_cpu() -> list[str]:
    import torch  # help and a wrong flag must not wait for it

    return [] if torch.cuda.is_available() else ["--use_cpu", "true"]


def join(script: str, *words: object) -> str:
    return shlex.join([script, *map(str, words)])


def check_settings(args: Arguments) -> None:
    """Refuse a folder of other settings; the hours may be others, and so may what does not change the result."""
    now = {name: value for name, value in asdict(args).items() if name not in ("hours", "output_dir")}
    now |= {"input": file_hash(args.problems) if Path(args.problems).is_file() else None}
    path = args.output_dir / "settings.json"
    if path.exists():
        fix = "Give another --output_dir, or delete it to start over"
        check_same_settings(f"{args.output_dir} was begun", json.loads(path.read_text()), now, fix)
    write_whole(path, json.dumps(now, indent=2) + "\n")


def make_plan(
    args: Arguments, stages: Stages, commands: Commands, there: dict[str, int], deadline: float
) -> dict[str, Any]:
    """How many problems to label and to test, measured, printed and kept at the first start; the minutes of each stage."""
    path = args.output_dir / "plan.json"
    if path.exists():
        plan = json.loads(path.read_text())
        print(as_text(plan["table"]), "\n")
        return plan
    folder = args.output_dir / "pilot"
    folder.mkdir(exist_ok=True)
    problems = min(args.pilot, args.labeled or args.pilot, there["train"])
    sampled = stages.once("pilot: sample", commands.sample(problems, folder / "traces.jsonl"), "pilot_traces")
    mixed = keep_mixed(folder / "traces.jsonl")
    labeling = stages.once("pilot: label", commands.label(mixed), "pilot_labels")
    divide(folder / "labeled.jsonl")
    training = stages.once(
        "pilot: train", commands.train("prm", folder / "labeled.jsonl", folder / "prm", 1), "pilot_prm"
    )
    facts = measure(folder, sampled, labeling, training)

    # Seconds grow evenly with both numbers. What is not spent on labels is there for tests.
    def total(labeled: int, tested: int) -> float:
        return sum(stage_seconds(args, facts, problems, labeled, tested).values())

    left, none = deadline - time.monotonic(), total(problems, 0)
    affordable = problems + int(max(0.0, LABEL_SHARE * (left - none)) / (total(problems + 1, 0) - none))
    labeled = args.labeled or min(affordable, there["train"])
    left, each = left - total(labeled, 0), total(problems, 1) - none
    tested = args.tested or min(int(left / each), there[args.tested_split])
    if tested < (1 if args.tested else FEWEST):
        raise ValueError(
            f"--hours {args.hours:g} are too few for an interval ({FEWEST} tested problems): the pilot says"
            f" {args.hours + (FEWEST * each - left) / 3600:.1f}; or give smaller --samples, --tree, --baselines, --labeled"
        )
    seconds = stage_seconds(args, facts, problems, labeled, tested)
    minutes = {name: its / 60 for name, its in seconds.items()}
    learned = str(round(labeled * facts["mixed_share"])), str(args.traces)
    sizes = {"sample": (str(labeled), str(args.traces)), "larger model": (str(tested), "1")}
    sizes |= dict.fromkeys(("label", "train the PRM", "train the ORM"), learned)
    sizes |= {"search": (str(tested), str(args.samples))}
    others = str(tested), str(args.baseline_samples)
    table = [["stage", "problems", "samples each", "minutes"]]
    table += [[name, *sizes.get(name, others), f"{its:.0f}"] for name, its in minutes.items()]
    table.append(["all", "", "", f"{sum(minutes.values()):.0f}"])
    print(
        f"\npilot: {problems} problems x {args.traces}, {percent(facts['right'])} right, {facts['tokens']:.0f} tokens each,"
        f" {percent(facts['mixed_share'])} of the problems with right and wrong samples; seconds: {facts['sample']:.2f} a"
        f" sample, {facts['label']:.1f} the labels of a problem, {facts['train']:.2f} to learn a trace once,"
        f" {facts['score']:.2f} to score one\n\n{as_text(table)}\n",
        flush=True,
    )
    plan = {"labeled": labeled, "tested": tested, "minutes": minutes, "pilot": facts, "table": table}
    write_whole(path, json.dumps(plan, indent=2) + "\n")
    return plan


def stage_seconds(
    args: Arguments, facts: dict[str, float], sampled: int, labeled: int, tested: int
) -> dict[str, float]:
    """What every stage is expected to take.

    Args:
        facts: of the pilot (`measure`).
        sampled: problems that the pilot has sampled and labeled.
    """
    learning = labeled * facts["mixed_share"] * args.epochs * args.traces * facts["train"]
    # A tree reads its beginnings again for every step.
    tree = sum(args.tree) * (1.5 * facts["sample"] + facts["score"])
    seconds = {
        "sample": (labeled - sampled) * args.traces * facts["sample"],
        "label": (labeled - sampled) * facts["mixed_share"] * facts["label"],
        "train the PRM": learning,
        "train the ORM": learning,
        **{f"prompt {Path(p).stem}": tested * args.baseline_samples * facts["sample"] for p in args.baselines},
        **({"larger model": tested * LARGER * facts["sample"]} if args.larger else {}),
        "search": tested * (args.samples * (facts["sample"] + 2 * facts["score"]) + tree),
    }
    return {name: its + facts["start"] for name, its in seconds.items()}


def measure(folder: Path, sampled: float, labeling: float, training: float) -> dict[str, float]:
    """What the pilot says: seconds per sample, per labeled problem, per trace that is learned once or scored, and per start
    of a stage; tokens per sample, and shares of right samples and of mixed problems."""
    rows = [row for _, row in read_jsonl(folder / "traces.jsonl")]
    problems = len({row["problem_id"] for row in rows})
    mixed = len({row["problem_id"] for _, row in read_jsonl(folder / "labeled.jsonl")})
    learned, validated = (sum(1 for _ in read_jsonl(folder / f"{part}.jsonl")) for part in ("train", "validation"))
    log = json.loads((folder / "prm/trainer_state.json").read_text())["log_history"]
    seconds = json.loads((folder / "prm/eval_results.json").read_text())
    seconds = {key: value for entry in (seconds, *log) for key, value in entry.items() if key.endswith("_runtime")}
    start = max(0.0, training - sum(seconds.values()))
    return {
        "tokens": sum(row["num_tokens"] for row in rows) / len(rows),
        "right": sum(bool(row["correct"]) for row in rows) / len(rows),
        "mixed_share": mixed / problems,
        "sample": sampled / len(rows),
        "label": labeling / mixed,
        "train": seconds["train_runtime"] / learned,
        "score": seconds["eval_runtime"] / validated,
        "start": start,
    }


def write_tables(args: Arguments, plan: dict[str, Any], missing: int) -> None:
    """study.json and study.md; prints the tables."""
    folder = args.output_dir
    names = {"": folder / "search"} | {Path(p).stem: folder / f"baseline_{i}" for i, p in enumerate(args.baselines)}
    names |= {"larger": folder / "larger"} if args.larger else {}
    runs = on_common_problems({name: read_runs([path]) for name, path in names.items()})
    main_run, larger = runs.pop(""), runs.pop("larger", None)
    rows = [row for name, run in runs.items() for row in equal_samples(run, main_run, f"{name}: ")]
    rows += equal_samples(main_run, main_run)
    rows += equal_samples(larger, main_run, "larger model: ") if larger else []
    exchange = against_larger(main_run, larger) if larger else []
    problems = len(main_run.rows)
    found = {"problems": problems, "missing": missing, "plan": plan, "methods": rows, "equal_flops": exchange}
    write_whole(folder / "study.json", json.dumps(found, default=asdict, indent=2) + "\n")

    tables = [method_table(rows), *([exchange_table(exchange)] if exchange else [])]
    sentences = [f"{problems} problems" + (f"; {missing} more are to be searched: start again" if missing else "")]
    sentences += gains(rows, problems)
    parts = [sentences[0], *map(as_markdown, tables), *sentences[1:]]
    write_whole(folder / "study.md", "\n\n".join(parts) + "\n")
    print("\n" + "\n\n".join([sentences[0], *map(as_text, tables), *sentences[1:]]))


if __name__ == "__main__":
    run_script(main, Arguments)
