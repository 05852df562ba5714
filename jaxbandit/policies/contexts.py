"""Contexts from outside jaxbandit: arrays and lists, checked against what a policy takes. It chooses no action."""

from collections.abc import Mapping

import numpy as np

from jaxbandit._core.errors import InputError
from jaxbandit.types import Spec

WORDS = {"float32": "numbers", "int32": "whole numbers", "bool": "true and false"}
ACCEPTED = {"float32": "fiu", "int32": "iu", "bool": "b"}  # kinds of NumPy types that are converted to each


def checked(
    fields: Mapping[str, object], spec: Spec, num_items: int | None, offered: str | None
) -> dict[str, np.ndarray]:
    """Return fields of a Context as arrays of the types that programs take; user_id and mask are always there.

    `offered` names the field that says which arms are offered: arm_id, arms, or None. A `catalogue` among the fields
    is ignored: the policy has its own.

    Raises:
        InputError: a field is missing or not taken, or has a wrong shape, type or value.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    shapes = {"arm_id": (spec.num_actions,), "arms": (spec.num_actions, spec.arm_dim)}
    for name in shapes:
        if name != offered and name in given:
            takes = f"takes {offered}" if offered else "takes none: the same arms are offered to all users"
            raise InputError(f"{name} is given, but this policy {takes}; allowed: {offered or 'user'} and mask")
    user = _array("user", given.get("user"), "float32", (None, spec.user_dim))
    count = len(user)
    arrays = {"user_id": np.zeros(count, np.int32), "mask": np.ones((count, spec.num_actions), bool)}
    if offered is not None:
        dtype = "int32" if offered == "arm_id" else "float32"
        arrays[offered] = _array(offered, given.get(offered), dtype, (count, *shapes[offered]))
    _check_rows(arrays.get("arm_id"), num_items)
    if "user_id" in given:
        arrays["user_id"] = _array("user_id", given["user_id"], "int32", (count,))
    if "mask" in given:
        arrays["mask"] = _array("mask", given["mask"], "bool", (count, spec.num_actions))
        _check_mask(arrays["mask"], spec.slate_size)
    return {"user": user, **arrays}


def _array(name: str, value: object, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Make an array of a type and a shape; None in the shape stands for any number of users."""
    sizes = ", ".join("B" if size is None else str(size) for size in shape)
    wanted = f"{WORDS[dtype]} of shape ({sizes}{',' if len(shape) == 1 else ''})"
    if value is None:
        raise InputError(f"{name} is missing; allowed: {wanted}")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise InputError(f"{name} is no array; allowed: {wanted}") from None
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(dtype)  # an empty list says nothing of its type
    if array.dtype.kind not in ACCEPTED[dtype]:
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
