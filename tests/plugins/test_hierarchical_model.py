from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ctckit import ConfigError
from ctckit_hierarchical.model import BiLSTM, HierarchicalBiLSTM

VARIANTS = [
    {"subsampling": 1},
    {"subsampling": 2},
    {"subsampling": 4},
    {"subsampling": 1, "temporal_conv": False},
]


def build(**params: Any) -> HierarchicalBiLSTM:
    torch.manual_seed(0)
    model = HierarchicalBiLSTM(6, 5, hidden_size=8, **params)
    # statistics other than those of a fresh batch norm, so that a padding frame would not come out as zero by luck
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.bias.data.uniform_(0.5, 1)
    return model.eval()


@pytest.mark.parametrize("params", VARIANTS)
@given(
    lengths=st.lists(st.integers(1, 23), min_size=1, max_size=5),
    padding=st.integers(0, 7),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=25, deadline=None)
def test_output_lengths_are_exact_and_a_clip_alone_equals_the_clip_padded(
    params: dict[str, Any], lengths: list[int], padding: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = build(**params)
    clips = [torch.randn(length, 6) for length in lengths]
    # whatever the padding holds must not matter
    batch = torch.full((len(clips), max(lengths) + padding, 6), 1e3)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    together = model(batch, torch.tensor(lengths))
    assert together.lengths_B.tolist() == model.output_lengths(torch.tensor(lengths)).tolist()
    for index, clip in enumerate(clips):
        alone = model(clip[None], torch.tensor([len(clip)]))
        frames = int(alone.lengths_B)
        assert alone.logits_TBC.shape == (frames, 1, 5)
        torch.testing.assert_close(
            together.logits_TBC[:frames, index], alone.logits_TBC[:, 0], atol=2e-5, rtol=1e-4
        )


def test_batch_statistics_leave_padding_out() -> None:
    model = build(subsampling=4).train()
    clips = torch.randn(2, 12, 6)
    lengths = torch.tensor([12, 8])
    norm = model.convolutions[0].norm
    norm.reset_running_stats()
    model(clips, lengths)
    seen = norm.running_mean.clone()
    norm.reset_running_stats()
    model(torch.cat([clips, torch.full((2, 30, 6), 7.0)], 1), lengths)
    torch.testing.assert_close(norm.running_mean, seen)


def test_bilstm_equals_torch_on_packed_sequences() -> None:
    torch.manual_seed(0)
    ours = BiLSTM(6, 8)
    theirs = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
    for name, parameter in ours.onward.named_parameters():
        getattr(theirs, name).data.copy_(parameter)
    for name, parameter in ours.reverse.named_parameters():
        getattr(theirs, f"{name}_reverse").data.copy_(parameter)
    clips, lengths = torch.randn(4, 17, 6), torch.tensor([5, 17, 1, 9])
    packed, _ = theirs(pack_padded_sequence(clips, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    got = ours(clips, lengths)
    for index, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[index, :length], expected[index, :length], atol=1e-5, rtol=1e-4)


def test_stage_one_reads_the_frame_level() -> None:
    model = build()
    clip, length = torch.randn(1, 9, 6), torch.tensor([9])
    full = model(clip, length).logits_TBC
    with torch.no_grad():
        for parameter in model.sequence_lstm.parameters():
            parameter.zero_()
    assert not torch.allclose(model(clip, length).logits_TBC, full)
    model.set_stage(1)
    first = model(clip, length).logits_TBC
    with torch.no_grad():
        for parameter in model.sequence_lstm.parameters():
            parameter.fill_(0.3)
    assert torch.equal(model(clip, length).logits_TBC, first)
    with pytest.raises(ConfigError, match="stages 1"):
        model.set_stage(3)


def test_the_frame_head_stays_on_as_an_auxiliary_head_in_training_alone() -> None:
    model = build(auxiliary_weight=0.7, subsampling=4)
    clip, length = torch.randn(1, 9, 6), torch.tensor([9])
    assert model(clip, length).auxiliary == ()
    (head,) = model.train()(clip, length).auxiliary
    assert (head.name, head.weight, head.logits_TBC.shape) == ("frame_head", 0.7, (3, 1, 5))


def test_every_parameter_gets_a_gradient() -> None:
    model = build(auxiliary_weight=1.0, subsampling=4).train()
    model(torch.randn(2, 16, 6), torch.tensor([16, 11])).logits_TBC.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_not_a_number_in_the_padding_reaches_no_gradient() -> None:
    model = build(temporal_conv=False).train()
    clip = torch.randn(2, 6, 6)
    clip[1, 3:] = float("nan")
    model(clip, torch.tensor([6, 3])).logits_TBC[:3].sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_the_blank_bias_is_a_view() -> None:
    model = build()
    with torch.no_grad():
        model.blank_bias().fill_(-8.0)
    assert model.projection.bias[0] == -8.0


def test_wrong_width_and_impossible_settings_are_named() -> None:
    with pytest.raises(ValueError, match="features have 4 columns, the model takes 6"):
        build()(torch.randn(1, 3, 4), torch.tensor([3]))
    with pytest.raises(ValueError, match="temporal_conv"):
        build(subsampling=4, temporal_conv=False)
    with pytest.raises(ValueError, match="auxiliary_weight"):
        build(auxiliary_weight=-1.0)


def test_dropout_can_be_set() -> None:
    model = build()
    model.set_dropout(0.35)
    assert model.dropout.p == 0.35
