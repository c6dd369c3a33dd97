"""What classifiers of English have in common: n-grams for the teacher, and the alphabet."""

import string
from collections.abc import Sequence
from typing import Final

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union

from tools.small_bert.teacher import Sparse

# What a person may type though no training row has it: every one becomes a piece.
ALPHABET: Final = (*string.punctuation, *(2 * c for c in string.ascii_lowercase + string.digits))


def ngrams(texts: Sequence[str]) -> Sparse:
    """Words and pairs of them, and 2 to 5 characters within a word."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
    parts = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True, dtype=np.float32
    )
    return make_union(words, parts).fit_transform(texts).tocsr()
