from __future__ import annotations

from pathlib import Path

import pytest
from audited import audit, edited, features


def test_feasibility_follows_the_models_own_subsampling(tmp_path: Path) -> None:
    train = edited(tight=(features(7, 16), "ant ant bee bee"))
    assert "infeasible_clips" not in audit(tmp_path, train)
    found = audit(tmp_path, train, "--set", "model.subsampling=4")["infeasible_clips"]
    assert found["evidence"]["clips"] == 1
    assert found["evidence"]["ids"] == "tight"
    assert found["evidence"]["loss_share"] == pytest.approx(100 * 4 / 164)
