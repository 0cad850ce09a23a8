from __future__ import annotations

from dataclasses import dataclass

import pytest
from planted import Half

from ctckit import ConfigError, Penalty, PluginError, Registry


@dataclass
class Other(Half):
    pass


def test_a_name_taken_by_another_is_refused_and_by_the_same_is_not() -> None:
    registry = Registry()
    registry.registering("plugin 'a'")
    registry.penalty("half", Half)
    registry.registering("plugin 'b'")
    registry.penalty("half", Half)
    assert registry.penalties["half"].plugin == "plugin 'a'"
    with pytest.raises(PluginError, match="penalty 'half' is registered twice, by plugin 'a' and by plugin 'b'"):
        registry.penalty("half", Other)


def test_unknown_names_get_a_suggestion() -> None:
    registry = Registry()
    registry.penalty("half", Half)
    with pytest.raises(ConfigError, match="unknown penalty 'hlaf'; did you mean 'half'"):
        registry.penalties.find("hlaf")
    with pytest.raises(ConfigError, match="unknown model 'x'; there is none"):
        registry.models.find("x")


def test_what_is_no_component_is_refused() -> None:
    registry = Registry()
    with pytest.raises(PluginError, match=r"pass a class derived from ctckit\.Penalty"):
        registry.penalty("half", Half())  # type: ignore[arg-type]
    with pytest.raises(PluginError, match=r"as schedule 'half'; pass a class derived from ctckit\.Schedule"):
        registry.schedule("half", Half)  # type: ignore[arg-type]

    class Unfinished(Penalty):
        pass

    with pytest.raises(PluginError, match="lacks the method shift"):
        registry.penalty("unfinished", Unfinished)  # type: ignore[type-abstract]
