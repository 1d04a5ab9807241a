"""Small diffusions, data for them, and a network with the call of diffusers."""

from types import SimpleNamespace

import torch
from torch import nn

import pyvae
from pyvae import networks

LEVELS, IMAGE = 17, (1, 8, 8)


def toy(count=64):
    """Vectors near a line."""
    return torch.randn(count, 1) @ torch.tensor([[1.0, -1.0, 0.5]]) + 0.1 * torch.randn(count, 3)


def vectors(classes=None, steps=8, schedule=networks.CosineNoise, **arguments):
    twice = 2 if arguments.get("variance") == "learned" else 1
    network = networks.TimeMLP(3, 3 * twice, hidden=[16], time_dim=8, num_classes=classes)
    return pyvae.DiffusionVAE(network, 3, schedule(steps), num_classes=classes, **arguments)


def digits(count=32):
    """Images of 17 grey levels: a blob in one of three places, its label."""
    y = torch.arange(count) % 3
    x = torch.zeros(count, *IMAGE)
    for label in range(3):
        x[y == label, :, 2 * label : 2 * label + 3, 2:6] = 1.0
    return ((x * 12 + 4 * torch.rand_like(x)).round() / (LEVELS - 1)), y


def images(classes=None, steps=6, **arguments):
    network = networks.UNet(IMAGE, channels=[8, 8], groups=4, time_dim=16, num_classes=classes)
    return pyvae.DiffusionVAE(
        network, IMAGE, networks.CosineNoise(steps), levels=LEVELS, num_classes=classes, **arguments
    )


class LikeDiffusers(nn.Module):
    """The call of UNet2DModel: keeps what it was called with, and gives an object."""

    def __init__(self, classes=None, channels=1):
        super().__init__()
        self.classes, self.calls = classes, []
        self.convolution = nn.Conv2d(1, channels, 3, padding=1)

    def forward(self, sample, timestep, class_labels=None, return_dict=True):
        assert sample.dim() == 4
        assert timestep.shape == sample.shape[:1]
        assert (class_labels is None) == (self.classes is None)
        if class_labels is not None:
            assert class_labels.shape == sample.shape[:1]
            assert class_labels.min() >= 0
            assert class_labels.max() <= self.classes
        self.calls.append((timestep, class_labels))
        output = self.convolution(sample).tanh() * (1 + timestep[:, None, None, None] / 10)
        return SimpleNamespace(sample=output) if return_dict else (output,)
