"""The strategy against what its policy was learned from: it finds and pays what the menu says, and asks nothing twice."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from prm import answers
from prm.evaluation.compute_optimal import cross_validate
from prm.evaluation.difficulty import bin_of
from prm.evaluation.menus import Probe, menu_of
from prm.evaluation.search_runs import Run
from prm.generators.scripted import ScriptedGenerator
from prm.search import STRATEGIES, policy
from prm.search.compute_optimal import _go_on, compute_optimal
from prm.search.driver import search
from prm.search.methods import parse_method
from prm.search.policy import Choice, Policy, check_fits, fit_policy, offered, parameters_of, read_policy
from prm.search.requests import Found, Sample
from prm.storage.answered_requests import AnsweredRequests
from prm.storage.search_rows import results_to_row, row_to_results
from prm.types import Budget, Problem, Scores, Trace

EDGES = (0.4, 0.8)
CHOICES = (Choice("best_of_n", {}, 2), Choice("weighted_vote", {}, 5), Choice("rebase", {"temperature": 0.3}, 4))
POLICY = Policy("lead", 2, EDGES, CHOICES, "noisy", "scripted", {"promise": {}}, ("p/1", "p/2"))


def problems(name, n):
    return [
        Problem(f"{name}/{i}", f"{name} {i}: what is {i % 7} + {i % 5}?", str(i % 7 + i % 5), name) for i in range(n)
    ]


class Student(ScriptedGenerator):
    """Some problems are easy and some hard; a tenth of the samples states nothing."""

    num_parameters = 5

    def __init__(self):
        super().__init__(self.write)
        self.drawn = Counter()

    def write(self, prefix, seed):
        self.drawn[prefix, seed] += 1
        prompt, *steps = prefix.splitlines()
        a, _, b = prompt.strip("?").split()[-3:]
        rng, ability = random.Random(f"{prefix}{seed}"), random.Random(prompt).random()
        if not steps and rng.random() < 0.1:
            return "I do not know\n"
        slip = 0 if rng.random() < ability else rng.choice([1, 2])
        first = [] if steps else [f"step {rng.randrange(4)}"]
        return "\n".join([*first, f"#### {int(a) + int(b) + slip}"]) + "\n"


class Noisy:
    """Right traces score higher as a rule. It keeps nothing, so what is asked twice would be paid twice."""

    name, kind, num_parameters = "noisy", "prm", 3

    def __init__(self):
        self.asked = Counter()

    def score_batch(self, prompts, steps_N):
        self.asked.update(zip(prompts, map(tuple, steps_N), strict=True))
        return [
            Scores((0.5,) * len(s), self.score(p, tuple(s)), read=len(s)) for p, s in zip(prompts, steps_N, strict=True)
        ]

    def score(self, prompt, steps):
        a, _, b = prompt.strip("?").split()[-3:]
        return random.Random(f"{prompt}{steps}").random() ** (0.2 if steps[-1] == f"#### {int(a) + int(b)}" else 0.8)


def run(text, chosen, samples=8, tokens=None, generator=None, verifier=None, answered=None):
    method = parse_method(text, ["v"])
    judge = (verifier or Noisy()) if method.verifier else None
    return search(method, chosen, generator or Student(), judge, Budget(samples, tokens), 0, answered)


METHODS = [
    *(f"majority samples={n}" for n in (1, 2, 4, 8)),
    *(f"{name} v samples={n}" for name in ("best_of_n", "weighted_vote") for n in (1, 2, 4, 8)),
    *(f"rebase v samples={n}" for n in (2, 8)),
]


def searched(chosen, methods=METHODS):
    """A run with all of these methods."""
    found = [run(text, chosen) for text in methods]
    rows = [
        row_to_results("rows:1", json.loads(json.dumps(results_to_row(problem, its, answers.group))))
        for problem, *its in zip(chosen, *found, strict=True)
    ]
    parsed = [parse_method(text, ["v"]) for text in methods]
    meta = {"methods": {m.name: m.samples for m in parsed}, "generator": {"name": "scripted", "num_parameters": 5}}
    meta |= {"verifiers": {"v": {"fingerprint": "noisy", "num_parameters": 3}}, "split": "validation", "problems": "p"}
    return Run(meta, tuple(rows))


# --- The strategy ---


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["lead", "score", "best", "agreement"])
def test_it_does_in_each_bin_what_the_policy_says(saved, statistic):
    chosen = problems("p", 60)
    its = replace(POLICY, statistic=statistic, edges=(0.3, 0.6))
    results = run(f"compute_optimal v policy={saved(its)}", chosen)
    pool = run("best_of_n v", chosen)
    alone = [run(f"{c.strategy} v samples={c.samples}", chosen) for c in CHOICES[:2]]
    alone.append(run("rebase v samples=4 temperature=0.3", chosen))
    seen = Counter()
    for i, (result, samples) in enumerate(zip(results, pool, strict=True)):
        probe = list(zip(samples.candidates[:2], samples.scores[:2], strict=True))
        votes: dict[str, float] = {}
        for trace, scores in probe:
            if trace.usable:
                votes[trace.answer] = votes.get(trace.answer, 0.0) + (1.0 if statistic == "agreement" else scores.trace)
        first, second = sorted([*votes.values(), 0.0, 0.0])[:-3:-1]
        ease = {"lead": (first - second) / 2, "agreement": first / 2, "score": sum(votes.values()) / 2}
        ease["best"] = max((scores.trace for trace, scores in probe if trace.usable), default=0.0)
        b = bin_of(1 - ease[statistic], (0.3, 0.6))
        assert (result.candidates, result.chosen) == (alone[b][i].candidates, alone[b][i].chosen)
        seen[b] += 1
    assert sum(count > 3 for count in seen.values()) > 1


def test_nothing_is_drawn_scored_or_paid_twice(saved):
    """Brute force: a strategy of the pool costs what it costs alone but for a prompt, a tree costs a probe more."""
    chosen = problems("p", 60)
    generator, verifier = Student(), Noisy()
    results = run(f"compute_optimal v policy={saved(POLICY)}", chosen, generator=generator, verifier=verifier)
    assert set(generator.drawn.values()) == {1}
    prompts = {problem.prompt: len(problem.prompt) + 1 for problem in chosen}
    probes, fives, trees = (
        run(text, chosen)
        for text in ("best_of_n v samples=2", "weighted_vote v samples=5", "rebase v samples=4 temperature=0.3")
    )
    kinds = Counter()
    for problem, result, probe, five, tree in zip(chosen, results, probes, fives, trees, strict=True):
        again = 2.0 * 5 * prompts[problem.prompt]
        if result.candidates == probe.candidates:
            kinds["probe"] += 1
            assert replace(result.cost, seconds=0) == replace(probe.cost, seconds=0)
        elif result.candidates == five.candidates:
            kinds["five"] += 1
            assert result.cost.generated_tokens == five.cost.generated_tokens
            assert result.cost.flops <= five.cost.flops + again  # equal traces of probe and rest are asked once
            assert result.cost.generator_calls == 5
        else:
            kinds["tree"] += 1
            assert result.candidates == tree.candidates
            assert result.cost.generated_tokens == tree.cost.generated_tokens + probe.cost.generated_tokens
            assert result.cost.prompt_tokens == tree.cost.prompt_tokens + probe.cost.prompt_tokens
            assert result.cost.flops <= tree.cost.flops + probe.cost.flops
        assert not result.independent or result.candidates == probe.candidates
    assert min(kinds[name] for name in ("probe", "five", "tree")) > 3


@pytest.mark.parametrize("tokens", [1, 30, 60])
def test_a_budget_in_tokens_holds_probe_and_strategy(saved, tokens):
    for result in run(f"compute_optimal v policy={saved(POLICY)}", problems("p", 20), 8, tokens):
        assert result.cost.generated_tokens <= tokens
        assert len(result.candidates) <= 8


def test_without_a_verifier_it_goes_by_agreement(saved):
    its = replace(
        POLICY, statistic="agreement", edges=(0.0,), choices=(Choice("majority", {}, 2), Choice("majority", {}, 8))
    )
    results = run(f"compute_optimal policy={saved(its)}", problems("p", 40))
    pool = run("majority", problems("p", 40))
    for result, whole in zip(results, pool, strict=True):
        first, second = (t.answer if t.usable else None for t in whole.candidates[:2])
        assert len(result.candidates) == (2 if first == second and first is not None else 8)
        assert result.cost.verifier_calls == 0
    assert {len(result.candidates) for result in results} == {2, 8}


def test_started_again_it_asks_for_nothing_new(saved, tmp_path):
    path, text = tmp_path / "requests.journal", f"compute_optimal v policy={saved(POLICY)}"
    first = run(text, problems("p", 20), answered=AnsweredRequests(path))
    generator, verifier = Student(), Noisy()
    again = run(text, problems("p", 20), generator=generator, verifier=verifier, answered=AnsweredRequests(path))
    assert again == first
    assert not generator.drawn
    assert not verifier.asked


def test_a_budget_that_does_not_hold_the_policy_is_refused(saved):
    path = saved(POLICY)
    with pytest.raises(ValueError, match=r"spends up to 5 samples, the budget has 4; add samples=5"):
        next(compute_optimal(problems("p", 1)[0], Budget(4), 0, path))


# --- The policy ---


def test_a_policy_is_read_back(saved):
    assert read_policy(saved(POLICY)) == POLICY
    assert POLICY.most == 5
    assert json.loads(Path(saved(POLICY)).read_text())["choices"][2] == {
        "strategy": "rebase",
        "parameters": {"temperature": 0.3},
        "samples": 4,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statistic": "luck"}, "no statistic 'luck'; there are score, best, lead, agreement"),
        ({"edges": (0.4,)}, r"3 choices for the edges \[0.4\]; edges rise, and choices are one more"),
        ({"edges": (0.8, 0.4)}, "edges rise"),
        ({"samples": 0}, "a probe and a choice take at least one sample"),
        ({"choices": (*CHOICES[:2], Choice("rebase", {}, 0))}, "at least one sample"),
        ({"choices": (*CHOICES[:2], Choice("tree", {}, 4))}, "no strategy 'tree'"),
        ({"choices": (*CHOICES[:2], Choice("nothing", {}, 4))}, "no strategy 'nothing'"),
        (
            {"choices": (*CHOICES[:2], Choice("cascade", {"cheap": "orm"}, 4))},
            "no strategy 'cascade' that runs without",
        ),
        (
            {"choices": (*CHOICES[:2], Choice("rebase", {"T": 1}, 4))},
            "rebase has no parameter 'T'; there are max_steps, temp",
        ),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(saved, change, message):
    with pytest.raises(ValueError, match=message):
        read_policy(saved(replace(POLICY, **change)))


def test_what_is_no_policy_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist; eval/fit_policy\.py writes one"):
        read_policy("nowhere.json")
    (tmp_path / "other.json").write_text('{"edges": 3}')
    with pytest.raises(ValueError, match=r"other\.json is no policy"):
        read_policy(str(tmp_path / "other.json"))


def test_a_policy_of_something_else_is_refused(saved):
    path = saved(POLICY)
    check_fits(path, "noisy", "scripted", ["p/3"])
    for arguments, message in (
        (("w", "scripted", []), "was learned of the verifier noisy, this one is w; learn another one"),
        ((None, "scripted", []), "this one is None"),
        (("noisy", "h", []), "was learned of the generator scripted, this one is h"),
        (("noisy", "scripted", ["p/0", "p/2"]), "was learned of 1 of these problems, such as p/2"),
    ):
        with pytest.raises(ValueError, match=message):
            check_fits(path, *arguments)
    check_fits(saved(replace(POLICY, verifier=None)), "any", "scripted", [])


def test_every_strategy_is_in_the_module_of_its_name():
    for name, strategy in STRATEGIES.items():
        assert policy.strategy_of(name) is strategy
    assert {name for name in STRATEGIES if parameters_of(name) is None} == {
        "adaptive_best_of_n",
        "cascade",
        "compute_optimal",
    }
    assert parameters_of("rebase") == {"temperature", "max_steps", "vote", "weigh"}


@pytest.mark.slow
def test_what_the_menu_says_is_what_the_strategy_does(saved):
    """A policy is chosen by a stored run; the search of the same problems finds the same and pays the same."""
    chosen = problems("p", 60)
    menu = menu_of(searched(chosen), "v", offered).probed(Probe("lead", 2))
    points = cross_validate(menu, 3, "flops", "on average")
    learned = fit_policy(menu, 3, 0.03, points[-1])
    assert len({(its.strategy, its.samples) for its in learned.choices}) > 1
    its = {(arm.strategy, arm.samples): a for a, arm in enumerate(menu.arms)}
    results = run(f"compute_optimal v policy={saved(learned)}", chosen)
    agree = 0
    for p, result in enumerate(results):
        choice = learned.choices[bin_of(menu.difficulty_PR[p, 0], learned.edges)]
        a = its[choice.strategy, choice.samples]
        assert result.cost.generated_tokens == menu.tokens_PA[p, a]
        # Equal traces of probe and rest are scored once in the search, twice in the menu's pool: it may cost less.
        assert 0.9 * menu.flops_PA[p, a] <= result.cost.flops <= menu.flops_PA[p, a]
        agree += result.correct == menu.right_PRA[p, 0, a]
    assert agree >= 57  # equal votes share the credit there
    assert [its["method"] for its in learned.card["bins"]] == [
        f"{c.strategy}{'' if c.strategy == 'majority' else ' v'} samples={c.samples}" for c in learned.choices
    ]
    assert sum(its["share"] for its in learned.card["bins"]) == pytest.approx(1)


@pytest.mark.slow
def test_what_a_card_promises_is_found_on_other_problems(saved):
    learned_from, others = problems("learn", 120), problems("other", 120)
    menu = menu_of(searched(learned_from), "v", offered).probed(Probe("lead", 2))
    points = cross_validate(menu, 3, "flops", "on average")
    point = min(points, key=lambda its: abs(its.setting - 0.01))
    learned = fit_policy(menu, 3, point.setting, point)
    promise = learned.card["promise"]
    results = run(f"compute_optimal v policy={saved(learned)}", others)
    accuracy = sum(result.correct for result in results) / len(others)
    tokens = sum(result.cost.generated_tokens for result in results) / len(others)
    flops = sum(result.cost.flops for result in results) / len(others)
    for name, found in (("accuracy", accuracy), ("generated_tokens", tokens), ("flops", flops)):
        width = promise[name]["high"] - promise[name]["low"]
        assert abs(found - promise[name]["mean"]) < 0.75 * width, name  # two intervals of this width
        assert width < promise[name]["mean"] / 2
    check_fits(saved(learned), "noisy", "scripted", [problem.id for problem in others])
    with pytest.raises(ValueError, match="was learned of 120 of these problems"):
        check_fits(saved(learned), "noisy", "scripted", [problem.id for problem in learned_from])


def test_what_the_probe_lacks_is_asked_for_where_it_is():
    probe = [Trace("p", (text,), None, None) for text in "abc"]
    replies = []

    def search():
        for request in (Sample(2), Sample(2, first=2), Sample(2, first=4)):
            replies.append((yield request))
        return Found([], [], None)

    going = _go_on(search(), probe, {})
    assert next(going) == Sample(1, first=3)
    assert going.send(["d"]) == Sample(2, first=4)
    with pytest.raises(StopIteration):
        going.send(["e", "f"])
    assert replies == [probe[:2], [probe[2], "d"], ["e", "f"]]
