"""Contexts that come from outside: plain arrays, checked against what a policy takes. It chooses nothing."""

from typing import Any

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.types import Context, Spec

KINDS = {"float32": "numbers", "int32": "whole numbers", "bool": "true and false"}
TAKEN = {"float32": "fiu", "int32": "iu", "bool": "b"}  # kinds of NumPy types that may stand for each


def checked(context: Context, spec: Spec, num_items: int | None, offered: str | None) -> Context:
    """Return a context as NumPy arrays of the types that programs take; the mask is filled in.

    `offered` names the field that says which arms are offered: arm_id, arms, or None. A catalogue that comes along is
    left out: the policy has its own.

    Raises:
        InputError: a field is missing or not taken, or has a wrong shape, type or value.
    """
    shapes = {"arm_id": (spec.num_actions,), "arms": (spec.num_actions, spec.arm_dim)}
    for name in shapes:
        if name != offered and getattr(context, name) is not None:
            takes = f"takes {offered}" if offered else "takes none: the same arms are offered to all users"
            raise InputError(f"{name} is given, but this policy {takes}; allowed: {offered or 'user'} and mask")
    user: Any = _array("user", context.user, "float32", (None, spec.user_dim))
    count = len(user)
    found: dict[str, Any] = {"user_id": np.zeros(count, np.int32), "mask": np.ones((count, spec.num_actions), bool)}
    if offered is not None:
        kind = "int32" if offered == "arm_id" else "float32"
        found[offered] = _array(offered, getattr(context, offered), kind, (count, *shapes[offered]))
    _check_rows(found.get("arm_id"), num_items)
    if context.user_id is not None:
        found["user_id"] = _array("user_id", context.user_id, "int32", (count,))
    if context.mask is not None:
        found["mask"] = _array("mask", context.mask, "bool", (count, spec.num_actions))
        _check_mask(found["mask"], spec.slate_size)
    return Context(user=user, **found)


def _array(name: str, value: Any, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Make an array of a type and a shape; None in the shape is the number of users, at will."""
    sizes = ", ".join("B" if size is None else str(size) for size in shape)
    wanted = f"{KINDS[dtype]} of shape ({sizes}{',' if len(shape) == 1 else ''})"
    if value is None:
        raise InputError(f"{name} is missing; allowed: {wanted}")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise InputError(f"{name} is no array; allowed: {wanted}") from None
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(dtype)  # an empty list says nothing of its type
    if array.dtype.kind not in TAKEN[dtype]:
        raise InputError(f"{name} has type {array.dtype}; allowed: {wanted}")
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        raise InputError(f"{name} has shape {array.shape}; allowed: {wanted}")
    if dtype == "int32" and np.any((array < 0) | (array >= 2**31)):
        raise InputError(f"{name} has numbers out of range; allowed: 0 to {2**31 - 1}")
    array = array.astype(dtype)
    if dtype == "float32" and not np.all(np.isfinite(array)):
        raise InputError(f"{name} has nan or infinite numbers; allowed: finite ones")
    return array


def _check_rows(arm_id: np.ndarray | None, num_items: int | None) -> None:
    if arm_id is not None and num_items is not None and arm_id.size and arm_id.max() >= num_items:
        raise InputError(f"arm_id has {arm_id.max()}; allowed: 0 to {num_items - 1}, the rows of the catalogue")


def _check_mask(mask: np.ndarray, slate_size: int) -> None:
    few = np.flatnonzero(mask.sum(axis=1) < slate_size)
    if len(few):
        raise InputError(
            f"mask allows {mask[few[0]].sum()} arms in row {few[0]}; allowed: at least {slate_size} in each row"
        )
