"""What `data import` takes, by name. It imports nothing, so that the command line's help may ask it."""

from typing import Literal

Kind = Literal["table", "jsonl", "phoenix", "stm", "nemo", "kaldi", "bonito", "hdf5"]
"""What can be imported."""

MANIFESTS = frozenset({"table", "jsonl", "phoenix", "stm", "nemo", "kaldi"})
"""Those that are a file of transcripts, beside features."""
