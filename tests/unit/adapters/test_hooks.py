"""What each tool calls, with stand-ins of the few names that an adapter imports from it: shapes as the tool reads them.

The stand-ins have the signatures of the versions in recipes/adapters.md; test_real_tools.py calls the tools themselves,
where they are installed.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from prm.adapters import inspect_ai, its_hub, lm_eval, nemo_rl, openrlhf, verl

RIGHT, WRONG = "1 [0.9]\n1 + 1 = 2 [0.8]\n#### 2", "1 + 1 = 3 [0.1]\n#### 3"


@pytest.fixture
def stand_in(monkeypatch):
    def put(name: str, **members) -> None:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            package = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, package, ModuleType(package))
        vars(sys.modules[name]).update(members)

    return put


def test_inspect_ai(stand_in, reader):
    @dataclass
    class Score:
        value: str
        answer: str | None = None
        explanation: str | None = None
        metadata: dict = field(default_factory=dict)

    keep = {"scorer": lambda metrics, name: lambda build: build, "score_reducer": lambda name: lambda build: build}
    stand_in("inspect_ai.scorer", Score=Score, accuracy=lambda: "accuracy", stderr=lambda: "stderr", **keep)

    score = inspect_ai.step_scores(reader, "line")

    def state(text):
        return SimpleNamespace(input_text="Add 1 to 1.", output=SimpleNamespace(completion=text, stop_reason="stop"))

    epochs = [asyncio.run(score(state(text), SimpleNamespace(text="2"))) for text in (WRONG, RIGHT, WRONG)]
    assert [epoch.value for epoch in epochs] == ["I", "C", "I"]
    assert inspect_ai.best_of_n()(epochs) is epochs[1]
    assert inspect_ai.weighted_vote()(epochs) is epochs[1]


def test_lm_eval(stand_in, reader):
    filters = {}
    stand_in("lm_eval.api.filter", Filter=object)
    stand_in("lm_eval.api.registry", register_filter=lambda name: lambda its: filters.setdefault(name, its))
    lm_eval.register()
    assert sorted(filters) == ["verifier_best_of_n", "verifier_weighted_vote"]
    chosen = filters["verifier_best_of_n"](verifier=reader, problem="question", step_rule="line")
    docs = [{"question": "Add 1 to 1."}, {"question": "Add 2."}]
    assert chosen.apply(iter([[WRONG, RIGHT], ["#### 2", "?"]]), docs) == [[RIGHT], ["#### 2"]]


@dataclass
class Message:
    role: str
    content: str

    def extract_text_content(self) -> str:
        return self.content


def test_its_hub(stand_in, reader):
    class Messages:
        @classmethod
        def from_prompt_or_messages(cls, its):
            return SimpleNamespace(to_chat_messages=lambda: [Message("user", its)] if isinstance(its, str) else its)

    bases = {"AbstractProcessRewardModel": object, "AbstractOutcomeRewardModel": object}
    stand_in("its_hub.api", ChatMessages=Messages, **bases)
    prm = its_hub.process_reward_model(reader, "line")
    assert asyncio.run(prm.ascore("Add 1 to 1.", [WRONG, RIGHT])) == [0.1, 0.8]
    assert prm.score([Message("user", "Add 1 to 1.")], RIGHT) == 0.8
    orm = its_hub.outcome_reward_model(reader, "line")
    talks = [[Message("user", "Add 1 to 1."), Message("assistant", text)] for text in (RIGHT, "")]
    assert asyncio.run(orm.ascore(talks, orchestrator=None)) == [0.8, 0.0]
    assert (orm.score(talks[0]), orm.score(talks[:1])) == (0.8, [0.8])


def test_reward_hub(stand_in, reader):
    result = lambda steps, how: SimpleNamespace(step_scores=steps, score={"last": steps[-1], "min": min(steps)}[how])  # noqa: E731
    stand_in(
        "reward_hub.base",
        AbstractProcessRewardModel=object,
        AggregationMethod=SimpleNamespace(LAST="last"),
        PRMResult=result,
    )
    model = its_hub.reward_hub_model(reader, "line")
    talk = [{"role": "user", "content": "Add 1 to 1."}, {"role": "assistant", "content": "1 [0.2]\n2 [0.7]"}]
    assert model.score(talk) == [0.7]
    assert model.score([talk, talk], aggregation_method="min") == [0.2, 0.2]
    assert model.score([talk]) == [0.7]
    assert model.score(talk, return_full_prm_result=True)[0].step_scores == [0.2, 0.7]


def test_verl(stand_in, reader, merging_tokenizer):
    class Naive:
        """As verl's: one solution of ids, padded, to a reward and what is logged."""

        def __init__(self, config, tokenizer, compute_score):
            self.tokenizer, self.compute_score = tokenizer, compute_score

        async def run_single(self, data):
            (item,) = data
            length = item.batch["attention_mask"][-len(item.batch["responses"]) :].sum()
            text = self.tokenizer.decode(item.batch["responses"][:length], skip_special_tokens=True)
            info = self.compute_score("set", text, "2", {"question": "Add 1 to 1."})
            return {"reward_score": info["score"], "reward_extra_info": info}

    stand_in("verl.experimental.reward_loop.reward_manager.naive", NaiveRewardManager=Naive)
    verl._step_reward_manager.cache_clear()
    manager = verl.StepRewardManager
    model = SimpleNamespace(enable=True, enable_resource_pool=False)
    kwargs = {"verifier": reader, "step_rule": "line", "credit": "progress"}

    class Kwargs(dict):
        __getattr__ = dict.__getitem__

    function = SimpleNamespace(reward_kwargs=Kwargs(kwargs))
    config = SimpleNamespace(reward=SimpleNamespace(reward_model=model, custom_reward_function=function))

    def item(text, room=40):
        ids = merging_tokenizer.encode(text)
        mask = [1] * (3 + len(ids)) + [0] * (room - len(ids))  # 3 of the prompt
        batch = {"responses": torch.tensor(ids + [0] * (room - len(ids))), "attention_mask": torch.tensor(mask)}
        return SimpleNamespace(batch=batch), len(ids)

    (right, length), (blank, _) = item(RIGHT + "<eos>"), item("")
    judge = manager(config, merging_tokenizer, lambda *its: verl.compute_score(*its, **kwargs))
    placed = [asyncio.run(judge.run_single([its]))["reward_score"] for its in (right, blank)]
    assert [its for _, its in placed[0]] == pytest.approx([0.9, -0.1, 0.0])
    assert placed[0][-1][0] == length - 2  # before the end token
    assert placed[1] == []
    data = SimpleNamespace(batch={"responses": torch.stack([right.batch["responses"], blank.batch["responses"]])})
    rewards = manager.assemble_rm_scores(data, placed)
    assert rewards.shape == (2, 40)
    assert rewards.sum(1).tolist() == pytest.approx([0.8, 0.0])

    for model.enable, model.enable_resource_pool in ((True, True), (False, False)):
        with pytest.raises(ValueError, match="rewards per step need"):
            manager(config, merging_tokenizer, None)
    with pytest.raises(AttributeError, match="has no attribute 'StepManager'"):
        verl.StepManager  # noqa: B018
    verl._step_reward_manager.cache_clear()


def test_openrlhf(reader):
    rewards = openrlhf.reward_function(reader, "<end>", "prompts", "line")([f"Add 1.{RIGHT}<end>"], ["Add 1."], [None])
    assert rewards["rewards"].tolist() == rewards["scores"].tolist() == pytest.approx([0.8])
    assert rewards["extra_logs"]["unreadable"].tolist() == [0.0]


def test_nemo_rl(stand_in, reader):
    class Return(NamedTuple):
        observations: list
        metadata: list
        next_stop_strings: list
        rewards: torch.Tensor
        terminateds: torch.Tensor
        answers: list | None = None

    stand_in("nemo_rl.environments.interfaces", EnvironmentInterface=object, EnvironmentReturn=Return)
    stand_in("ray", remote=lambda its: its)
    nemo_rl._environment.cache_clear()
    environment = nemo_rl.VerifierEnvironment({"verifier": reader, "step_rule": "line"})
    metadata = [{"problem": "Add 1 to 1."}] * 2
    logs = [[{"role": "user", "content": "?"}, {"role": "assistant", "content": text}] for text in (RIGHT, WRONG)]
    returned = environment.step(logs, metadata)
    assert returned.rewards.tolist() == pytest.approx([0.8, 0.1])
    assert returned.terminateds.tolist() == [True, True]
    assert (returned.answers, returned.next_stop_strings, returned.metadata) == (["2", "3"], [None, None], metadata)
    batch, metrics = environment.global_post_process_and_metrics({"rewards": returned.rewards})
    assert batch["rewards"] is returned.rewards
    assert metrics == {"mean_reward": pytest.approx(0.45)}
    nemo_rl._environment.cache_clear()
