"""Data by name or by path, as the command line takes them."""

from inspect import isfunction, signature
from pathlib import Path
from typing import Literal

from pyvae import datasets
from pyvae.datasets import DataSplits
from pyvae.datasets import preprocessing as preprocessings
from pyvae.datasets.audio import wav_files
from pyvae.errors import DataError

__all__ = ["NAMED", "Preprocessing", "absolute_paths", "load_data"]

#: the data sets that have a name: the functions of pyvae.datasets that are called with (root, download)
NAMED = tuple(
    name
    for name in datasets.__all__
    if isfunction(function := getattr(datasets, name)) and [*signature(function).parameters] == ["root", "download"]
)


Preprocessing = Literal[*preprocessings.__all__]


def load_data(
    data: str = "digits",
    data_root: str = "data",
    download: bool = False,
    preprocessing: Preprocessing | None = None,
    image_size: int = 32,
    audio_length: int = 6144,
    labelled: int | Literal["all"] = "all",
) -> DataSplits:
    """Data by name or by path, preprocessed.

    Args:
        data: digits, digits_with_gaps, cells, sprites, mnist, fashion_mnist, kmnist, cifar10, spoken_digits; a .npy
            or .npz file; or a folder of images or wav files, with one subfolder per class.
        data_root: where torchvision's datasets are.
        download: fetch torchvision's datasets if they are not there.
        preprocessing: what is done to the data before the VAE sees them; by default what suits the data and the
            likelihood.
        image_size: height and width of the images of a folder.
        audio_length: samples of the recordings of a folder; longer ones are cut, shorter ones filled up.
        labelled: how many of the training data keep their label, or all; data that miss labels already stay as they
            are.

    Raises:
        DataError: if the data are not there, or not as expected.
    """
    if preprocessing not in (None, *preprocessings.__all__):
        raise DataError(f"the preprocessing is {preprocessing!r}; expected one of {', '.join(preprocessings.__all__)}")
    if data in NAMED:
        loaded = getattr(datasets, data)(data_root, download)
    elif data.endswith((".npy", ".npz")):
        loaded = datasets.arrays(data)
    elif next(wav_files(data), None):
        loaded = datasets.audio_folder(data, audio_length)
    elif Path(data).is_dir():
        loaded = datasets.image_folder(data, image_size)
    else:
        raise DataError(
            f"there are no data {data!r}; expected {', '.join(NAMED)}, a .npy or .npz file, or a folder of images "
            "or wav files"
        )
    if labelled != "all" and loaded.num_classes and bool((loaded.train.tensors[1] >= 0).all()):
        loaded = datasets.keep_labels(loaded, labelled)
    return getattr(preprocessings, preprocessing or "no_preprocessing")(loaded)


def absolute_paths(data: str, data_root: str) -> dict[str, str]:
    """The arguments of :func:`load_data` that are paths, made absolute so that a run can be used from anywhere."""
    return {
        "data": str(Path(data).resolve()) if data not in NAMED and Path(data).exists() else data,
        "data_root": str(Path(data_root).resolve()),
    }
