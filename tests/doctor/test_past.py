from __future__ import annotations

import pytest
from courses import random_run

from ctckit.doctor.past import Past


@pytest.mark.parametrize("seed", range(12))
def test_what_is_remembered_is_what_the_whole_past_says(seed: int) -> None:
    run = random_run(seed)
    past = Past()
    for end, one in enumerate(run, 1):
        past.add(one)
        whole = run[:end]
        fits = [old.fit for old in whole if old.fit is not None]
        errors = [old.val_wer for old in whole if old.val_wer is not None]
        known = [old for old in whole if old.val_loss is not None]
        assert (past.epochs, past.recent, past.now) == (end, whole[-10:], one)
        assert (past.fits, past.fits_known) == (fits[-10:], len(fits))
        assert (past.errors, past.best_error_before) == (errors[-5:], min(errors[:-5], default=None))
        assert past.off_plateau == any(old.on_plateau is False for old in whole)
        if not known:
            assert past.lowest_val_loss is None
            continue
        lowest = min(known, key=lambda old: old.val_loss or 0.0)
        before = [old.val_wer for old in whole if old.epoch <= lowest.epoch and old.val_wer is not None]
        after = [old.val_wer for old in whole if old.epoch > lowest.epoch and old.val_wer is not None]
        assert (past.lowest_val_loss, past.lowest_epoch) == (lowest.val_loss, lowest.epoch)
        assert past.epochs_since_lowest == sum(old.epoch > lowest.epoch for old in whole)
        assert past.best_error_to_lowest == min(before, default=None)
        assert past.best_error_since_lowest == min(after, default=None)
