"""Numbers from stored rows; runs no model.

- `search_metrics`: what a method would score with n of N stored samples, with intervals.
- `step_metrics`: how good step scores are against labels.
- `search_runs`: stored search runs, read back and checked.
- `summary`: what a search run shows.
- `workloads`: models and lengths shaped like real ones, for benchmarks.
"""
