"""What the constructor of a component takes, read from its signature, and configuration checked against it."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError, create_model

from ctckit.errors import ConfigError, PluginError, suggest

T = TypeVar("T")

GIVEN = ("input_size", "num_classes")
"""What ctckit itself gives to a model's constructor, once the corpora are open."""

BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a component.

    Attributes:
        name: as in the configuration.
        annotation: its type.
        default: its default; ``inspect.Parameter.empty`` where a value is required.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def type(self) -> str:
        """The type in words, with the bounds of ``Annotated[float, Field(ge=0)]``."""
        if typing.get_origin(self.annotation) is not typing.Annotated:
            return _in_words(self.annotation)
        plain, *extras = typing.get_args(self.annotation)
        bounds = [
            f"{BOUNDS[name]} {value:g}"
            for extra in extras
            for bound in getattr(extra, "metadata", [extra])
            for name, value in ((name, getattr(bound, name, None)) for name in BOUNDS)
            if isinstance(value, (int, float))
        ]
        return ", ".join([_in_words(plain), *bounds])

    @property
    def required(self) -> bool:
        """Whether the configuration must give a value."""
        return self.default is inspect.Parameter.empty


def parameters_of(cls: type[Any], *, given: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    """List the parameters of ``cls``, without those that ctckit itself gives.

    Raises:
        PluginError: a parameter is variadic or its annotation cannot be resolved.
    """
    try:
        # a dataclass's own __init__ would be resolved in the module of the subclass, not where a field was written
        source = cls if dataclasses.is_dataclass(cls) else cls.__init__
        hints = typing.get_type_hints(source, include_extras=True)  # bounds are checked too
    except NameError as error:
        raise PluginError(f"{cls.__name__}: an annotation of __init__ cannot be resolved: {error}") from error
    found = []
    for name, parameter in list(inspect.signature(cls).parameters.items()):
        if name in given:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(
                f"{cls.__name__}: '{parameter}' in __init__ hides its parameters from the configuration; name them"
            )
        found.append(Parameter(name, hints.get(name, Any), parameter.default))
    return tuple(found)


def construct(cls: type[T], where: str, params: Mapping[str, Any], **given: Any) -> T:
    """Construct a component from configuration.

    Args:
        cls: the registered class.
        where: what the parameters belong to, for messages, such as ``model 'hierarchical_bilstm'``.
        params: from the configuration; converted to the annotated types.
        given: arguments from ctckit itself.

    Raises:
        ConfigError: a parameter is unknown, missing, or refused by the type or by the class itself.
    """
    values = checked(cls, where, params, tuple(given))
    try:
        return cls(**given, **values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def checked(cls: type[Any], where: str, params: Mapping[str, Any], given: tuple[str, ...]) -> dict[str, Any]:
    """Check parameters against the constructor's signature and types, and convert them; constructs nothing.

    Args:
        cls: the registered class.
        where: what the parameters belong to, for messages.
        params: from the configuration.
        given: names of arguments that come from ctckit itself.

    Raises:
        ConfigError: a parameter is unknown, missing, or refused by the type.
    """
    known = parameters_of(cls, given=given)
    fields: dict[str, Any] = {
        parameter.name: (parameter.annotation, ... if parameter.required else parameter.default)
        for parameter in known
    }
    schema = create_model(
        cls.__name__,
        __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=()),
        **fields,
    )
    try:
        values = schema.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            names = [parameter.name for parameter in known]
            raise ConfigError(f"{where}: unknown parameter '{name}'{suggest(name, names)}") from None
        if first["type"] == "missing":
            raise ConfigError(f"{where}: parameter '{name}' needs a value") from None
        raise ConfigError(f"{where}: {name} = {first['input']!r}: {first['msg'].lower()}") from None
    for name, raw in params.items():
        value = getattr(values, name)
        if isinstance(raw, bool) and isinstance(value, int | float) and not isinstance(value, bool):
            raise ConfigError(f"{where}: {name} = {str(raw).lower()}: input should be a number")
        if isinstance(value, float) and math.isnan(value):
            raise ConfigError(f"{where}: {name} = nan: input should be a number")
    return {parameter.name: getattr(values, parameter.name) for parameter in known}


def _in_words(annotation: Any) -> str:
    return inspect.formatannotation(annotation).replace("typing.", "")
