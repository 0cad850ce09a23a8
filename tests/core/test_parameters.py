from __future__ import annotations

from typing import Any

import pytest
from planted import Half

from ctckit import ConfigError
from ctckit.parameters import construct, parameters_of


def test_parameters_come_from_the_signature() -> None:
    assert [(p.name, p.annotation, p.default) for p in parameters_of(Half)] == [
        ("value", float, -0.5),
        ("often", int, 1),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"vlaue": 1}, "penalty 'half': unknown parameter 'vlaue'; did you mean 'value'?"),
        ({"value": float("nan")}, "penalty 'half': value = nan: input should be a number"),
        ({"often": True}, "penalty 'half': often = true: input should be a number"),
        ({"value": False}, "penalty 'half': value = false: input should be a number"),
        ({"often": "x"}, "penalty 'half': often = 'x': input should be a valid integer"),
    ],
)
def test_parameters_are_checked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        construct(Half, "penalty 'half'", params)
    assert message in str(error.value)


def test_parameters_are_converted() -> None:
    assert construct(Half, "", {"value": "-2", "often": 3}) == Half(-2.0, 3)
