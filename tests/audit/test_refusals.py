"""Faults are put together by kind, and none is hidden."""

import pickle

from ctckit.audit.refusals import by_kind
from ctckit.errors import ClipError, DataError


def test_faults_by_kind() -> None:
    errors: list[DataError] = [ClipError("f.h5", f"c{n}", f"features are {n} wide", "empty") for n in range(7)]
    errors += [ClipError("f.h5", "x", "empty"), DataError("f.h5: odd")]
    assert by_kind(errors) == [
        "'c0', 'c1', 'c2', 'c3', 'c4' and 3 more: empty",
        "'c0', 'c1', 'c2', 'c3', 'c4' and 2 more: features are 0 wide",
        "f.h5: odd",
    ]
    assert str(pickle.loads(pickle.dumps(errors[0]))) == str(errors[0])
