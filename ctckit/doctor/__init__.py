"""Looks at a corpus before training: which clips have a path, and where the unigram plateau lies."""
