"""Text to token ids: how a problem becomes a prompt, where a step ends, and at which token its score is read. No tensors.

- `prompts`: problem -> prompt (zero-shot, few-shot, chat).
- `chat_templates`: templates that come with a model, rendered in a process with bounds.
- `exemplars`: the solved problems of a few-shot prompt, from a file.
- `revisions`: a prompt that shows earlier attempts.
- `steps`: text -> steps and back.
- `codec`: prompt and steps -> token ids and positions of the step ends; one codec for training, scoring and search.
- `vocabulary`: a warning if a tokenizer does not know the words.
"""
