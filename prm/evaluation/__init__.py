"""Numbers from stored rows; runs no model.

- `search_runs`: stored search runs, read back and checked.
- `search_metrics`: what a method would score with n of N stored samples, with intervals.
- `estimates`: the curve of each method of a run.
- `summary`: everything that a search run shows, as one dictionary, with the parts `groups` (by level and column),
  `diagnostics` (of verifiers and candidates, warnings) and `labels` (what methods are called).
- `reading`, `tables`, `sections` and `plots`: text, tables, sections and pictures of a summary; `trace_browser`: the traces
  and trees that are worth a look; `page`: all of it as one HTML file; `tracked`: what W&B is told of it.
- `equal_cost`: a method against as many independent samples, or votes, as it cost.
- `controls`: shuffled scores, where more samples hurt, right answers with a wrong process.
- `difficulty`: how hard a problem is, by its outcomes or by a few samples, in bins.
- `menus`: what a policy may choose from; `compute_optimal`: the best choice for each difficulty, by two-fold
  cross-validation; `savings`: what that saves against fixed methods.
- `model_size`: every method by difficulty, and search with a small model against a larger one; `study_plots` draws both.
- `revisions`: what happens along chains of revisions.
- `step_metrics`: how good step scores are against labels; `step_quality`: everything that a step-level evaluation shows;
  `verifier_report`, `style_attacks`: what goes with a checkpoint, and what its score does when only the form changes;
  `processbench`, `prmbench`, `mr_gsm8k`: the official figures of these benchmarks; `step_tables`: their tables.
- `workloads`: models and lengths shaped like real ones, for benchmarks.
"""
