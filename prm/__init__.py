"""Process reward models: data, training, search."""
