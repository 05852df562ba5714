"""Kinds of settings that no name of the registries need have, and records of settings that factories share."""

import inspect
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated

import pytest
from annotated_types import Ge, doc

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import Form, flat_settings, hyperparameters, parse, validate
from jaxbandit.types import Traced


def factory(
    *,
    names: Annotated[str, Form(r"[a-z]+(\+[a-z]+)+", "of names, as a+b"), doc("names")] = "a+b",
    words: Annotated[str, doc("anything")] = "any",
    limit: Annotated[float | None, Ge(1), doc("limit")] = None,
    count: Annotated[int, Ge(1), doc("count")] = 1,
    sizes: Annotated[tuple[int, ...], doc("sizes")] = (),
    width: Annotated[Traced, doc("width")] = 1.0,
) -> None:
    """Make nothing."""


SETTINGS = hyperparameters(factory)


def test_text_of_a_form_is_read_and_anything_else_refused():
    assert SETTINGS["names"].kind == "text"
    assert parse(SETTINGS["names"], "b+c+d") == "b+c+d"
    for value in ("a", "a+", "a+B", "a+b\n", "", 7):
        with pytest.raises(InputError) as caught:
            parse(SETTINGS["names"], value)
        assert str(caught.value) == f"names is {value!r}; allowed: text of names, as a+b"


def test_text_without_a_form_is_anything_but_nothing():
    assert parse(SETTINGS["words"], "a b, c") == "a b, c"
    with pytest.raises(InputError, match=r"^words is ''; allowed: text$"):
        parse(SETTINGS["words"], "")


def test_a_number_that_is_auto_is_static():
    assert SETTINGS["width"].is_traced
    assert not SETTINGS["limit"].is_traced
    assert parse(SETTINGS["limit"], None) is None
    assert parse(SETTINGS["limit"], "2") == 2.0
    with pytest.raises(InputError, match=r"^limit is 0; allowed: a number >= 1$"):
        parse(SETTINGS["limit"], 0)


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("count", ("2147483648", 1e30, 2**31), "a whole number >= 1 and <= 2147483647"),
        ("sizes", ("3,1e12", (2**31,)), "whole numbers > 0, as 64,32 or 64x32, each <= 2147483647"),
    ],
)
def test_a_whole_number_that_int32_does_not_hold_is_refused_with_the_limit(name, values, allowed):
    for value in values:
        with pytest.raises(InputError) as caught:
            parse(SETTINGS[name], value)
        assert str(caught.value) == f"{name} is {value!r}; allowed: {allowed}"
    assert parse(SETTINGS["count"], "2147483647") == 2**31 - 1
    assert parse(SETTINGS["sizes"], "2147483647x1") == (2**31 - 1, 1)


@dataclass(frozen=True)
class Inner:
    """What is shared by those who share."""

    depth: Annotated[int, Ge(1), doc("depth")] = 2
    kinds: Annotated[tuple[int, ...], doc("kinds")] = (3,)


@dataclass(frozen=True)
class Shared:
    """What is shared."""

    rate: Annotated[Traced, Ge(0), doc("rate")] = 0.5
    inner: Inner = Inner()
    limit: Annotated[float | None, doc("limit")] = None


@flat_settings
def first(size, *, own: Annotated[bool, doc("own")] = False, shared: Shared = Shared(), last: Annotated[str, doc("")]):
    """Hand everything back."""
    return size, own, shared, last


@flat_settings
def second(*, shared: Shared = Shared(inner=Inner(depth=7))):
    """Hand the record back."""
    return shared


def test_the_fields_of_a_record_are_settings_in_its_place():
    assert list(hyperparameters(first)) == ["own", "rate", "depth", "kinds", "limit", "last"]
    assert list(inspect.signature(first).parameters) == ["size", *hyperparameters(first)]
    assert hyperparameters(first)["rate"].is_traced
    assert hyperparameters(first)["depth"].allowed == "a whole number >= 1"
    assert hyperparameters(first)["depth"].doc == "depth"
    assert not hyperparameters(first)["limit"].is_traced
    assert first.__doc__ == "Hand everything back."


def test_a_factory_gives_a_record_other_defaults():
    assert hyperparameters(first)["depth"].default == 2
    assert hyperparameters(second)["depth"].default == 7
    assert second(rate=0.1) == Shared(0.1, Inner(depth=7))


def test_a_factory_gets_its_records_filled_with_what_callers_name():
    assert first(5, last="z") == (5, False, Shared(), "z")
    assert first(5, kinds=(), own=True, last="z", rate=0.0) == (5, True, Shared(0.0, Inner(kinds=())), "z")
    assert first(5, last="z") == (5, False, Shared(), "z")  # what others named is gone
    with pytest.raises(TypeError, match="dept"):
        first(5, last="z", dept=3)


def test_settings_of_a_record_are_checked_like_keywords():
    assert validate("agent", "second", second, {"depth": "4"}) == {"depth": 4}
    with pytest.raises(InputError, match=r"^depth is 0; allowed: a whole number >= 1$"):
        validate("agent", "second", second, {"depth": 0})
    with pytest.raises(InputError, match=r"^agent second has no setting 'dept': did you mean 'depth'"):
        validate("agent", "second", second, {"dept": 4})


def test_a_record_that_says_a_name_twice_is_refused():
    with pytest.raises(ValueError, match="duplicate parameter name: 'rate'"):

        @flat_settings
        def twice(*, rate: Annotated[float, doc("rate")] = 1.0, shared: Shared = Shared()) -> None:
            """Take a rate twice."""


def test_a_factory_is_read_once_and_nobody_can_change_what_it_says():
    assert hyperparameters(first) is hyperparameters(first)
    with pytest.raises(TypeError):
        hyperparameters(first)["rate"] = None
    with pytest.raises(FrozenInstanceError):
        second().rate = 1.0
