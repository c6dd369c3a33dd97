"""The trained text classifiers, each by its own script on a few dozen rows of made-up text."""

import dataclasses
import gzip
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch

from shared.repository import ModelSpec, open_repository
from tools import train_clinc, train_news, train_nsmc
from tools.accuracy import offline, read_ag_news
from tools.small_bert.batches import mask_pieces, pad
from tools.small_bert.checkpoint import predict_stored
from tools.small_bert.command import Task, run
from tools.small_bert.rows import hold_out, read_pairs, read_rows
from tools.small_bert.tokens import CLS, MASK, SEP, SPECIAL, Segmenter, learn_tokenizer

WORDS: Final = {
    "board": "chess pawn rook",
    "kitchen": "onion butter oven",
    "sea": "harbour sail tide",
    "oos": "lava comet fossil",
}


def rows_of(words: Mapping[str, str], count: int, *, seed: int) -> list[tuple[str, str]]:
    """For each label ``count`` texts of its words; fewer out of scope."""
    draw = random.Random(seed)
    return [
        (" ".join(draw.choices(some.split(), k=5)), label)
        for label, some in words.items()
        for _ in range(count if label != "oos" else count // 5)
    ]


def write(file: Path, rows: Sequence[tuple[str, str]]) -> None:
    lines = "".join(f"{text}\t{label}\n" for text, label in rows)
    file.write_bytes(gzip.compress(f"text\tlabel\n{lines}".encode()))


@dataclasses.dataclass(frozen=True)
class Case:
    """A script, and the words of each label as its files spell it."""

    task: Task[Any]
    words: Mapping[str, str]


BOARD, COOK, SAIL, OTHER = WORDS.values()
CASES: Final = {
    "nsmc": Case(train_nsmc.TASK, {"0": COOK, "1": SAIL}),
    "clinc": Case(train_clinc.TASK, WORDS),
    "news": Case(train_news.TASK, {"1": BOARD, "2": COOK, "3": OTHER, "4": SAIL}),
}


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What one run left behind."""

    case: Case
    data: Path
    folder: Path
    said: str

    @property
    def spec(self) -> ModelSpec:
        return open_repository([], str(self.folder), weights=True).default


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=CASES)
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """One run of a script, its recipe made small."""
    case = CASES[request.param]
    data, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out") / "tiny"
    for number, name in enumerate(case.task.files):
        write(data / name, rows_of(case.words, 20, seed=number))
    recipe = dataclasses.replace(
        case.task.recipe,
        vocab_size=200,
        max_tokens=32,
        held_out_rows=min(case.task.recipe.held_out_rows, 10),
        teacher_share=0.1,
        folds=2,
        joint_epochs=1,
        classify_epochs=14,
        batch_rows=4,
        long_rows=4,
        shortest_long_row=16,
        width=32,
        layers=1,
        heads=2,
        piece_dropout=0.0,
        peak_lr=3e-3,
    )
    with redirect_stdout(StringIO()) as said:
        given = ["--data", str(data), "--out", str(folder), "--threads", "1"]
        run(dataclasses.replace(case.task, recipe=recipe), given)
    return Learnt(case, data, folder, said.getvalue())


def test_the_loss_falls_and_more_is_right_than_by_chance(learnt: Learnt) -> None:
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", learnt.said)]
    score = learnt.case.task.evaluate(learnt.folder, learnt.data)

    assert len(losses) == 15
    assert losses[-1] < 0.8 * losses[0]
    assert score.accuracy > 1.4 / len(learnt.case.words)


def test_what_was_stored_is_served_as_it_was_learnt(learnt: Learnt) -> None:
    texts = [text for text, _ in rows_of(learnt.case.words, 10, seed=7)]
    texts += [f"{text.upper()}?" for text in texts] + ["words that it has never seen"]

    served = offline(learnt.spec, texts)

    assert served == list(predict_stored(learnt.folder, texts))
    assert set(served) > {served[-1]}


def test_the_card_tells_the_accuracy_that_a_second_look_finds(learnt: Learnt) -> None:
    score = learnt.case.task.evaluate(learnt.folder, learnt.data)

    with redirect_stdout(StringIO()) as said:
        run(
            learnt.case.task,
            ["--data", str(learnt.data), "--out", str(learnt.folder), "--evaluate"],
        )

    assert f"test: {score}" in learnt.said
    assert f"test: {score}" in said.getvalue()
    assert f"{score.accuracy:.4f}" in (learnt.folder / "README.md").read_text()


def test_what_may_not_be_sold_says_so_where_it_is_served(learnt: Learnt) -> None:
    bound = learnt.case.task is train_news.TASK

    assert ("non-commercial use only" in learnt.spec.licence) == bound


def test_nothing_half_done_is_left(learnt: Learnt) -> None:
    assert [path.name for path in learnt.folder.parent.iterdir()] == ["tiny"]


def test_out_of_scope_is_counted_by_itself() -> None:
    right = np.array(["a", "a", "b", "oos", "oos"])
    predicted = np.array(["a", "oos", "a", "oos", "b"])

    score = train_clinc.score_of(predicted, right, "oos")

    assert (score.rows, score.rows_in_scope, score.rows_out_of_scope) == (5, 3, 2)
    assert (score.accuracy, score.out_of_scope) == (2 / 5, 1 / 2)
    assert (score.in_scope, score.refused) == (1 / 3, 1 / 3)


def test_out_of_scope_is_raised_to_where_most_is_right_and_no_further() -> None:
    logits = np.array([[4, 0, 1], [0, 3, 2.2], [3, 0, 2.2], [0, 4, 2.2]], np.float32)
    labels = np.array([0, 2, 2, 1])

    shift = train_clinc.best_shift(logits, labels, 2)

    assert shift == 1.0
    assert list(train_clinc.shifted(logits, 2, shift).argmax(axis=1)) == [0, 2, 2, 1]
    assert train_clinc.best_shift(logits, np.array([0, 1, 0, 1]), 2) == 0


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[], ["--data", ""], ["--data", "/nowhere"]])
@pytest.mark.parametrize("name", CASES)
def test_without_its_files_a_script_says_which_it_wants(
    name: str, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    task = CASES[name].task

    with pytest.raises(SystemExit) as refused:
        run(task, given)

    said = capsys.readouterr().err
    assert refused.value.code == 2
    assert "--data" in said
    assert not given or all(file in said for file in task.files)


def test_a_file_that_is_missing_is_named_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / train_news.TRAIN, [])

    with pytest.raises(SystemExit):
        run(train_news.TASK, ["--data", str(tmp_path)])

    assert f"has no {train_news.TEST}: name" in capsys.readouterr().err


def test_a_text_is_read_as_it_stands(tmp_path: Path) -> None:
    rows = [('he said "no", twice', "a"), ("", "b"), ("one\u2028line", "a")]
    write(tmp_path / "rows", rows)

    assert read_pairs(tmp_path / "rows") == rows
    assert list(read_rows(tmp_path / "rows", ["b", "a"]).labels) == [1, 0, 1]


def test_a_model_s_labels_stand_for_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "test.tsv.gz", [("a", "1"), ("b", "4"), ("c", "3"), ("d", "2")])

    assert list(read_ag_news(tmp_path)) == [
        ("a", "World"),
        ("b", "Sci/Tech"),
        ("c", "Business"),
        ("d", "Sports"),
    ]


def test_a_label_that_is_none_of_the_model_s_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "rows", [("text", "a"), ("text", "x")])

    with pytest.raises(ValueError, match="label 'x' is none of a, b"):
        read_rows(tmp_path / "rows", ["a", "b"])


def test_a_line_without_a_tab_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(gzip.compress(b"text\tlabel\nfine\ta\nlost\n"))

    with pytest.raises(ValueError, match="line 3: no tab"):
        read_pairs(tmp_path / "rows")


def test_what_is_held_out_is_not_learnt(tmp_path: Path) -> None:
    write(tmp_path / "rows", [(f"text {number}", "a") for number in range(20)])

    kept, held_out = hold_out(read_rows(tmp_path / "rows", ["a"]), 5, seed=3)

    assert (len(kept), len(held_out)) == (15, 5)
    assert len({*kept.texts, *held_out.texts}) == 20


# --- pieces ---------------------------------------------------------------------------------

TEXTS: Final = [text for text, _ in rows_of(WORDS, 20, seed=5)]


def test_the_segmenter_agrees_with_the_tokenizer_until_it_drops_a_match() -> None:
    tokenizer = learn_tokenizer(TEXTS, 120)
    segmenter = Segmenter(tokenizer, TEXTS, seed=1)
    expected = [encoded.ids[1:-1] for encoded in tokenizer.encode_batch(TEXTS)]

    assert segmenter.segment(0.0) == expected
    varied = segmenter.segment(0.5)
    assert varied != expected
    assert [tokenizer.decode(ids) for ids in varied] == [tokenizer.decode(ids) for ids in expected]


def test_only_chosen_pieces_are_masked_and_neither_frame_nor_padding() -> None:
    torch.manual_seed(1)
    rows = [[CLS, *range(5, 5 + count), SEP] for count in (150, 200)]
    ids = pad(rows)

    noisy, chosen = mask_pieces(ids, 0.15, vocab_size=300)

    changed = (noisy != ids).flatten().nonzero().squeeze(1)
    assert set(changed.tolist()) <= set(chosen.tolist())
    assert len(chosen) == 64
    assert (noisy == MASK).sum() == 51
    assert torch.equal(ids, pad(rows))
    assert set(ids.flatten()[chosen].tolist()) <= set(range(len(SPECIAL), 300))
