"""Images of one shape each, drawn from known factors: a ground truth for representations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.datasets.data import DataSplits, InMemory
from pyvae.datasets.factors import Factors
from pyvae.datasets.outlines import OUTLINES
from pyvae.errors import ArgumentError, DataError

__all__ = ["COLOURS", "Sprites", "sprites"]

#: red, green and blue in [0, 1] of the colours that have a name
COLOURS = {
    "red": (1.0, 0.2, 0.2),
    "green": (0.2, 0.85, 0.3),
    "blue": (0.25, 0.4, 1.0),
    "yellow": (1.0, 0.9, 0.2),
    "purple": (0.75, 0.3, 0.9),
    "orange": (1.0, 0.55, 0.1),
    "cyan": (0.2, 0.9, 0.9),
    "white": (1.0, 1.0, 1.0),
}

_TURN = 90  # degrees, after which a square looks as before; the other shapes need more
_INSIDE = 0.95  # of half an image: so far from the centre a sprite may reach
_PIXELS = 2**20  # of the images drawn at once


@dataclass(frozen=True)
class Sprites:
    r"""A generator of images of one shape each, from independent factors: shape, size, orientation, place and colour.

    .. math:: x_p = c \cdot \min\Bigl(1, \max\Bigl(0, \frac 12 - \frac rw d(R_\theta^\top (p - t) / r)\Bigr)\Bigr)

    d is the signed distance of a shape, which is moved, turned and scaled.

    p is a pixel's centre, w its width, r the sprite's radius, θ its orientation, t its place and c its colour: each
    pixel takes the colour by how much of it lies inside, to first order, on black ground. Factors are independent,
    and each combination gives another image: orientations are θ = 90° · i / n for i = 0 … n − 1, since a square that
    is turned by 90° is the same square (there is no circle, which has no orientation). In images of fewer than 16 × 16
    pixels some differ by less than one grey level. Turns are clockwise, y grows downwards. The order of the factors is
    shape, scale, orientation, x, y, colour; those that have only one value are left out.

    Args:
        image_size: height and width in pixels.
        shapes: of square, ellipse, triangle and heart.
        scales: number of sizes.
        orientations: number of orientations in [0°, 90°).
        positions: number of places in each direction, as far apart as lets sprites of any size be inside.
        colours: by name. Images of white alone have one channel, all others three.
        radii: the smallest and the largest radius, half an image's width being 1.

    Raises:
        ArgumentError: if a shape or colour has no name here or is named twice, a number is not positive, or the radii
            are not in order and below 0.95.

    References:
        After the factors of Matthey et al., *dSprites*, 2017, and of Burgess and Kim, *3D shapes*, 2018.

    Example:
        >>> small = Sprites(image_size=16, orientations=3, positions=4, colours=["white"])
        >>> small.names, small.sizes, small.image_shape
        (('shape', 'scale', 'orientation', 'x', 'y'), (4, 3, 3, 4, 4), (1, 16, 16))
        >>> small.captions(torch.tensor([[0, 2, 1, 3, 0]]))
        ['a large white square, turned by 30 degrees, at the top right']
    """

    image_size: int = 32
    shapes: Sequence[str] = tuple(OUTLINES)
    scales: int = 3
    orientations: int = 6
    positions: int = 7
    colours: Sequence[str] = ("red", "green", "blue", "yellow", "purple", "cyan")
    radii: tuple[float, float] = (0.25, 0.45)

    def __post_init__(self) -> None:
        for name in ("image_size", "scales", "orientations", "positions"):
            check_int(name, getattr(self, name))
        for name, known in (("shapes", OUTLINES), ("colours", COLOURS)):
            given = getattr(self, name)
            chosen = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
            if not chosen or len({one for one in chosen if isinstance(one, str) and one in known}) < len(chosen):
                raise ArgumentError(f"{name} are {given!r}; expected a list of some of {', '.join(known)}, each once")
            object.__setattr__(self, name, chosen)
        radii = tuple(self.radii) if isinstance(self.radii, Sequence) else ()
        numbers = len(radii) == 2 and all(isinstance(radius, Real) for radius in radii)
        if not (numbers and 0 < radii[0] < radii[1] < _INSIDE):
            raise ArgumentError(f"radii are {self.radii!r}; expected a smaller and a larger one, in (0, {_INSIDE})")
        object.__setattr__(self, "radii", radii)

    @property
    def _counts(self) -> dict[str, int]:
        places = {"x": self.positions, "y": self.positions}
        counts = {"shape": len(self.shapes), "scale": self.scales, "orientation": self.orientations, **places}
        return {**counts, "colour": len(self.colours)}

    @property
    def names(self) -> tuple[str, ...]:
        """The factors that vary, in order."""
        return tuple(name for name, count in self._counts.items() if count > 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each factor."""
        return tuple(self._counts[name] for name in self.names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The image shape (channels, height, width)."""
        return (1 if self.colours == ("white",) else 3, self.image_size, self.image_size)

    def factors(self) -> Factors:
        """All combinations, in the order of an odometer: the last factor changes fastest.

        Raises:
            ArgumentError: if no factor varies.
        """
        if not self.names:
            raise ArgumentError("every factor has one value, which makes a single image; let at least one vary")
        values = torch.cartesian_prod(*(torch.arange(size) for size in self.sizes))
        return Factors(values.reshape(-1, len(self.sizes)), self.names, self.sizes)

    def draw(self, values: Tensor) -> Tensor:
        """The images of factors.

        Args:
            values: (N, F), ints, as in :meth:`factors`.

        Returns:
            (N, channels, height, width), bytes.

        Raises:
            DataError: if the values are not such factors.

        Example:
            >>> Sprites().draw(torch.tensor([[0, 0, 0, 3, 3, 2]])).shape
            torch.Size([1, 3, 32, 32])
        """
        at_once = max(1, _PIXELS // self.image_size**2)
        return torch.cat([self._drawn(some) for some in self._complete(values).split(at_once)])

    def captions(self, values: Tensor) -> list[str]:
        """Captions in English; size and place are described by three degrees each.

        Args:
            values: (N, F), ints, as in :meth:`factors`.

        Raises:
            DataError: if the values are not such factors.
        """
        return [self._caption(*row) for row in self._complete(values).tolist()]

    def labelled(self) -> DataSplits:
        """All images, a tenth of which (at random, the same each time, equally of each shape) is for testing.

        The labels y are the shapes. ``data.train.factors`` and ``data.test.factors`` are their factors.

        Raises:
            ArgumentError: if there are too few for a split.

        Example:
            >>> data = Sprites(image_size=16, orientations=3, positions=4, colours=["white"]).labelled()
            >>> len(data.train), len(data.test), data.test.factors.sizes
            (518, 58, (4, 3, 3, 4, 4))
        """
        from sklearn.model_selection import train_test_split  # slow: only for those who use it

        factors = self.factors()
        count, classes = len(factors), len(self.shapes)
        if count < 20 * classes:
            raise ArgumentError(f"these factors make {count} images of {classes} shapes; expected at least 20 of each")
        x, y = self.draw(factors.values), self._complete(factors.values)[:, 0].clone()
        splits = train_test_split(torch.arange(count).numpy(), test_size=0.1, stratify=y.numpy(), random_state=0)
        train, test = (InMemory(x[rows], y[rows], factors=factors.rows(rows)) for rows in map(torch.from_numpy, splits))
        return DataSplits("sprites", train, test, num_classes=classes, levels=256)

    def _complete(self, values: Tensor) -> Tensor:
        """The values of all six factors, (N, 6); of those that do not vary, 0.

        Raises:
            DataError: if the values are not factors of these sprites.
        """
        expected = f"expected ints of shape (N, {len(self.sizes)}), each from 0 to one less than {self.sizes}"
        if not isinstance(values, Tensor) or values.is_floating_point() or values.dtype == torch.bool:
            kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise DataError(f"the factors are of type {kind}; {expected}")
        if values.dim() != 2 or values.shape[1] != len(self.sizes):
            raise DataError(f"the factors have shape {tuple(values.shape)}; {expected}")
        outside = ((values < 0) | (values >= values.new_tensor(self.sizes))).any(1).nonzero()
        if len(outside):
            row = int(outside[0])
            raise DataError(f"row {row} of the factors is {values[row].tolist()}; {expected}")
        columns = dict(zip(self.names, values.long().T, strict=True))
        return torch.stack([columns.get(name, values.new_zeros(len(values)).long()) for name in self._counts], 1)

    def _drawn(self, values: Tensor) -> Tensor:
        shape, scale, orientation, x, y, colour = values.T
        farthest = _INSIDE - self.radii[1]
        places = _spread(-farthest, farthest, self.positions)
        radius = _spread(*self.radii, self.scales)[scale][:, None, None]
        angle = torch.deg2rad(orientation * _TURN / self.orientations)[:, None, None]
        width = 2 / self.image_size
        centres = (torch.arange(self.image_size) + 0.5) * width - 1
        right = centres[None, None, :] - places[x][:, None, None]
        down = centres[None, :, None] - places[y][:, None, None]
        u = (right * angle.cos() + down * angle.sin()) / radius
        v = (down * angle.cos() - right * angle.sin()) / radius
        distance = torch.empty_like(u)
        for index, name in enumerate(self.shapes):
            these = shape == index
            distance[these] = OUTLINES[name](u[these], v[these])
        coverage = (0.5 - distance * radius / width).clamp(0, 1)
        colours = torch.tensor([COLOURS[name] for name in self.colours])[:, : self.image_shape[0]]
        return (255 * coverage[:, None] * colours[colour][..., None, None]).round().byte()

    def _caption(self, shape: int, scale: int, orientation: int, x: int, y: int, colour: int) -> str:
        size = _degree(("small ", "", "large "), scale, self.scales)
        across = _degree(("left", "", "right"), x, self.positions)
        down = _degree(("top", "", "bottom"), y, self.positions)
        place = f"at the {down} {across}".strip() if down else f"on the {across}" if across else "in the centre"
        name = f"{size}{self.colours[colour]} {self.shapes[shape]}"
        turned = f", turned by {_TURN * orientation / self.orientations:g} degrees" if orientation else ""
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}{turned}, {place}"


def _spread(low: float, high: float, count: int) -> Tensor:
    """Evenly spaced numbers; the middle, if it is one."""
    return torch.linspace(low, high, count) if count > 1 else torch.tensor([(low + high) / 2])


def _degree(words: tuple[str, str, str], index: int, count: int) -> str:
    """The word for the third of a scale in which a value lies; that of the middle if there is one value."""
    return words[(6 * index + 3) // (2 * count)]


def sprites(root: str = "data", download: bool = False) -> DataSplits:
    """The default sprites: 21,168 images of 3×32×32 from six known factors, a tenth of them for testing.

    There are 4 shapes in 3 sizes, 6 orientations, 7 × 7 places and 6 colours.

    They are drawn when called; the labels are the shapes. For others, such as smaller ones without colours, see
    :class:`Sprites`, which also describes how they are drawn and gives captions.

    Args:
        root: unused: the images are drawn.
        download: unused.

    Example:
        >>> data = sprites()
        >>> data.shape, len(data.train), data.test.factors.names
        ((3, 32, 32), 19051, ('shape', 'scale', 'orientation', 'x', 'y', 'colour'))
        >>> Sprites().captions(data.test.factors.values[:1])
        ['a blue triangle, turned by 30 degrees, in the centre']
    """
    return Sprites().labelled()
