"""Process reward models: label the steps of reasoning traces, train verifiers on them, search with them.

    from prm import load_verifier
    load_verifier("outputs/quickstart/prm").score(prompt, steps)    # one score per step

Public names load lazily: `import prm` imports neither torch nor transformers.
"""

import logging
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

_PUBLIC = {
    "Problem": "prm.types",
    "Trace": "prm.types",
    "LabeledTrace": "prm.types",
    "Budget": "prm.types",
    "Cost": "prm.types",
    "SearchResult": "prm.types",
    "load_problems": "prm.datasets.problems",
    "load_verifier": "prm.verifiers",
    "load_generator": "prm.generators",
    "STRATEGIES": "prm.search",
}
__all__ = list(_PUBLIC)

# PEFT and the Trainer import bitsandbytes wherever it is installed. On processors with avx512_bf16 it then warns that it has
# no kernel for packed 4-bit weights. This project packs none (`prm.models.loading.never_pack`), so nothing is missing. The
# filter is here because this file runs before every other module of prm. A script that imports PEFT or the Trainer itself
# imports prm first.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
    lambda record: not str(record.msg).startswith("Failed to load CPU gemm_4bit_forward")
)

# The Trainer pins memory and PEFT asks by an old name, both by default; nobody here can do anything about it.
for _message in ("'pin_memory' argument is set as true but no acc", "`is_gradient_checkpointing` is deprecated"):
    warnings.filterwarnings("ignore", _message)

if TYPE_CHECKING:
    from prm.datasets.problems import load_problems
    from prm.generators import load_generator
    from prm.search import STRATEGIES
    from prm.types import Budget, Cost, LabeledTrace, Problem, SearchResult, Trace
    from prm.verifiers import load_verifier


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'prm' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
