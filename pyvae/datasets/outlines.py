"""Outlines of shapes of radius 1, as signed distances: negative inside, zero on the outline."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["OUTLINES"]


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - math.sqrt(0.5)


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    """Half as high as wide; the distance to first order, which is exact on the outline."""
    height = 0.5
    value = u.square() + (v / height).square() - 1
    slope = 2 * torch.hypot(u, v / height**2)
    return value / slope.clamp_min(1e-6)


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    """Equilateral, one corner up; v points down."""
    normals = [(math.sin(angle), math.cos(angle)) for angle in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    return torch.stack([a * u + b * v for a, b in normals]).amax(0) - 0.5


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """A square on its corner, with a half disc on each of its upper sides."""
    half = 0.5
    along, across = (u - v) * math.sqrt(0.5), (-u - v) * math.sqrt(0.5)
    square = torch.maximum(along.abs(), across.abs()) - half
    discs = [torch.hypot(along - half, across) - half, torch.hypot(along, across - half) - half]
    return torch.minimum(square, torch.minimum(*discs))


#: the signed distance at (u, v), to the right and down from the centre
OUTLINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "square": _square,
    "ellipse": _ellipse,
    "triangle": _triangle,
    "heart": _heart,
}
