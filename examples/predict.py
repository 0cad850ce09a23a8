"""Recognise clips with a trained run: python examples/predict.py RUN clip.npy [more.npy ...]."""

import sys

import numpy as np

import ctckit

recogniser = ctckit.load(sys.argv[1], frame_rate=25)
clips = [np.load(path) for path in sys.argv[2:]]  # each [T, F], as the features of the training corpus
for hypothesis in recogniser(clips, clip_ids=sys.argv[2:]):
    print(hypothesis.clip_id)
    for token, (start, end), confidence in zip(
        hypothesis.tokens, hypothesis.seconds or (), hypothesis.confidences, strict=True
    ):
        print(f"  {start:6.2f} to {end:6.2f} s  {token}  {confidence:.0%}")
