"""recipes/train_grpo.py and what belongs to it: it is measured on the way, and goes on after a kill."""

import json
import re
import runpy
import shutil

import pytest
import yaml
from safetensors.torch import load_file

from prm.datasets import arithmetic
from prm.generators import load_generator

CAREFUL = '''
from prm.types import Scores

class Careful:
    """Likes steps that write down a carry, and does not calculate."""

    name, kind, num_parameters = "careful", "prm", 0

    def score_batch(self, prompts, steps_N):
        scores_N = [tuple(0.9 if "carry" in step else 0.2 for step in steps) for steps in steps_N]
        return [Scores(scores, max(scores)) for scores in scores_N]
'''
TINY = {
    **{"config": "recipes/configs/grpo_arithmetic.yaml", "limit": 8, "held_out": 2, "samples": 1, "measure_every": 1},
    **{"per_device_train_batch_size": 8, "num_generations": 4, "max_steps": 2, "save_steps": 1, "save_total_limit": 2},
    **{
        "max_completion_length": 60,
        "logging_steps": 1,
        "use_cpu": "true",
        "disable_tqdm": "true",
        "learning_rate": 1e-4,
    },
}


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "careful.py"
    path.write_text(CAREFUL)
    return f"{path}:Careful"


def rows_of(folder):
    return [json.loads(line) for line in (folder / "held_out.jsonl").read_text().splitlines()]


def test_it_is_measured_and_goes_on_after_a_kill(scripts, verifier, tmp_path):
    folder = tmp_path / "run"
    flags = TINY | {"output_dir": folder, "verifier": verifier, "reward": "both", "reward_weights": ["1", "0.5"]}
    done = scripts.run("recipes/train_grpo.py", **flags)
    assert done.code == 0, done.stderr
    rows = rows_of(folder)
    assert [(row["step"], row["split"]) for row in rows] == [
        (0, "validation"),
        (0, "test"),
        (1, "validation"),
        (2, "validation"),
        (2, "test"),
    ]
    assert all(row["problems"] == 2 and 0 <= row["pass@1"] <= 1 and 0.2 <= row["reward"] <= 0.9 for row in rows)
    assert {"rewards/prm/mean", "rewards/answer/mean", "prm/unfinished"} <= set(re.findall(r"'([^']+)': ", done.stdout))
    assert yaml.safe_load((folder / "config.yaml").read_text())["reward"] == "both"
    assert "step 2: test pass@1" in (folder / "README.md").read_text()
    weights, start = load_file(folder / "model.safetensors"), load_generator("arithmetic")
    assert any((weights[name] != value).any() for name, value in start.model.state_dict().items() if name in weights)
    assert load_generator(str(folder)).encode("Start with 1, add 2.") == start.encode("Start with 1, add 2.")

    # As after a kill: the second step is lost. It is taken again, with the same random numbers.
    shutil.rmtree(folder / "checkpoint-2")
    for name in ("model.safetensors", "held_out.jsonl", "README.md"):
        (folder / name).unlink()
    done = scripts.run("recipes/train_grpo.py", **flags, resume_from_checkpoint="auto")
    assert done.code == 0, done.stderr
    assert "step 1 of 2" not in done.stdout
    assert rows_of(folder) == rows
    again = load_file(folder / "model.safetensors")
    assert all((again[name] == value).all() for name, value in weights.items())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"reward": "both"}, "--reward both needs a --verifier"),
        ({"verifier": "x", "credit": "progress"}, "it is --aggregation last"),
        ({"verifier": "x", "reward": "answer", "per_step": True}, "leave --per_step out"),
        ({"verifier": "x", "limit": None}, "is endless"),
        ({"verifier": "x", "least_steps": 4, "most_steps": 2}, "most_steps 2 at least least_steps"),
    ],
)
def test_flags_that_mean_nothing(root, flags, message):
    arguments = runpy.run_path(str(root / "recipes/train_grpo.py"))["ScriptArguments"]
    with pytest.raises(ValueError, match=message):
        arguments(**{"model": "m", "data": "arithmetic", "limit": 1} | flags)


def test_a_prompt_of_which_trl_makes_other_tokens(root, trimming_tokenizer):
    from prm.encoding.prompts import PromptTemplate

    names = runpy.run_path(str(root / "recipes/train_grpo.py"))
    row_of, check = names["row_of"], names["check_prompt"]
    (problem,) = arithmetic.load("train", 1)
    chat = PromptTemplate("Solve it: {prompt}", chat=True, system="Be brief.")
    row = row_of(problem, chat)
    assert row["prompt"][-1] == {"role": "user", "content": f"Solve it: {problem.prompt}"}
    assert (row["problem"], row["answer"]) == (problem.prompt, problem.answer)
    check(trimming_tokenizer, chat, problem, row["prompt"])
    solved = PromptTemplate("{prompt}", chat=True, exemplars=(("1 + 1?", "#### 2"),))
    with pytest.raises(ValueError, match="a --prompt without exemplars"):
        check(trimming_tokenizer, solved, problem, row_of(problem, solved)["prompt"])


def test_the_tables_of_the_study(root):
    def row(step, split, right, reward):
        return {"step": step, "split": split, "pass@1": right, "reward": reward, "steps": 6.0}

    runs = {
        "PRM": [
            [
                row(0, "validation", 0.4, 0.5),
                row(0, "test", 0.4, 0.4),
                row(9, "validation", 0.2, 0.9),
                row(9, "test", a, b),
            ]
            for a, b in ((0.1, 0.8), (0.3, 0.9))
        ],
        "both": [],
    }
    tables = runpy.run_path(str(root / "eval/study_grpo.py"))["make_tables"](runs)
    assert "| PRM | 2 | 40.0% ± 0.0% | 20.0% ± 14.1% | 0.400 ± 0.000 | 0.850 ± 0.071 | 6.0 ± 0.0 |" in tables
    assert "| PRM | 9 | 20.0% ± 0.0% | 0.900 ± 0.000 |" in tables
    assert "both" not in tables
