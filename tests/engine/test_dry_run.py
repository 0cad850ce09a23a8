from __future__ import annotations

from typing import Any

from planted import Watching, swap

from ctckit.engine.dry_run import dry_run


def test_a_dry_run_takes_the_steps_of_the_run(make_run: Any, tiny: Any) -> None:
    run = make_run({"batch_size": 1, "phases.warmup.time_mask_prob": 0.3})
    watching = Watching()
    swap(run, regularizers={"watching": watching})
    dry_run(run, run.train)
    assert [len(batch.clip_ids) for batch in watching.seen] == [2, 2, 2]
    assert all(batch.clip_ids[0] == batch.clip_ids[1] for batch in watching.seen)
