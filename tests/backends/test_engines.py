"""One engine in a worker: kept between units of its name, ended before any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mixdistill.backends import engines


@pytest.fixture
def said() -> Iterator[list[str]]:
    engines.end()
    yield []
    engines.end()


def use(name: str, said: list[str]) -> str:
    def start() -> str:
        said.append(f"start {name}")
        return name

    return engines.kept(name, start, lambda engine: said.append(f"end {engine}"))


def test_units_of_one_name_share_an_engine_and_another_name_ends_it_first(said: list[str]):
    for name in ("a", "a", "a", "b"):
        with engines.shared(name):
            assert use(name, said) == name
    assert said == ["start a", "end a", "start b"]


def test_a_unit_that_shares_nothing_ends_what_is_kept_and_what_it_started(said: list[str]):
    with engines.shared("a"):
        use("a", said)
    with engines.shared(""):
        assert said == ["start a", "end a"]
        use("own", said)
        use("own", said)
    assert said == ["start a", "end a", "start own", "end own"]


def test_an_engine_is_not_kept_after_a_unit_that_failed(said: list[str]):
    with pytest.raises(KeyError), engines.shared("a"):
        use("a", said)
        raise KeyError
    with engines.shared("a"):
        use("a", said)
    assert said == ["start a", "end a", "start a"]


def test_an_engine_that_does_not_start_is_none(said: list[str]):
    def start() -> str:
        raise ValueError

    use("a", said)
    with pytest.raises(ValueError):
        engines.kept("b", start, said.append)
    engines.end()
    assert said == ["start a", "end a"]


@pytest.mark.parametrize(
    ("wanted", "ends"), [(None, []), (50, []), (51, ["end a"])], ids=["nothing said", "room enough", "too little"]
)
def test_room_is_made_where_too_little_of_the_gpu_is_free(wanted, ends, said: list[str], monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (50, 100))
    use("a", said)
    engines.make_room(wanted)
    assert said[1:] == ends
