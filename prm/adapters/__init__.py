r"""Adapters: our verifiers in the tools of others, without a fork of them and without a requirement here.

    tool               module               what it plugs into
    inspect_ai         inspect_ai           a scorer with step scores; reducers of epochs: best-of-N, weighted vote
    lm-eval            lm_eval              filters of `repeats`: best-of-N, weighted vote
    its_hub            its_hub              process and outcome reward models of its searches; reward-hub's as well
    search-and-learn   search_and_learn     the PRM of its best-of-N, beam search and DVTS
    verl               verl                 a custom reward function; a reward manager with rewards per step
    OpenRLHF           openrlhf             a reward function; what a remote reward server answers
    NeMo-RL            nemo_rl              an environment

All rest on `texts.TextVerifier`, which scores whole texts. Each module has the name of its tool and imports it within
functions, when that tool calls. They are part of the wheel, because those tools run in environments and folders of their
own and find `prm.adapters.verl` wherever it is installed. recipes/adapters.md says, tool by tool, what to write, with
which version it was tried and what came out.

Left out: TRL takes a function of its own kind, and vLLM and SGLang serve an exported folder (`prm.verifiers.served`).
"""
