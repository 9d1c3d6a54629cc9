"""Traces and rollouts drawn from a generator, checked, and kept.

- `rollouts`: the first n rollouts from a prefix, out of a store where it has them.
- `traces`: whole traces with their answers extracted and checked.
- `finished`: the traces of problems that are done, found without their rollouts.
- `limits`: how much one run may sample, and what the whole would cost.
- `sampler`: the settings with which traces were sampled, so that their labels come from the same generator.
- `cluster`: the same on a Ray cluster.
"""
