"""ServedVerifier: an exported verifier that vLLM runs, in this process or on another machine. It needs no weights here.

    prm=outputs/prm_served@vllm                      vLLM's engine in this process
    prm=outputs/prm_served@http://10.0.0.5:8001      a server, started by the line that recipes/export_verifier.py prints

The folder holds `scoring.json` and the tokenizer. At the start the served scores of its examples are compared with those
that it states: another checkpoint, another step token, a pooler that returns other rows or a model without its head end the
run there. A failure later is retried, and ends the run if it lasts; it never becomes a score.

Which layout to serve. vLLM reads no prefix cache for token-level scores, so a token head reads every trace in whole: one
request per trace, whose tokens are all charged. The twin (`sequence_classification`) gives one score per request, at its
last token, and its prefixes come from the cache: a search step by step pays for the new steps only, and a whole trace takes
as many requests as it has steps. recipes/README.md has figures.

Scores are those of Transformers up to rounding: 1e-5 in fp32, about 0.01 in bf16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
from transformers import PreTrainedTokenizerBase

from prm.aggregation import aggregate
from prm.encoding.codec import EncodedTrace
from prm.encoding.vocabulary import UnknownWords
from prm.models.loading import load_tokenizer
from prm.models.step_classifier import spread
from prm.types import Dtype, Scores, StepRule
from prm.verifiers.pooling import ReadRows, Rows, engine_rows, server_rows
from prm.verifiers.scoring import SERVED, TWIN, Scoring
from prm.verifiers.step_verifier import check_generator, check_trace, largest_difference, shared_tokens

TOLERANCE: dict[Dtype, float] = {"float32": 1e-3, "bfloat16": 0.05}
"""Largest difference between served scores and those in `scoring.json`, which are in fp32."""

REMEMBERED = 1_000_000
"""Scores of the twin that are kept, by the hash of their tokens."""


class ServedVerifier:
    """See `prm.verifiers.Verifier`."""

    def __init__(
        self, scoring: Scoring, tokenizer: PreTrainedTokenizerBase, read_rows: ReadRows, dtype: Dtype = "float32"
    ) -> None:
        """
        Args:
            read_rows: token ids -> raw logits (`prm.verifiers.pooling`).
            dtype: in which it is served; becomes part of the name.

        Raises:
            ValueError: it is another verifier than the one in `scoring.json`: its scores of the examples differ.
        """
        self.scoring = scoring
        self.tokenizer = tokenizer
        self.num_parameters = scoring.num_parameters
        self.name = f"{scoring.kind}-vllm-{scoring.fingerprint}{'' if dtype == 'float32' else dtype}"
        self._read_rows = read_rows
        self._known: dict[bytes, list[float]] = {}  # the twin's rows
        self._unknown_words: UnknownWords | None = None  # a small vocabulary need not know the examples
        self.largest_difference = self._check(dtype)
        """Between its scores of the examples and those in fp32."""
        self._unknown_words = UnknownWords(tokenizer, "verifier")

    @property
    def kind(self) -> Literal["prm", "orm"]:
        return self.scoring.kind

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        """P(good) for every step of every trace. None for a trace that is longer than the model reads."""
        if len(prompts) != len(steps_N):
            raise ValueError(f"{len(prompts)} prompts but {len(steps_N)} traces; give one prompt per trace")
        codec = self.scoring.codec
        whole_N = [self._encode(prompt, steps) for prompt, steps in zip(prompts, steps_N, strict=True)]
        readable = [i for i, encoded in enumerate(whole_N) if codec.fit(encoded) == len(encoded.step_ends)]
        encoded_N, prompt_N = [whole_N[i] for i in readable], [prompts[i] for i in readable]
        rows_N = self._twin_rows(encoded_N) if self.scoring.form == TWIN else self._token_rows(encoded_N)

        # What was read: of the twin, what is new; of a token head, whole traces, equal ones once.
        shared_N, starts = shared_tokens(prompt_N, encoded_N), {}
        if self.scoring.form == TWIN:
            starts = {prompt: codec.prompt_length(self.tokenizer, prompt) for prompt in set(prompt_N)}
        seen: set[tuple[int, ...]] = set()
        scores: dict[int, Scores] = {}
        for place, encoded, rows, shared in zip(readable, encoded_N, rows_N, shared_N, strict=True):
            ids, prompt = encoded.input_ids, prompts[place]
            if self.scoring.form != TWIN:
                shared = len(ids) if ids in seen else 0
            seen.add(ids)
            steps = tuple(self.scoring.probability(row) for row in rows)
            scores[place] = Scores(
                steps,
                aggregate(steps, self.scoring.aggregation),
                read=len(ids) - shared,
                cached=shared,
                ends=(starts[prompt], *(end + 1 for end in encoded.step_ends)) if starts else (),
                spreads=self._spreads(rows),
            )
        return [scores.get(place) for place in range(len(prompts))]

    def check_generator(self, prompts: Sequence[str], step_rule: StepRule, max_new_tokens: int) -> str | None:
        """As `StepVerifier.check_generator`."""
        its = self.scoring
        return check_generator(its.codec, self.tokenizer, its.step_rule, prompts, step_rule, max_new_tokens)

    def _encode(self, prompt: str, steps: Sequence[str]) -> EncodedTrace:
        check_trace(prompt, steps)
        encoded = self.scoring.codec.encode(self.tokenizer, prompt, steps)
        if self._unknown_words:
            self._unknown_words.watch(prompt, encoded.input_ids)
        return encoded

    def _token_rows(self, encoded_N: Sequence[EncodedTrace]) -> list[Rows]:
        """One request per trace; the rows of its steps."""
        requests = list(dict.fromkeys(encoded.input_ids for encoded in encoded_N))
        found = dict(zip(requests, self._read_rows(requests), strict=True))
        return [self._at_steps(encoded, found[encoded.input_ids]) for encoded in encoded_N]

    def _at_steps(self, encoded: EncodedTrace, rows: Rows) -> Rows:
        """The rows are those of all tokens, or of all step tokens: more than the steps, if a step holds one itself."""
        if len(rows) == len(encoded.input_ids):
            return [rows[end] for end in encoded.step_ends]
        tag = self.scoring.step_end_ids[-1]
        row_of = {position: row for row, position in enumerate(i for i, t in enumerate(encoded.input_ids) if t == tag)}
        return [rows[row_of[end]] for end in encoded.step_ends]

    def _twin_rows(self, encoded_N: Sequence[EncodedTrace]) -> list[Rows]:
        """One request per step that was not scored before, the first steps first: their tokens are in the cache then."""
        prefixes_N = [[encoded.input_ids[: end + 1] for end in encoded.step_ends] for encoded in encoded_N]
        for number in range(max(map(len, prefixes_N), default=0)):
            wave = dict.fromkeys(prefixes[number] for prefixes in prefixes_N if number < len(prefixes))
            new = [prefix for prefix in wave if _hash(prefix) not in self._known]
            if new:
                self._known |= {_hash(prefix): rows[0] for prefix, rows in zip(new, self._read_rows(new), strict=True)}
        rows_N = [[self._known[_hash(prefix)] for prefix in prefixes] for prefixes in prefixes_N]
        while len(self._known) > REMEMBERED:  # the oldest first
            del self._known[next(iter(self._known))]
        return rows_N

    def _spreads(self, rows: Rows) -> tuple[float, ...]:
        if self.scoring.objective != "beta_binomial" or self.scoring.form == TWIN:
            return ()
        return tuple(spread(torch.tensor(rows)).tolist())

    def _check(self, dtype: Dtype) -> float:
        examples = self.scoring.examples
        found = self.score_batch([example.prompt for example in examples], [example.steps for example in examples])
        scores = [score for its in found if its is not None for score in its.steps]
        expected = [score for example in examples for score in example.scores]
        if [self._encode(e.prompt, e.steps).input_ids for e in examples] != [e.input_ids for e in examples]:
            raise ValueError(f"{self.name}: its tokenizer is not that of scoring.json; export the verifier again")
        difference = largest_difference(scores, expected)
        if not difference <= TOLERANCE[dtype]:
            hint = "" if dtype == "bfloat16" else ", or say --dtype bfloat16 if it is served in that"
            raise ValueError(
                f"{self.name}: its scores of the examples in scoring.json differ by {difference:.2g} from what they must be;"
                f" serve this folder with the line in its README.md{hint}"
            )
        return difference


def _hash(ids: Sequence[int]) -> bytes:
    return hashlib.sha256(" ".join(map(str, ids)).encode()).digest()


def load_served(
    name: str, dtype: Dtype | None = None, patience: float = 600.0, engine_options: dict[str, Any] | None = None
) -> ServedVerifier:
    """A verifier named as `prm.verifiers.scoring.SERVED` says.

    Raises:
        FileNotFoundError: the folder has no `scoring.json`. EndpointError, ValueError: the server cannot be reached, or
            serves another verifier.
    """
    match = SERVED.fullmatch(name)
    assert match, name
    folder, place = match["folder"], match["place"]
    scoring, tokenizer = Scoring.load(folder), load_tokenizer(folder)
    if place == "vllm":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        dtype = dtype or ("bfloat16" if bf16 else "float32")
        return ServedVerifier(scoring, tokenizer, engine_rows(folder, scoring, dtype, engine_options), dtype)
    return ServedVerifier(scoring, tokenizer, server_rows(place, scoring, folder, patience)[0], dtype or "float32")
