"""Weights from a file or a folder: ``create_model(name, pretrained=PATH)``.

They are read, unwrapped, and recognised by their names; put into the model of the sizes that they have themselves; and
that model is brought to what was asked for. Everything that was changed on the way is printed.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from course.models import public_names
from course.models.reference import (
    ReferenceMismatch,
    become,
    copy_weights,
    following,
    for_source,
    sorted_out,
    told_by,
    unwrapped,
)
from course.models.registry import Keys, another, create_model, entry
from course.models.resizing import at_resolution

OURS: Keys = {"*": "*"}  # a file of this course's own
# transformers' configurations: activation and eps with which load_reference makes the network.
IN_TRANSFORMERS = {
    "vit": {"hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "deit": {"hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "swin": {"hidden_act": "gelu", "layer_norm_eps": 1e-5},
    "convnext": {"hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "pvt": {"hidden_act": "gelu", "layer_norm_eps": 1e-6},
    "poolformer": {"hidden_act": "gelu"},
    "timesformer": {"hidden_act": "gelu", "layer_norm_eps": 1e-6},
    "vivit": {"hidden_act": "gelu_fast", "layer_norm_eps": 1e-6},
}


def create_from_file(
    name: str, path: str | Path, num_classes: int | None, img_size: int | tuple[int, int] | None, overrides: dict
) -> nn.Module:
    """As ``create_model``, with the weights of a file or a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: what is there is not read, or belongs to another network or, unasked, to another number of classes,
            channels or pixels; one sentence says what to ask for.
        ReferenceMismatch: names are unknown or missing.
    """
    state, config, said = read_weights(Path(path))
    name = entry(name).name
    overrides = dict(overrides)
    in_chans = overrides.pop("in_chans", None)
    _check_config(name, overrides, config, path)
    with torch.device("meta"):
        blank = create_model(name, **overrides)
    source, table = _recognised(blank, state, path)
    found, _, _ = sorted_out(state, table, blank.state_dict())
    classes = _in_file(blank, found, "num_classes", num_classes, path)
    channels = _in_file(blank, found, "in_chans", in_chans, path)
    as_stored = overrides | {k: v for k, v in {"num_classes": classes, "in_chans": channels}.items() if v is not None}
    size, resized = _size_in_file(name, state, table, as_stored, img_size, path)
    model = create_model(name, **as_stored, **size)
    copy_weights(model, state, table)
    if table is not OURS:
        become(model, for_source(model, source)[1])
    said.insert(0, f"{name} has the weights of {path}, by the names of {source}")
    if resized:
        said.append("what belongs to places is resized to these pixels")
    if in_chans not in (None, channels):
        model = _with_channels(model, channels, in_chans)
        said.append(f"{channels} channels of its first layer made {in_chans}")
    if num_classes not in (None, classes):
        model.reset_classifier(num_classes)
        new = f"a new last layer for {num_classes} classes stands" if num_classes else "no last layer stands"
        said.append(f"{new} in place of that for {classes}" if classes else f"{new}, for the file has none")
    if img_size is not None and not size:
        before = model.spec
        model = at_resolution(model, img_size)
        if model.spec != before:
            said.append(f"what belongs to places is resized to {img_size} pixels")
    print("; ".join(said) + ".")
    return model


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict, list[str]]:
    """The tensors of a file or folder by name, what its configuration says, and what was unwrapped, in words.

    Raises:
        FileNotFoundError, ValueError: as ``create_from_file``.
    """
    config = {}
    if path.is_dir():
        folder, path = path, _weights_in(path)
        if (folder / "config.json").exists():
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not path.is_file():
        raise FileNotFoundError(
            f"pretrained={str(path)!r}: there is no such file or folder. Nothing is downloaded: give the path of a "
            ".safetensors, .pth or .pt file, or of a folder with config.json and model.safetensors"
        )
    if path.name.endswith(".index.json"):
        pieces = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        stored = {name: tensor for piece in sorted(pieces) for name, tensor in _read(path.parent / piece).items()}
    else:
        stored = _read(path)
    if isinstance(stored.get("arch"), str):
        config = {"arch": stored["arch"]} | config
    tensors, said = unwrapped(stored)
    if not tensors:
        raise ValueError(f"{path} holds no weights by name: torch.save(model.state_dict(), PATH) writes such a file")
    return tensors, config, said


def _weights_in(folder: Path) -> Path:
    names = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"there are no weights in the folder {folder}: it has none of {', '.join(names)}")


def _read(path: Path) -> Mapping:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged, or no safetensors file ({error}): fetch it again") from None
    if path.suffix not in (".pth", ".pt", ".bin", ".ckpt", ".tar"):
        raise ValueError(f"{path} is not read: weights come as .safetensors, .pth, .pt, .bin, .ckpt or .tar")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is not read: it holds more than tensors ({_global(str(error))}), and to read that is to run code of "
            "whoever wrote it. Where it comes from, torch.save(model.state_dict(), PATH) writes the weights alone"
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is damaged, or no file of torch.save ({(str(error).splitlines() or ['it ends early'])[0]})"
        ) from None
    if not isinstance(stored, Mapping):
        raise ValueError(
            f"{path} holds a {type(stored).__name__}, and not weights by name: torch.save(model.state_dict(), PATH)"
        )
    return stored


def _global(message: str) -> str:
    """Which thing the pickle asks for, of torch's long message."""
    _, _, after = message.partition("Unsupported global: GLOBAL ")
    return after.split()[0] if after else "pickled objects"


def _check_config(name: str, overrides: dict, config: dict, path) -> None:
    """What weights do not tell: whose network they belong to.

    Raises:
        ValueError: of another than this.
    """
    alone = f"the file of weights in it, given by its own path, is taken as {name}'s"
    architecture = config.get("architecture") or config.get("arch")
    if isinstance(architecture, str):
        theirs = public_names.ours(architecture)
        if theirs is None or entry(theirs).spec.but(**_size(theirs)) != entry(name).spec.but(**_size(name)):
            other = f"create_model({theirs!r}, pretrained=...) takes it" if theirs else alone
            raise ValueError(f"{path} holds timm's {architecture}, and that is not {name}: {other}")
    for key, ours in IN_TRANSFORMERS.get(config.get("model_type"), {}).items():
        if config.get(key, ours) != ours:
            raise ValueError(f"{path} says {key} = {config[key]!r}, and in {name} it would be {ours!r}: {alone}")
    heads = config.get("num_attention_heads", config.get("num_heads"))
    if config.get("model_type") in IN_TRANSFORMERS and heads is not None:
        with torch.device("meta"):
            model = create_model(name, **overrides)
        ours = list(dict.fromkeys(m.num_heads for m in model.modules() if hasattr(m, "num_heads")))
        theirs = list(dict.fromkeys(heads if isinstance(heads, list) else [heads]))
        if ours and ours != theirs:
            raise ValueError(f"{path} says {theirs} heads, and {name} has {ours}: num_heads={heads} makes it so")


def _size(name: str) -> dict:
    """Its image size as an override, if its spec has one: by it alone a network is no other."""
    return {"img_size": 224} if hasattr(entry(name).spec, "img_size") else {}


def _recognised(model: nn.Module, state: dict[str, Tensor], path) -> tuple[str, Keys]:
    """Whose names these are: of all tables for this model the one that knows most of them.

    Raises:
        ValueError: none knows half.
    """
    tables = {"this course": OURS, **entry(model.name).keys}
    known = {}
    for source, table in tables.items():
        _, unknown, _ = sorted_out(state, table, model.state_dict())
        known[source] = len(state) - len(unknown)
    source = max(known, key=known.get)
    if known[source] < len(state) / 2:
        some = ", ".join(list(state)[:3])
        raise ValueError(
            f"{path} holds no weights of {model.name}: of its {len(state)} names at most {known[source]} are those of "
            f"{', '.join(tables)}; it begins with {some}"
        )
    return source, tables[source]


def _in_file(model: nn.Module, found: dict, option: str, asked: int | None, path) -> int | None:
    """The number of classes or channels that a file's own weights have; None: they do not tell.

    Raises:
        ValueError: it is another than the model's, and none was asked for.
    """
    told = told_by(model, found, option)
    if told is None:
        return None
    value, usual = told
    if asked is None and value != usual:
        what = "classes" if option == "num_classes" else "channels"
        has = f"is for {value} {what}" if value else "has no last layer"
        raise ValueError(
            f"{path} {has}, and {model.name} for {usual}: {option}={value} takes it as it is, another {option} "
            + ("puts a new last layer" if option == "num_classes" else "makes the first layer fit")
        )
    return value


def _size_in_file(name: str, state: dict, table: Keys, as_stored: dict, asked, path) -> tuple[dict, bool]:
    """The image size at which the weights fit, as an override, and whether they have to be resized for it.

    Raises:
        ValueError: they are of another size, and none was asked for.
        ReferenceMismatch: they fit at no size.
    """
    sizes = [{}] if asked is None else [{"img_size": asked}, {}]
    for resize in (False, True):
        for size in sizes[:1] if resize else sizes:
            with torch.device("meta"):
                model = create_model(name, **as_stored, **size)
            try:
                copy_weights(model, state, table, resize=resize)
            except ReferenceMismatch:
                if resize:
                    raise
                continue
            if resize and asked is None:
                raise ValueError(
                    f"{path} is of another image size than {name}'s: img_size=... says for which size to make it, "
                    "and what belongs to places is resized where that is not its own"
                )
            return size, resize
    raise AssertionError


def _with_channels(model: nn.Module, channels: int, asked: int) -> nn.Module:
    """For images of other channels: one sees the sum of the first layer's weights, more see them in turn, scaled.

    Raises:
        ValueError: the first layer's weights do not stand by channels (Perceiver).
    """
    result, axes, trained = another(model, in_chans=asked), following(model, "in_chans"), model.state_dict()
    with torch.no_grad():
        for name, weight in result.state_dict().items():
            value = trained[name]
            if name in axes:
                axis = axes[name][0]
                if value.shape[axis] != channels:
                    raise ValueError(
                        f"{model.name}: {name} does not follow the channels alone: in_chans={channels} fits"
                    )
                turn = torch.arange(asked) % channels
                value = (
                    value.sum(axis, keepdim=True) if asked == 1 else value.index_select(axis, turn) * channels / asked
                )
            weight.copy_(value)
    return result
