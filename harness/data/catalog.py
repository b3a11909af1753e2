"""The data sets that are known by name: what they are, where they come from.

An entry is all that a data set of a known format needs: `harness data fetch` brings its
files, and the source that reads data of its kind knows its name. The hashes are those
that Keras, MXNet, TensorFlow Datasets and others publish for the same files.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One file: its name here, its sha256, and addresses in order of preference."""

    name: str
    sha256: str
    urls: tuple[str, ...]
    unpack: Literal["tar", "zip"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NamedData:
    """A data set of one or more files."""

    summary: str
    files: tuple[RemoteFile, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NamedImages(NamedData):
    """Labelled images, which the source "images" reads under their name."""

    shape: tuple[int, int, int, int]
    """Height, width, channels, classes."""
    train: int
    """Training examples."""
    test: int
    """Test examples."""
    digest: str | None = None
    """The content hash of all examples, where it is known."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NamedText(NamedData):
    """A corpus, which the source "text" reads under its name."""


IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx(hashes: tuple[str, ...], *folders: str) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name=name, sha256=sha256, urls=tuple(f"{f}/{name}" for f in folders))
        for name, sha256 in zip(IDX, hashes, strict=True)
    )


CATALOG: dict[str, NamedData] = {
    "mnist": NamedImages(
        summary="70,000 handwritten digits, 28×28 grey, 10 classes (LeCun et al. 1998)",
        shape=(28, 28, 1, 10),
        train=60_000,
        test=10_000,
        digest="ceda791d3e53beaf",
        files=_idx(
            (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
    ),
    "fashion_mnist": NamedImages(
        summary="70,000 pieces of clothing, 28×28 grey, 10 classes (Xiao et al. 2017)",
        shape=(28, 28, 1, 10),
        train=60_000,
        test=10_000,
        digest="5f06bd0df99ad3dc",
        files=_idx(
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        ),
    ),
    "cifar10": NamedImages(
        summary="60,000 photographs, 32×32 colour, 10 classes (Krizhevsky 2009)",
        shape=(32, 32, 3, 10),
        train=50_000,
        test=10_000,
        files=(
            RemoteFile(
                name="cifar-10-binary.tar.gz",
                sha256=(
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
                ),
                urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                unpack="tar",
            ),
        ),
    ),
    "cifar100": NamedImages(
        summary="60,000 photographs, 32×32 colour, 100 classes (Krizhevsky 2009)",
        shape=(32, 32, 3, 100),
        train=50_000,
        test=10_000,
        files=(
            RemoteFile(
                name="cifar-100-python.tar.gz",
                sha256=(
                    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
                ),
                urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
                unpack="tar",
            ),
        ),
    ),
    "tiny_shakespeare": NamedText(
        summary="1.1 MB of Shakespeare's plays (Karpathy 2015)",
        files=(
            RemoteFile(
                name="input.txt",
                sha256=(
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
                ),
                urls=(
                    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
                    "tinyshakespeare/input.txt",
                ),
            ),
        ),
    ),
    "enwik8": NamedText(
        summary="the first 100 MB of an English Wikipedia dump (Mahoney 2006)",
        files=(
            RemoteFile(
                name="enwik8.zip",
                sha256=(
                    "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"
                ),
                urls=("https://mattmahoney.net/dc/enwik8.zip",),
                unpack="zip",
            ),
        ),
    ),
}


def named_images() -> dict[str, NamedImages]:
    """The image data sets of the catalogue."""
    return {k: v for k, v in CATALOG.items() if isinstance(v, NamedImages)}


def named_texts() -> dict[str, NamedText]:
    """The corpora of the catalogue."""
    return {k: v for k, v in CATALOG.items() if isinstance(v, NamedText)}
