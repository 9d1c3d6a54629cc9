"""The examples of recipes/adapters.md with the tools themselves, where they are installed; else they are skipped.

    python -m pytest tests/unit/adapters/test_real_tools.py        # in the environment of a tool, with this project in it

A random verifier and stored candidates: what a tool chooses must be what our search chooses among them.
"""

import asyncio
import importlib.util
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from exported_verifiers import make_verifier

from prm import answers
from prm.adapters.texts import load_text_verifier
from prm.datasets import arithmetic

VERIFIER = "outputs/quickstart/prm"


def needs(tool: str):
    return pytest.mark.skipif(importlib.util.find_spec(tool) is None, reason=f"{tool} is not installed")


@pytest.fixture(scope="module")
def sections(root):
    """Heading -> Python blocks of that section."""
    text = (root / "recipes/adapters.md").read_text(encoding="utf-8")
    parts = [part.partition("\n") for part in text.split("\n## ")[1:]]
    return {head: "\n".join(re.findall(r"^```python\n(.*?)^```", body, re.M | re.S)) for head, _, body in parts}


@pytest.fixture(scope="module")
def reader_folder(tmp_path_factory, plain_tokenizer):
    """With a verifier and the candidates of three problems, some right, under the names of the quickstart."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "outputs/quickstart/search").mkdir(parents=True)
    make_verifier(folder / VERIFIER, "llama", plain_tokenizer)
    rows = []
    for problem in arithmetic.load("test", 3, 0):
        right = arithmetic.solution(problem.prompt)
        texts = [(*right[: n % 3], f"so {n} = {n}", right[-1] if n % 2 else f"#### {n % 4}") for n in range(16)]
        candidates = [{"completions": list(steps)} for steps in texts]
        rows.append(
            {"problem_id": problem.id, "prompt": problem.prompt, "gold": problem.answer, "candidates": candidates}
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "outputs/quickstart/search/results.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def here(reader_folder, monkeypatch):
    monkeypatch.chdir(reader_folder)
    return reader_folder


@pytest.fixture
def run(here, sections, capsys):
    """Runs the blocks of a section after those that read the pool; returns what was printed."""

    def run(heading: str) -> list[str]:
        names: dict = {"__name__": "__main__"}
        exec(sections["The candidates of the quickstart"] + sections[heading], names)
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def right(here):
    """Fraction of the problems in which this choice is right."""
    judge = load_text_verifier(VERIFIER)
    lines = Path("outputs/quickstart/search/results.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]

    def right(how: str) -> float:
        found = []
        for row in rows:
            texts = ["\n".join(its["completions"]) for its in row["candidates"]]
            verdicts = [answers.check(gold=row["gold"], pred=answers.extract(t).answer) == "correct" for t in texts]
            found.append(sum(verdicts) / 16 if how == "mean" else verdicts[judge.choose(how, row["prompt"], texts)])
        return pytest.approx(sum(found) / len(rows))

    return right


@needs("inspect_ai")
def test_inspect_ai(run, right):
    printed = dict(line.split() for line in run("inspect_ai"))
    assert {name: float(value) for name, value in printed.items()} == {
        name: right(name) for name in ("mean", "best_of_n", "weighted_vote")
    }


@needs("lm_eval")
def test_lm_eval(run, right):
    printed = dict(line.split() for line in run("lm-eval")[-3:])
    assert {name: float(printed[name]) for name in ("best_of_n", "weighted_vote")} == {
        name: right(name) for name in ("best_of_n", "weighted_vote")
    }


@needs("its_hub")
def test_its_hub(run, right):
    best, beam = run("its_hub and reward-hub")
    assert float(best) == right("best_of_n"), "every candidate states an answer"
    assert 0 <= float(beam) <= 1


@needs("reward_hub")
def test_reward_hub(here):
    from reward_hub.base import AbstractProcessRewardModel

    from prm.adapters.its_hub import reward_hub_model

    talk = [{"role": "user", "content": "Add 1."}, {"role": "assistant", "content": "1 + 1 = 2\n\n#### 2"}]
    steps = load_text_verifier(VERIFIER).step_scores(["Add 1."], ["1 + 1 = 2\n#### 2"])[0]
    model = reward_hub_model(VERIFIER)
    assert isinstance(model, AbstractProcessRewardModel)
    assert model.score(talk, aggregation_method="prod") == pytest.approx([steps[0] * steps[1]])
    assert model.score([talk], return_full_prm_result=True)[0].step_scores == pytest.approx(steps)


SOLUTION = "47 - 12 = 35\n35 + 28 = 63\n#### 63\n"


@needs("verl")
def test_verl(here, plain_tokenizer):
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager, resolve_reward_manager_cls

    kwargs = {"verifier": VERIFIER, "credit": "progress"}
    function = {"path": "pkg://prm.adapters.verl", "name": "compute_score", "reward_kwargs": kwargs}
    manager = {"source": "register", "name": "naive", "module": {"path": "pkg://prm.adapters.verl", "name": None}}
    model = {"enable": True, "enable_resource_pool": False}
    config = OmegaConf.create(
        {"reward": {"custom_reward_function": function, "reward_manager": manager, "reward_model": model}}
    )
    ids = torch.tensor([plain_tokenizer.encode(SOLUTION)])
    prompt = torch.zeros(1, 3, dtype=torch.long)
    mask = torch.ones(1, 3 + ids.shape[1], dtype=torch.long)
    its = {"data_source": "a", "reward_model": {"ground_truth": "63"}, "extra_info": {"question": "Start with 47."}}
    data = DataProto(
        batch=TensorDict({"prompts": prompt, "responses": ids, "attention_mask": mask}, batch_size=1),
        non_tensor_batch={name: np.array([value], dtype=object) for name, value in its.items()},
    )

    def rewards():
        manager = load_reward_manager(config, plain_tokenizer)
        found = manager.loop.run_until_complete(manager.run_single(data))
        assert found["reward_extra_info"]["acc"] == 1.0
        return resolve_reward_manager_cls(config).assemble_rm_scores(data, [found["reward_score"]])

    (steps,) = load_text_verifier(VERIFIER).step_scores(["Start with 47."], [SOLUTION])
    (whole,) = rewards()
    assert whole.nonzero().tolist() == [[ids.shape[1] - 1]]
    assert whole.sum().item() == pytest.approx(steps[-1])
    config.reward.reward_manager = {**manager, "source": "importlib", "name": "StepRewardManager"}
    (each,) = rewards()
    assert each.sum().item() == pytest.approx(steps[-1])
    first = int(each.nonzero()[0])
    assert plain_tokenizer.decode(ids[0, : first + 1]).rstrip() == SOLUTION.splitlines()[0]


@needs("openrlhf")
def test_openrlhf(here, sections, tmp_path, plain_tokenizer):
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    from prm.adapters.openrlhf import reward_server

    judge = load_text_verifier(VERIFIER)
    server = reward_server(judge, "<eos>", "labels", {}, port=0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    (tmp_path / "reward.py").write_text(sections["OpenRLHF"], encoding="utf-8")

    class Engine:
        async def generate(self, ids, params, multi_modal_data=None):
            output = SimpleNamespace(
                token_ids=plain_tokenizer.encode(SOLUTION + "<eos>"), finish_reason="stop", logprobs=None
            )
            return SimpleNamespace(outputs=[output])

    def reward(place):
        executor = SingleTurnAgentExecutor(place)
        params = SimpleNamespace(max_tokens=100, logprobs=None)
        prompt, problem = "Q: Start with 47.\nA: ", "Start with 47."
        return asyncio.run(executor.execute(prompt, problem, params, 200, plain_tokenizer, Engine()))["reward"]

    expected = judge.trace_scores(["Start with 47."], [SOLUTION])
    assert reward(str(tmp_path / "reward.py")).tolist() == pytest.approx(expected)
    assert reward(f"http://127.0.0.1:{server.server_address[1]}/get_reward") == pytest.approx(expected)
    server.shutdown()
    server.server_close()


@needs("nemo_rl")
def test_nemo_rl(here):
    from prm.adapters import nemo_rl

    environment = nemo_rl.VerifierEnvironment.__ray_metadata__.modified_class({"verifier": VERIFIER})
    log = [{"role": "user", "content": "Q: Start with 47."}, {"role": "assistant", "content": SOLUTION}]
    returned = environment.step([log], [{"problem": "Start with 47.", "ground_truth": "63"}])
    expected = load_text_verifier(VERIFIER).trace_scores(["Start with 47."], [SOLUTION])
    assert returned.rewards.tolist() == pytest.approx(expected)
    assert returned.answers == ["63"]
