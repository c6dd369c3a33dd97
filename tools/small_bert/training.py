"""The student: a small BERT that learns to classify, and at first to fill in masked pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig
from transformers.models.bert.modeling_bert import (
    BertForSequenceClassification,
    BertLMPredictionHead,
)

from tools.small_bert.batches import Batch, Epochs, mask_pieces, pad
from tools.small_bert.recipe import Recipe
from tools.small_bert.rows import Floats, Ints, Rows
from tools.small_bert.tokens import PAD, Ids, learn_tokenizer


def build(recipe: Recipe, vocab_size: int, labels: Sequence[str]) -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=4 * recipe.width,
        max_position_embeddings=recipe.max_tokens,
        hidden_dropout_prob=recipe.dropout,
        attention_probs_dropout_prob=0.0,
        # At 20 to 60 tokens a row the fused attention's backward pass is the slower on a CPU.
        attn_implementation="eager",
        pad_token_id=PAD,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    return BertForSequenceClassification(config)


class Trainer:
    """The student, its head for masked pieces (not stored), and their optimizer."""

    def __init__(self, model: BertForSequenceClassification, recipe: Recipe, steps: int) -> None:
        self._recipe = recipe
        self.model = model
        self._head = BertLMPredictionHead(model.config)
        self._head.decoder.weight = model.bert.embeddings.word_embeddings.weight
        weights = dict.fromkeys([*model.parameters(), *self._head.parameters()])
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in weights if w.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
            ],
            lr=recipe.peak_lr,
            betas=(0.9, 0.98),
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: ramp(step / steps, recipe.warmup_share)
        )

    def run_epoch(self, batches: Iterator[Batch], *, fill_masks: bool) -> float:
        """Train on the batches; return their mean classification loss."""
        set_dropout(self.model, 0.0 if fill_masks else self._recipe.dropout)
        self.model.train()
        losses = []
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16):
                loss, filling = self._losses(batch, fill_masks=fill_masks)
            (loss + filling).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._schedule.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def _losses(self, batch: Batch, *, fill_masks: bool) -> tuple[Tensor, Tensor]:
        """(classification, mask filling); the second is 0 for a whole text."""
        share = self._recipe.mask_share if fill_masks else 0.0
        ids, chosen = mask_pieces(batch.ids, share, self.model.config.vocab_size)
        encoded = self.model.bert(input_ids=ids, attention_mask=(ids != PAD).long())
        filling = torch.zeros(())
        if fill_masks:
            guesses = self._head(encoded.last_hidden_state.flatten(0, 1)[chosen])
            filling = functional.cross_entropy(guesses.float(), batch.ids.flatten()[chosen])
        logits = self.model.classifier(self.model.dropout(encoded.pooler_output))
        return functional.cross_entropy(logits.float(), batch.targets), filling


def ramp(progress: float, warmup_share: float) -> float:
    """Share of the peak learning rate: up in a line, then down to 0 at the end."""
    return min(progress / warmup_share, (1.0 - progress) / (1.0 - warmup_share))


def set_dropout(model: nn.Module, probability: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is to be learnt: labels by number, rows and their targets [N, labels], rows kept out."""

    labels: Sequence[str]
    rows: Rows
    targets: Floats
    held_out: Rows


@dataclass(frozen=True, slots=True)
class Trained:
    """What there is to store after an epoch, and its logits [N, labels] of the rows held out."""

    model: BertForSequenceClassification
    tokenizer: Tokenizer
    loss: float
    logits: Floats

    @property
    def held_out(self) -> Ints:
        """The likeliest label of each."""
        return np.asarray(self.logits.argmax(axis=1))


def train(
    lesson: Lesson, recipe: Recipe, seed: int, alphabet: Sequence[str] = ()
) -> Iterator[Trained]:
    """The student after each epoch; the last one is the result.

    ``alphabet`` is learnt as the texts are: what the vocabulary must have whatever they hold.
    """
    tokenizer = learn_tokenizer([*lesson.rows.texts, *alphabet], recipe.vocab_size)
    epochs = Epochs(lesson.rows, lesson.targets, tokenizer, recipe, seed)
    model = build(recipe, tokenizer.get_vocab_size(), lesson.labels)
    trainer = Trainer(model, recipe, epochs.steps * recipe.epochs)
    encoded = tokenizer.encode_batch(lesson.held_out.texts)
    held_out = [row.ids[: recipe.max_tokens] for row in encoded]
    for epoch in range(recipe.epochs):
        loss = trainer.run_epoch(epochs.draw(), fill_masks=epoch < recipe.joint_epochs)
        yield Trained(model, tokenizer, loss, logits_of(model, held_out))


@torch.inference_mode()
def logits_of(model: BertForSequenceClassification, rows: Sequence[Ids]) -> Floats:
    """Float32 [N, labels]."""
    model.eval()
    logits = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(rows), 256):
        picked = order[start : start + 256]
        ids = pad([rows[row] for row in picked])
        answer = model(input_ids=ids, attention_mask=(ids != PAD).long())
        logits[picked] = answer.logits.numpy()
    return logits
