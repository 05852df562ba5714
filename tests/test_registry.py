"""The registries, and the settings and words that factories declare."""

import dataclasses
import inspect
from typing import Annotated, Any

import pytest
from annotated_types import Interval

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import Hyperparameter, hyperparameters, parse, validate
from jaxbandit.agents import AGENTS
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config

FACTORIES = {**AGENTS, **ENVIRONMENTS}
each_factory = pytest.mark.parametrize("name", FACTORIES)


def test_no_name_means_two_things():
    of_agents = {name for factory in AGENTS.values() for name in hyperparameters(factory)}
    of_envs = {name for factory in ENVIRONMENTS.values() for name in hyperparameters(factory)}
    of_runs = {field.name for field in dataclasses.fields(Config)}
    assert not of_agents & of_envs
    assert not of_runs & (of_agents | of_envs)


@each_factory
def test_every_setting_says_what_it_is_and_has_a_valid_default(name):
    for setting in hyperparameters(FACTORIES[name]).values():
        assert setting.doc, setting
        assert setting.allowed, setting
        assert parse(setting, setting.default) == setting.default
        if setting.default is not None and setting.kind not in ("ints", "floats"):
            assert parse(setting, str(setting.default)) == setting.default


def beyond(setting: Hyperparameter) -> list[Any]:
    """Values that a setting does not take: of no such type, or just beyond its bounds."""
    if setting.kind not in ("int", "float"):
        return ["", 5] if setting.kind == "text" else ["nonsense"]
    low = [getattr(b, s) for b in setting.bounds for s in ("gt", "ge") if getattr(b, s, None) is not None]
    high = [getattr(b, s) for b in setting.bounds for s in ("lt", "le") if getattr(b, s, None) is not None]
    values = ["nan", "inf", "many", True, *(limit - 1 for limit in low), *(limit + 1 for limit in high)]
    return values + (low if any(getattr(b, "gt", None) is not None for b in setting.bounds) else [])


@each_factory
def test_a_value_beyond_a_bound_is_refused_in_one_line(name):
    for setting in hyperparameters(FACTORIES[name]).values():
        for value in beyond(setting):
            with pytest.raises(InputError) as caught:
                validate("agent", name, FACTORIES[name], {setting.name: value})
            assert str(caught.value) == f"{setting.name} is {value!r}; allowed: {setting.allowed}"


@each_factory
def test_a_factory_says_in_one_line_what_it_makes(name):
    first = inspect.getdoc(FACTORIES[name]).splitlines()[0]
    assert first.endswith(".")
    assert len(first) < 120


@each_factory
def test_an_unknown_setting_gets_the_nearest_name(name):
    factory = FACTORIES[name]
    for known in hyperparameters(factory):
        with pytest.raises(InputError, match=rf"{name} has no setting '{known}x'.*did you mean '{known}'"):
            validate("agent", name, factory, {f"{known}x": 1})
    with pytest.raises(InputError, match=r"has no setting 'qqqq'.*allowed: "):
        validate("agent", name, factory, {"qqqq": 1})


def test_text_and_numbers_are_settings():
    def factory(*, words: str = "a", few: Annotated[tuple[float, ...] | None, Interval(ge=0, le=1)] = None):
        """Make nothing."""

    assert validate("env", "x", factory, {"words": "b c", "few": "0.5,1"}) == {"words": "b c", "few": (0.5, 1.0)}
    for value in ("0.5x1", [0.5, "1"], (0.5, 1)):
        assert parse(hyperparameters(factory)["few"], value) == (0.5, 1.0)
    assert not hyperparameters(factory)["few"].is_traced
    for value in ("0.5,2", "0.5,nan", 0.5, [True]):
        with pytest.raises(InputError, match=r"few is .*; allowed: numbers, as 0.5,1 or 0.5x1, each >= 0 and <= 1$"):
            validate("env", "x", factory, {"few": value})
