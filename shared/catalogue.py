"""Which versions of a model are served, which one is meant by its name alone, how traffic is split.

The first value is what ``model.toml`` says; what an operator wishes since then is in Redis, the
same for every process, with a revision. Pure: who reads it, and when, is each process's own matter.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from shared.contract import ModelKey
from shared.errors import UnknownModel
from shared.model_spec import ModelSpec
from shared.repository import Repository

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Weight = Annotated[int, Meta(ge=0, le=1_000_000)]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be of one model."""

    versions: tuple[str, ...]
    """Those that are served; none: the model is unloaded."""
    default: str | None = None
    """The one that is meant by the name alone; None: the last of ``versions``."""
    weights: dict[str, Weight] = {}
    """Parts of the traffic that names no version; empty: all of it to the default one."""


class Desired(msgspec.Struct, frozen=True):
    """What an operator wishes of all models; of those that are not here, what their files say."""

    revision: int = 0
    models: Mapping[str, Wanted] = {}


class Holding:
    """One more is under way, by a revision; each request has two, and a generator costs more."""

    __slots__ = ("_revision", "_under_way")

    def __init__(self, under_way: Counter[int], revision: int) -> None:
        self._under_way, self._revision = under_way, revision

    def __enter__(self) -> int:
        self._under_way[self._revision] += 1
        return self._revision

    def __exit__(self, *_: object) -> None:
        self._under_way[self._revision] -= 1
        if not self._under_way[self._revision]:
            del self._under_way[self._revision]


class Catalogue:
    """The repository as it is wanted now."""

    def __init__(self, repository: Repository) -> None:
        self._under_way: Counter[int] = Counter()
        self._revision = 0
        self._wanted: dict[str, Wanted] = {}
        self.follow(repository, Desired())

    @property
    def revision(self) -> int:
        """Of the wishes that are followed, all of them."""
        return self._revision

    @property
    def followed(self) -> int:
        """The lowest revision that something under way was admitted by."""
        return min(self._under_way, default=self.revision)

    def holding(self, revision: int | None = None) -> "Holding":
        """Something is admitted, and not yet in the queue, for the length of the block.

        By the revision that it was admitted by; where none is named, by today's. Gives it.
        """
        return Holding(self._under_way, self.revision if revision is None else revision)

    @property
    def default(self) -> ModelSpec:
        """What is meant where no model is named."""
        return self.usual(None)

    def follow(
        self, repository: Repository, desired: Desired, *, later: Collection[str] = ()
    ) -> None:
        """From now on this is what is wanted; what was wanted before of those for later."""
        for name in set(desired.models) - {*repository.names(), *repository.refused}:
            log.warning(
                "a model was loaded by request and is not in this process's repository: put its "
                "files back, or DELETE /models/<name>/serving ends the request",
                model=name,
            )
        before = {name: self._wanted[name] for name in later}
        wishes = {**desired.models, **before}
        self._repository = repository
        self._wanted = {
            name: wanted_of(repository, name, wishes.get(name)) for name in repository.names()
        }
        if not before:
            self._revision = desired.revision

    def too_early(
        self, repository: Repository, desired: Desired, *, served: Callable[[ModelKey], bool]
    ) -> list[str]:
        """Models whose callers would go from one version to another that nobody serves yet."""
        found = []
        for name in set(self._wanted) & set(repository.names()):
            now = _meant(self._wanted[name])
            then = _meant(wanted_of(repository, name, desired.models.get(name)))
            if now and not all(served(ModelKey(name, version)) for version in then - now):
                found.append(name)
        return found

    def names(self) -> tuple[str, ...]:
        """Every model that there is, served or not."""
        return self._repository.names()

    def wanted(self, name: str) -> Wanted:
        """What is to be of a model, from its files where nobody has wished otherwise.

        Raises:
            UnknownModel
        """
        if name not in self._wanted:
            self._repository.versions(name)  # which says what there is
        return self._wanted[name]

    def versions(self, name: str) -> tuple[ModelSpec, ...]:
        """Those that are served, lowest first.

        Raises:
            UnknownModel
        """
        served = self.wanted(name).versions
        return tuple(s for s in self._repository.versions(name) if s.key.version in served)

    def specs(self) -> list[ModelSpec]:
        """All that is served."""
        return [spec for name in self.names() for spec in self.versions(name)]

    def usual(self, name: str | None) -> ModelSpec:
        """The default version, however traffic is split; where a model is unloaded, of its files.

        Raises:
            UnknownModel
        """
        if name is None:
            name = self._repository.default_name
        return self._repository.find(name, self.wanted(name).default)

    def find(self, name: str | None, version: str | None, *, sticky: str = "") -> ModelSpec:
        """The version asked for; where none is, the same one for everybody who is ``sticky`` alike.

        Raises:
            UnknownModel: naming what is served
        """
        if name is None:
            name = self._repository.default_name
        wanted = self.wanted(name)
        if not wanted.versions:
            raise UnknownModel(
                f"model {name} is not loaded: load a version of it, or ask for another"
            )
        if version is None:
            version = _chosen(wanted, sticky)
        elif version not in wanted.versions:
            raise UnknownModel(
                f"model {name} has no version {version[:64]!r} that is served: ask for one of "
                f"{', '.join(wanted.versions)}"
            )
        return self._repository.find(name, version)


def wanted_of(repository: Repository, name: str, wish: Wanted | None) -> Wanted:
    """A wish, as far as it can be had here."""
    known = tuple(spec.key.version for spec in repository.versions(name))
    if wish is None:
        return Wanted(known, repository.find(name, None).key.version)
    versions = tuple(version for version in wish.versions if version in known)
    default = wish.default if wish.default in versions else (versions or (None,))[-1]
    weights = {v: weight for v, weight in wish.weights.items() if v in versions and weight}
    return Wanted(versions, default, weights)


def _meant(wanted: Wanted) -> set[str]:
    """The versions to which callers go who name none."""
    if wanted.weights:
        return set(wanted.weights)
    return set() if wanted.default is None else {wanted.default}


def _chosen(wanted: Wanted, sticky: str) -> str:
    total = sum(wanted.weights.values())
    if not total:
        assert wanted.default is not None, "there are versions"
        return wanted.default
    if sticky:
        place = int.from_bytes(blake2b(sticky.encode(), digest_size=8).digest()) % total
    else:
        place = random.randrange(total)  # noqa: S311 - a split, not a secret
    upto = 0
    for version, weight in wanted.weights.items():
        upto += weight
        if place < upto:
            return version
    raise AssertionError(place)
