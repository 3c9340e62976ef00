"""Data in the forms of other libraries: `fit` takes tensors, and says in two lines how to make them of these.

They are not converted silently: a ``Dataset`` may augment at random, which would then be done once and never again.
"""

import sys


def in_two_lines(data) -> str | None:
    """Which form it is, and the lines that make tensors of it; None: it is none of these forms.

    A library that is not loaded is not loaded for this: nothing that it made can be here.
    """
    if _is(data, "torchvision.datasets", "DatasetFolder"):
        root = str(data.root)
        return (
            f"a folder of images, which load() reads itself:\n    data, test = load({root!r}), load({root!r}, 'test')"
        )
    if _is(data, "torch.utils.data", "TensorDataset"):
        return _lines("a TensorDataset", "images, labels = dataset.tensors")
    if _is(data, "torch.utils.data", "DataLoader"):
        line = "images, labels = (torch.cat(parts) for parts in zip(*loader))"
        return _lines("a DataLoader, whose transform must not be random here", line)
    if _is(data, "datasets", "DatasetDict"):
        return _lines("a DatasetDict of Hugging Face", f"dataset = dataset[{next(iter(data), 'train')!r}]")
    if _is(data, "datasets", "Dataset"):
        image, label = _columns(data)
        pixels = f"np.array(row[{image!r}].convert('RGB').resize((224, 224)))"
        return _lines(
            "a Dataset of Hugging Face",
            f"images = torch.stack([torch.tensor({pixels}) for row in dataset]).permute(0, 3, 1, 2)",
            f"labels = torch.tensor(list(dataset[{label!r}]))",
        )
    if _is(data, "torch.utils.data", "Dataset"):
        return _lines(
            "a Dataset, whose transform must give tensors of one size and not be random here",
            "images, labels = zip(*(dataset[i] for i in range(len(dataset))))",
            "images, labels = torch.stack(images), torch.tensor(labels)",
        )
    if isinstance(data, tuple | list) and len(data) == 2 and all(_is(part, "numpy", "ndarray") for part in data):
        shape = data[0].shape
        channels = "[:, None]" if len(shape) == 3 else ".permute(0, 3, 1, 2)" if shape[3:] in ((1,), (3,)) else ""
        return _lines(
            "NumPy arrays, and images and labels are tensors",
            f"images = torch.from_numpy(images){channels}",
            "labels = torch.from_numpy(labels).long()",
        )
    return None


def _is(data, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(data, kind)


def _lines(what: str, *lines: str) -> str:
    return "\n    ".join([f"{what}, and fit takes (images, labels):", *lines])


def _columns(data) -> tuple[str, str]:
    """The columns of images and of labels, by what they are usually called."""
    names = list(data.column_names)
    image = next((name for name in names if name in ("image", "img")), names[0])
    return image, next((name for name in names if "label" in name), names[-1])
