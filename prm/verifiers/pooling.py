"""vLLM's pooling as a function from token ids to raw logits: its engine in this process, or a server of `vllm serve`.

    POST /pooling {"model": "prm", "task": "token_classify", "use_activation": false, "input": [65, 42, 15876, 2, 10407, 2]}
    -> {"data": [{"index": 0, "object": "pooling", "data": [[2.667, -2.027], [2.473, 0.144]]}], ...}

A request is a list of ids, never text, which a server would tokenize in its own way. One row comes back for every token, for
every step token (vLLM's STEP pooler), or, of the twin, one for the request. Raw logits are asked for, because a probability
of 1 - 1e-9 and one of 1 are the same number in a short float, and the twin's offset belongs to the logit.

`prm.generators.endpoint` has the retries; what has the wrong form or is no finite number is never passed on.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prm.generators.endpoint import Endpoint, EndpointError, MalformedAnswer
from prm.types import Dtype
from prm.verifiers.plain import check_key_set
from prm.verifiers.scoring import TWIN, Scoring, vllm_options

Rows = list[list[float]]
"""Raw logits (rows, labels)."""
ReadRows = Callable[[Sequence[Sequence[int]]], list[Rows]]
"""The rows of each request of token ids, in order."""

IN_FLIGHT = 64
"""Requests to a server at a time."""


def task_of(scoring: Scoring) -> str:
    """vLLM's name for what is asked of a model."""
    return "classify" if scoring.form == TWIN else "token_classify"


def engine_rows(folder: str, scoring: Scoring, dtype: Dtype, engine_options: dict[str, Any] | None = None) -> ReadRows:
    """Start vLLM's engine in this process.

    Args:
        engine_options: further arguments of `vllm.LLM`: `tensor_parallel_size`, `gpu_memory_utilization`, ...

    Raises:
        ValueError: the folder lacks a tensor, which vLLM would not say; or vLLM is not installed.
    """
    check_key_set(folder, scoring.form)
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # as the generator's engine: it ends with this process
    try:
        from vllm import LLM, PoolingParams
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{folder}@vllm needs vLLM in this environment, or give a server: {folder}@http://..."
        ) from error
    engine = LLM(model=folder, trust_remote_code=False, **vllm_options(scoring, dtype), **(engine_options or {}))
    params = PoolingParams(use_activation=False)

    def read(ids_N: Sequence[Sequence[int]]) -> list[Rows]:
        prompts = [{"prompt_token_ids": list(ids)} for ids in ids_N]
        found = engine.encode(prompts, params, pooling_task=task_of(scoring), use_tqdm=False)  # type: ignore[arg-type]
        return [checked_rows(its.outputs.data.tolist(), ids, scoring) for its, ids in zip(found, ids_N, strict=True)]

    return read


def server_rows(url: str, scoring: Scoring, folder: str, patience: float = 600.0) -> tuple[ReadRows, Endpoint]:
    """Ask a server that runs already; its endpoint counts requests and retries.

    Raises:
        EndpointError: it cannot be reached, serves another model, or reads fewer tokens than the verifier.
    """
    endpoint = Endpoint(url.rstrip("/").removesuffix("/v1"), patience=patience)
    model = asyncio.run(_served_model(endpoint, Path(folder).name, scoring.codec.max_length))

    async def ask_all(ids_N: Sequence[Sequence[int]]) -> list[Rows]:
        gate = asyncio.Semaphore(IN_FLIGHT)
        async with endpoint.client(IN_FLIGHT) as client:

            async def one(ids: Sequence[int]) -> Rows:
                body = {"model": model, "task": task_of(scoring), "use_activation": False, "input": list(ids)}
                async with gate:
                    return await endpoint.ask(client, "pooling", body, partial(_read_answer, endpoint, ids, scoring))

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(ids)) for ids in ids_N]
        return [task.result() for task in tasks]

    def read(ids_N: Sequence[Sequence[int]]) -> list[Rows]:
        try:
            return asyncio.run(ask_all(ids_N))
        except ExceptionGroup as group:  # the others failed, or were canceled, for the same reason
            raise group.exceptions[0] from group

    return read, endpoint


def checked_rows(data: Any, ids: Sequence[int], scoring: Scoring) -> Rows:
    """The rows of an answer.

    Raises:
        MalformedAnswer: they are too few or too many, or not finite numbers.
    """
    labels = 1 if scoring.form == TWIN else 2
    rows = [data] if scoring.form == TWIN else data
    steps = sum(i == scoring.step_end_ids[-1] for i in ids)
    wanted = {1} if scoring.form == TWIN else {len(ids), steps}
    if not isinstance(rows, list) or len(rows) not in wanted:
        count = len(rows) if isinstance(rows, list) else f"{rows!r:.50}"
        raise MalformedAnswer(f"{count} rows for {len(ids)} tokens with {steps} step ends; another pooler runs there")
    for row in rows:
        if not isinstance(row, list) or len(row) != labels or not all(_is_finite(value) for value in row):
            raise MalformedAnswer(
                f"logits {row!r:.80}, which are not {labels} finite numbers; is the head in its weights?"
            )
    return rows


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_answer(endpoint: Endpoint, ids: Sequence[int], scoring: Scoring, answer: Any) -> Rows:
    (only,) = answer["data"]
    try:
        return checked_rows(only["data"], ids, scoring)
    except MalformedAnswer as error:
        raise endpoint.unfit(f"{endpoint.url} gave {error}") from error


async def _served_model(endpoint: Endpoint, name: str, length: int) -> str:
    """The model to ask for."""

    def read(answer: Any) -> dict[str, int | None]:
        return {str(entry["id"]): entry.get("max_model_len") for entry in answer["data"]}

    async with endpoint.client(1) as client:
        served = await endpoint.ask(client, "v1/models", None, read)
    model = next(iter(served)) if len(served) == 1 else next((m for m in served if Path(m).name == name), None)
    if model is None:
        raise EndpointError(
            f"{endpoint.url} serves {', '.join(served) or 'nothing'}, and none is called {name}; start it with"
            f" --served-model-name {name}"
        )
    most = served[model]
    if most is not None and most < length:
        raise EndpointError(
            f"{endpoint.url} reads {most} tokens and the verifier {length}; start it with --max-model-len {length}"
        )
    return model
