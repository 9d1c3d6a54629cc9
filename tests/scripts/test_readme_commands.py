"""Every command of the READMEs, as its reader types it: in their order, in one folder that has the project's folders in it.

Four tables say what is not as on a reader's machine. `FILES` and `MODELS` are small stand-ins, under the same names, for
what commands take from the hub or from the reader; `SMALLER` shortens what would take hours; `NOT_RUN` lists what is
left out. A new command is in none of them, so it runs as it is written.

data/own_data.md has its own walk, test_own_data.py.
"""

import json
import random
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from documents import FOLDERS, ROOT, documents, lines_in

from prm.datasets import arithmetic
from prm.datasets.arithmetic_critiques import critique_examples

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "data/prompting.md",
    "recipes/README.md",
    "recipes/migrating_from_trl.md",
    "recipes/reward_hacking.md",
    "recipes/migrating_from_openrlhf.md",
    "recipes/migrating_from_axolotl.md",
    "recipes/adapters.md",
    "eval/README.md",
    "eval/strategies.md",
)

JUDGE = "http://127.0.0.1:8000/v1"
"""Where data/README.md has started a server; one of tests/chat_server.py answers in its place."""


def problems(seed):
    """As in a file that nobody has split."""
    sizes = {"train": 40, "validation": 8, "test": 8}
    return [problem for split, size in sizes.items() for problem in arithmetic.load(split, size, seed)]


def attempts(seed):
    """(problem, a student's steps, their labels), twice for every problem."""
    rng = random.Random(seed)
    for problem in problems(seed):
        for _ in range(2):
            steps = arithmetic.student_trace(problem.prompt, rng)
            yield problem, steps, arithmetic.check_steps(problem.prompt, steps)


def solved(seed):
    for problem in problems(seed):
        yield {"question": problem.prompt, "answer": "\n".join(arithmetic.solution(problem.prompt))}


def benchmark(seed):
    for problem in arithmetic.load("test", 5, seed):
        yield {"problem": problem.prompt, "answer": problem.answer}


def critiques(seed):
    return critique_examples(40, seed)


def math_shepherd(seed):
    for problem, steps, labels in attempts(seed):
        numbered = [f"Step {i}: {step}" for i, step in enumerate(steps, 1)]
        signs = ["+" if good else "-" for good in labels]
        yield {
            "input": f"{problem.prompt} " + "\n".join(f"{step} ки" for step in numbered),
            "label": f"{problem.prompt} " + "\n".join(map(" ".join, zip(numbered, signs, strict=True))),
            "task": "GSM8K",
        }


def openrlhf(seed):
    for row, (_, _, labels) in zip(math_shepherd(seed), attempts(seed), strict=True):
        yield {"input": row["input"], "value": ["+" if good else "-" for good in labels]}


def prm800k(seed):
    for problem, steps, labels in attempts(seed):
        shown = [
            {"completions": [{"text": step, "rating": 1 if good else -1}], "chosen_completion": 0}
            for step, good in zip(steps, labels, strict=True)
        ]
        yield {
            "question": {"problem": problem.prompt, "ground_truth_answer": problem.answer},
            "label": {"steps": shown, "finish_reason": "solution" if labels[-1] else "found_error"},
        }


def processbench(seed):
    for i, (problem, steps, labels) in enumerate(attempts(seed)):
        yield {
            "id": f"gsm8k-{i}",
            "problem": problem.prompt,
            "steps": steps,
            "final_answer_correct": labels[-1],
            "label": labels.index(False) if False in labels else -1,
        }


def trl(seed):
    for problem, steps, labels in attempts(seed):
        yield {"prompt": problem.prompt, "completions": steps, "labels": labels}


IN_A_FOLDER = {
    "peiyi9979/Math-Shepherd": "peiyi9979/Math-Shepherd/train.jsonl",
    "HuggingFaceH4/MATH-500": "HuggingFaceH4/MATH-500/test.jsonl",
    "trl-lib/math_shepherd": "trl-lib/math_shepherd/train.jsonl",
    "zhuzilin/Math-Shepherd": "zhuzilin/Math-Shepherd/train.jsonl",
    "openai/gsm8k": "openai/gsm8k/main/test.jsonl",
    "Qwen/ProcessBench": "Qwen/ProcessBench/test.jsonl",
}
"""Names of the hub that are a folder here, which a command refuses where it wants a file."""

FILES = {
    "peiyi9979/Math-Shepherd/train.jsonl": math_shepherd(1),
    "openai/gsm8k/main/test.jsonl": solved(2),
    "HuggingFaceH4/MATH-500/test.jsonl": benchmark(3),
    "prm800k/prm800k/data/phase1_train.jsonl": prm800k(4),
    "prm800k/prm800k/data/phase2_train.jsonl": prm800k(5),
    "trl-lib/prm800k/train.jsonl": trl(6),
    "trl-lib/math_shepherd/train.jsonl": trl(7),
    "gsm8k.jsonl": solved(8),
    "problems.jsonl": benchmark(9),
    "Qwen/ProcessBench/test.jsonl": processbench(10),
    "outputs/critic/kept.jsonl": critiques(11),
    "zhuzilin/Math-Shepherd/train.jsonl": openrlhf(11),
}
"""Data sets of the hub and files of the reader, in their published forms, where the commands look for them; and what a
command makes that is not run here."""

MODELS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": None,
    "HuggingFaceTB/SmolLM2-360M-Instruct": "tiny_llama",
    "Qwen/Qwen2.5-0.5B": "tiny_qwen2",
    "Qwen/Qwen2.5-Math-1.5B-Instruct": "tiny_qwen2",
}
"""Models of the hub, and the fixture that makes a random one in its place. None: the embedded generator stands in."""

SMALLER = {
    "data/sample_traces.py": "--limit 12",
    "outputs/gsm8k/traces.jsonl": "--limit 30",
    "data/label_steps.py": "--rollouts 2",
    "data/judge_steps.py": "--judge critic",
    "eval/run_search.py": "--limit 4 --samples 4",
    "eval/configs/arithmetic_strategies.yaml": "--limit 2",
    "eval/configs/arithmetic_hard_strategies.yaml": "--limit 2",
    "eval/configs/arithmetic_revisions.yaml": "--samples 8",
    "eval/configs/arithmetic_policy.yaml": "--methods 'best_of_n prm samples=2' 'weighted_vote prm' 'rebase prm'",
    "recipes/configs/orm_revisions_arithmetic.yaml": "--eval_data outputs/revisions/chains.jsonl",
    "eval/score_steps.py": "--limit 40",
    "eval/report_verifier.py": "--limit 16",
    "eval/probe_rewards.py": "--limit 12",
    "eval/bench_generators.py": "--limit 1 --rollouts 2 --rounds 1 --max_new_tokens 30",
    "eval/bench_scoring.py": "--model tiny --candidates 8 --rounds 1",
    "eval/bench_search.py": "--model tiny --steps 4 --rounds 1",
    "eval/study_search.py": "--limit 10 --samples 4 --pool 8 --methods 'beam_search prm'",
    "recipes/train_generator.py": "--limit 32 --max_steps 1 --use_cpu",
    "recipes/train_prm.py": "--max_steps 2 --use_cpu",
    "recipes/train_orm.py": "--max_steps 2 --use_cpu",
    "recipes/train_implicit.py": "--max_steps 2 --use_cpu",
    "recipes/train_grpo.py": "--max_steps 1 --held_out 2 --samples 1 --use_cpu",
    "recipes/accelerate/ddp.yaml": "--num_processes 2",
}
"""Script, config or output -> flags that are added after the others, which they override."""

NOT_RUN = {
    "make ": "makes an environment and starts the quickstart or these tests",
    "python3 -m venv ": "makes an environment",
    "pip install ": "installs packages",
    "PRM_KILLS=20 python -m pytest ": "tests",
    "vllm serve ": "needs vLLM; see JUDGE",
    "python recipes/serve_rewards.py": "answers until it is stopped; tests/unit/adapters asks such a server",
    "python recipes/quickstart.py": "six minutes; its stages are among these commands, test_quickstart.py has the rest",
    "python eval/bench_labeling.py": "test_bench_labeling.py runs it with smaller tables",
    "python eval/bench_training.py": "test_bench_and_study.py runs it on a tiny model",
    "python eval/bench_step_cost.py": "test_bench_and_study.py runs it on a tiny model",
    "python eval/bench_gpu.py": "needs a GPU; test_bench_and_study.py runs it on a CPU with a tiny model",
    "python data/sample_critiques.py": "needs a model that has learned to write; test_generative.py has one",
    "python eval/score_steps.py --benchmark rows --data outputs/critic/validation.jsonl": "as that",
    "python eval/run_search.py --config eval/configs/arithmetic_critic.yaml": "as that",
    "python eval/write_report.py --run outputs/critic/search": "of that search",
    "python eval/study_grpo.py": "21 trainings; test_train_grpo.py makes its tables",
    "python eval/study_gsm8k.py": "test_study_gsm8k.py runs it at a tiny size",
    "python eval/study_labeling.py": "test_bench_labeling.py runs it without the trainings",
    "python eval/study_training.py": "test_bench_and_study.py runs it with one of its 30 variants",
}
"""How a command begins -> why it is left out."""

COMMANDS = [(document, line) for document in DOCUMENTS for line in lines_in((ROOT / document).read_text("utf-8"))]
RUN = [(document, line) for document, line in COMMANDS if not line.startswith(tuple(NOT_RUN))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request, plain_tokenizer):
    """Where the reader stands: the root of the repository before the first run."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("prm", *FOLDERS):
        (folder / name).symlink_to(ROOT / name)
    for name, rows in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    configs = {"configs": [{"config_name": "main", "data_files": [{"split": "test", "path": "main/test.jsonl"}]}]}
    (folder / "openai/gsm8k/README.md").write_text(f"---\n{yaml.safe_dump(configs)}---\n", encoding="utf-8")
    for name, fixture in MODELS.items():
        if fixture is None:
            shutil.copytree(ROOT / "prm/assets/arithmetic_generator", folder / name)
        else:
            plain_tokenizer.save_pretrained(folder / name)
            request.getfixturevalue(fixture)(len(plain_tokenizer)).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def ended(scripts, folder, chat_server):
    """(document, line) -> exit code, what was printed, and what of outputs/ the command names and is not there after it."""
    ended = {}
    with chat_server(lambda prompt, seed: "First wrong paragraph: none") as server:
        for document, line in RUN:
            words = shlex.split(line.replace(JUDGE, server.url), comments=True)
            words = [IN_A_FOLDER.get(word, word) for word in words]
            code, printed = run(scripts, folder, line, words)
            missing = [name for name in named(words) if not (folder / name).exists()]
            ended[document, line] = code, printed, missing
    return ended


def run(scripts, folder, line, words):
    """(exit code, what was printed) of a command with the flags of `SMALLER`."""
    match words:
        case ["python", "-c", text]:
            (folder / "typed.py").write_text(text, encoding="utf-8")
            done = scripts.wait(scripts.start_words(["typed.py"], folder=folder))
        case ["python", *script]:
            done = scripts.wait(scripts.start_words([*script, *smaller(script)], folder=folder))
        case ["accelerate", "launch", *rest]:
            place = next(i for i, word in enumerate(rest) if word.endswith(".py"))
            launcher, (script, *arguments) = rest[:place], rest[place:]
            launcher = ["accelerate.commands.launch", *launcher, *smaller(launcher)]
            done = scripts.launch(launcher, script, [*arguments, *smaller([script, *arguments])], folder)
        case _:
            shell = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True)
            return shell.returncode, shell.stderr
    return done.code, done.stdout + done.stderr


def smaller(words):
    return [flag for word in words for flag in shlex.split(SMALLER.get(word, ""))]


def named(words):
    """The paths under outputs/ in a command and in its config. An estimate names what it does not write."""
    if "--estimate" in words:
        return []
    texts = list(words)
    if "--config" in words:
        config = yaml.safe_load((ROOT / words[words.index("--config") + 1]).read_text(encoding="utf-8"))
        texts += map(str, config.values())
    return re.findall(r"\boutputs/[\w./-]+", " ".join(texts))


@pytest.mark.parametrize(("document", "line"), RUN, ids=[f"{document}: {line:.80}" for document, line in RUN])
def test_command(ended, document, line):
    code, printed, missing = ended[document, line]
    assert code == 0, printed[-3000:]
    assert missing == []


def test_no_page_with_commands_is_left_out():
    pages = [path for path in documents() if path.suffix == ".md" and lines_in(path.read_text(encoding="utf-8"))]
    assert {str(page.relative_to(ROOT)) for page in pages} == {*DOCUMENTS, "data/own_data.md"}


def test_nothing_in_the_tables_is_left_over():
    """What stands in for nothing, or leaves out what no document says, would hide a command that is written later."""
    lines = [line for _, line in COMMANDS]
    configs = [path.read_text(encoding="utf-8") for path in (ROOT / "recipes/configs").glob("*.yaml")]
    texts = "\n".join([*lines, *configs])
    assert [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in lines)] == []
    assert [script for script in SMALLER if script not in texts] == []
    names = [re.sub(r"(/main)?/(train|test)\.jsonl$", "", name) for name in FILES]
    assert [name for name in [*names, *MODELS, JUDGE] if name not in texts] == []
