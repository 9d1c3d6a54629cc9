"""Numbers from stored rows; runs no model.

- `search_runs`: stored search runs, read back and checked.
- `search_metrics`: what a method would score with n of N stored samples, with intervals.
- `estimates`: the curve of each method of a run.
- `summary`: everything that a search run shows, as one dictionary; `reading`, `tables` and `plots` make text, tables and
  pictures of it.
- `equal_cost`: a search against as many independent samples as it cost.
- `difficulty`: how hard a problem is, by its outcomes or by a few samples, in bins.
- `menus`: what a policy may choose from; `compute_optimal`: the best choice for each difficulty, by two-fold
  cross-validation; `savings`: what that saves against fixed methods.
- `revisions`: what happens along chains of revisions.
- `step_metrics`: how good step scores are against labels.
- `workloads`: models and lengths shaped like real ones, for benchmarks.
"""
