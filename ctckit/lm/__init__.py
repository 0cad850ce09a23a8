"""Language models for a beam search: n-grams read and estimated, spelled words, hotwords."""

from ctckit.lm.estimate import Estimate, estimate, write_arpa
from ctckit.lm.hotwords import hotwords
from ctckit.lm.model import LanguageModel, Perplexity, read_lexicon

__all__ = [
    "Estimate",
    "LanguageModel",
    "Perplexity",
    "estimate",
    "hotwords",
    "read_lexicon",
    "write_arpa",
]
