import json

import numpy as np
import pytest

from ctckit.data import (
    describe,
    open_corpus,
)
from ctckit.data.statistics import out_of_vocabulary

# Statistics


def test_figures_of_a_corpus(grouped):
    path = grouped(
        {
            "a": (np.ones((15, 2)), {"transcript": "X X Y", "speaker": "s"}),
            "b": (np.ones((40, 2)), {"transcript": "X", "speaker": "t"}),
        }
    )
    figures = describe(open_corpus(path), subsampling=4)
    assert (figures.clips, figures.frames, figures.tokens, figures.labels, figures.labels_once) == (2, 55, 4, 2, 1)
    assert figures.frames_per_token == 3.25
    assert figures.blank_reference == pytest.approx(100 * (1 - 4 / 13))
    # Three output frames for X X Y, which needs four: three labels and a blank between the two X.
    (clip,) = figures.infeasible
    assert (clip.clip_id, clip.output_frames, clip.labels, clip.repeats) == ("a", 3, 3, 1)
    assert figures.most_frequent == (("X", 3), ("Y", 1))
    assert figures.attributes == {"speaker": 2}
    assert json.loads(json.dumps(figures.to_dict()))["clips"] == 2


def test_an4_out_of_vocabulary(an4):
    gap = out_of_vocabulary(open_corpus(an4 / "an4_train.h5"), open_corpus(an4 / "an4_test.h5"))
    assert {label for label, _ in gap.labels} == {"THIRTEEN", "NOVEMBER"}
    assert gap.tokens == len(gap.clips) == 2
