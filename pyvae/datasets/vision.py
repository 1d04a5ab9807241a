"""Image datasets through torchvision."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from pyvae.core.arguments import check_int
from pyvae.datasets.data import DataSplits, InMemory
from pyvae.errors import DataError

__all__ = ["cifar10", "fashion_mnist", "image_folder", "kmnist", "mnist", "read_picture"]


def mnist(root: str = "data", download: bool = False) -> DataSplits:
    """The MNIST dataset: 70,000 handwritten digits, 1×28×28 (LeCun, Cortes and Burges).

    Args:
        root: the directory that holds ``MNIST/raw``.
        download: whether to fetch the files if they are not there.

    Raises:
        DataError: if the files are not there, or cannot be fetched.
    """
    return _torchvision("MNIST", root, download)


def fashion_mnist(root: str = "data", download: bool = False) -> DataSplits:
    """The Fashion-MNIST dataset: 70,000 pictures of clothes, 1×28×28 (Xiao, Rasul and Vollgraf, 2017).

    The arguments are those of :func:`mnist`.
    """
    return _torchvision("FashionMNIST", root, download)


def kmnist(root: str = "data", download: bool = False) -> DataSplits:
    """The Kuzushiji-MNIST dataset: 70,000 cursive Japanese characters, 1×28×28 (Clanuwat et al., 2018).

    The arguments are those of :func:`mnist`.
    """
    return _torchvision("KMNIST", root, download)


def cifar10(root: str = "data", download: bool = False) -> DataSplits:
    """The CIFAR-10 dataset: 60,000 natural images, 3×32×32 (Krizhevsky, 2009).

    The arguments are those of :func:`mnist`.
    """
    return _torchvision("CIFAR10", root, download)


def _torchvision(name: str, root: str, download: bool) -> DataSplits:
    from torchvision import datasets  # slow, and needs the matching build of torch: only for those who use it

    splits = []
    for train in (True, False):
        try:
            source = getattr(datasets, name)(root, train=train, download=download)
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            raise DataError(
                f"cannot read {name} under {root!r}: {error}; give its place with --data-root (root=), or fetch it "
                "with --download (download=True)"
            ) from error
        x = torch.as_tensor(source.data)
        x = x.permute(0, 3, 1, 2).contiguous() if x.dim() == 4 else x.unsqueeze(1)
        splits.append(InMemory(x, torch.as_tensor(source.targets, dtype=torch.long)))
    names = tuple(label.partition(" - ")[0] for label in source.classes)  # of MNIST, such as "0 - zero"
    return DataSplits(name, splits[0], splits[1], num_classes=10, levels=256, class_names=names)


def image_folder(root: str, image_size: int = 32) -> DataSplits:
    """The images of a folder with one subfolder per class, as bytes in memory.

    They have shape 3×image_size×image_size or, if all of them are grey, 1×image_size×image_size. If the folder has the
    subfolders ``train`` and ``test``, they are the splits; else each class gives its last tenth to the test data, in
    the order of the file names.

    Args:
        root: the folder.
        image_size: the shorter side is resized to this, and the centre is cropped.

    Raises:
        DataError: if the folder has no images, or one of them cannot be read.
        ArgumentError: if ``image_size`` is not positive.
    """
    check_int("image_size", image_size)
    if (Path(root) / "train").is_dir() and (Path(root) / "test").is_dir():
        folders = [str(Path(root) / split) for split in ("train", "test")]
        mode = "L" if all(map(_is_grey, folders)) else "RGB"
        (*train, classes), (*test, others) = (_read_images(folder, image_size, mode) for folder in folders)
        if classes != others:
            raise DataError(f"{root!r}: train has the classes {classes}, test has {others}; expected the same folders")
    else:
        x, y, classes = _read_images(root, image_size, "L" if _is_grey(root) else "RGB")
        rank = torch.stack([(y[: i + 1] == y[i]).sum() for i in range(len(y))])
        last = rank > (0.9 * torch.bincount(y)[y]).ceil()
        train, test = (x[~last], y[~last]), (x[last], y[last])
    if not len(train[0]) or not len(test[0]):
        raise DataError(
            f"{root!r} gives {len(train[0])} training and {len(test[0])} test images; expected some of both"
        )
    return DataSplits(
        root, InMemory(*train), InMemory(*test), num_classes=len(classes), levels=256, class_names=tuple(classes)
    )


def read_picture(path: str | Path, mode: Literal["L", "RGB"], size: tuple[int, int]) -> torch.Tensor:
    """An image as bytes (channels, height, width), scaled to cover ``size`` (height, width) and cropped in the middle.

    Raises:
        DataError: if it cannot be read, or does not hold bytes.
    """
    from PIL import Image, ImageOps
    from torchvision.transforms.v2.functional import pil_to_tensor

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{path} holds numbers of more than 8 bits; convert it to 8 bits first")
            fitted = ImageOps.fit(image.convert(mode), size[::-1], Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the image {path}: {error}") from error
    return pil_to_tensor(fitted)


def _is_grey(root: str) -> bool:
    """Whether all images of a folder are grey; files that are no images do not count."""
    from PIL import Image, UnidentifiedImageError

    grey = []
    for path in filter(Path.is_file, Path(root).rglob("*")):
        with suppress(UnidentifiedImageError, OSError), Image.open(path) as image:
            grey.append(image.mode in ("1", "L", "LA"))
    return bool(grey) and all(grey)


def _read_images(root: str, image_size: int, mode: Literal["L", "RGB"]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Images as bytes, labels, and the names of the classes."""
    from torchvision.datasets import ImageFolder

    try:
        folder = ImageFolder(root, loader=lambda path: read_picture(path, mode, (image_size, image_size)))
        images, labels = zip(*folder, strict=True)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read images from {root!r}: {error}; expected one subfolder per class") from error
    return torch.stack(images), torch.tensor(labels), folder.classes
