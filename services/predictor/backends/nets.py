"""Networks of the models that are shipped; plain torch modules, found by import path."""

from typing import Final

from torch import Tensor, nn

_DIGITS: Final = 10


class DigitNet(nn.Module):
    """Handwritten digits: four convolutions, the mean over what is left, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 32),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 96),
            *_convolution(96, 96),
        )
        self.classifier = nn.Linear(96, _DIGITS)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float32 [B, 1, 28, 28] to logits [B, 10]."""
        features: Tensor = self.features(images)  # [B, 96, 7, 7]
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """[B, inputs, H, W] to [B, outputs, H, W]; the normalisation after it has the bias."""
    return (
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
