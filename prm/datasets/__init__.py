"""Problems and sets of labeled traces: loading, splitting, cleaning, describing.

- `problems`: a name or a path -> problems.
- `arithmetic`: the embedded problem sets, a kind and an unkind one.
- `step_truth`: which steps of the embedded sets are right, exactly.
- `splits`: which split a problem belongs to.
- `revisions`: what a reviser learns from: right traces after wrong ones.
- `decontamination`: finds problems that are also in a benchmark.
- `balance`: chooses the traces to keep so that a verifier cannot learn a shortcut.
- `card`: the README of a data set folder.
"""
