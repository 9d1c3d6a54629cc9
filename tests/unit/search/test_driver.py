"""The driver: what it charges against a count over what was really asked, what it remembers, what it refuses."""

import random
import time
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch

from prm.costs import ModelShape
from prm.encoding.codec import StepCodec
from prm.generators.hf import HfGenerator
from prm.generators.scripted import ScriptedGenerator
from prm.models.loading import from_base
from prm.sampling.limits import LimitReached, Limits
from prm.sampling.traces import open_trace
from prm.search import STRATEGIES
from prm.search.calibration import Calibration
from prm.search.driver import search
from prm.search.methods import Method, check_method, default_methods, parse_method
from prm.search.policy import Choice, Policy
from prm.search.requests import Expand, Found, Sample, Score, best, score_readable
from prm.search.task import Task
from prm.storage.answered_requests import AnsweredRequests
from prm.types import Budget, Continuation, Cost, Problem, Scores
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.step_verifier import StepVerifier

PROBLEMS = [Problem(f"sum/{i}", f"What is {i} + {2 * i + 1}?", str(3 * i + 1), "sum") for i in range(6)]


class Random:
    """A verifier of one's own: nothing but what the protocol asks for."""

    name, kind, num_parameters = "random", "prm", 3

    def __init__(self):
        self.calls: list[list[tuple[str, tuple[str, ...]]]] = []

    def score_batch(self, prompts, steps_N):
        self.calls.append(list(zip(prompts, map(tuple, steps_N), strict=True)))
        scores = [
            tuple(random.Random(f"{prompt}{step}").random() for step in steps) for prompt, steps in self.calls[-1]
        ]
        return [Scores(steps, steps[-1]) for steps in scores]


class Recorded(ScriptedGenerator):
    """Keeps every call: its prefixes, and what it gave."""

    num_parameters = 5

    def __init__(self, script):
        super().__init__(script)
        self.batches: list[list[tuple[tuple[int, ...], int]]] = []

    def generate(self, prefixes, seeds, until="end", limits=None, **settings):
        continuations = super().generate(prefixes, seeds, until, limits, **settings)
        sampled = [len(continuation.token_ids) for continuation in continuations]
        self.batches.append(list(zip(map(tuple, prefixes), sampled, strict=True)))
        return continuations


class Keeping(Recorded):
    """Says that it keeps the steps of a search; `written` has what each call gave, by the prefix."""

    def __init__(self, script):
        super().__init__(script)
        self.written: list[list[tuple[tuple[int, ...], Continuation]]] = []

    def generate(self, prefixes, seeds, until="end", limits=None, kept=None, **settings):
        found = super().generate(prefixes, seeds, until, limits, **settings)
        found = [replace(continuation, keeps=kept is not None) for continuation in found]
        self.written.append(list(zip(map(tuple, prefixes), found, strict=True)))
        return found


def student(kind=Recorded):
    """Three to five steps, some right; equal steps happen often."""

    def script(prefix, seed):
        rng = random.Random(f"{prefix}{seed}")
        lines = [f"step {rng.randrange(3)}" for _ in range(prefix.count("step"), rng.randrange(3, 5))]
        return "\n".join([*lines, f"#### {rng.choice([1, 4, 7, 10])}"]) + "\n"

    return kind(script)


UNVERIFIED = {"majority", "adaptive_consistency"}
NEEDED = {"adaptive_best_of_n": {"target": 0.9}, "cascade": {"cheap": "v"}, "compute_optimal": {}}
"""Parameters without a default."""


@pytest.fixture(scope="module", autouse=True)
def calibration(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    steps = ((0.0, 0.5), (0.7, 0.9))
    Calibration("v", "g", 8, (), steps, steps, (), ()).save(path)
    NEEDED["adaptive_best_of_n"]["calibration"] = str(path)
    policy = path.with_name("policy.json")
    choices = Choice("best_of_n", {}, 4), Choice("rebase", {"temperature": 0.3}, 3), Choice("weighted_vote", {}, 4)
    Policy("lead", 2, (0.4, 0.8), choices, "v", "g", {}, ()).save(policy)
    NEEDED["compute_optimal"]["policy"] = str(policy)


def method(strategy, verifier="v", **parameters):
    parameters = NEEDED.get(strategy, {}) | parameters
    return Method(strategy, STRATEGIES[strategy], None if strategy in UNVERIFIED else verifier, parameters)


def without_time(results):
    return [replace(result, cost=replace(result.cost, seconds=0.0)) for result in results]


# --- What it charges ---


def own_prefixes(calls, problem):
    """(call, prefix, sampled tokens) of one problem: its prompt is how the prefix begins."""
    start = tuple(map(ord, problem.prompt + "\n"))
    return [(i, p, n) for i, call in enumerate(calls) for p, n in call if p[: len(start)] == start]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("budget", [Budget(8), Budget(8, generated_tokens=100)])
def test_tokens_calls_and_flops_are_those_of_what_was_really_asked(
    name, budget, tiny_llama, plain_tokenizer, monkeypatch
):
    """Counted by brute force: every distinct prefix of a call, every node of the prefix tree that a verifier was given
    where no earlier call has given it the whole step."""
    generator = student()
    verifier = step_verifier(tiny_llama, plain_tokenizer)
    asked, score_batch = [], verifier.score_batch
    monkeypatch.setattr(
        verifier, "score_batch", lambda p, s: (asked.append(list(zip(p, s, strict=True))), score_batch(p, s))[1]
    )
    shapes = {"scripted": ModelShape(7, 2), verifier.name: ModelShape(11, 3)}
    results = search(method(name), PROBLEMS, generator, verifier, budget, 0, shapes=shapes, verifiers={"v": verifier})

    for problem, result in zip(PROBLEMS, results, strict=True):
        mine = own_prefixes(generator.batches, problem)
        generated, prefill = sum(n for _, _, n in mine), sum(len(p) for _, p in {(i, p) for i, p, _ in mine})
        places = [place for _, p in {(i, p) for i, p, _ in mine} for place in range(len(p))]
        places += [place for _, p, n in mine for place in range(len(p), len(p) + n)]
        by_shape = sum(2 * 7 + 4 * 2 * (place + 1) for place in places)
        read = scored = whole = 0
        known = {()}  # what earlier calls have read, in steps
        start = len(verifier.config.codec.prompt.encode(plain_tokenizer, problem.prompt))
        for call in asked:
            traces = [(verifier.config.codec.encode(plain_tokenizer, p, s), s) for p, s in call if p == problem.prompt]
            nodes = set()
            for encoded, steps in sorted(traces, key=lambda trace: trace[0].input_ids):
                ids, ends = encoded.input_ids, [start, *(end + 1 for end in encoded.step_ends)]
                old = max(end for i, end in enumerate(ends) if steps[:i] in known) if scored else 0
                new = {ids[:end] for end in range(old + 1, len(ids) + 1)} - nodes
                read += len(new)
                by_shape += sum(2 * 11 + 4 * 3 * len(node) for node in new)
                nodes |= {ids[:end] for end in range(1, len(ids) + 1)}
                whole += len(ids)
            known |= {steps[:i] for _, steps in traces for i in range(1, len(steps) + 1)}
            scored += len(traces)
        assert replace(result.cost, seconds=0.0) == Cost(
            generated_tokens=generated,
            prompt_tokens=prefill,
            verifier_tokens=read,
            cached_tokens=sum(len(p) for _, p, _ in mine) - prefill + whole - read,
            cached_verifier_tokens=whole - read,
            generator_calls=len(mine),
            verifier_calls=scored,
            flops=2.0 * 5 * (generated + prefill) + 2.0 * verifier.num_parameters * read,
            flops_by_shape=by_shape,
        )
        assert budget.generated_tokens is None or generated <= budget.generated_tokens
    assert (sum(result.cost.verifier_tokens for result in results) > 0) == (name not in UNVERIFIED)


TREES = ["beam_search", "dvts", "lookahead_search", "mcts", "particle_filtering", "rebase"]


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("budget", [Budget(8), Budget(8, generated_tokens=100)])
def test_a_generator_that_keeps_its_tokens_is_charged_for_new_ones(name, budget):
    """Counted by brute force: of every distinct prefix of a call the tokens that no earlier call for this problem has read
    or written and read; those that were sampled last were not."""
    generator, shape = student(Keeping), ModelShape(7, 2)
    results = search(method(name), PROBLEMS, generator, Random(), budget, 0, shapes={"scripted": shape})
    again = search(method(name), PROBLEMS, student(), Random(), budget, 0, shapes={"scripted": shape})
    for problem, kept, read_again in zip(PROBLEMS, results, again, strict=True):
        start = tuple(map(ord, problem.prompt + "\n"))
        known, prefill, by_shape, asked = set(), 0, 0, 0
        for call in generator.written:
            mine = [(prefix, its) for prefix, its in call if prefix[: len(start)] == start]
            for prefix in {prefix for prefix, _ in mine}:
                new = [end for end in range(1, len(prefix) + 1) if prefix[:end] not in known or end == len(prefix)]
                prefill += len(new)
                by_shape += sum(2 * 7 + 4 * 2 * end for end in new)
            for prefix, its in mine:
                asked += len(prefix)
                whole = (*prefix, *its.token_ids)
                by_shape += sum(2 * 7 + 4 * 2 * end for end in range(len(prefix) + 1, len(whole) + 1))
                read = len(whole) - 1 if its.stop == "step" else len(prefix)
                known |= {whole[:end] for end in range(1, read + 1)}
        scoring = kept.cost.verifier_tokens, kept.cost.cached_verifier_tokens
        assert scoring == (0, 0)  # this verifier says nothing of its tokens
        assert kept.cost.prompt_tokens == prefill
        assert kept.cost.cached_tokens == asked - prefill
        assert kept.cost.flops == 2.0 * 5 * (kept.cost.generated_tokens + prefill)
        assert kept.cost.flops_by_shape == by_shape
        assert 2 * prefill < read_again.cost.prompt_tokens
        costs = {"prompt_tokens": 0, "cached_tokens": 0, "flops": 0, "flops_by_shape": 0, "seconds": 0}
        assert replace(kept, cost=replace(kept.cost, **costs)) == replace(
            read_again, cost=replace(read_again.cost, **costs)
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
def test_what_a_generator_keeps_changes_no_cost_whatever_was_asked_before(name, tmp_path):
    """Alone, in company, after other methods, and after a kill, which empties its memory."""
    many = [Problem(f"p/{i}", f"What is {i} + 3?", str(i + 3), "p") for i in range(6)]

    def run(those, generator, answered=None, name=name):
        return without_time(search(method(name), those, generator, Random(), Budget(8), 0, answered))

    expected = run(many, student(Keeping))
    assert [run([problem], student(Keeping))[0] for problem in many] == expected
    answered = AnsweredRequests()
    for other in ("best_of_n", "beam_search", "mcts"):
        run(many, student(Keeping), answered, other)
    assert run(many, student(Keeping), answered) == expected
    for survived in (1, 2):
        journal = tmp_path / f"{survived}"
        with pytest.raises(PowerCut):
            run(many, DyingKeeping(student().script, survived), AnsweredRequests(journal, {}))
        assert run(many, student(Keeping), AnsweredRequests(journal, {})) == expected


def step_verifier(tiny_llama, tokenizer, **settings):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tiny_llama(len(tokenizer)).save_pretrained(folder)
        torch.manual_seed(0)  # the head
        model = from_base(folder)
    config = VerifierConfig("prm", StepCodec(max_length=500), "value", "last", "base", "hash")
    return StepVerifier(model, tokenizer, config, **settings)


def tokens(results):
    return [(result.cost.verifier_tokens, result.cost.cached_tokens, result.cost.flops) for result in results]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beam_search", "lookahead_search", "mcts"])
def test_what_a_verifier_keeps_changes_no_cost_whatever_the_company_and_the_memory(name, tiny_llama, plain_tokenizer):
    """A token takes 256 bytes, a prompt with a few steps 5,000."""
    room = {"plenty": 4 << 30, "little": 20_000}
    many = [Problem(f"p/{i}", f"What is {i} + 3?", str(i + 3), "p") for i in range(6)]
    among = {
        size: search(
            method(name), many, student(), step_verifier(tiny_llama, plain_tokenizer, keep_bytes=n), Budget(8), 0
        )
        for size, n in room.items()
    }
    assert tokens(among["plenty"]) == tokens(among["little"])
    for i in (0, 5):
        alone = search(
            method(name), many[i : i + 1], student(), step_verifier(tiny_llama, plain_tokenizer), Budget(8), 0
        )
        assert tokens(alone) == tokens(among["plenty"][i : i + 1])
    again = search(
        method(name), many, student(), step_verifier(tiny_llama, plain_tokenizer, keep_bytes=0), Budget(8), 0
    )
    for kept, read_again in zip(among["plenty"], again, strict=True):
        assert kept.cost.verifier_tokens < read_again.cost.verifier_tokens
        assert kept.cost.verifier_tokens + kept.cost.cached_tokens == (
            read_again.cost.verifier_tokens + read_again.cost.cached_tokens
        )


def test_methods_that_share_a_verifier_are_charged_as_if_alone(tiny_llama, plain_tokenizer):
    """The first two ask for the same first steps, and all of them for the same prompts."""
    methods = [method("beam_search"), method("beam_search", width=8), method("dvts"), method("best_of_n")]
    verifier, answered = step_verifier(tiny_llama, plain_tokenizer), AnsweredRequests()
    shared = [search(one, PROBLEMS, student(), verifier, Budget(8), 0, answered) for one in methods]
    alone = [
        search(one, PROBLEMS, student(), step_verifier(tiny_llama, plain_tokenizer), Budget(8), 0) for one in methods
    ]
    assert list(map(tokens, shared)) == list(map(tokens, alone))
    read = sum(cost.verifier_tokens for cost in answered.costs.values())
    assert read < sum(result.cost.verifier_tokens for results in shared for result in results)  # the first steps once


@pytest.mark.parametrize("survived", [1, 2, 3])
def test_a_kill_empties_the_memory_of_a_verifier_and_changes_no_cost(survived, tiny_llama, plain_tokenizer, tmp_path):
    expected = search(
        method("beam_search"), PROBLEMS, student(), step_verifier(tiny_llama, plain_tokenizer), Budget(8), 0
    )
    for generator in (Dying(student().script, survived), student()):
        verifier, answered = step_verifier(tiny_llama, plain_tokenizer), AnsweredRequests(tmp_path / "j", {})
        try:
            results = search(method("beam_search"), PROBLEMS, generator, verifier, Budget(8), 0, answered)
        except PowerCut:
            assert isinstance(generator, Dying)
    assert tokens(results) == tokens(expected)
    assert AnsweredRequests(tmp_path / "j", {}).costs.keys() == {problem.id for problem in PROBLEMS}


def test_two_problems_with_one_prompt_pay_for_themselves(tiny_llama, plain_tokenizer):
    twins = [Problem("a", "What is 1 + 1?", "2", "p"), Problem("b", "What is 1 + 1?", "2", "p")]
    verifier = step_verifier(tiny_llama, plain_tokenizer)
    together = search(method("best_of_n"), twins, student(), verifier, Budget(4), 0)
    alone = [search(method("best_of_n"), [twin], student(), verifier, Budget(4), 0)[0] for twin in twins]
    assert [r.cost.verifier_tokens for r in together] == [r.cost.verifier_tokens for r in alone]
    assert [r.cost.prompt_tokens for r in together] == [r.cost.prompt_tokens for r in alone]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_problem_alone_equals_the_same_among_fifty(name):
    problems = [Problem(f"p/{i}", f"What is {i} + 3?", str(i + 3), "p") for i in range(50)]

    def found(those):
        verifier = Random()
        return without_time(search(method(name), those, student(), verifier, Budget(4), 3, verifiers={"v": verifier}))

    among = found(problems)
    for i in (0, 7, 49):
        assert found(problems[i : i + 1]) == among[i : i + 1]


# --- What it remembers ---


def test_methods_share_one_pool_and_are_charged_as_if_alone():
    generator, verifier, answered = student(), Random(), AnsweredRequests()
    names = ["majority", "best_of_n", "weighted_vote", "best_of_n"]
    shared = [search(method(name), PROBLEMS, generator, verifier, Budget(8), 0, answered) for name in names]
    assert [len(batch) for batch in generator.batches] == [8 * 6]  # one call for all four
    assert len(verifier.calls) == 1
    alone = [search(method(name), PROBLEMS, student(), Random(), Budget(8), 0) for name in names]
    assert [without_time(results) for results in shared] == [without_time(results) for results in alone]
    assert all(a.candidates == b.candidates for a, b in zip(shared[0], shared[2], strict=True))


def test_a_larger_pool_holds_the_smaller_one():
    def later_half(problem, budget, seed):
        traces = yield Sample(4, first=4)
        return Found(traces, [None] * 4, best(traces, [Scores((), 0.0)] * 4))

    generator, answered = student(), AnsweredRequests()
    whole = search(method("majority"), PROBLEMS, generator, None, Budget(8), 0, answered)
    half = search(Method("later_half", later_half), PROBLEMS, generator, None, Budget(8), 0, answered)
    assert len(generator.batches) == 1
    for a, b in zip(whole, half, strict=True):
        assert [c.steps for c in a.candidates[4:]] == [c.steps for c in b.candidates]
        assert b.cost.prompt_tokens == a.cost.prompt_tokens > 0  # alone, it would have read the prompt too
        assert b.cost.generated_tokens == sum(c.num_tokens for c in a.candidates[4:])


def test_a_greedy_step_is_the_same_for_all_and_paid_once_by_each():
    def twice(problem, budget, seed):
        first = yield Expand([open_trace(problem)] * 2, key=("a",), greedy=True)
        again = yield Expand([open_trace(problem)], key=("b",), greedy=True)
        sampled = yield Expand([open_trace(problem)] * 3, key=("c",))
        assert [trace.steps for trace in first] == [trace.steps for trace in again] * 2
        return Found([*again, *sampled], [None] * 4, None)

    generator, answered = student(), AnsweredRequests()
    results = search(Method("twice", twice), PROBLEMS, generator, None, Budget(8), 0, answered)
    other = search(Method("other", twice), PROBLEMS, generator, None, Budget(8), 5, answered)
    assert [len(batch) for batch in generator.batches] == [6, 18, 18]  # the greedy ones once, whatever the run's seed
    for result in (*results, *other):
        assert result.candidates[0].seed is None
        assert result.cost.generated_tokens == sum(trace.num_tokens for trace in result.candidates)
        assert result.cost.generator_calls == 4
        assert result.duplicates == 3 - len({trace.steps for trace in result.candidates[1:]})  # of what was sampled


def test_scores_that_are_asked_for_again_are_paid_once():
    def twice(problem, budget, seed):
        traces = yield Sample(2)
        first = yield Score(traces)
        assert first == (yield Score(traces))
        return Found(traces, first, None)

    verifier = Counting()
    results = search(Method("twice", twice, "v"), PROBLEMS, student(), verifier, Budget(8), 0)
    assert len(verifier.calls) == 1
    assert {result.cost.verifier_tokens for result in results} == {6}


class PowerCut(Exception):
    pass


class Dying(Recorded):
    """Works for a number of calls."""

    def __init__(self, script, calls):
        super().__init__(script)
        self.calls_left = calls

    def generate(self, *args, **kwargs):
        if self.calls_left == 0:
            raise PowerCut
        self.calls_left -= 1
        return super().generate(*args, **kwargs)


class DyingKeeping(Dying, Keeping):
    pass


@pytest.mark.parametrize("survived", [0, 1, 2, 3])
def test_a_killed_search_asks_nothing_twice(survived, tmp_path):
    header = {"generator": "student", "seed": 0}
    whole, judge = student(), Random()
    expected = search(method("beam_search"), PROBLEMS, whole, judge, Budget(8), 0)
    dying, first = Dying(whole.script, survived), Random()
    with pytest.raises(PowerCut):
        search(method("beam_search"), PROBLEMS, dying, first, Budget(8), 0, AnsweredRequests(tmp_path / "j", header))
    again, second = Recorded(whole.script), Random()
    results = search(
        method("beam_search"), PROBLEMS, again, second, Budget(8), 0, AnsweredRequests(tmp_path / "j", header)
    )
    assert without_time(results) == without_time(expected)
    assert dying.batches + again.batches == whole.batches
    assert len(dying.batches) == survived
    assert first.calls + second.calls == judge.calls
    with pytest.raises(ValueError, match="seed: was 0, now 1"):
        AnsweredRequests(tmp_path / "j", header | {"seed": 1})


# --- Where it stops ---


def test_a_search_stopped_by_a_limit_goes_on_to_the_same_end(tmp_path):
    whole, judge = student(), Random()
    expected = search(method("beam_search"), PROBLEMS, whole, judge, Budget(8), 0)
    first_call = sum(tokens for _, tokens in whole.batches[0])
    generators, verifiers = [], []
    while True:
        generators.append(Recorded(whole.script))
        verifiers.append(Random())
        limits = Limits(max_tokens=first_call + 1)
        answered = AnsweredRequests(tmp_path / "j", {"seed": 0})
        try:
            results = search(
                method("beam_search"), PROBLEMS, generators[-1], verifiers[-1], Budget(8), 0, answered, limits=limits
            )
            break
        except LimitReached:
            # It has overdrawn its limit by less than one call, and has scored what it sampled.
            assert limits.sampled >= first_call + 1
            assert limits.sampled - sum(tokens for _, tokens in generators[-1].batches[-1]) < first_call + 1
    assert len(generators) > 1
    assert without_time(results) == without_time(expected)
    assert [batch for generator in generators for batch in generator.batches] == whole.batches
    assert [call for verifier in verifiers for call in verifier.calls] == judge.calls


def test_after_the_last_hour_nothing_is_sampled_or_scored(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("prm.sampling.limits.time.monotonic", lambda: now[0])
    limits, generator, verifier = Limits(max_hours=1), student(), Random()
    answered = AnsweredRequests()
    search(method("majority"), PROBLEMS, generator, None, Budget(8), 0, answered, limits=limits)
    now[0] = 3600
    search(method("majority"), PROBLEMS, generator, None, Budget(8), 0, answered, limits=limits)  # all is known
    with pytest.raises(LimitReached):
        search(method("best_of_n"), PROBLEMS, generator, verifier, Budget(8), 0, answered, limits=limits)
    with pytest.raises(LimitReached):
        search(method("majority"), PROBLEMS, generator, None, Budget(9), 0, answered, limits=limits)
    assert (len(generator.batches), verifier.calls) == (1, [])


class Counting(Random):
    """Reads three tokens per trace."""

    def score_batch(self, prompts, steps_N):
        return [replace(scores, read=3) for scores in super().score_batch(prompts, steps_N)]


def test_what_a_problem_costs_is_counted_once_for_all_methods_and_not_if_taken_from_elsewhere(tmp_path):
    generator, header = student(), {"seed": 0}
    first = AnsweredRequests(tmp_path / "first", header)
    for name in ("majority", "best_of_n", "weighted_vote"):
        (*_, last) = search(method(name), PROBLEMS, generator, Counting(), Budget(8), 0, first)
    pool = [trace for trace in last.candidates if trace.usable]
    cost = first.costs[PROBLEMS[-1].id]
    assert cost.generated_tokens == sum(trace.num_tokens for trace in last.candidates)
    assert cost.verifier_tokens == 3 * len(pool) > 0
    assert sum(c.generated_tokens for c in first.costs.values()) == sum(n for _, n in generator.batches[0])
    assert AnsweredRequests(tmp_path / "first", header).costs == first.costs  # from the file
    second = AnsweredRequests(tmp_path / "second", header)
    second.take(tmp_path / "first", header)
    search(method("majority"), PROBLEMS, generator, None, Budget(8), 0, second)
    assert second.costs == {}
    with pytest.raises(ValueError, match="missing does not exist; its run was cut short before, or had fewer problems"):
        second.take(tmp_path / "missing", header)


# --- Traces that are too long for the verifier ---


class Nearsighted(Random):
    """Reads two steps at most."""

    def score_batch(self, prompts, steps_N):
        scores_N = super().score_batch(prompts, steps_N)
        return [scores if len(steps) <= 2 else None for scores, steps in zip(scores_N, steps_N, strict=True)]


@pytest.mark.parametrize("name", ["best_of_n", "weighted_vote", "beam_search"])
def test_what_the_verifier_cannot_read_is_kept_never_chosen_and_ends_nothing(name, tmp_path):
    answered = AnsweredRequests(tmp_path / "requests", {"seed": 0})
    results = search(method(name), PROBLEMS, student(), Nearsighted(), Budget(8), 0, answered)
    unread = [
        trace
        for result in results
        for trace, scores in zip(result.candidates, result.scores, strict=True)
        if scores is None
    ]
    assert len(unread) > 5
    assert all(len(trace.steps) > 2 for trace in unread if trace.usable)
    for result in results:
        scored = [trace.answer for trace, its in zip(result.candidates, result.scores, strict=True) if its]
        assert (result.chosen is None) == (not scored)
        if result.chosen is not None:
            assert result.candidates[result.chosen].answer in scored
    again = AnsweredRequests(tmp_path / "requests", {"seed": 0})
    assert search(method(name), PROBLEMS, student(), Nearsighted(), Budget(8), 0, again) == results


# --- What it refuses ---


def sampling(n):
    def strategy(problem, budget, seed):
        traces = yield Sample(n)
        return Found(traces, [None] * n, None)

    return strategy


def expanding(problem, budget, seed):
    (trace,) = yield Sample(1)
    yield Expand([trace], key=("x",))


def nothing(problem, budget, seed):
    yield Sample(1)


def asking_for_five(problem, budget, seed):
    yield 5


def choosing_unusable(problem, budget, seed):
    traces = yield Sample(1)
    return Found([replace(trace, answer=None) for trace in traces], [None], 0)


def choosing_the_last(problem, budget, seed):
    traces = yield Sample(1)
    return Found(traces, [None], -1)


def returning_too_many(problem, budget, seed):
    traces = yield Sample(8)
    return Found([*traces, traces[0]], [None] * 9, 0)


def returning_other_scores(problem, budget, seed):
    return Found((yield Sample(2)), [None], 0)


def choosing_beyond_the_last(problem, budget, seed):
    return Found((yield Sample(2)), [None] * 2, 2)


def scoring(problem, budget, seed):
    yield Score((yield Sample(1)))


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (sampling(9), r"mine asks for more than the 8 samples of its budget at once \(sum/0\)"),
        (expanding, r"mine asks for a step after \(.*\), which has ended \(sum/0\)"),
        (nothing, r"mine returned None; a strategy must return Found"),
        (asking_for_five, r"mine yields 5; a strategy yields Sample, Expand, Revise or Score"),
        (lambda problem, budget, seed: 3, r"mine returned 3; a strategy is a generator function"),
        (choosing_the_last, r"mine chose candidate -1 of 1; number them from 0 \(sum/0\)"),
        (returning_too_many, r"mine returned 9 candidates, its budget is 8 \(sum/0\)"),
        (returning_other_scores, r"mine returned 2 candidates with 1 scores"),
        (choosing_beyond_the_last, r"mine chose candidate 2 of 2; number them from 0 \(sum/0\)"),
        (choosing_unusable, r"mine chose candidate 0, which states no answer \(sum/0\)"),
        (scoring, r"mine asks for scores and names no verifier; write `mine VERIFIER`"),
    ],
)
def test_a_wrong_strategy_is_told_what_is_wrong(strategy, message):
    with pytest.raises(ValueError, match=message):
        search(Method("mine", strategy), PROBLEMS, student(), None, Budget(8), 0)


def test_a_wrong_strategy_is_called_as_on_the_command_line():
    with pytest.raises(ValueError, match=r"^mine v depth=2 returned None"):
        search(
            Method("mine", lambda *_, depth: nothing(*_), "v", {"depth": 2}),
            PROBLEMS,
            student(),
            Random(),
            Budget(8),
            0,
        )


class Wrong(Random):
    def __init__(self, damage):
        super().__init__()
        self.damage = damage

    def score_batch(self, prompts, steps_N):
        return self.damage(super().score_batch(prompts, steps_N))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda scores: scores[:-1], r"random gave \d+ scores for \d+ traces"),
        (lambda scores: [replace(s, steps=s.steps[:-1]) for s in scores], r"must give one score in \[0, 1\] per step"),
        (lambda scores: None, r"score_batch returned None; it must return a list of prm.types.Scores\(steps="),
        (lambda scores: [0.5 for _ in scores], r"score_batch returned a list of 0.5; it must hold prm.types.Scores\("),
        (lambda scores: [replace(s, ends=(3,)) for s in scores], r"gave 1 ends for \d steps; they are one more"),
        (
            lambda scores: [replace(s, spreads=(0.1,)) for s in scores],
            r"gave spreads \(0.1,\) for \d steps; they are one",
        ),
        (lambda scores: [replace(s, trace=1.5) for s in scores], r"must give one score in \[0, 1\] per step"),
        (lambda scores: [replace(s, trace=float("nan")) for s in scores], r"must give one score in \[0, 1\] per step"),
    ],
)
def test_a_wrong_verifier_is_told_what_is_wrong(damage, message):
    with pytest.raises(ValueError, match=message):
        search(method("best_of_n"), PROBLEMS, student(), Wrong(damage), Budget(8), 0)


@pytest.mark.parametrize(
    ("spread", "ends", "message"),
    [(0.0, 1, None), (0.99, 1, None), (1.0, 1, "gave spreads"), (-0.1, 1, "gave spreads"), (0.5, 0, "gave . ends")],
)
def test_what_a_verifier_may_add_to_its_scores(spread, ends, message):
    def more(scores):
        return [replace(s, spreads=(spread,) * len(s.steps), ends=tuple(range(len(s.steps) + ends))) for s in scores]

    def best_of():
        return search(method("best_of_n"), PROBLEMS, student(), Wrong(more), Budget(8), 0)

    if message is None:
        assert best_of()[0].scores[0].spreads[0] == spread
        return
    with pytest.raises(ValueError, match=message):
        best_of()


# --- Methods by name ---


def test_methods_are_read_from_words(tmp_path):
    assert parse_method("majority", []) == Method("majority", STRATEGIES["majority"])
    beam = parse_method("beam_search prm width=8", ["prm", "orm"])
    assert (beam.name, beam.verifier, beam.parameters) == ("prm_beam_search[width=8]", "prm", {"width": 8})
    assert parse_method("best_of_n orm", ["prm", "orm"]).name == "orm_best_of_n"
    root = parse_method("beam_search prm width=sqrt refill=true", ["prm"])
    assert (root.name, root.parameters) == (
        "prm_beam_search[width=sqrt,refill=true]",
        {"width": "sqrt", "refill": True},
    )
    (tmp_path / "mine.py").write_text("def first(problem, budget, seed, start=0, words: 'str' = ''):\n    yield\n")
    mine = parse_method(f"{tmp_path / 'mine.py'}:first prm start=2 words=a=b", ["prm"])
    assert (mine.name, mine.parameters) == ("prm_first[start=2,words=a=b]", {"start": 2, "words": "a=b"})
    assert mine.words == "first prm start=2 words=a=b"


def test_without_methods_a_run_does_what_its_verifiers_and_its_samples_can():
    kinds = {"a": "prm", "b": "orm"}
    votes = ["best_of_n a", "weighted_vote a", "best_of_n b", "weighted_vote b"]
    assert default_methods(kinds, 4) == ["majority", *votes[:2], "beam_search a", *votes[2:]]
    assert default_methods(kinds, 3) == ["majority", *votes]  # beam search with its usual width would refuse them


def test_ranking_unfinished_traces_by_an_orm_is_warned_of():
    beam, whole = parse_method("beam_search v", ["v"]), parse_method("best_of_n v", ["v"])
    check = partial(check_method, problem=PROBLEMS[0], budget=Budget(8), seed=0)
    assert "beam_search v ranks unfinished traces by an ORM" in check(beam, "orm")
    assert (check(beam, "prm"), check(whole, "orm")) == (None, None)


def test_a_method_may_have_a_budget_of_its_own():
    methods = [parse_method(words, ["prm"]) for words in ("best_of_n prm", "best_of_n prm samples=2")]
    assert [m.name for m in methods] == ["prm_best_of_n", "prm_best_of_n[samples=2]"]
    assert methods[1].words == "best_of_n prm samples=2"
    whole, small = (search(m, PROBLEMS[:2], student(), Random(), Budget(4), 0) for m in methods)
    for mine, other in zip(small, whole, strict=True):
        assert mine.candidates == other.candidates[:2]  # of the same pool
        assert mine.independent
        assert mine.cost.generated_tokens < other.cost.generated_tokens


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best_of_m prm", r"no strategy 'best_of_m', did you mean 'best_of_n'\? there are majority, best_of_n"),
        ("best_of_n prn", r"no verifier 'prn', did you mean 'prm'\? there is prm"),
        ("best_of_n prm orm", r"no verifier 'orm'"),
        (
            "beam_search prm widht=2",
            r"has no parameter 'widht', did you mean 'width'\? there are width, max_steps",
        ),
        ("beam_search prm max_steps=many", r"max_steps is 'many'; expected a whole number"),
        ("beam_search prm width=2 width=8", r"width twice; leave one out"),
        ("best_of_n prm width=2", r"best_of_n has no parameter 'width'; there is samples"),
        ("best_of_n prm samples=0", r"samples is 0; it must be at least 1"),
        ("best_of_n prm samples=few", r"samples is 'few'; expected a whole number"),
        ("adaptive_best_of_n prm target=0.8", r"adaptive_best_of_n needs calibration=\.\.\."),
        ("nowhere.py:first prm", r"nowhere\.py does not exist"),
    ],
)
def test_a_method_that_cannot_be_is_refused_with_what_can(text, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        parse_method(text, ["prm"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("X", r"X is no strategy; write def X\(problem, budget, seed\), which yields"),
        ("short", r"short is no strategy"),
        ("rejction", r"mine.py has no 'rejction', did you mean 'rejection'\? it defines rejection, short$"),
    ],
)
def test_a_file_without_the_strategy_is_refused_with_what_it_defines_itself(tmp_path, name, message):
    (tmp_path / "mine.py").write_text(
        "from prm.types import Budget\nX = 3\ndef rejection(problem, budget, seed): yield\ndef short(problem): yield\n"
    )
    with pytest.raises(ValueError, match=message):
        parse_method(f"{tmp_path / 'mine.py'}:{name}", [])


def test_a_method_that_cannot_begin_is_refused_before_anything_is_loaded():
    for name, strategy in STRATEGIES.items():
        check_method(Method(name, strategy, "v", NEEDED.get(name, {})), "prm", PROBLEMS[0], Budget(8), 0)
    without = {"majority", "adaptive_consistency"}
    for name in without:
        assert check_method(Method(name, STRATEGIES[name]), None, PROBLEMS[0], Budget(8), 0) is None
    for name in STRATEGIES.keys() - without:
        with pytest.raises(ValueError, match=rf"^{name}\b.* asks for scores; name a verifier after it: {name} prm$"):
            check_method(Method(name, STRATEGIES[name], None, NEEDED.get(name, {})), None, PROBLEMS[0], Budget(8), 0)
    with pytest.raises(ValueError, match="width 4 needs a budget"):
        check_method(Method("beam_search", STRATEGIES["beam_search"], "v"), "prm", PROBLEMS[0], Budget(3), 0)


def test_a_strategy_is_registered_in_one_line(monkeypatch):
    def first_wins(problem, budget, seed):
        traces = yield Sample(budget.samples)
        return Found(traces, [None] * len(traces), next((i for i, trace in enumerate(traces) if trace.usable), None))

    monkeypatch.setitem(STRATEGIES, "first_wins", first_wins)
    results = search(parse_method("first_wins", []), PROBLEMS, student(), None, Budget(3), 0)
    assert [(r.method, r.chosen, len(r.candidates), r.independent) for r in results] == [("first_wins", 0, 3, True)] * 6


def test_only_a_pool_drawn_at_once_is_independent():
    """Else the estimators over subsets would be used where they do not hold."""

    def until_four(problem, budget, seed):
        traces = []
        while len(traces) < budget.samples and not any(trace.answer == "4" for trace in traces):
            traces += yield Sample(1, first=len(traces))
        return Found(traces, [None] * len(traces), None)

    results = search(Method("until_four", until_four), PROBLEMS, student(), None, Budget(4), 0)
    assert {len(result.candidates) for result in results} >= {1, 2}
    assert not any(result.independent for result in results)
    for budget, expected in ((Budget(4), True), (Budget(4, generated_tokens=10_000), False)):
        assert all(r.independent == expected for r in search(method("majority"), PROBLEMS, student(), None, budget, 0))


def test_open_traces_are_scored_and_traces_without_an_answer_are_not():
    def strategy(problem, budget, seed):
        traces = yield Sample(2)
        scores = yield from score_readable([traces[0], replace(traces[1], answer=None)])
        return Found(traces, scores, best(traces[:1], scores[:1]))

    verifier = Random()
    (result,) = search(Method("mine", strategy, "v"), PROBLEMS[:1], student(), verifier, Budget(2), 0)
    assert [scores is None for scores in result.scores] == [False, True]
    assert len(verifier.calls[0]) == 1


def test_whole_traces_that_do_not_come_back_are_in_the_tree():
    """With their steps, and a prefix of one that goes on; the tokens of what was sampled at once are at its end."""

    def strategy(problem, budget, seed):
        traces = yield Sample(4)
        yield Score(traces[1:2])
        begun = replace(open_trace(problem), steps=traces[2].steps[:1])
        (grown,) = yield Expand([begun], key=("on",))
        return Found([traces[0], grown], [None, None], None)

    verifier = Random()
    results = search(Method("mine", strategy, "v"), PROBLEMS, student(), verifier, Budget(4), 0)
    pools = search(method("majority"), PROBLEMS, student(), None, Budget(4), 0)
    for result, pool in zip(results, pools, strict=True):
        paths = []
        for step in result.tree:
            paths.append((*(() if step.parent is None else paths[step.parent]), step.text))
        tokens = Counter({result.candidates[1].steps: result.candidates[1].num_tokens})
        for trace in pool.candidates[1:]:
            if trace.steps != pool.candidates[0].steps:
                tokens[trace.steps] += trace.num_tokens
        found = {path: step.tokens for path, step in zip(paths, result.tree, strict=True)}
        assert found == {path: tokens[path] for path in found}
        assert set(tokens) <= set(found) == {path[:end] for path in tokens for end in range(1, len(path) + 1)}
        scored = {path for path, step in zip(paths, result.tree, strict=True) if step.score is not None}
        assert scored <= {pool.candidates[1].steps}
    assert any(step.score is not None for result in results for step in result.tree)


def test_limits_cut_the_same_sample(tiny_llama, plain_tokenizer):
    """A limit shortens a sample and does not change it."""
    generator = HfGenerator(tiny_llama(len(plain_tokenizer)), plain_tokenizer, name="tiny", max_new_tokens=12)
    prefix = generator.encode("What is 2 + 2?")
    whole = generator.generate([prefix] * 3, [1, 2, 3])
    cut = generator.generate([prefix] * 3, [1, 2, 3], limits=[4, 12, 99])
    assert [c.token_ids for c in cut] == [whole[0].token_ids[:4], whole[1].token_ids, whole[2].token_ids]
    assert cut[0].stop == "length"
    assert {c.prefill for c in cut} == {len(prefix)}


def test_remembered_answers_that_were_not_checked_are_checked_for_the_problems_of_the_search():
    answered = AnsweredRequests()
    expected = search(method("majority"), PROBLEMS, student(), None, Budget(4), 0, answered)
    answered.drawn |= {
        key: replace(drawn, trace=replace(drawn.trace, status="timeout", correct=None))
        for key, drawn in answered.drawn.items()
    }
    (result,) = search(method("majority"), PROBLEMS[:1], student(), None, Budget(4), 0, answered)
    assert result.candidates == expected[0].candidates
    still = {drawn.trace.problem_id for drawn in answered.drawn.values() if drawn.trace.status == "timeout"}
    assert still == {problem.id for problem in PROBLEMS[1:]}


def test_scores_after_other_attempts_are_other_scores():
    """A journal finds an answer by its key."""
    one, other, third = (replace(open_trace(PROBLEMS[0]), steps=(step,)) for step in "abc")
    traces, history = [one], (None, [[other]], [[third]])
    tasks = [Task(PROBLEMS[0], method("rebase"), Budget(4), iter(()), Score(traces, attempts=its)) for its in history]
    assert len({task.score_key(Random()) for task in tasks}) == 3


def test_the_seconds_of_a_batch_are_shared_among_its_problems():
    generator, started = student(), time.monotonic()
    generate = generator.generate

    def slow(*args, **settings):
        time.sleep(0.01)
        return generate(*args, **settings)

    generator.generate = slow
    found = search(method("best_of_n"), PROBLEMS, generator, Random(), Budget(4), 0)
    assert 0.01 <= sum(result.cost.seconds for result in found) <= time.monotonic() - started
