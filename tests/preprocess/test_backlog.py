from hypothesis import given
from hypothesis import strategies as st

from services.preprocess.backlog import BATCH_INPUTS, BATCH_SIZE, Ask, Backlog, Slice
from services.preprocess.codecs import Codec
from services.preprocess.echo import EchoCodec
from tests.specs import stand_in

CODEC = EchoCodec(stand_in())
OTHER_CODEC = EchoCodec(stand_in())


def ask(*texts: str, codec: Codec = CODEC, truncate: bool = False) -> Ask:
    return Ask(codec, texts, truncate)


def backlog(*asks: Ask) -> Backlog:
    waiting = Backlog()
    for one in asks:
        waiting.add(one)
    return waiting


def batches(waiting: Backlog) -> list[list[Slice]]:
    return list(iter(waiting.take, []))


def texts_of(batch: list[Slice]) -> list[str]:
    return [text for piece in batch for text in piece.inputs]


asked = st.lists(
    st.builds(
        ask,
        st.integers(0, 9_000).map("x".__mul__),
        st.integers(0, 9_000).map("y".__mul__),
        st.integers(0, 50).map("z".__mul__),
        codec=st.sampled_from([CODEC, OTHER_CODEC]),
        truncate=st.booleans(),
    ),
    max_size=12,
)


@given(asked)
def test_every_text_leaves_once_and_in_order(asks: list[Ask]) -> None:
    left = [piece for batch in batches(backlog(*asks)) for piece in batch]

    for one in asks:
        mine = [text for piece in left if piece.ask is one for text in piece.inputs]
        assert mine == list(one.inputs)


@given(asked)
def test_a_batch_is_of_one_codec_and_ends_with_the_text_that_fills_it(asks: list[Ask]) -> None:
    for batch in batches(backlog(*asks)):
        assert len({(piece.ask.codec, piece.ask.truncate) for piece in batch}) == 1
        assert len(texts_of(batch)) <= BATCH_INPUTS
        assert sum(map(len, texts_of(batch)[:-1])) < BATCH_SIZE


def test_who_waits_for_the_same_codec_travels_together() -> None:
    waiting = backlog(ask("a"), ask("b", codec=OTHER_CODEC), ask("c"), ask("d", truncate=True))

    assert [texts_of(batch) for batch in batches(waiting)] == [["a", "c"], ["b"], ["d"]]


def test_a_large_request_holds_a_neighbour_up_by_one_batch() -> None:
    large, small = ask(*"x" * 10 * BATCH_INPUTS), ask("y")
    waiting = backlog(large, small)

    first, second = waiting.take(), waiting.take()

    assert [piece.ask for piece in first] == [large]
    assert [piece.ask for piece in second] == [small, large]
    assert len(texts_of(second)) == BATCH_INPUTS


def test_a_codec_with_much_to_do_takes_turns_with_the_others() -> None:
    waiting = backlog(ask(*"x" * 3 * BATCH_INPUTS), ask("y", codec=OTHER_CODEC))

    codecs = [batch[0].ask.codec for batch in batches(waiting)]

    assert codecs == [CODEC, OTHER_CODEC, CODEC, CODEC]


def test_long_texts_fill_a_batch_by_their_characters() -> None:
    long = "x" * (BATCH_SIZE // 2)

    sizes = [len(texts_of(batch)) for batch in batches(backlog(ask(*[long] * 5)))]

    assert sizes == [2, 2, 1]


def test_what_is_dropped_is_not_encoded() -> None:
    leaving, staying, other = ask("a"), ask("b"), ask("c")
    waiting = backlog(leaving, staying, other)

    waiting.drop(leaving)
    waiting.drop(leaving)

    assert texts_of(waiting.take()) == ["b", "c"]
    waiting.drop(staying)
    assert waiting.take() == []
