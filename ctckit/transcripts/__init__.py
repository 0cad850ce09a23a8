"""Files of transcripts: read for scoring, written by decoding and aligning. Knows neither torch nor corpora."""

from ctckit.transcripts.formats import FORMATS, Read, of_words, read, write
from ctckit.transcripts.nist import parted
from ctckit.transcripts.transcript import Transcript

__all__ = ["FORMATS", "Read", "Transcript", "of_words", "parted", "read", "write"]
