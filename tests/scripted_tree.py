"""A tree that follows from a number, for tests of the strategies that grow trees."""

import random

from prm.generators import derive_seed
from prm.generators.scripted import GREEDY, ScriptedGenerator
from prm.search import STRATEGIES
from prm.search.driver import search
from prm.search.methods import Method
from prm.types import Budget, Problem, Scores

P = Problem("p", "What is 2 + 2?", "4", "p")


class World:
    """Steps s0, s1, s2; an answer from 0 to 5 at any depth from `shallow` to `deep`, which counts the answer's own step."""

    name, kind, num_parameters = "world", "prm", 3

    def __init__(self, number, shallow=2, deep=5):
        self.number, self.shallow, self.deep = number, shallow, deep
        self.asked = []

    def write(self, steps, seed):
        rng = random.Random(f"{self.number}{steps}{seed}")
        ends = len(steps) + 1 >= self.shallow and (len(steps) + 1 == self.deep or rng.random() < 0.3)
        return f"#### {rng.randrange(6)}" if ends else f"s{rng.randrange(3)}"

    def value(self, steps):
        return random.Random(f"value{self.number}{steps}").random() if steps else 0.0

    # What references are made of

    def child(self, steps, *address):
        return (*steps, self.write(steps, derive_seed(0, P.id, *address)))

    def greedy(self, steps, k):
        for _ in range(k):
            steps = steps if ended(steps) else (*steps, self.write(steps, GREEDY))
        return steps

    # What the project needs

    def generator(self):
        return ScriptedGenerator(lambda prefix, seed: self.write(tuple(prefix.splitlines()[1:]), seed) + "\n")

    def score_batch(self, prompts, steps_N):
        self.asked.append([tuple(steps) for steps in steps_N])
        values_N = [tuple(self.value(tuple(steps[:i])) for i in range(1, len(steps) + 1)) for steps in steps_N]
        return [Scores(values, values[-1]) for values in values_N]


def ended(steps):
    return bool(steps) and steps[-1].startswith("####")


def run(name, generator, verifier, samples, problems=(P,), seed=0, tokens=None, **parameters):
    method = Method(name, STRATEGIES[name], "v" if verifier else None, parameters)
    return search(method, list(problems), generator, verifier, Budget(samples, tokens), seed)


def texts(result):
    return [candidate.steps for candidate in result.candidates]


class Likes:
    """One score for everything, or what a function says of the steps."""

    name, kind, num_parameters = "likes", "prm", 1

    def __init__(self, score=lambda steps: 0.5):
        self.score = score

    def score_batch(self, prompts, steps_N):
        return [Scores((self.score(steps),) * len(steps), self.score(steps)) for steps in steps_N]
