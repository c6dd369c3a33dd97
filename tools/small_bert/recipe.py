"""What shapes the weights of a small BERT, beside its rows and their targets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Numbers of one classifier; the defaults are what all of them have in common."""

    vocab_size: int
    max_tokens: int
    held_out_rows: int = 0  # of those to train with, where no split is published for it

    teacher_c: float  # inverse strength of its regularization
    teacher_steps: int
    teacher_share: float  # of the target, the rest is the label's
    folds: int

    joint_epochs: int
    classify_epochs: int
    batch_rows: int
    long_rows: int  # joined anew for each epoch
    shortest_long_row: int = 64  # pieces
    endings: tuple[str, ...] = ()  # marks that end a sentence, where the data has none
    ended_share: float = 0.0  # rows that get one

    width: int = 192
    layers: int = 4
    heads: int = 4
    dropout: float = 0.1  # in the classifying epochs only: masking is noise enough before
    mask_share: float = 0.15
    piece_dropout: float = 0.15
    peak_lr: float = 1e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.05

    @property
    def epochs(self) -> int:
        return self.joint_epochs + self.classify_epochs
