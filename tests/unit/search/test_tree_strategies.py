"""The strategies that grow trees, each against a reference of a few lines on scripted trees, and what holds for all of them.

A `World` is a tree that follows from a number: what a seed writes after a prefix, and what the verifier thinks of it. The
references know nothing of requests, nodes and budgets: only `World.child` and `World.value`.
"""

import inspect
import math
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from scripted_tree import Likes, P, World, ended, run, texts

from prm.generators import derive_seed
from prm.generators.scripted import GREEDY, ScriptedGenerator
from prm.search import STRATEGIES
from prm.search.particle_filtering import odds
from prm.search.requests import Score
from prm.search.tree import Node, conclude
from prm.types import Budget, Problem, Scores, Trace
from prm.verifiers.oracle import OracleVerifier

TREES = ["beam_search", "lookahead_search", "dvts", "rebase", "particle_filtering", "mcts"]
SETTINGS = [
    *((name, {}) for name in TREES),
    ("beam_search", {"refill": True, "vote": True}),
    ("beam_search", {"width": "sqrt"}),
    ("beam_search", {"vote": True, "weigh": True}),
    ("particle_filtering", {"entropic": True}),
]
BY_SCORE = {name: {"vote": False, "weigh": False} for name in TREES} | {
    "rebase": {"weigh": False},
    "particle_filtering": {"vote": False},
}
"""What the references do: scores alone rank and choose, and REBASE votes by them."""


WORLDS = [World(number) for number in range(8)]


def run_one(name, world, samples, **parameters):
    return run(name, world.generator(), world, samples, **BY_SCORE[name] | parameters)[0]


def chosen(result):
    return result.candidates[result.chosen].steps


def voted(world, leaves):
    """The answer with the highest sum of values; in these worlds no two answers tie."""
    sums = {}
    for leaf in leaves:
        sums[leaf[-1]] = sums.get(leaf[-1], 0) + world.value(leaf)
    return max(sums, key=sums.get)


# --- Each strategy is its reference ---


def reference_beams(world, n, m, value, refill=False):
    done, live, depth = [], [()], 0
    while live and (refill or len(done) < n):
        kept = sorted(live, key=value, reverse=True)[: n // m]
        room = n if refill else n - len(done)
        new = list(dict.fromkeys(world.child(kept[i % len(kept)], "beam", depth, i) for i in range(room)))
        done += filter(ended, new)
        live = [steps for steps in new if not ended(steps)]
        depth += 1
    return done


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("n", "m", "width"), [(1, 1, 1), (8, 4, 4), (9, 3, "sqrt")])
def test_beam_search_is_its_reference(world, n, m, width):
    keeping, refilling = (reference_beams(world, n, m, world.value, refill) for refill in (False, True))
    result = run_one("beam_search", world, n, width=width)
    assert texts(result) == keeping
    assert chosen(result) == max(keeping, key=world.value)
    vote = run_one("beam_search", world, n, width=width, vote=True)
    assert texts(vote) == keeping
    assert chosen(vote)[-1] == voted(world, keeping)

    refilled = run_one("beam_search", world, n, width=width, refill=True)
    assert set(texts(refilled)) == set(sorted(refilling, key=world.value, reverse=True)[:n])
    assert chosen(refilled) == max(refilling, key=world.value)


def reference_weighed_beams(world, n, m):
    """Ended beams with their shares; beams are ranked by value x share."""
    done, live, depth = {}, {(): 1.0}, 0
    while live and len(done) < n:
        kept = sorted(live, key=lambda steps: world.value(steps) * live[steps], reverse=True)[: n // m]
        parents = [kept[i % len(kept)] for i in range(n - len(done))]
        new = [world.child(parent, "beam", depth, i) for i, parent in enumerate(parents)]
        shares = {
            child: live[parent] * new.count(child) / parents.count(parent)
            for parent, child in zip(parents, new, strict=True)
        }
        done |= {steps: share for steps, share in shares.items() if ended(steps)}
        live = {steps: share for steps, share in shares.items() if not ended(steps)}
        depth += 1
    return done


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("n", "m"), [(8, 4), (9, 3), (16, 2)])
def test_weighed_beams_are_their_reference(world, n, m):
    shares = reference_weighed_beams(world, n, m)
    result = run_one("beam_search", world, n, width=m, weigh=True)
    assert texts(result) == list(shares)
    assert chosen(result) == max(shares, key=lambda steps: world.value(steps) * shares[steps])
    votes = Counter()
    for steps, share in shares.items():
        votes[steps[-1]] += world.value(steps) * share
    vote = run_one("beam_search", world, n, width=m, weigh=True, vote=True)
    assert chosen(vote)[-1] == votes.most_common(1)[0][0]
    assert all(its.trace == world.value(c.steps) for its, c in zip(vote.scores, vote.candidates, strict=True))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("k", [0, 1, 3])
def test_lookahead_search_is_its_reference(world, k):
    expected = reference_beams(world, 8, 4, lambda steps: world.value(world.greedy(steps, k)))
    result = run_one("lookahead_search", world, 8, lookahead=k)
    assert texts(result) == expected
    assert chosen(result) == max(expected, key=world.value)
    if k == 0:
        assert texts(run_one("beam_search", world, 8)) == expected


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("n", [4, 12])
def test_dvts_is_its_reference(world, n):
    heads, leaves, depth = [()] * (n // 4), [[] for _ in range(n // 4)], 0
    while not all(map(ended, heads)):
        for place, tree in enumerate([tree for tree, head in enumerate(heads) if not ended(head)]):
            leaves[tree] = [world.child(heads[tree], "dvts", depth, 4 * place + i) for i in range(4)]
        heads = [max(mine, key=world.value) for mine in leaves]
        depth += 1
    result = run_one("dvts", world, n)
    assert set(heads) <= {steps for mine in leaves for steps in mine} <= set(texts(result)) or len(texts(result)) == n
    assert all(len(steps) < world.deep for steps in set(texts(result)) - {s for mine in leaves for s in mine})
    assert chosen(result) == max(filter(ended, texts(result)), key=world.value)


def test_dvts_where_all_depths_are_equal_keeps_the_last_siblings_only():
    world = World(3, shallow=4, deep=4)
    head = ()
    for depth in range(4):
        siblings = [world.child(head, "dvts", depth, i) for i in range(4)]
        head = max(siblings, key=world.value)
    result = run_one("dvts", world, 4)
    assert texts(result) == list(dict.fromkeys(siblings))
    assert chosen(result) == head


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("temperature", [0.05, 0.2, 5.0])
def test_rebase_is_its_reference(world, temperature):
    done, live, depth = [], [()], 0
    while live and len(done) < 8:
        left, asked = 8 - len(done), []
        live.sort(key=world.value, reverse=True)
        weights = [math.exp(world.value(steps) / temperature) for steps in live]
        for i, steps in enumerate(live):
            n = min(left, math.ceil(left * weights[i] / sum(weights[i:])))
            asked += [steps] * n
            left -= n
        new = list(dict.fromkeys(world.child(steps, "rebase", depth, i) for i, steps in enumerate(asked)))
        done += filter(ended, new)
        live = [steps for steps in new if not ended(steps)]
        depth += 1
    result = run_one("rebase", world, 8, temperature=temperature)
    assert texts(result) == done
    assert chosen(result)[-1] == voted(world, done)
    assert chosen(run_one("rebase", world, 8, temperature=temperature, vote=False)) == max(done, key=world.value)


@pytest.mark.parametrize("world", WORLDS)
def test_weighed_rebase_is_its_reference(world):
    """A node has the weight of as many equal ones as the generator would write."""
    done, live, depth = {}, {(): 1.0}, 0
    while live and len(done) < 8:
        weights = {steps: share * math.exp(world.value(steps) / 0.2) for steps, share in live.items()}
        ranked, left, asked = sorted(live, key=weights.get, reverse=True), 8 - len(done), []
        for i, steps in enumerate(ranked):
            n = min(left, math.ceil(left * weights[steps] / sum(map(weights.get, ranked[i:]))))
            asked += [steps] * n
            left -= n
        new = [world.child(steps, "rebase", depth, i) for i, steps in enumerate(asked)]
        shares = {
            child: live[steps] * new.count(child) / asked.count(steps) for steps, child in zip(asked, new, strict=True)
        }
        done |= {steps: share for steps, share in shares.items() if ended(steps)}
        live = {steps: share for steps, share in shares.items() if not ended(steps)}
        depth += 1
    votes = Counter()
    for steps, share in done.items():
        votes[steps[-1]] += world.value(steps) * share
    result = run_one("rebase", world, 8, weigh=True)
    assert texts(result) == list(done)
    assert chosen(result)[-1] == votes.most_common(1)[0][0]


@pytest.mark.parametrize("world", WORLDS)
def test_weighed_dvts_goes_on_from_what_is_good_and_often_sampled(world):
    """One subtree of four siblings, all ends equally deep."""
    world = World(world.number, shallow=4, deep=4)
    head, share = (), 1.0
    for depth in range(4):
        siblings = [world.child(head, "dvts", depth, i) for i in range(4)]
        worth = {steps: share * siblings.count(steps) / 4 * world.value(steps) for steps in siblings}
        head = max(siblings, key=worth.get)
        share *= siblings.count(head) / 4
    result = run_one("dvts", world, 4, weigh=True)
    assert texts(result) == list(dict.fromkeys(siblings))
    assert chosen(result) == head


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("entropic", [False, True])
def test_particle_filtering_is_its_reference(world, entropic):
    n, steps_at_most, particles, depth = 8, 12, [()] * 8, 0
    while not all(map(ended, particles)):
        if depth:  # copy i as often as marks at (coin + k) / n fall upon its stretch
            weights = [world.value(steps) / (1 - world.value(steps)) for steps in particles]
            ess = sum(weights) ** 2 / sum(w * w for w in weights)
            if entropic and ess < n / 2 and depth < steps_at_most / 2:
                weights = [w ** min(1, ess / n / (1 - depth / steps_at_most)) for w in weights]
            coin = random.Random(f"0/{P.id}/{depth}").random()
            ends = [n * sum(weights[:i]) / sum(weights) for i in range(n + 1)]
            copies = [math.ceil(b - coin) - math.ceil(a - coin) for a, b in pairwise(ends)]
            particles = [steps for steps, times in zip(particles, copies, strict=True) for _ in range(times)]
        going = [i for i, steps in enumerate(particles) if not ended(steps)]
        for place, i in enumerate(going):
            particles[i] = world.child(particles[i], "particles", depth, place)
        depth += 1
    result = run_one("particle_filtering", world, n, entropic=entropic, max_steps=steps_at_most)
    assert texts(result) == particles
    assert chosen(result) == max(particles, key=world.value)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("c", "n", "m"), [(0.0, 4, 2), (0.125, 8, 4), (2.0, 8, 2)])
def test_mcts_is_its_reference(world, c, n, m):
    kids, turns = {}, []

    def through(steps):
        return [found for node, found in turns if node[: len(steps)] == steps]

    def going(steps):
        return any(map(going, kids[steps])) if steps in kids else not ended(steps)

    def puct(steps):
        siblings = sum(len(through(kid)) for kid in kids[steps[:-1]])
        values = [world.value(steps), *through(steps)]
        return sum(values) / len(values) + c * math.sqrt(siblings) / (1 + len(through(steps)))

    while going(()) and sum(ended(kid) for those in kids.values() for kid in those) < n:
        node = ()
        while node in kids:
            node = max(filter(going, kids[node]), key=puct)
        kids[node] = list(dict.fromkeys(world.child(node, "mcts", len(turns), i) for i in range(m)))
        turns.append((node, sum(map(world.value, kids[node])) / len(kids[node])))
    done = [kid for those in kids.values() for kid in those if ended(kid)]
    result = run_one("mcts", world, n, width=m, c_puct=c)
    finished = [steps for steps in texts(result) if ended(steps)]
    assert finished == sorted(sorted(done, key=world.value, reverse=True)[:n], key=done.index)
    assert chosen(result) == max(done, key=world.value)
    assert result.cost.generator_calls == len(turns) * m


# --- What a strategy is for ---


class OnPath:
    """Knows the one right way: 1 on it, 0 beside it; with noise, sometimes the wrong way round."""

    name, kind, num_parameters = "path", "prm", 1

    def __init__(self, noise=0.0):
        self.noise = noise

    def score_batch(self, prompts, steps_N):
        def score(prompt, steps):
            right = all(step in ("right", "#### 4") for step in steps)
            return right != (random.Random(f"{prompt}{steps}").random() < self.noise)

        scores_N = [
            tuple(float(score(prompt, steps[:i])) for i in range(1, len(steps) + 1))
            for prompt, steps in zip(prompts, steps_N, strict=True)
        ]
        return [Scores(scores, scores[-1]) for scores in scores_N]


def crossroads(depth=3):
    """At every step right or left; the answer is 4 only if it was always right."""

    def script(prefix, seed):
        prompt, *steps = prefix.splitlines()
        rng, lines = random.Random(f"{prompt}{steps}{seed}"), []
        while len(steps) + len(lines) < depth:
            lines.append(rng.choice(["left", "right"]))
        wrong = "left" in [*steps, *lines]
        return "\n".join([*lines, f"#### {rng.choice([3, 5, 6]) if wrong else 4}"]) + "\n"

    return ScriptedGenerator(script)


FORKS = [Problem(f"fork/{i}", f"Which way at {i}?", "4", "fork") for i in range(25)]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_with_an_oracle_the_planted_answer_is_found(name, settings):
    """One way of 1,024 is right: at each of five forks, one of every four samples takes it."""
    asked = Counter()

    def script(prefix, seed):
        steps = prefix.splitlines()[1:]
        asked[prefix] += 1
        if len(steps) == 5:
            return f"#### {4 if set(steps) == {'right'} else 5}\n"
        return ["left\n", "back\n", "right\n", "on\n"][asked[prefix] % 4]

    results = run(name, ScriptedGenerator(script), OnPath(), 16, FORKS[:5], **settings)
    assert [(result.answer, result.correct) for result in results] == [("4", True)] * 5


def test_oracle_best_of_n_and_mean_sample_are_in_order():
    oracle, noisy = (run("best_of_n", crossroads(), v, 8, FORKS) for v in (OracleVerifier(FORKS), OnPath(noise=0.2)))
    mean = sum(bool(c.correct) for result in oracle for c in result.candidates) / 8
    right = [sum(result.correct for result in results) for results in (oracle, noisy)]
    assert right[0] > right[1] > mean > 0
    assert right[0] == sum(any(c.correct for c in result.candidates) for result in oracle)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_a_good_verifier_is_better_than_a_noisy_one_and_that_than_none(name, settings):
    oracle, noisy = (
        sum(result.correct for result in run(name, crossroads(), OnPath(noise), 8, FORKS, **settings))
        for noise in (0.0, 0.2)
    )
    assert oracle >= noisy > 25 / 8


# --- What they spend ---


def every_step_differs(depth):
    """Steps of 12 tokens, all different; every trace is `depth` steps deep."""

    def script(prefix, seed):
        steps = prefix.splitlines()[1:]
        return f"#### {seed % 10**6:06}\n" if len(steps) == depth - 1 else f"{seed % 10**11:011}\n"

    return ScriptedGenerator(script)


@pytest.mark.parametrize(
    ("name", "settings", "steps"),
    [
        ("beam_search", {}, 8 * 6),
        ("beam_search", {"refill": True}, 8 * 6),
        ("dvts", {}, 8 * 6),
        ("rebase", {}, 8 * 6),
        ("particle_filtering", {}, 8 * 6),
        # k more steps after each, as far as the trace goes on
        ("lookahead_search", {"lookahead": 1}, 8 * (6 + 5)),
        ("lookahead_search", {"lookahead": 3}, 8 * (6 + 3 + 3 + 3 + 2 + 1)),
    ],
)
def test_the_cost_formula_of_each_strategy(name, settings, steps):
    """N = 8, six steps of 12 tokens: where all depths are equal, the formula is exact."""
    (result,) = run(name, every_step_differs(6), Likes(), 8, **settings)
    assert result.cost.generated_tokens == 12 * steps
    assert result.cost.generator_calls == steps
    assert result.cost.verifier_calls == 8 * 6
    assert result.duplicates == 0


def test_mcts_costs_m_steps_a_turn():
    (result,) = run("mcts", every_step_differs(3), Likes(), 8)
    turns = result.cost.generator_calls // 4
    assert result.cost.generated_tokens == 12 * 4 * turns
    assert sum(candidate.usable for candidate in result.candidates) == 8
    (result,) = run("mcts", every_step_differs(99), Likes(), 8, max_steps=5)
    assert (result.cost.generator_calls, result.chosen) == (8 * 5, None)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize("tokens", [1, 9, 50, 150, 10_000])
def test_no_budget_is_exceeded(name, settings, tokens):
    for world in WORLDS[:4]:
        result = run_one(name, world, 9, tokens=tokens, **settings)
        assert result.cost.generated_tokens <= tokens
        assert 0 < len(result.candidates) <= 9
        for candidate, scores in zip(result.candidates, result.scores, strict=True):
            assert scores is None or len(scores.steps) == len(candidate.steps)
        if tokens < 30:  # less than any of them spends of itself
            assert result.cost.generated_tokens == tokens
        assert (result.chosen is None) == (not any(candidate.usable for candidate in result.candidates))
        if tokens == 10_000:
            assert texts(result) == texts(run_one(name, world, 9, **settings))


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_what_gets_less_than_it_asked_for_asks_for_no_more_steps(name, settings):
    """A budget that is spent stays spent, whatever a driver makes of another request."""
    at_most = 3 if name == "lookahead_search" else 2  # its rollouts are cut short first, then its steps
    answered = 0

    def answer(request):
        nonlocal answered
        if isinstance(request, Score):
            return [Scores((0.5,) * len(trace.steps), 0.5) for trace in request.traces]
        answered += 1
        assert answered <= at_most, "a request after one that was cut short"
        grown = [replace(trace, steps=(*trace.steps, f"step {i}")) for i, trace in enumerate(request.parents)]
        return grown if answered == 1 else grown[:1] if name == "particle_filtering" else []

    def drive(searching):
        request = next(searching)
        while True:
            try:
                request = searching.send(answer(request))
            except StopIteration as end:
                return end.value

    assert 0 < len(drive(STRATEGIES[name](P, Budget(8), 0, **settings)).candidates) <= 8


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_ties_are_the_same_in_every_run_and_others_under_another_seed(name, settings):
    generator = WORLDS[0].generator()
    first, again, other = (
        [texts(result) for result in run(name, generator, Likes(), 9, FORKS[:6], seed=seed, **settings)]
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_what_is_unfinished_never_beats_what_is_finished(name, settings):
    """One of the first steps ends; the verifier likes all others better, and those never end."""

    def script(prefix, seed):
        first = len(prefix.splitlines()) == 1
        return "#### 4\n" if first and seed == derive_seed(0, P.id, *FIRST[name], 2) else f"on {seed % 1000}\n"

    verifier = Likes(lambda steps: 0.01 if steps[-1] == "#### 4" else 0.99)
    (result,) = run(name, ScriptedGenerator(script), verifier, 9, max_steps=6, **settings)
    assert (result.answer, result.correct) == ("4", True)
    assert len(result.candidates) <= 9


FIRST = {
    "beam_search": ("beam", 0),
    "lookahead_search": ("beam", 0),
    "dvts": ("dvts", 0),
    "rebase": ("rebase", 0),
    "particle_filtering": ("particles", 0),
    "mcts": ("mcts", 0),
}


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_duplicates_are_counted_and_scored_once(name, settings):
    for world in map(Recording, range(4)):
        result = run_one(name, world, 9, **settings)
        assert result.duplicates == len(world.made) - len(set(world.made)) > 0
        assert all(len(request) == len(set(request)) for request in world.asked)


class Recording(World):
    """Keeps what was sampled."""

    def __init__(self, number):
        super().__init__(number)
        self.made = []

    def write(self, steps, seed):
        text = super().write(steps, seed)
        if seed != GREEDY:
            self.made.append((*steps, text))
        return text


# --- What they leave behind ---


def paths_of(tree):
    """The steps from the problem to each node."""
    paths = []
    for step in tree:
        paths.append((*(() if step.parent is None else paths[step.parent]), step.text))
    return paths


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize("tokens", [None, 50])
def test_every_step_that_was_sampled_is_in_the_tree(name, settings, tokens):
    """Once, with the tokens of all its samples and what the verifier said of the trace up to it."""
    for world in map(World, range(4)):
        generator = world.generator()
        (result,) = run(name, generator, world, 9, tokens=tokens, **settings)
        written = Counter()
        for prefix, seed in generator.calls:
            steps = tuple(prefix.splitlines()[1:])
            written[(*steps, world.write(steps, seed))] += 1
        asked = {steps for request in world.asked for steps in request}
        paths = paths_of(result.tree)
        if tokens is None:
            assert dict(zip(paths, [step.tokens for step in result.tree], strict=True)) == {
                path: times * len(path[-1] + "\n") for path, times in written.items()
            }
        assert len(set(paths)) == len(paths) > 0
        assert sum(step.tokens for step in result.tree) == result.cost.generated_tokens
        assert [step.score for step in result.tree] == [world.value(p) if p in asked else None for p in paths]
        assert set(texts(result)) <= set(paths)


def test_where_all_whole_traces_come_back_they_are_the_tree():
    results = run("best_of_n", crossroads(), OnPath(), 8, FORKS[:3])
    assert [result.tree for result in results] == [()] * 3


# --- Parameters ---


def test_refilled_beams_sample_more_and_find_higher_scores_where_depths_differ():
    def scores(result):
        return max(its.trace for its, c in zip(result.scores, result.candidates, strict=True) if c.usable)

    pairs = [[run_one("beam_search", World(i), 8, refill=refill) for refill in (False, True)] for i in range(40)]
    assert all(keep.cost.generator_calls <= refill.cost.generator_calls for keep, refill in pairs)
    higher = sum(scores(refill) > scores(keep) for keep, refill in pairs)
    lower = sum(scores(refill) < scores(keep) for keep, refill in pairs)
    assert higher > 3 * lower
    assert higher > 5
    for i in range(5):
        equal = [run_one("beam_search", World(i, 4, 4), 8, refill=refill) for refill in (False, True)]
        assert texts(equal[0]) == texts(equal[1])


def test_a_vote_over_the_beams_is_not_the_best_beam():
    levels = {0: "#### 5", 1: "#### 4", 2: "#### 4.0", 3: "#### 6"}
    script = {derive_seed(0, P.id, "beam", 0, i): text + "\n" for i, text in levels.items()}
    verifier = Likes(lambda steps: {"#### 5": 0.9, "#### 4": 0.5, "#### 4.0": 0.6, "#### 6": 0.1}[steps[-1]])
    generator = ScriptedGenerator(lambda prefix, seed: script[seed])
    assert run("beam_search", generator, verifier, 4, vote=False)[0].answer == "5"
    assert run("beam_search", generator, verifier, 4)[0].answer == "4"


def test_a_tree_of_ones_own_ends_with_the_best_leaf_unless_it_asks_for_a_vote():
    leaves = [
        Node(Trace(P.id, (f"#### {answer}",), answer, answer == "4", seed=i), Scores((score,), score))
        for i, (answer, score) in enumerate([("5", 0.9), ("4", 0.5), ("4.0", 0.6)])
    ]
    assert conclude(leaves, P, Budget(4), 0).chosen == 0
    assert conclude(leaves, P, Budget(4), 0, vote=True).chosen == 1


def test_a_method_that_names_no_parameters_is_always_the_same_one():
    """Results of different runs are compared by these names."""
    steps, choice, required = {"max_steps": 40}, {"vote": True, "weigh": True}, inspect.Parameter.empty
    assert {
        name: {p.name: p.default for p in list(inspect.signature(strategy).parameters.values())[3:]}
        for name, strategy in STRATEGIES.items()
    } == {
        "majority": {},
        "best_of_n": {},
        "weighted_vote": {},
        "adaptive_consistency": {"confidence": 0.95},
        "adaptive_best_of_n": {"calibration": required, "target": None, "risk": None, "vote": False, "at_once": 1},
        "cascade": {"cheap": required, "keep": 4, "vote": False},
        "beam_search": {"width": 4, "refill": False} | steps | choice,
        "lookahead_search": {"lookahead": 3, "width": 4, "refill": False} | steps | choice,
        "dvts": {"width": 4} | steps | choice,
        "rebase": {"temperature": 0.2} | steps | choice,
        "particle_filtering": {"entropic": False, "vote": True} | steps,
        "mcts": {"width": 4, "c_puct": 0.125} | steps | choice,
        "escalation": {"by": "rebase", "first": 8, "enough": 0.9},
        "compute_optimal": {"policy": required},
        "revisions": {"chains": 1, "memory": 4, "choose": "weighted", "history": False},
    }


def test_entropic_particles_stay_diverse_longer():
    """A verifier that is overconfident early: one first step has nearly all of the weight."""
    verifier = Likes(lambda steps: 0.99 if steps[0] == "s0" else 0.5)

    def survivors(entropic):
        """First steps of all problems that go on to a third step."""
        generator = World(1, 4, 4).generator()
        run("particle_filtering", generator, verifier, 9, FORKS, entropic=entropic, max_steps=10)
        return len({tuple(prefix.splitlines()[:2]) for prefix, _ in generator.calls if len(prefix.splitlines()) == 2})

    assert survivors(False) < 35 < survivors(True)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("dvts", {"width": 9}, "width 9 needs a budget of at least as many samples, not 8"),
        ("mcts", {"width": 0}, "width is 0; it must be a number of continuations, at least 1"),
        (
            "beam_search",
            {"width": "root"},
            "width is 'root'; it must be a number of continuations, at least 1, or sqrt",
        ),
        ("rebase", {"temperature": 0}, "temperature is 0; it must be more than 0"),
        ("escalation", {"by": "mcts"}, "by is 'mcts'; it must be one of beam_search, dvts, rebase, particle_filtering"),
        ("escalation", {"first": 0}, "first is 0; it must be at least one sample"),
        ("escalation", {"enough": 1.01}, "enough is 1.01; it must be a share of the votes, from 0 to 1"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        next(STRATEGIES[name](P, Budget(8), 0, **parameters))


def test_the_name_of_a_method_leaves_its_defaults_out_so_they_are_part_of_what_it_means():
    """Another default would give the results on disk another meaning."""
    of_beams = {"width": 4, "max_steps": 40, "refill": False, "vote": True, "weigh": True}
    expected = {
        "beam_search": of_beams,
        "lookahead_search": {"lookahead": 3, **of_beams},
        "dvts": {"width": 4, "max_steps": 40, "vote": True, "weigh": True},
        "rebase": {"temperature": 0.2, "max_steps": 40, "vote": True, "weigh": True},
        "particle_filtering": {"entropic": False, "max_steps": 40, "vote": True},
        "mcts": {"width": 4, "c_puct": 0.125, "max_steps": 40, "vote": True, "weigh": True},
        "cascade": {"keep": 4, "vote": False},
        "adaptive_consistency": {"confidence": 0.95},
        "adaptive_best_of_n": {"target": None, "risk": None, "vote": False, "at_once": 1},
        "revisions": {"chains": 1, "memory": 4, "choose": "weighted", "history": False},
        "escalation": {"by": "rebase", "first": 8, "enough": 0.9},
    }
    for name, defaults in expected.items():
        parameters = inspect.signature(STRATEGIES[name]).parameters.values()
        assert {p.name: p.default for p in parameters if p.default is not p.empty} == defaults


@pytest.mark.parametrize(("score", "expected"), [(None, 0.0), (0.5, 1.0), (0.75, 3.0), (0.2, 0.25)])
def test_a_particle_is_worth_its_odds_and_nothing_without_a_score(score, expected):
    node = SimpleNamespace(scores=None if score is None else Scores((score,), score), score=score)
    assert odds(node) == pytest.approx(expected)


def test_a_node_is_open_where_a_step_may_follow_and_the_verifier_could_read_it():
    whole = Trace(P.id, ("4",), "4", True)
    begun = replace(whole, answer=None, correct=None, finished=False, status="open")
    found = {(its.status, scored): Node(its, Scores((0.5,), 0.5) if scored else None).open
             for its in (whole, begun) for scored in (True, False)}  # fmt: skip
    assert [key for key, is_open in found.items() if is_open] == [("open", True)]
