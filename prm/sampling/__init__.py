"""Traces and rollouts drawn from a generator, checked, and kept.

- `rollouts`: the first n rollouts from a prefix, out of a store where it has them.
- `traces`: whole traces with their answers extracted and checked.
- `cluster`: the same on a Ray cluster.
"""
