r"""OpenRLHF: a reward function in a file of one's own, and the answers of a remote reward server.

    # reward.py, for --reward.remote_url reward.py
    from prm.adapters.openrlhf import reward_function
    reward_func = reward_function("outputs/quickstart/prm", end="<|im_end|>", problem="labels")

    # or a server, for --reward.remote_url http://localhost:5000/get_reward (recipes/serve_rewards.py starts one)
    POST {"query": ["...<|im_end|>"], "prompts": ["..."], "labels": ["Start with 47, ..."]}
    ->   {"rewards": [0.93], "scores": [0.93], "extra_logs": {"unfinished": [0.0], "no_answer": [0.0], ...}}

OpenRLHF sends one sample per call, from threads: a query is the prompt with the response after it, special tokens
included. The prompt has a chat template around the problem, if one is applied (`--data.apply_chat_template`); then the
label column must hold the text of the problem.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from prm.adapters.texts import TextVerifier, load_text_verifier
from prm.types import StepRule
from prm.verifiers.rewards import FAULTS

Column = Literal["prompts", "labels"]


def reward_function(
    verifier: str, end: str, problem: Column, step_rule: StepRule | None = None, **rule: Any
) -> Callable[[list[str], list[str], list[str]], dict[str, Any]]:
    """`reward_func(queries, prompts, labels)`, as OpenRLHF imports it from a file.

    Args:
        verifier, step_rule: as in `load_text_verifier`.
        end: the text of the generator's end token; a response ends before it, and one without it was cut.
        problem: where the text of the problem is.
        rule: settings of `prm.verifiers.rewards.RewardRule`.
    """

    def reward_func(queries: list[str], prompts: list[str], labels: list[str]) -> dict[str, Any]:
        import torch

        judge = load_text_verifier(verifier, step_rule)
        found = score_queries(judge, end, problem, rule, queries, prompts, labels)
        return {
            "rewards": torch.tensor(found["rewards"]),
            "scores": torch.tensor(found["scores"]),
            "extra_logs": {name: torch.tensor(values) for name, values in found["extra_logs"].items()},
        }

    return reward_func


def score_queries(
    judge: TextVerifier,
    end: str,
    problem: Column,
    rule: Mapping[str, Any],
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[str],
) -> dict[str, Any]:
    """What a reward server answers: a reward per query, and which fault it has.

    Raises:
        ValueError: a query does not begin with its prompt.
    """
    responses = [response(query, prompt, end) for query, prompt in zip(queries, prompts, strict=True)]
    problems = {"prompts": prompts, "labels": labels}[problem]
    earned = judge.rewards(problems, [text for text, _ in responses], [ended for _, ended in responses], rule)
    rewards = [its.total for its in earned]
    faults = {fault: [float(its.fault == fault) for its in earned] for fault in FAULTS}
    return {"rewards": rewards, "scores": rewards, "extra_logs": faults}


def response(query: str, prompt: str, end: str) -> tuple[str, bool]:
    """What the generator wrote after the prompt, and whether it ended with its end token."""
    if not query.startswith(prompt):
        raise ValueError(
            f"the query {query[:80]!r} does not begin with its prompt {prompt[:80]!r}: it was cut, or the tokenizer does not"
            " give back what it read"
        )
    text, found, _ = query[len(prompt) :].partition(end)
    return text, bool(found)


def reward_server(
    judge: TextVerifier, end: str, problem: Column, rule: Mapping[str, Any], port: int, host: str = "127.0.0.1"
) -> ThreadingHTTPServer:
    """A server that answers as OpenRLHF expects it of a remote reward model, at any path; `serve_forever` starts it.

    A request that cannot be answered gets status 400 and the reason, so that OpenRLHF tries again and then stops.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                sent = json.loads(body)
                status, found = (
                    200,
                    score_queries(judge, end, problem, rule, sent["query"], sent["prompts"], sent["labels"]),
                )
            except (ValueError, KeyError, TypeError) as error:
                status, found = 400, {"error": f"{type(error).__name__}: {error}"}
                self.log_error("%s", found["error"])
            reply = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing: there is one request per sample."""

    return ThreadingHTTPServer((host, port), Handler)
