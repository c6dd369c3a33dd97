"""Train the shipped image model: handwritten digits on MNIST, from scratch, on a CPU.

    python -m tools.train_mnist --data <folder of the MNIST files>              # train, then score
    python -m tools.train_mnist --data <folder of the MNIST files> --evaluate   # score only

MNIST is white on black and paper is black on white: half of the training rows are inverted, and
the test split is scored both ways. Part of the training split is held out to choose the epoch
by; nothing is tuned on the test split, which is scored on the stored weights.
"""

import argparse
import gzip
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional

from services.predictor.backends.nets import DigitNet
from tools.log import log

WHITE: Final = 255.0
MEAN: Final = 0.1307  # of the training pixels, as shares of white
DEVIATION: Final = 0.3081

_WEIGHTS: Final = "model.safetensors"
_THREADS: Final = 1  # sums in another order give other weights
_SCORED_AT_ONCE: Final = 500
_UINT8: Final = 8  # idx's code for the type of the elements


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number that shaped the shipped weights."""

    held_out_rows: int = 5_000
    epochs: int = 15
    batch_rows: int = 128
    peak_lr: float = 4e-3
    warmup_share: float = 0.2
    weight_decay: float = 0.02

    inverted_share: float = 0.5
    most_shift: float = 2.0  # pixels, along each axis
    most_turn: float = 10.0  # degrees
    most_scale: float = 0.1  # larger or smaller by this share


# --- data ---------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """One split, or rows of it: ``images`` uint8 [N, 1, 28, 28], ``labels`` int64 [N]."""

    images: Tensor
    labels: Tensor

    def pick(self, rows: Tensor) -> "Digits":
        return Digits(self.images[rows], self.labels[rows])


def read_idx(file: Path) -> Tensor:
    """One idx file, gzipped: two zeros, type, number of axes, big-endian sizes, elements."""
    content = gzip.decompress(file.read_bytes())
    zeros, kind, axes = content[:2], content[2], content[3]
    if zeros != bytes(2) or kind != _UINT8:
        raise ValueError(f"{file.name}: not an idx file of uint8")
    shape = np.frombuffer(content, ">u4", count=axes, offset=4).tolist()
    elements = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    return torch.from_numpy(elements.reshape(shape).copy())


def read_split(folder: Path, name: str) -> Digits:
    """The split ``train`` or ``t10k``."""
    images = read_idx(folder / f"{name}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise ValueError(f"{name}: {len(images)} images, {len(labels)} labels")
    return Digits(images.unsqueeze(1), labels.long())


def hold_out(digits: Digits, rows: int, draw: torch.Generator) -> tuple[Digits, Digits]:
    """Split into (kept, held out); the held-out part has ``rows`` rows."""
    order = torch.randperm(len(digits.labels), generator=draw)
    return digits.pick(order[rows:]), digits.pick(order[:rows])


# --- images -------------------------------------------------------------------------------------


def normalized(pixels: Tensor) -> Tensor:
    """Pixels from 0 to 255 as the network takes them."""
    return (pixels.float() / WHITE - MEAN) / DEVIATION


def moved(pixels: Tensor, recipe: Recipe, draw: torch.Generator) -> Tensor:
    """Each of [B, 1, H, W] turned, scaled and shifted a little; black comes in at the edges."""
    turn, scale, right, down = torch.rand(4, len(pixels), generator=draw) * 2 - 1
    turn = turn * math.radians(recipe.most_turn)
    scale = 1 + scale * recipe.most_scale
    shift = torch.stack([right, down], 1) * recipe.most_shift * 2 / pixels.shape[-1]
    cosine, sine = scale * turn.cos(), scale * turn.sin()
    rows = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    grid = functional.affine_grid(
        torch.cat([rows, shift.unsqueeze(2)], 2), list(pixels.shape), align_corners=False
    )
    return functional.grid_sample(pixels, grid, align_corners=False)


def varied(pixels: Tensor, recipe: Recipe, draw: torch.Generator) -> Tensor:
    """Training rows [B, 1, H, W] as they might have been drawn, in ink of either colour."""
    pixels = moved(pixels.float(), recipe, draw)
    inverted = torch.rand(len(pixels), 1, 1, 1, generator=draw) < recipe.inverted_share
    return torch.where(inverted, WHITE - pixels, pixels)


# --- training -----------------------------------------------------------------------------------


class Trainer:
    """A new network and its optimizer, with the rows that it learns from."""

    def __init__(self, digits: Digits, recipe: Recipe, draw: torch.Generator) -> None:
        self._digits = digits
        self._recipe = recipe
        self._draw = draw
        self.net = DigitNet()
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            max_lr=recipe.peak_lr,
            epochs=recipe.epochs,
            steps_per_epoch=math.ceil(len(digits.labels) / recipe.batch_rows),
            pct_start=recipe.warmup_share,
        )

    def run_epoch(self) -> float:
        """Every row once, in random order; the mean loss."""
        self.net.train()
        order = torch.randperm(len(self._digits.labels), generator=self._draw)
        batches = torch.split(order, self._recipe.batch_rows)
        losses = [self._step(self._digits.pick(rows)) for rows in batches]
        return sum(losses) / len(losses)

    def _step(self, batch: Digits) -> float:
        images = normalized(varied(batch.images, self._recipe, self._draw))
        loss = functional.cross_entropy(self.net(images), batch.labels)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return loss.item()


def train(digits: Digits, recipe: Recipe, seed: int) -> dict[str, Tensor]:
    """The state after the epoch that was best on the rows held out."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    draw = torch.Generator().manual_seed(seed)
    kept, held_out = hold_out(digits, recipe.held_out_rows, draw)
    trainer = Trainer(kept, recipe, draw)
    best, state = -1.0, dict[str, Tensor]()
    for epoch in range(1, recipe.epochs + 1):
        loss = trainer.run_epoch()
        score = score_of(trainer.net, held_out)
        log(f"epoch {epoch}/{recipe.epochs}: loss {loss:.4f}, held out: {score}")
        if score.mean > best:
            best = score.mean
            state = {name: held.clone() for name, held in trainer.net.state_dict().items()}
    return state


# --- scoring ------------------------------------------------------------------------------------


class Score(NamedTuple):
    """Accuracy on the same rows, both ways."""

    as_published: float
    inverted: float

    @property
    def mean(self) -> float:
        return (self.as_published + self.inverted) / 2

    def __str__(self) -> str:
        return f"accuracy {self.as_published:.4f}, inverted {self.inverted:.4f}"


def score_of(net: DigitNet, digits: Digits) -> Score:
    """Both polarities of [N, 1, 28, 28]."""
    as_published = accuracy(net, digits)
    inverted = accuracy(net, digits._replace(images=255 - digits.images))
    return Score(as_published, inverted)


@torch.inference_mode()
def accuracy(net: DigitNet, digits: Digits) -> float:
    """The share of rows whose likeliest digit is the right one."""
    net.eval()
    parts = torch.split(digits.images, _SCORED_AT_ONCE)
    predicted = torch.cat([net(normalized(part)).argmax(dim=1) for part in parts])
    return (predicted == digits.labels).float().mean().item()


# --- the stored weights -------------------------------------------------------------------------


def store(state: dict[str, Tensor], folder: Path) -> None:
    """Write the state as it is; the counts of batches, which only training reads, are int64."""
    folder.mkdir(parents=True, exist_ok=True)
    payload = save({name: held.contiguous() for name, held in state.items()})
    (folder / _WEIGHTS).write_bytes(payload)


def evaluate(folder: Path, data: Path) -> Score:
    """The stored weights on the whole test split."""
    net = DigitNet()
    net.load_state_dict(load_file(folder / _WEIGHTS))
    return score_of(net, read_split(data, "t10k"))


# --- command line -------------------------------------------------------------------------------


def main() -> int:
    """Train unless asked not to; print what the stored weights reach."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the four idx files")
    parser.add_argument("--out", type=Path, default=Path("models/mnist-digits/1"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--evaluate", action="store_true", help="only score the stored weights")
    arguments = parser.parse_args()
    torch.set_num_threads(_THREADS)
    if not arguments.evaluate:
        store(train(read_split(arguments.data, "train"), Recipe(), arguments.seed), arguments.out)
        log(f"stored after {time.process_time() / 60:.1f} minutes of CPU time")
    print(f"test: {evaluate(arguments.out, arguments.data)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
