"""Bad command lines: exit code 2, one clear message on standard error, no traceback, nothing lost on disk."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pyvae.checkpoint import read_tensors, write_tensors
from pyvae.cli.main import main

CHECKPOINT = "checkpoint.safetensors"
NOWHERE = ["--data_root", "/nowhere"]
SMALL = [*NOWHERE, "--epochs=1", "--latent_dim=2", "--hidden=[4]", "--evaluation_particles=2", "--no_progress"]
PLAIN = ["--preprocessing", "no_preprocessing", "--likelihood", "Normal"]


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in Path(folder).rglob("*")}


def run(arguments):
    """The exit code of a command line; 2 also where the parser ends the process."""
    try:
        return main([str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """A check that a command line is refused, run in an empty folder of its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def check(match, *arguments):
        before = contents(tmp_path)
        capsys.readouterr()
        code = run(arguments)
        errors = capsys.readouterr().err
        assert code == 2, errors
        _, error, message = errors.partition("error: ")
        assert error, errors
        assert re.search(f"(?s){match}", message), errors
        assert "Traceback" not in errors
        assert contents(tmp_path) == before

    return check


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two finished runs of one epoch on digits: of an unconditional and of a conditional recipe."""
    folder = tmp_path_factory.mktemp("trained")
    for recipe in ("gaussian", "conditional"):
        assert run(["fit", recipe, *SMALL, "--run-dir", folder / recipe]) == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of the runs that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


@pytest.fixture
def untrained(monkeypatch):
    """No training step may be taken."""

    def step(*_):
        raise AssertionError("training has begun")

    monkeypatch.setattr("pyvae.training.loop.Trainer.epoch", step)


WORDS = {
    "nothing": ([], "command"),
    "unknown command": (["train", "gaussian"], "train.*fit"),
    "no recipe": (["fit"], "no recipe was given; expected one of burda, .*vqvae2"),
    "unknown recipe": (["fit", "transformer"], "no recipe transformer; .*gaussian"),
    "recipe with a typing error": (["fit", "gausian"], r"no recipe gausian \(did you mean gaussian\?\)"),
    "option without a command": (["--epochs", "1"], "no command 1; expected one of fit, "),
    "unknown option": (["fit", "gaussian", "--layers", "3"], "there is no option --layers\n"),
    "option with a typing error": (
        ["fit", "gaussian", "--batchsize=3"],
        r"--batchsize \(did you mean --batch-size\?\)",
    ),
    "unknown option of a command": (["sample", "run", "--classes", "3"], "--classes"),
    "option of another recipe": (["fit", "gaussian", "--channels", "[4]"], "--channels"),
    "shape of the data": (["fit", "gaussian", "--shape", "[64]"], "--shape"),
    "superfluous word": (["fit", "gaussian", "digits"], "unexpected word digits"),
    "list with blanks": (["fit", "gaussian", "--hidden", "8", "16"], "unexpected word 16.*lists have commas"),
    "sample without a run": (["sample"], "missing: RUN"),
    "evaluate without a run": (["evaluate"], "missing: RUN"),
    "sample of an unfinished option": (["sample", "run", "--count"], "--count"),
    "epochs without a value": (["fit", "gaussian", "--epochs"], "--epochs.*expected"),
    "epochs followed by an option": (["fit", "gaussian", "--epochs", "--seed", "1"], "--epochs.*expected"),
    "epochs in words": (["fit", "gaussian", "--epochs", "ten"], "epochs.*int"),
    "epochs fraction": (["fit", "gaussian", "--epochs", "1.5"], "epochs.*int"),
    "epochs empty": (["fit", "gaussian", "--epochs", ""], "epochs.*int"),
    "batch size in words": (["fit", "gaussian", "--batch-size", "big"], "batch.size.*int"),
    "hidden in words": (["fit", "gaussian", "--hidden", "wide"], "hidden.*(list|int)"),
    "hidden fractions": (["fit", "gaussian", "--hidden", "[1.5]"], "hidden.*int"),
    "latent dim in words": (["fit", "gaussian", "--latent-dim", "two"], "latent.dim.*int"),
    "validation in words": (["fit", "gaussian", "--validation", "some"], "--validation is some; expected a number\n"),
    "unknown preprocessing": (
        ["fit", "gaussian", "--preprocessing", "whitening"],
        "--preprocessing is whitening; expected one of .*standardization",
    ),
    "unknown likelihood": (
        ["fit", "gaussian", "--likelihood", "Poissonn"],
        r"--likelihood is Poissonn; expected one of Bernoulli, .* \(did you mean Poisson\?\)\n",
    ),
    "unknown prior": (["fit", "gaussian", "--prior", "Uniform"], "(?=.*Uniform).*StandardNormal"),
    "unknown guide": (
        ["fit", "gaussian", "--posterior", "Normall"],
        "--posterior is Normall; expected one of ConditionalSplineFlow, DiagonalNormal, .*PowerSpherical",
    ),
    "unknown guide of a folder": (
        ["fit", "gaussian", "--posterior", "pyvae.guides.Normall"],
        "one of .*DiagonalNormal",
    ),
    "unknown quantizer": (
        ["fit", "vqvae", "--quantizer", "Grid"],
        "one of FiniteScalarQuantizer, ResidualQuantizer, SoftmaxQuantizer, VectorQuantizer, or",
    ),
    "unknown network": (["fit", "vqvae", "--prior-network", "MLPP"], "one of CausalTransformer, PixelCNN, or"),
    "unknown noise": (["fit", "diffusion", "--noise", "Pink"], "one of CosineNoise, LearnedNoise, LinearNoise, or"),
    "unknown optimizer": (["fit", "gaussian", "--optimizer", "Adamm"], "optimizer.*Adamm"),
    "optimizer that makes none": (["fit", "gaussian", "--optimizer", "os.getcwd"], "optimizer.*os.getcwd"),
    "unknown objective": (
        ["fit", "gaussian", "--objective", "ELBOO"],
        "--objective is ELBOO; expected one of CIWAE, .*Trace_ELBO",
    ),
    "unknown schedule": (
        ["fit", "gaussian", "--schedule", "cosinus"],
        r"--schedule is cosinus; expected one of cosine, linear or the path of a class \(did you mean cosine\?\)",
    ),
    "unknown activation": (["fit", "gaussian", "--activation", "relu"], "activation.*relu.*one of .*GELU.*ReLU"),
    "scale in words": (
        ["fit", "gaussian", "--likelihood", "Normal", "--likelihood.scale", "x"],
        "--likelihood.scale is x; expected a number\n",
    ),
    "likelihood that is a network": (
        ["fit", "gaussian", "--likelihood", "pyvae.networks.MLP"],
        r"--likelihood is pyvae.networks.MLP; expected one of Bernoulli",
    ),
    "unknown likelihood option": (
        ["fit", "gaussian", "--likelihood", "Normal", "--likelihood.width", "3"],
        r"there is no option --likelihood.width: pyvae.likelihoods.Normal does not take it",
    ),
    "learning rate in words": (
        ["fit", "gaussian", "--optimizer", "AdamW", "--optimizer.lr", "high"],
        "--optimizer.lr is high; expected a number\n",
    ),
    "unknown optimizer option": (
        ["fit", "gaussian", "--optimizer.lrr", "1"],
        "there is no option --optimizer.lrr: torch.optim.Adam does not take it",
    ),
    "argument of an argument": (
        ["fit", "ladder", "--objective.beta.epochs", "x"],
        "--objective.beta.epochs is x; expected an int or a number\n",
    ),
    "class without its path": (
        ["fit", "gaussian", "--objective", "WeightedELBO", "--objective.beta", "WarmUp"],
        r"--objective.beta is WarmUp; .*did you mean pyvae.objectives.WarmUp\?",
    ),
    "module that is not there": (
        ["fit", "gaussian", "--likelihood", "nowhere.Likelihood"],
        r"--likelihood is nowhere.Likelihood \(No module named 'nowhere'\); expected one of Bernoulli",
    ),
    "short learning rate in words": (["fit", "gaussian", "--lr", "high"], "--lr is high; expected a number"),
    "learning rate twice": (
        ["fit", "gaussian", "--lr", "1", "--optimizer.lr", "2"],
        "--lr and --optimizer.lr set the same: give one of them",
    ),
    "weight twice": (
        ["fit", "gaussian", "--beta", "1", "--objective=WeightedELBO", "--objective.beta=2"],
        "--beta and --objective.beta set the same",
    ),
    "weight and warm-up": (["fit", "gaussian", "--beta", "1", "--warm-up", "5"], "--beta and --warm-up both set"),
    "warm-up twice": (
        ["fit", "ladder", "--warm-up", "9", "--objective.beta.epochs", "2"],
        "--warm-up and --objective.beta.epochs set the same",
    ),
    "weight that the objective has not": (
        ["fit", "incomplete", "--beta", "2"],
        "--beta sets beta of the objective, and ImportanceWeightedELBO has none",
    ),
    "value for a switch": (["fit", "gaussian", "--download=maybe"], "--download is a switch .*maybe"),
    "count in words": (["sample", "run", "--count", "many"], "count.*int"),
    "particles in words": (["evaluate", "run", "--num-particles", "many"], "num.particles.*int"),
}


@pytest.mark.parametrize(("arguments", "match"), WORDS.values(), ids=WORDS)
def test_words(arguments, match, refused):
    refused(match, *arguments)


VALUES = {
    "epochs 0": (["--epochs", "0"], "epochs is 0.*positive int"),
    "epochs -1": (["--epochs=-1"], "epochs is -1.*positive int"),
    "batch size 0": (["--batch-size", "0"], "batch_size is 0.*positive int"),
    "latent dim 0": (["--latent-dim", "0"], "0.*positive int"),
    "hidden 0": (["--hidden", "[8, 0]"], r"\[.*0.*positive int"),
    "clip norm 0": (["--clip-norm", "0"], "clip_norm is 0.*positive number"),
    "clip norm nan": (["--clip-norm", ".nan"], "clip_norm is nan.*positive number"),
    "seed -1": (["--seed=-1"], "seed is -1.*int in"),
    "seed null": (["--seed", "null"], "seed is None"),
    "patience 0": (["--patience", "0"], "patience is 0.*positive int"),
    "patience without validation": (["--patience", "1", "--validation", "0"], "patience needs validation"),
    "validation 1": (["--validation", "1"], r"validation fraction is 1.0.*\[0, 1\)"),
    "validation -0.1": (["--validation=-0.1"], r"validation fraction is -0.1.*\[0, 1\)"),
    "validation nan": (["--validation", ".nan"], r"validation fraction is nan.*\[0, 1\)"),
    "validation of no datapoint": (["--validation", "1e-6"], "leaves 0 of 1437 training data"),
    "evaluation particles 0": (["--evaluation-particles", "0"], "particles.*0.*positive int"),
    "num_components 0": (["--prior=NormalMixture", "--prior.num_components=0"], "num_components is 0.*positive int"),
    "scale -1": (["--likelihood=Normal", "--likelihood.scale=-1"], "scale is -1.0.*positive number"),
    "lbfgs": (["--optimizer", "torch.optim.LBFGS"], "LBFGS needs a closure.*first-order"),
    "negative learning rate": (["--optimizer=torch.optim.Adam", "--optimizer.lr=-1"], "Invalid learning rate: -1.0"),
    "objective without particles": (["--objective=Trace_ELBO", "--objective.num_particles=0"], "num_particles.*0"),
    "unknown device": (["--device", "warp"], "device 'warp' cannot be used"),
    "unknown data": (["--data", "imagenet"], "no data 'imagenet'.*expected .*digits.*folder of images"),
    "missing array": (["--data", "missing.npy"], "cannot read 'missing.npy'.*No such file"),
    "missing data root": (["--data", "mnist", "--data-root", "empty"], "cannot read MNIST.*empty.*--download"),
    "cifar10 without data": (["--data", "cifar10", "--data-root", "empty"], "cannot read CIFAR10.*--data-root"),
    "image size 0": (["--data", ".", "--image-size", "0"], "image_size is 0.*positive int"),
    "folder without images": (["--data", "."], "cannot read images from '.*one subfolder per class"),
    "resume without a run": (["--resume"], "--run-dir"),
    "tensorboard that is not installed": (["--tensorboard"], "tensorboard is not installed.*pip install"),
}


@pytest.mark.parametrize(("arguments", "match"), VALUES.values(), ids=VALUES)
def test_values(arguments, match, refused, untrained, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    refused(match, "fit", "gaussian", *SMALL, *arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device")
def test_device_that_is_not_there(refused, untrained):
    refused("device 'cuda' cannot be used", "fit", "gaussian", *SMALL, "--device", "cuda")


def test_folder_named_like_a_data_set(refused, untrained, tmp_path):
    """Found by name, the data are there: what is wrong is the fraction."""
    (tmp_path / "work" / "digits").mkdir()
    refused("validation fraction is 1.0", "fit", "gaussian", *SMALL, "--data", "digits", "--validation", "1")


def test_folder_of_broken_images(refused, untrained, tmp_path):
    for split in ("a", "b"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "images" / split / "0.png").write_bytes(b"no picture")
    refused("cannot read images.*images", "fit", "gaussian", *SMALL, "--data", tmp_path / "images")


def npy(array, **options):
    return lambda path: np.save(path.with_suffix(".npy"), array, **options)


def npz(**arrays):
    return lambda path: np.savez(path.with_suffix(".npz"), **arrays)


def raw(name, content):
    return lambda path: path.with_suffix(name).write_bytes(content)


def truncated(path):
    np.savez(path.with_suffix(".npz"), x=X)
    whole = path.with_suffix(".npz").read_bytes()
    path.with_suffix(".npz").write_bytes(whole[: len(whole) // 2])


def damaged(path):
    """An archive whose member does not match its checksum."""
    np.savez(path.with_suffix(".npz"), x=X)
    whole = bytearray(path.with_suffix(".npz").read_bytes())
    whole[400] ^= 255
    path.with_suffix(".npz").write_bytes(whole)


X, Y = np.eye(40, 6, dtype=np.float32), np.arange(40) % 3

FILES = {
    "no x": ("gaussian", npz(data=X), [], r"holds \['data'\].*expected an array 'x'"),
    "objects": ("gaussian", npy(np.array([{"x": 1}, None]), allow_pickle=True), [], "cannot read.*numbers"),
    "objects in an archive": ("gaussian", npz(x=np.array([None, 1])), [], "cannot read.*numbers"),
    "strings": ("gaussian", npy(np.array([["a", "b"]])), [], r"dtype <U1 and shape \(1, 2\).*expected numbers"),
    "dates": ("gaussian", npy(np.zeros((40, 2), "datetime64[s]")), [], "dtype datetime64.*expected numbers"),
    "complex": ("gaussian", npy(X + 1j), [], "dtype complex.*expected numbers"),
    "vector": ("gaussian", npy(X[0]), [], r"shape \(6,\).*expected numbers of shape \(rows, …\)"),
    "number": ("gaussian", npy(np.array(1.0)), [], r"shape \(\).*expected numbers of shape"),
    "no rows": ("gaussian", npy(X[:0]), [], "0 training and 0 test rows"),
    "no columns": ("gaussian", npy(X[:, :0]), [], r"\(40, 0\)|shape"),
    "one row": ("gaussian", npy(X[:1]), [], "1 training and 0 test rows.*some of both"),
    "nan": ("gaussian", npy(np.where(X > 0, np.nan, X)), [], "missing values.*'gaussian'.*clean.*'incomplete'"),
    "inf in the test data": ("gaussian", npz(x=X, x_test=np.full_like(X, np.inf)), [], "infinity.*clean"),
    "beyond float32": ("gaussian", npy(X.astype(float) * 1e300), PLAIN, "NaN or infinity|float32"),
    "text": ("gaussian", raw(".npy", b"1,2,3\n4,5,6\n"), [], "cannot read.*numbers"),
    "empty file": ("gaussian", raw(".npy", b""), [], "cannot read.*numbers"),
    "garbage archive": ("gaussian", raw(".npz", b"PK\3\4" + bytes(99)), [], "cannot read.*numbers"),
    "truncated archive": ("gaussian", truncated, [], "cannot read.*numbers"),
    "damaged archive": ("gaussian", damaged, [], "cannot read.*numbers"),
    "array named archive": ("gaussian", lambda path: path.with_suffix(".npz").mkdir(), [], "cannot read.*numbers"),
    "labels mismatching": ("conditional", npz(x=X, y=Y[:-1]), [], r"y has.*\(39,\).*expected integers.*\(40,\)"),
    "labels in two dimensions": ("conditional", npz(x=X, y=Y[:, None]), [], r"\(40, 1\).*expected integers"),
    "labels negative": ("conditional", npz(x=X, y=Y - 2), [], "y has.*expected integers from 0"),
    "labels not known": ("conditional", npz(x=X, y=Y - 1), [], r"labels lie in \[-1, .*expected \[0, "),
    "labels fractions": ("conditional", npz(x=X, y=Y / 2), [], "y has dtype float64.*expected integers"),
    "labels strings": ("conditional", npz(x=X, y=Y.astype(str)), [], "y has dtype <U.*expected integers"),
    "labels that are numbers of students": ("conditional", npz(x=X, y=Y * 10**10), [], "y has.*20000000000"),
    "test labels missing": ("conditional", npz(x=X, y=Y, x_test=X), [], "with labels.*without.*expected the same"),
    "test labels beyond": (
        "conditional",
        npz(x=X, y=Y, x_test=X, y_test=Y + 5),
        [],
        r"7.*(expected|classes)",
    ),
    "test rows of another shape": ("gaussian", npz(x=X, x_test=X[:, :5]), [], r"\(6,\).*\(5,\).*expected the same"),
    "conditional without labels": (
        "conditional",
        npz(x=X),
        [],
        "is conditional.*no labels.*add y.*'gaussian'",
    ),
    "real numbers under a Bernoulli": (
        "gaussian",
        npy(X - 0.5),
        ["--likelihood", "Bernoulli"],
        "are real numbers, but the likelihood is of binary values.*leave out --likelihood",
    ),
    "real numbers for counts": (
        "counts",
        npy(X - 0.5),
        [],
        "real numbers, .*'counts' takes counts: use 'gaussian'",
    ),
    "counts for encoders that see them": (
        "vqvae",
        npy(3 * X),
        ["--likelihood", "Poisson"],
        "'vqvae' gives its encoder counts as they are.*use 'counts' or 'gaussian'.*--preprocessing no_preprocessing",
    ),
    "counts for burda": ("burda", npy(3 * X), [], "are counts, but recipe 'burda' takes binary values: use 'counts'"),
    "real numbers for burda": ("burda", npy(X - 0.5), [], "are real numbers.*'burda' takes binary values.*'gaussian'"),
    "colours for burda": (
        "burda",
        npy(np.arange(40 * 3 * 16, dtype=np.uint8).reshape(40, 3, 4, 4)),
        [],
        "3 channels of 256 levels, but recipe 'burda' takes binary values",
    ),
    "convolution of vectors": (
        "convolutional",
        npz(x=X),
        [],
        r"\(6,\).*expected a shape \(channels, height, width\)",
    ),
    "images without a channel": (
        "convolutional",
        npy(np.zeros((40, 28, 20))),
        [],
        r"^recipe 'convolutional': got image shape \(28, 20\).*x\[:, None\]",
    ),
    "dynamic binarization": (
        "gaussian",
        npy(X * 255),
        ["--preprocessing", "dynamic_binarization"],
        r"\[0, 255\].*binarization needs intensities in \[0, 1\]",
    ),
    "static binarization": (
        "gaussian",
        npy(X - 1),
        ["--preprocessing", "static_binarization"],
        r"\[-1, 0\].*binarization needs intensities",
    ),
    **{
        f"{name} of other test data": (
            "gaussian",
            npz(x=X, x_test=2 * X),
            ["--preprocessing", name],
            r"\[0, 2\].*binarization needs intensities",
        )
        for name in ("dynamic_binarization", "static_binarization")
    },
    "binarization beyond the first rows": (
        "gaussian",
        npy(np.concatenate([np.zeros((6000, 2), np.float32), np.full((40, 2), 3, np.float32)])),
        ["--preprocessing", "dynamic_binarization"],
        r"3\].*binarization needs intensities",
    ),
    "dequantization": (
        "gaussian",
        npy(X),
        ["--preprocessing", "dequantization"],
        "continuous.*no levels to dequantize.*standardization",
    ),
    "Bernoulli of standardized data": (
        "gaussian",
        npy(X),
        ["--preprocessing", "standardization", "--likelihood", "Bernoulli"],
        "outside of the support of site 'x'.*another likelihood",
    ),
    "Bernoulli of test data beyond": (
        "gaussian",
        npz(x=X, x_test=2 * X),
        ["--preprocessing", "no_preprocessing"],
        r"\[0, 2\].*support",
    ),
}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(("recipe", "write", "options", "match"), FILES.values(), ids=FILES)
def test_data_files(recipe, write, options, match, refused, untrained, tmp_path):
    write(tmp_path / "data")
    path = next(p for p in tmp_path.iterdir() if p.stem == "data")
    small = SMALL if recipe not in ("convolutional", "burda", "vqvae") else ["--epochs", "1", "--no_progress"]
    refused(match, "fit", recipe, *small, "--data", path, *options)


def test_pickled_objects_are_not_run(refused, untrained, tmp_path):
    class Exploit:
        def __reduce__(self):
            return Path.touch, (tmp_path / "witness",)

    np.save(tmp_path / "data.npy", np.array([Exploit()]), allow_pickle=True)
    refused("cannot read.*numbers", "fit", "gaussian", *SMALL, "--data", tmp_path / "data.npy")
    assert not (tmp_path / "witness").exists()


EXPLOSIVE = ["--optimizer", "torch.optim.SGD", "--optimizer.lr"]


def test_training_that_meets_nan(tmp_path, monkeypatch, capsys):
    """The one failure in the midst of work: what was reached before stands."""
    monkeypatch.chdir(tmp_path)
    schedule = ["--schedule", "StepLR", "--schedule.step_size", "1", "--schedule.gamma", "1e38"]
    words = [*SMALL, *EXPLOSIVE, "1e-4", *schedule, "--epochs", "3", "--run-dir", "run"]
    assert run(["fit", "gaussian", *words]) == 2
    errors = capsys.readouterr().err
    expected = r"'[\w.]+'.* is not finite in epoch 2, batch \d.*Try --clip-norm 10, a smaller learning rate.*stands"
    assert re.search(expected, errors)
    assert "Traceback" not in errors
    assert {p.name for p in Path("run").iterdir()} == {"run.json", CHECKPOINT, "metrics.csv"}
    assert run(["sample", "run", "--count", "2", "--output", "x.npy"]) == 0
    assert np.isfinite(np.load("x.npy")).all()


def test_training_that_meets_nan_at_once_leaves_nothing(refused):
    match = r"'[\w.]+'.* is not finite in epoch 1, batch \d.*smaller learning rate"
    refused(match, "fit", "gaussian", *SMALL, *EXPLOSIVE, "1e38", "--run-dir", "run")


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ("full", "full exists already and is not overwritten.*another --run-dir"),
        ("file", "file exists already and is not overwritten"),
        ("file/below", "cannot write to .*file/below"),
        ("/proc/pyvae-run", "cannot write to /proc/pyvae-run"),
        ("/dev/null", "/dev/null exists already"),
        ("/dev/null/below", "cannot write to /dev/null/below"),
    ],
)
@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["new", "resume"])
def test_run_directory(place, match, resume, refused, untrained, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    refused(match, "fit", "gaussian", *SMALL, *resume, "--run-dir", tmp_path / place)


def test_run_directory_that_holds_a_run(refused, untrained, runs):
    refused(
        "exists already and is not overwritten.*--resume", "fit", "gaussian", *SMALL, "--run-dir", runs / "gaussian"
    )


RESUMED = {
    "recipe": ("conditional", SMALL, "the recipe is conditional now and was gaussian"),
    "latent dim": ("gaussian", [*SMALL, "--latent-dim", "3"], "--latent-dim is 3 now and was 2"),
    "data": (
        "gaussian",
        [*SMALL, "--preprocessing", "static_binarization"],
        "--preprocessing is static_binarization now and was",
    ),
    "batch size": ("gaussian", [*SMALL, "--epochs", "2", "--batch-size", "64"], "batch_size is 64 now and was 128"),
    "seed": ("gaussian", [*SMALL, "--epochs", "2", "--seed", "1"], "seed is 1 now and was 0"),
    "clip norm": ("gaussian", [*SMALL, "--epochs", "2", "--clip-norm", "1"], "clip_norm is 1.0 now and was None"),
    "validation": ("gaussian", [*SMALL, "--epochs", "2", "--validation", "0.2"], "data is .* now and was"),
}


@pytest.mark.parametrize(("recipe", "arguments", "match"), RESUMED.values(), ids=RESUMED)
def test_resumption_with_other_arguments(recipe, arguments, match, refused, untrained, runs):
    refused(f"cannot resume.*{match}", "fit", recipe, *arguments, "--resume", "--run-dir", runs / "gaussian")


CHANGED = {
    "recipe": (["conditional"], "a run of the recipe gaussian, not of conditional"),
    "pair": (
        ["--hidden", "8,8", "--likelihood", "ContinuousBernoulli"],
        r"--hidden is \[8, 8\] now and was \[4\]; --likelihood is pyvae.likelihoods.Con\w+ now and was \S+.Bernoulli\.",
    ),
    "preprocessing": (["--preprocessing", "static_binarization"], "--preprocessing is static_binarization now and was"),
    "seed": (["--seed", "3"], "--seed is 3 now and was 0"),
    "validation": (["--validation", "0.2"], "--validation is 0.2 now and was 0.1"),
    "optimizer": (["--optimizer", "SGD"], r"--optimizer is torch.optim.SGD now and was torch.optim.Adam"),
    "directory": (["--run-dir", "other"], "names the directory of the run already"),
    "unknown option": (["--layers", "3"], "--layers"),
    "value": (["--clip-norm", "0"], "clip_norm is 0.0; expected"),
}


@pytest.mark.parametrize(("arguments", "match"), CHANGED.values(), ids=CHANGED)
def test_resumption_that_changes_what_cannot_be(arguments, match, refused, untrained, runs):
    refused(match, "fit", *arguments, "--resume", runs / "gaussian")


def test_resumption_to_fewer_epochs(refused, untrained, runs):
    edit(runs / "gaussian", training={"epochs": 9})
    path = runs / "gaussian" / CHECKPOINT
    tensors, header = read_tensors(path)
    write_tensors(path, tensors, {**header, "history": 3 * header["history"]})
    refused("--epochs is 2 and the run has had 3", "fit", "--resume", runs / "gaussian", "--epochs", "2")


@pytest.mark.parametrize("place", ["missing", "file", ""])
def test_resumption_of_no_run(place, refused, tmp_path):
    (tmp_path / "work" / "file").write_text("precious")
    refused("is no run directory", "fit", "--resume", place)


def test_resumption_that_fails_leaves_the_record_as_it_was(refused, runs):
    refused("epoch 2", "fit", "--resume", runs / "gaussian", "--epochs", "2", "--optimizer.lr", "1e38")


def garble(content):
    return bytes([content[0] ^ 255]) + content[1:]


def flip(content):
    return content[:-1] + bytes([content[-1] ^ 1])


CORRUPTIONS = {
    "truncated": lambda content: content[:-100],
    "empty": lambda content: b"",
    "garbled": garble,
    "flipped bit": flip,
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
@pytest.mark.parametrize("command", ["sample", "reconstruct", "evaluate", "fit"])
def test_corrupt_checkpoint(command, corrupt, refused, runs):
    path = runs / "gaussian" / CHECKPOINT
    path.write_bytes(corrupt(path.read_bytes()))
    resumption = ["fit", "gaussian", *SMALL, "--epochs", "2", "--resume", "--run-dir", path.parent]
    refused(f"{CHECKPOINT}.*(truncated|changed)", *(resumption if command == "fit" else [command, path.parent]))


@pytest.mark.parametrize("command", ["sample", "reconstruct", "evaluate"])
class TestOpening:
    @pytest.mark.parametrize("place", ["missing", ".", "file", "file/below", ""])
    def test_no_run(self, command, place, refused, tmp_path):
        (tmp_path / "work" / "file").write_text("precious")
        refused("is no run directory.*run.json", command, place)

    def test_no_checkpoint(self, command, refused, runs):
        (runs / "gaussian" / CHECKPOINT).unlink()
        refused("has no checkpoint yet.*--resume", command, runs / "gaussian")


@pytest.mark.parametrize("command", ["reconstruct", "evaluate"])
def test_data_that_are_gone(command, refused, runs):
    edit(runs / "gaussian", data={"data": "gone.npy"})
    refused("cannot read '.*gone.npy'", command, runs / "gaussian")


def edit(run_directory, **changes):
    """Change entries of run.json; None removes one."""
    path = run_directory / "run.json"
    record = {k: v for k, v in {**json.loads(path.read_text()), **changes}.items() if v is not None}
    path.write_text(json.dumps(record))


def rewrite(content):
    return lambda directory: (directory / "run.json").write_bytes(content)


RECORDS = {
    "empty": (rewrite(b""), "run.json is damaged"),
    "truncated": (rewrite(b'{"recipe": "gaussian", "argu'), "run.json is damaged"),
    "no JSON": (rewrite(b"recipe: gaussian"), "run.json is damaged"),
    "no text": (rewrite(b"\xff\xfe\0"), "run.json is damaged"),
    "list": (rewrite(b"[]"), "run.json is damaged"),
    "null": (rewrite(b"null"), "run.json is damaged"),
    "without a recipe": (lambda run: edit(run, recipe=None), "run.json is damaged.*recipe"),
    "with something else": (lambda run: edit(run, shell="rm"), "run.json is damaged.*shell"),
    "data of another type": (lambda run: edit(run, data="digits"), "run.json|data"),
    "data with something else": (lambda run: edit(run, data={"data": "digits", "shuffle": 1}), "run.json|shuffle"),
    "arguments of another type": (lambda run: edit(run, arguments=[64]), "run.json|arguments|gaussian"),
    "unknown preprocessing": (
        lambda run: edit(run, data={"data": "digits", "preprocessing": "whitening"}),
        "whitening",
    ),
    "preprocessing that is none": (
        lambda run: edit(run, data={"data": "digits", "preprocessing": "mnist"}),
        "preprocessing|mnist",
    ),
    "unknown recipe": (lambda run: edit(run, recipe="shell"), "no recipe 'shell'.*expected one of"),
    "other shape": (lambda run: edit(run, arguments={"shape": [5]}), "does not belong to this pair"),
    "foreign class": (
        lambda run: edit(run, arguments={"shape": [1, 8, 8], "prior": {"class_path": "foreign_code.Prior"}}),
        "'foreign_code.Prior'.*not ours",
    ),
    "foreign class as a string": (
        lambda run: edit(run, arguments={"shape": [1, 8, 8], "prior": "foreign_code.Prior"}),
        "foreign_code.Prior",
    ),
}


@pytest.mark.parametrize(("damage", "match"), RECORDS.values(), ids=RECORDS)
def test_damaged_record(damage, match, refused, runs, tmp_path, monkeypatch):
    (tmp_path / "foreign_code.py").write_text("import torch\nclass Prior(torch.nn.Module):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign_code", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    damage(runs / "gaussian")
    refused(match, "evaluate", runs / "gaussian")
    assert "foreign_code" not in sys.modules


ON_RUNS = {
    "count 0": ("sample", "gaussian", ["--count", "0"], "count is 0.*positive int"),
    "count -1": ("sample", "gaussian", ["--count=-1"], "count is -1.*positive int"),
    "seed -1": ("sample", "gaussian", ["--seed=-1"], "seed"),
    "labels of an unconditional pair": ("sample", "gaussian", ["--labels", "[1]"], "takes no labels.*unconditional"),
    "label too large": (
        "sample",
        "conditional",
        ["--labels", "[3, 10]"],
        r"labels are \[3, 10\].*expected some of 0 to 9",
    ),
    "label negative": ("sample", "conditional", ["--labels", "[-1]"], r"labels are \[-1\].*expected some of 0 to 9"),
    "labels by names that there are not": (
        "sample",
        "conditional",
        ["--labels", "cats"],
        "labels are cats; expected some of 0 to 9; the data have no names of classes",
    ),
    "no labels": ("sample", "conditional", ["--labels", "[]"], r"labels are \[\].*expected some of 0 to 9"),
    "no data": ("reconstruct", "gaussian", ["--count", "0"], "count is 0.*1 to 360"),
    "too many data": ("reconstruct", "gaussian", ["--count", "361"], "count is 361.*1 to 360"),
    "as label of an unconditional pair": ("reconstruct", "gaussian", ["--as-label", "1"], "takes no labels"),
    "as label too large": ("reconstruct", "conditional", ["--as-label", "10"], "labels are.*10.*0 to 9"),
    "as two labels": (
        "reconstruct",
        "conditional",
        ["--as-label", "cat,ship"],
        "labels are cat,ship; expected some of",
    ),
    "as label negative": ("reconstruct", "conditional", ["--as-label=-1"], "labels are.*-1.*0 to 9"),
    "particles 0": ("evaluate", "gaussian", ["--num-particles", "0"], "num_particles.*0.*positive int"),
    "particles -1": ("evaluate", "gaussian", ["--num-particles=-1"], "num_particles.*-1.*positive int"),
    "evaluation seed -1": ("evaluate", "gaussian", ["--num-particles", "2", "--seed=-1"], "seed"),
}


@pytest.mark.parametrize(("command", "name", "arguments", "match"), ON_RUNS.values(), ids=ON_RUNS)
def test_commands_on_runs(command, name, arguments, match, refused, trained):
    before = contents(trained)
    refused(match, command, trained / name, *arguments)
    assert contents(trained) == before


COMMANDS = {
    "sample": (["--count", "4"], "existing.png"),
    "reconstruct": (["--count", "4"], "existing.npy"),
    "evaluate": (["--num-particles", "2"], "existing.json"),
}


@pytest.mark.parametrize(
    ("output", "match"),
    [
        (None, "existing.* exists already and is not overwritten.*another --output"),
        ("folder.png", "folder.png exists already and is not overwritten"),
        ("missing/out{suffix}", "cannot write missing.*expected a .* file in a folder that exists"),
        ("file/out{suffix}", "cannot write file.*expected a .* file in a folder that exists"),
        ("/proc/out{suffix}", "cannot write /proc/out{suffix}"),
        ("picture.jpg", "cannot write picture.jpg.*expected a .* file"),
        ("noextension", "cannot write noextension.*expected a .* file"),
        ("", "exists already|expected a .* file"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_output(command, output, match, refused, trained, tmp_path):
    arguments, existing = COMMANDS[command]
    work, suffix = tmp_path / "work", Path(existing).suffix
    (work / existing).write_text("precious")
    (work / "file").write_text("precious")
    (work / "folder.png").mkdir()
    target = existing if output is None else output.format(suffix=suffix)
    refused(match.format(suffix=suffix), command, trained / "gaussian", *arguments, "--output", target)


@pytest.mark.parametrize("command", COMMANDS)
def test_output_is_checked_before_the_work(command, refused, trained, tmp_path, monkeypatch):
    def work(*_, **__):
        raise AssertionError("the work has begun")

    for name in ("sample.generate", "reconstruct.reconstruct_data", "evaluate.evaluate_pair"):
        monkeypatch.setattr(f"pyvae.cli.{name}", work)
    arguments, existing = COMMANDS[command]
    (tmp_path / "work" / existing).write_text("precious")
    refused("exists already", command, trained / "gaussian", *arguments, "--output", existing)


CONFIGS = {
    "bad YAML": ("epochs: [1", "config"),
    "tabs": ("epochs:\t1\n\tseed: 2", "config"),
    "unknown key": (yaml.safe_dump({"layers": 3}), "layers"),
    "unknown nested key": (
        yaml.safe_dump({"likelihood": {"class_path": "Normal", "init_args": {"width": 1}}}),
        "width",
    ),
    "learning rate twice": (yaml.safe_dump({"lr": 1.0, "optimizer": {"init_args": {"lr": 1.0}}}), "set the same"),
    "value of another type": (yaml.safe_dump({"epochs": "ten"}), "epochs.*int"),
    "list": ("- epochs", "config"),
    "number": ("3", "config"),
    "out of range": (yaml.safe_dump({"batch_size": 0}), "batch_size is 0"),
    "object": ("epochs: !!python/object/apply:os.getcwd []", "config|python/object"),
    "binary": ("\0\1", "config"),
}


@pytest.mark.parametrize(("text", "match"), CONFIGS.values(), ids=CONFIGS)
def test_config(text, match, refused, untrained, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    refused(match, "fit", "gaussian", "--config", path)


@pytest.mark.parametrize("place", ["missing.yaml", ".", "/dev/null/config.yaml"])
def test_config_that_is_no_file(place, refused, untrained):
    refused(f"config.*{re.escape(place)}|{re.escape(place)}.*config", "fit", "gaussian", "--config", place)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["fit", "transformer"], "transformer.*gaussian"),
        (["fit", "gaussian", "--data", "imagenet"], "no data 'imagenet'"),
        (["sample", "missing"], "missing is no run directory"),
    ],
    ids=["parser", "data", "run"],
)
def test_process(arguments, match, tmp_path):
    done = subprocess.run([sys.executable, "-m", "pyvae", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(match, done.stderr)
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir())
