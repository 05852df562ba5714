"""Names and the factories behind them, imported when they are asked for. It knows no factory."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Generic, TypeVar

Factory = TypeVar("Factory")


class Registry(MutableMapping[str, Factory], Generic[Factory]):
    """Factories by name, in the order in which they were added.

    Those of the package itself are given by their places, as "linear.linucb": some modules take long to import.
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        self._package, self._entries = package, dict[str, str | Factory](places)

    def __getitem__(self, name: str) -> Factory:
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, factory = entry.rpartition(".")
            entry = self._entries[name] = getattr(import_module(f"{self._package}.{module}"), factory)
        return entry

    def __setitem__(self, name: str, factory: Factory) -> None:
        self._entries[name] = factory

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
