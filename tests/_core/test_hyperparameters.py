"""Kinds of settings that no name of the registries need have: text with a form, and numbers that are auto."""

from typing import Annotated

import pytest
from annotated_types import Ge, doc

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import Form, hyperparameters, parse
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
