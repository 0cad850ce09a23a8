from __future__ import annotations

import torch
from batches import batch_of

from ctckit.engine.augment import crop, mask_time
from ctckit_hierarchical.model import HierarchicalBiLSTM


def test_cropping_keeps_a_path_for_every_clip() -> None:
    model = HierarchicalBiLSTM(3, 3, hidden_size=2)
    batch = batch_of([[1], [1, 1, 1]], [10, 10])
    cropped, count = crop(batch, 4, model)
    assert count == 1
    assert cropped.lengths_B.tolist() == [4, 10]  # three labels and two repeats need five frames
    assert cropped.features_BTF[0, 4:].abs().sum() == 0
    assert crop(batch, 10, model) == (batch, 0)


def test_masking_hides_the_expected_share_in_spans() -> None:
    torch.manual_seed(0)
    batch = batch_of([[1]] * 64, [400] * 64)
    masked = mask_time(batch, share=0.1, span=10)
    hidden = masked.features_BTF[:, :, 0] == 0
    assert 0.08 < float(hidden.float().mean()) < 0.1  # overlaps make it a little less
    starts = hidden[:, 1:] & ~hidden[:, :-1]
    assert float(hidden.sum()) / float(starts.sum()) > 9
    assert bool((batch.features_BTF == 1).all())
