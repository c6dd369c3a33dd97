"""Texts to pieces: a WordPiece vocabulary, learnt, and a segmentation that varies."""

import random
from collections.abc import Sequence
from typing import Final, TypeAlias

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import WordPieceTrainer

SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
LONGEST_WORD_CHARS: Final = 100  # longer words become [UNK], as in BERT

Ids: TypeAlias = list[int]


def learn_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """A BERT tokenizer; accents stay, as stripping them would take Hangul syllables apart."""
    tokenizer = Tokenizer(
        models.WordPiece(unk_token=SPECIAL[UNK], max_input_chars_per_word=LONGEST_WORD_CHARS)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        limit_alphabet=2_500,
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return tokenizer


class Segmenter:
    """Longest-match segmentation that passes over each match with some probability.

    With probability 0 it agrees with the tokenizer. Words are cut once per epoch, not once per
    occurrence: a quarter of the work, and as much variety over the epochs.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], seed: int) -> None:
        vocab = tokenizer.get_vocab()
        self._head = {p: i for p, i in vocab.items() if i >= len(SPECIAL) and p[:2] != "##"}
        self._tail = {p[2:]: i for p, i in vocab.items() if p[:2] == "##"}
        self._longest = max(len(piece) for piece in (*self._head, *self._tail))
        self._random = random.Random(seed).random
        number: dict[str, int] = {}
        self._texts = [
            [number.setdefault(word, len(number)) for word in split_words(tokenizer, text)]
            for text in texts
        ]
        self._words = list(number)

    def segment(self, dropout: float) -> list[Ids]:
        """Piece ids of every text, without [CLS] and [SEP]."""
        cut = [self._cut(word, dropout) for word in self._words]
        return [[piece for word in text for piece in cut[word]] for text in self._texts]

    def _cut(self, word: str, dropout: float) -> Ids:
        if len(word) > LONGEST_WORD_CHARS:
            return [UNK]
        pieces: Ids = []
        start, table = 0, self._head
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = table.get(word[start:end])
                if piece is not None and (end == start + 1 or self._random() >= dropout):
                    break
            else:
                return [UNK]
            pieces.append(piece)
            start, table = end, self._tail
        return pieces


def split_words(tokenizer: Tokenizer, text: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def framed(pieces: Ids, max_tokens: int) -> Ids:
    return [CLS, *pieces[: max_tokens - 2], SEP]
