from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from audited import WORDS, call, healthy

from ctckit.data import Alphabet, CorpusWriter


def test_the_blank_id_in_a_corpus_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "packed.h5"
    with CorpusWriter(path, 3, dtype="float32") as writer:
        for name, (array, text) in healthy().items():
            writer.add(name, array, text.split())
    assert call(path).exit_code == 0
    for bad in (0, 77):
        with h5py.File(path, "r+") as file:
            file["targets"][5] = bad
        result = call(path, "--json")
        assert result.exit_code == 11
        (finding,) = json.loads(result.stdout)["findings"]
        assert finding["rule"] == "corpus_refused"
        assert f"target {bad} is" in finding["message"]


@pytest.mark.parametrize(("extra", "severity"), [(0, None), (5, "info"), (6, "warning")])
def test_classes_that_train_never_uses_are_found(tmp_path: Path, extra: int, severity: str | None) -> None:
    alphabet = Alphabet([*WORDS, *(f"never{n}" for n in range(extra))])
    path = tmp_path / "packed.h5"
    with CorpusWriter(path, 3, dtype="float32", alphabet=alphabet) as writer:
        for name, (array, text) in healthy().items():
            writer.add(name, array, text.split())
    found = {one["rule"]: one for one in json.loads(call(path, "--json").stdout)["findings"]}
    if severity is None:
        assert "unused_classes" not in found
        return
    assert found["unused_classes"]["severity"] == severity
    assert found["unused_classes"]["evidence"]["unused"] == extra
    assert "'never0'" in found["unused_classes"]["message"]
    assert bool(found["unused_classes"]["advice"]) == (severity == "warning")
