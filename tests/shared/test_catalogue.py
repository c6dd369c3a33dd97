"""What is served, what is meant, and how traffic is split: the files' word, then the operator's."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue import Catalogue, Desired, Wanted
from shared.errors import UnknownModel
from shared.repository import Repository, open_repository
from tests.shared.models import checkpoint


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("models")
    for at in ("films/1", "films/2", "films/3", "plays/1"):
        checkpoint(folder / at)
    return open_repository([folder], "films", weights=True)


def catalogue(repository: Repository, **wanted: Wanted) -> Catalogue:
    made = Catalogue(repository)
    made.follow(repository, Desired(1, wanted))
    return made


def test_at_first_it_is_what_the_files_say(repository: Repository) -> None:
    made = Catalogue(repository)

    assert made.revision == 0
    assert made.wanted("films") == Wanted(("1", "2", "3"), "3")
    assert made.default.key.version == "3"
    assert [str(s.key) for s in made.specs()] == ["films@1", "films@2", "films@3", "plays@1"]


def test_what_is_wished_of_one_model_leaves_the_others_alone(repository: Repository) -> None:
    made = catalogue(repository, films=Wanted(("1", "2"), "1"))

    assert made.find(None, None).key.version == "1"
    assert made.find("films", "2").key.version == "2"
    assert made.find("plays", None).key.version == "1"
    assert [str(s.key) for s in made.specs()] == ["films@1", "films@2", "plays@1"]


@pytest.mark.parametrize(
    ("wanted", "version", "told"),
    [
        (Wanted(("1",), "1"), "3", "no version '3' that is served: ask for one of 1"),
        (Wanted(()), None, "model films is not loaded"),
        (Wanted(()), "1", "model films is not loaded"),
    ],
)
def test_what_is_not_served_is_not_found(
    repository: Repository, wanted: Wanted, version: str | None, told: str
) -> None:
    with pytest.raises(UnknownModel, match=told):
        catalogue(repository, films=wanted).find("films", version)


def test_what_is_wished_and_not_there_is_left_out(repository: Repository) -> None:
    made = catalogue(repository, films=Wanted(("2", "9"), "9", {"2": 1, "9": 5}), operas=Wanted(()))

    assert made.wanted("films") == Wanted(("2",), "2", {"2": 1})


SWITCHES = {
    "another default": (Wanted(("1", "2"), "1"), Wanted(("1", "2"), "2"), {"2"}),
    "only another one": (Wanted(("1",), "1"), Wanted(("3",), "3"), {"3"}),
    "a part to another": (Wanted(("1",), "1"), Wanted(("1", "2"), "1", {"1": 9, "2": 1}), {"2"}),
    "more to the same": (Wanted(("1", "2"), "1", {"1": 9, "2": 1}), Wanted(("2",), "2"), set()),
    "one to be tried first": (Wanted(("1",), "1"), Wanted(("1", "2"), "1"), set()),
    "unloaded": (Wanted(("1",), "1"), Wanted(()), set()),
    "loaded after nothing": (Wanted(()), Wanted(("1",), "1"), set()),
}


@pytest.mark.parametrize(("now", "then", "missing"), SWITCHES.values(), ids=SWITCHES)
def test_a_switch_is_too_early_while_nobody_serves_what_comes(
    repository: Repository, now: Wanted, then: Wanted, missing: set[str]
) -> None:
    made, wish = catalogue(repository, films=now), Desired(2, {"films": then})
    here = {"films@1", "films@2", "films@3", "plays@1"}

    def early(served: set[str]) -> list[str]:
        return made.too_early(repository, wish, served=lambda key: str(key) in served)

    assert early(here) == []
    assert early(here - {f"films@{one}" for one in missing}) == (["films"] if missing else [])
    assert early(set()) == (["films"] if missing else [])


def test_what_is_for_later_stays_and_the_wishes_are_not_all_followed(
    repository: Repository,
) -> None:
    made = catalogue(repository, films=Wanted(("1",), "1"))
    wish = Desired(2, {"films": Wanted(("2",), "2"), "plays": Wanted(())})

    made.follow(repository, wish, later=["films"])

    assert made.wanted("films") == Wanted(("1",), "1")
    assert made.wanted("plays") == Wanted(())
    assert made.revision == 1
    made.follow(repository, wish)
    assert made.wanted("films") == Wanted(("2",), "2")
    assert made.revision == 2


def test_traffic_is_split_by_weight(repository: Repository) -> None:
    made = catalogue(repository, films=Wanted(("1", "2"), "1", {"1": 9, "2": 1}))

    found = Counter(made.find("films", None).key.version for _ in range(4_000))

    assert 250 < found["2"] < 600
    assert found["1"] + found["2"] == 4_000


@given(st.text(min_size=1), st.integers(1, 100), st.integers(1, 100))
def test_who_is_alike_gets_the_same_version(
    repository: Repository, who: str, first: int, second: int
) -> None:
    made = catalogue(repository, films=Wanted(("1", "2"), "1", {"1": first, "2": second}))

    assert len({made.find("films", None, sticky=who).key for _ in range(5)}) == 1


def test_many_who_differ_are_split_as_the_weights_say(repository: Repository) -> None:
    made = catalogue(repository, films=Wanted(("1", "2"), "1", {"1": 3, "2": 1}))

    found = Counter(
        made.find("films", None, sticky=f"caller {n}").key.version for n in range(2_000)
    )

    assert 400 < found["2"] < 600
