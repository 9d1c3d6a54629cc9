r"""Answer OpenRLHF's requests for rewards with a verifier, over HTTP, until it is stopped.

A training takes it as --reward.remote_url http://localhost:5000/get_reward. A request and its answer are shown in
`prm/adapters/openrlhf.py`; recipes/adapters.md says what the columns must hold.

Reads   <verifier>/      a PRM or ORM, or what else `find_verifier` names
Writes  nothing

    python recipes/serve_rewards.py --verifier outputs/quickstart/prm --end "<eos>" --problem labels --port 5000
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from prm.command_line import run_script
from prm.types import StepRule


@dataclass
class Arguments:
    verifier: str = field(metadata={"help": "checkpoint folder, or another name of a verifier"})
    end: str = field(metadata={"help": "text of the generator's end token; a response ends before it"})
    problem: Literal["prompts", "labels"] = field(
        metadata={"help": "column with the text of the problem: prompts, if no chat template is applied to them"}
    )
    step_rule: StepRule | None = field(
        default=None, metadata={"help": "how responses are divided, if the verifier does not say"}
    )
    credit: Literal["aggregate", "min_form", "progress"] = field(
        default="aggregate",
        metadata={"help": "how step scores become a reward: as the verifier does it, its worst step, its last"},
    )
    port: int = field(default=5000, metadata={"help": "0 takes a free one", "least": 0})
    host: str = field(default="127.0.0.1", metadata={"help": "address to listen at; 0.0.0.0 for other machines"})


def main(args: Arguments) -> None:
    from prm.adapters.openrlhf import reward_server  # imports torch; help and a typo must not wait for it
    from prm.adapters.texts import load_text_verifier

    judge = load_text_verifier(args.verifier, args.step_rule)
    server = reward_server(judge, args.end, args.problem, {"credit": args.credit}, args.port, args.host)
    print(f"rewards at http://{args.host}:{server.server_address[1]}/get_reward", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    run_script(main, Arguments)
