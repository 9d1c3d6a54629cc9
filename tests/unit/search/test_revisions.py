"""Chains of revisions against a reference that knows only prompts and seeds, the choice by hand, what a history costs."""

import random
from dataclasses import replace

import pytest

from prm.datasets.revisions import chain_examples
from prm.encoding.codec import StepCodec
from prm.encoding.revisions import revision_prompt
from prm.generators import derive_seed
from prm.generators.scripted import ScriptedGenerator
from prm.models.loading import from_base
from prm.search import STRATEGIES
from prm.search.driver import search
from prm.search.methods import Method, check_method, parse_method, settings_of
from prm.search.requests import Found, Revise, Sample
from prm.storage.answered_requests import AnsweredRequests
from prm.types import Budget, Cost, Problem, Scores
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.oracle import OracleVerifier
from prm.verifiers.step_verifier import StepVerifier

PROBLEMS = [Problem(f"sum/{i}", f"What is {i} + 2?", str(i + 2), "sum") for i in range(5)]
P = PROBLEMS[2]


def write(prefix, seed):
    """One or two steps and an answer from 0 to 5; one attempt in four states none."""
    rng = random.Random(f"{prefix}{seed}")
    steps = [f"step {rng.choice('abcd')}" for _ in range(rng.randrange(1, 3))]
    return "\n".join([*steps, "no idea" if rng.random() < 0.25 else f"#### {rng.randrange(6)}"])


class Recorded(ScriptedGenerator):
    num_parameters = 5

    def __init__(self, script=write, calls=10**6):
        super().__init__(script)
        self.left = calls
        self.batches = []

    def generate(self, prefixes, seeds, until="end", limits=None, **settings):
        if not self.left:
            raise PowerCut
        self.left -= 1
        continuations = super().generate(prefixes, seeds, until, limits, **settings)
        self.batches.append(
            [(tuple(p), s, len(c.token_ids)) for p, s, c in zip(prefixes, seeds, continuations, strict=True)]
        )
        return continuations


class PowerCut(Exception):
    pass


class Opinion:
    """Scores the last step; what it scores may depend on what it reads before."""

    name, kind, num_parameters = "opinion", "orm", 3

    def __init__(self, score=lambda prompt, steps: random.Random(f"{prompt}{steps}").random()):
        self.score = score
        self.calls = []

    def score_batch(self, prompts, steps_N):
        self.calls.append(list(zip(prompts, map(tuple, steps_N), strict=True)))
        return [Scores((score := self.score(p, steps),) * len(steps), score, read=1) for p, steps in self.calls[-1]]


def run(generator, verifier, n, problems=(P,), seed=0, tokens=None, answered=None, **parameters):
    method = Method("revisions", STRATEGIES["revisions"], "v" if verifier else None, parameters)
    return search(method, list(problems), generator, verifier, Budget(n, tokens), seed, answered)


def texts(result):
    return ["\n".join(candidate.steps) for candidate in result.candidates]


def without_time(results):
    return [replace(result, cost=replace(result.cost, seconds=0.0)) for result in results]


# --- What is sampled ---


def reference(n, chains, memory, seed):
    """The attempts of each chain: prompts are texts, and the seed follows from the place of an attempt."""
    written = [[write(P.prompt + "\n", derive_seed(seed, P.id, "trace", c))] for c in range(chains)]
    for turn in range(1, n // chains):
        for c, chain in enumerate(written):
            seen = [text for text in chain if "####" in text][-memory:]
            prompt = "\n\n\n".join([P.prompt, *seen, P.prompt] if seen else [P.prompt]) + "\n"
            chain.append(write(prompt, derive_seed(seed, P.id, "revision", turn, c)))
    return written


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "chains"), [(1, 1), (8, 1), (8, 2), (12, 4), (8, 8)])
@pytest.mark.parametrize("memory", [1, 4])
def test_revisions_are_their_reference(n, chains, memory, seed):
    expected = reference(n, chains, memory, seed)
    (result,) = run(Recorded(), None, n, seed=seed, chains=chains, memory=memory, choose="majority")
    assert [texts(result)[c::chains] for c in range(chains)] == expected
    votes = [text.split("#### ")[1] for chain in expected for text in chain if "####" in text]
    most = {answer for answer in votes if votes.count(answer) == max(map(votes.count, votes))}
    assert (result.answer in most) if votes else result.chosen is None
    assert result.cost.generator_calls == n


def test_as_many_chains_as_samples_are_the_pool():
    generator, verifier, answered = Recorded(), Opinion(), AnsweredRequests()
    (parallel,) = run(generator, verifier, 8, chains=8, answered=answered)
    method = Method("weighted_vote", STRATEGIES["weighted_vote"], "v")
    (vote,) = search(method, [P], generator, verifier, Budget(8), 0, answered)
    assert len(generator.batches) == 1
    assert (parallel.candidates, parallel.independent, parallel.answer) == (vote.candidates, True, vote.answer)
    (sequential,) = run(generator, verifier, 8, chains=1, answered=answered)
    assert not sequential.independent
    assert len(generator.batches) == 1 + 7  # the first attempt is the pool's
    assert sequential.candidates[0] == parallel.candidates[0]


@pytest.mark.parametrize("drawn", [0, 1])
def test_chains_that_the_budget_does_not_begin_are_not_revised(drawn):
    (result,) = run(Recorded(), None, 8, chains=8, choose="majority")
    steps = STRATEGIES["revisions"](P, Budget(8), 0, chains=2, choose="majority")
    assert next(steps) == Sample(2)
    with pytest.raises(StopIteration) as end:
        steps.send(result.candidates[:drawn])
    assert len(end.value.value.candidates) == drawn


def test_what_a_chain_learns_from_is_what_it_was_shown():
    generator = Recorded()
    (result,) = run(generator, None, 12, chains=2, memory=2, choose="majority")
    asked = dict.fromkeys("".join(map(chr, prefix)) for batch in generator.batches for prefix, _, _ in batch)
    checked = [c for c in result.candidates if c.usable]
    examples = list(chain_examples(result.candidates, 2, 2))
    assert [target for _, target in examples] == checked
    assert {revision_prompt(P.prompt, attempts) + "\n" for attempts, _ in examples} <= asked.keys()
    assert [len(attempts) for attempts, _ in examples][:2] == [0, 0]
    assert max(len(attempts) for attempts, _ in examples) == 2
    undecided = [replace(c, correct=None) if c == checked[0] else c for c in result.candidates]  # its check timed out
    assert [target for _, target in chain_examples(undecided, 2, 2)] == checked[1:]


# --- The choice ---

ATTEMPTS = {  # answer and score of the attempts of two chains
    0: [("1", 0.9), ("2", 0.5), ("2", 0.5), ("2", 0.01)],
    1: [("3", 0.1), ("3", 0.6), ("1", 0.65), ("4", 0.0)],
}


def planted(chains):
    """The attempts of `ATTEMPTS`, in two chains or one after the other in one."""
    order = [ATTEMPTS[c][t] for t in range(4) for c in (0, 1)]
    places = {derive_seed(0, P.id, "trace", c): c for c in range(chains)}
    places |= {
        derive_seed(0, P.id, "revision", t, c): t * chains + c for t in range(1, 8 // chains) for c in range(chains)
    }
    generator = Recorded(lambda prefix, seed: f"at {places[seed]}\n#### {order[places[seed]][0]}")
    return generator, Opinion(lambda prompt, steps: order[int(steps[0].split()[1])][1])


@pytest.mark.parametrize(
    ("chains", "choose", "answer", "chosen"),
    [
        # chain 0 votes for 2 (1.01 against 0.9), best 0.5; chain 1 for 3 (0.7 against 0.65), best 0.6
        (2, "weighted", "3", 3),
        (2, "best", "1", 0),
        (2, "majority", "2", 2),
        (1, "weighted", "1", 0),  # 0.9 + 0.65
        (1, "majority", "2", 2),
        (8, "weighted", "1", 0),
    ],
)
def test_the_choice_by_hand(chains, choose, answer, chosen):
    generator, verifier = planted(chains)
    (result,) = run(generator, verifier, 8, chains=chains, choose=choose)
    assert (result.answer, result.chosen) == (answer, chosen)
    assert len(verifier.calls) == (choose != "majority")


def test_with_an_oracle_a_chain_finds_the_planted_answer_and_keeps_it():
    """Right in the third attempt, wrong again in all that follow: the last attempt is not the choice."""

    def script(prefix, seed):
        return f"#### {P.answer if prefix.count('####') == 2 else 9}"

    (result,) = run(Recorded(script), OracleVerifier([P]), 8, memory=8)
    assert [c.correct for c in result.candidates] == [False, False, True, *[False] * 5]
    assert (result.answer, result.correct) == (P.answer, True)


def test_a_verifier_with_history_reads_what_the_attempt_saw():
    verifier = Opinion()
    (result,) = run(Recorded(), verifier, 8, chains=2, memory=2, history=True)
    (call,) = verifier.calls
    seen = chain_examples(result.candidates, 2, 2)
    assert call == [(revision_prompt(P.prompt, attempts), trace.steps) for attempts, trace in seen]
    assert len({prompt for prompt, _ in call}) > 3
    plain = Opinion()
    run(Recorded(), plain, 8, chains=2, memory=2)
    assert [steps for _, steps in plain.calls[0]] == [steps for _, steps in call]
    assert {prompt for prompt, _ in plain.calls[0]} == {P.prompt}


def test_with_and_without_history_are_two_requests():
    answered, verifier = AnsweredRequests(), Opinion()
    first, again, other = (
        run(Recorded(), verifier, 4, history=history, answered=answered)[0] for history in (True, True, False)
    )
    assert first.scores == again.scores != other.scores
    assert len(verifier.calls) == 2
    assert first.cost.verifier_tokens == again.cost.verifier_tokens == other.cost.verifier_tokens > 0


# --- What it costs ---


@pytest.mark.parametrize(("chains", "tokens"), [(1, None), (2, None), (2, 90)])
def test_costs_with_history_are_those_of_what_was_really_asked(
    chains, tokens, tiny_llama, plain_tokenizer, tmp_path, monkeypatch
):
    tiny_llama(len(plain_tokenizer)).save_pretrained(tmp_path)
    config = VerifierConfig("orm", StepCodec(max_length=500), "outcome", "last", "base", "hash")
    verifier = StepVerifier(from_base(str(tmp_path)), plain_tokenizer, config)
    asked, score_batch = [], verifier.score_batch
    monkeypatch.setattr(
        verifier, "score_batch", lambda p, s: (asked.extend(zip(p, s, strict=True)), score_batch(p, s))[1]
    )
    generator = Recorded()
    results = run(generator, verifier, 8, PROBLEMS, tokens=tokens, chains=chains, history=True)
    for problem, result in zip(PROBLEMS, results, strict=True):
        start = tuple(map(ord, problem.prompt + "\n"))
        mine = [
            (turn, p, n)
            for turn, batch in enumerate(generator.batches)
            for p, _, n in batch
            if p[: len(start)] == start
        ]
        prefill = sum(len(p) for _, p in {(turn, p) for turn, p, _ in mine})
        # Neighbors with the same history share what they share; others are read whole.
        read = whole = scored = 0
        before, known = None, set()
        for prompt, steps in ((p, s) for p, s in asked if p.startswith(problem.prompt)):
            ids = config.codec.encode(plain_tokenizer, prompt, steps).input_ids
            nodes = {ids[:end] for end in range(1, len(ids) + 1)}
            known = known if prompt == before else set()
            read += len(nodes - known)
            known, before = known | nodes, prompt
            whole, scored = whole + len(ids), scored + 1
        assert result.cost.verifier_tokens == read > 0
        generated = sum(n for _, _, n in mine)
        assert replace(result.cost, seconds=0.0, flops_by_shape=0.0, cached_verifier_tokens=0) == Cost(
            generated_tokens=generated,
            prompt_tokens=prefill,
            verifier_tokens=read,
            cached_tokens=sum(len(p) for _, p, _ in mine) - prefill + whole - read,
            generator_calls=len(mine),
            verifier_calls=scored,
            flops=2.0 * 5 * (generated + prefill) + 2.0 * verifier.num_parameters * read,
        )
        assert tokens is None or generated <= tokens
        assert max(len(p) for _, p, _ in mine) > len(start)  # an attempt that sees others costs more to read


@pytest.mark.parametrize("chains", [1, 2, 8])
@pytest.mark.parametrize("tokens", [1, 7, 40, 10_000])
def test_no_budget_is_exceeded(chains, tokens):
    for seed in range(4):
        (result,) = run(Recorded(), Opinion(), 8, seed=seed, tokens=tokens, chains=chains)
        assert result.cost.generated_tokens <= tokens
        assert 0 < len(result.candidates) <= 8
        if tokens <= 40:
            assert result.cost.generated_tokens == tokens
            assert [c.finished for c in result.candidates][:-1] == [True] * (len(result.candidates) - 1)
        else:
            assert texts(result) == texts(run(Recorded(), Opinion(), 8, seed=seed, chains=chains)[0])


# --- What it remembers ---


@pytest.mark.parametrize("survived", [0, 1, 2, 3])
@pytest.mark.parametrize("history", [False, True])
def test_a_killed_search_asks_nothing_twice(survived, history, tmp_path):
    settings = {"problems": PROBLEMS, "chains": 2, "history": history}
    whole, judge = Recorded(), Opinion()
    expected = run(whole, judge, 8, **settings)
    dying, again, first, second = Recorded(calls=survived), Recorded(), Opinion(), Opinion()
    with pytest.raises(PowerCut):
        run(dying, first, 8, **settings, answered=AnsweredRequests(tmp_path / "j", {"seed": 0}))
    results = run(again, second, 8, **settings, answered=AnsweredRequests(tmp_path / "j", {"seed": 0}))
    assert without_time(results) == without_time(expected)
    assert dying.batches + again.batches == whole.batches
    assert len(whole.batches) == 4
    assert first.calls + second.calls == judge.calls
    third = Opinion()
    kept = run(Recorded(calls=0), third, 8, **settings, answered=AnsweredRequests(tmp_path / "j", {"seed": 0}))
    assert (without_time(kept), third.calls) == (without_time(expected), [])


# --- What it refuses ---


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"chains": 3}, "chains is 3; it must divide the 8 samples of the budget"),
        ({"chains": 0}, "chains is 0; it must divide"),
        ({"chains": 16}, "chains is 16; it must divide"),
        ({"memory": 0}, "memory is 0; a revision sees at least 1 attempt"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(parameters, message):
    with pytest.raises(ValueError, match=message):
        next(STRATEGIES["revisions"](P, Budget(8), 0, **parameters))


def test_scores_without_a_verifier_are_refused_before_anything_is_sampled():
    for text in ("revisions", "revisions chains=2 choose=best"):
        with pytest.raises(ValueError, match=r"^revisions.* asks for scores; name a verifier after it: revisions prm$"):
            check_method(parse_method(text, []), None, P, Budget(8), 0)
    assert check_method(parse_method("revisions choose=majority", []), None, P, Budget(8), 0) is None
    with pytest.raises(ValueError, match="choose is 'most'; expected"):
        parse_method("revisions choose=most", [])


def test_revisions_count_as_samples():
    def greedy(problem, budget, seed):
        traces = yield Sample(2)
        traces += yield Revise([[], traces], ("more",))
        return Found(traces, [None] * 4, None)

    generator = Recorded()
    search(Method("greedy", greedy), [P], generator, None, Budget(4), 0)
    first, second = ("".join(map(chr, prefix)) for prefix, _, _ in generator.batches[1])
    assert (first, second.startswith(f"{P.prompt}\n\n\nstep")) == (P.prompt + "\n", True)
    assert len({seed for batch in generator.batches for _, seed, _ in batch}) == 4
    with pytest.raises(ValueError, match="greedy asks for more than the 3 samples of its budget at once"):
        search(Method("greedy", greedy), [P], Recorded(), None, Budget(3), 0)


def test_the_settings_of_a_stored_method():
    assert settings_of("v_revisions[chains=4,history=True]", "revisions") == {
        "chains": 4,
        "memory": 4,
        "choose": "weighted",
        "history": True,
    }
    assert settings_of("revisions[choose=majority]", "revisions")["chains"] == 1
