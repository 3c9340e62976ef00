"""``create_model(name, pretrained=PATH)``: files and folders as libraries and trainings write them, and public names."""

import argparse
import json
from fnmatch import fnmatch

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from course.models import ReferenceMismatch, at_resolution, create_model
from course.models.public_names import PUBLIC
from course.models.registry import entry, list_models
from tests.models.parity import difference, randomised
from tests.models.test_every_source import (
    HF_VIT,
    SMALLER,
    TORCHVISION_VIT,
    VIT,
    public,
    small,
    timm,
    torchvision,
    transformers,
)

SIZES = {k: v for k, v in VIT.items() if k not in ("img_size", "num_classes")}  # of the spec
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    return randomised(timm("vit_base_patch16_224", **VIT))


def ours(path, **options) -> nn.Module:
    return create_model("vit_b16", pretrained=path, **SIZES | dict(img_size=32, num_classes=10) | options).eval()


def same(model: nn.Module, other, images=IMAGES) -> bool:
    return max(difference(model.double(), other, images)) < 1e-9


WRAPPED = {
    "weights.pth": lambda state: state,
    "model.pt": lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
    "state_dict.ckpt": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
    "lightning.ckpt": lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
    "compiled.pth": lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
    "averaged.pth": lambda state: {"n_averaged": torch.tensor(4), **{f"module.{k}": v for k, v in state.items()}},
    "ema.pth.tar": lambda state: {
        "arch": "vit_base_patch16_224",
        "state_dict": {k: torch.zeros_like(v) for k, v in state.items()},
        "state_dict_ema": state,
    },
}


@pytest.mark.parametrize("file", WRAPPED)
def test_what_trainings_wrap_around_weights_is_taken_off_and_said(file, theirs, tmp_path, capsys):
    torch.save(WRAPPED[file](theirs.state_dict()), tmp_path / file)
    assert same(ours(tmp_path / file), theirs.double())
    said = capsys.readouterr().out
    assert said.startswith(f"vit_b16 has the weights of {tmp_path / file}, by the names of timm")
    assert ("from its 'state_dict_ema'" in said) == file.startswith("ema") and said.count("\n") == 1


def test_a_checkpoint_of_fit_is_taken_too(theirs, tmp_path):
    model = ours_with(theirs, tmp_path)
    tensors = {f"model.{k}": v for k, v in model.float().state_dict().items()}
    save_file(tensors | {"optimizer.0.exp_avg": torch.zeros(3)}, tmp_path / "run.safetensors")
    assert same(ours(tmp_path / "run.safetensors"), theirs.double())


def ours_with(theirs, folder) -> nn.Module:
    torch.save(theirs.float().state_dict(), folder / "plain.pth")
    return ours(folder / "plain.pth")


def test_a_file_that_holds_more_than_tensors_is_refused_and_not_run(theirs, tmp_path):
    torch.save({"model": theirs.state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth is not read: it holds more than tensors \(argparse.Namespace\)"):
        ours(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content, sentence", [(b"", "is damaged"), (b"no archive at all", "is damaged|more than tensors")]
)
def test_a_damaged_file_is_one_sentence(content, sentence, tmp_path):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=sentence):
            ours(tmp_path / name)


def test_what_is_not_there_or_is_no_file_of_weights_is_said(tmp_path, theirs):
    with pytest.raises(FileNotFoundError, match="there is no such file or folder. Nothing is downloaded"):
        ours("google/vit-base-patch16-224")
    with pytest.raises(FileNotFoundError, match="has none of model.safetensors"):
        ours(tmp_path)
    (tmp_path / "weights.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="weights come as .safetensors, .pth"):
        ours(tmp_path / "weights.npz")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list, and not weights by name"):
        ours(tmp_path / "list.pth")
    save_file({"some": torch.zeros(1), "thing": torch.zeros(1)}, tmp_path / "else.safetensors")
    with pytest.raises(ValueError, match="holds no weights of vit_b16: of its 2 names at most 0 are those of"):
        ours(tmp_path / "else.safetensors")


def hugging_face(tmp_path, **config) -> nn.Module:
    model = randomised(transformers("ViTForImageClassification", "ViTConfig", **HF_VIT | config))
    model.save_pretrained(tmp_path)
    return model.double()


def test_a_folder_of_transformers_with_the_names_that_files_have(tmp_path, capsys):
    theirs = hugging_face(tmp_path)
    assert any("attention.attention.query" in name for name in _names(tmp_path))
    model = ours(tmp_path)
    assert same(model, lambda x: theirs(x).logits) and "of transformers" in capsys.readouterr().out
    assert model.head.norm.eps == 1e-12


def _names(folder) -> list[str]:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return list(file.keys())


@pytest.mark.parametrize("name", ["swin_t", "deit_s_distilled", "detr_r50", "upernet_swin_t", "vivit_model1"])
def test_names_in_files_of_the_others_that_have_two(name, tmp_path, capsys):
    make, sizes = next(v for (p, source), v in SMALLER.items() if source == "transformers" and fnmatch(name, p))
    theirs = randomised(make(public(name, "transformers")))
    theirs.save_pretrained(tmp_path)
    model = create_model(name, pretrained=tmp_path / "model.safetensors", **small(name) if sizes is None else sizes)
    assert "of transformers" in capsys.readouterr().out and model.name == name


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(hidden_act="relu"), "says hidden_act = 'relu', and in vit_b16 it would be 'gelu'"),
        (dict(layer_norm_eps=1e-6), "says layer_norm_eps = 1e-06, and in vit_b16 it would be 1e-12"),
        (dict(num_attention_heads=6), r"says \[6\] heads, and vit_b16 has \[4\]: num_heads=6 makes it so"),
    ],
)
def test_a_configuration_of_another_function_is_refused(change, sentence, tmp_path):
    hugging_face(tmp_path, **change)
    with pytest.raises(ValueError, match=sentence):
        ours(tmp_path)


@pytest.mark.parametrize("architecture", ["resnetaa50", "vit_base_patch16_clip_224", "deit3_small_patch16_224"])
def test_a_folder_of_timms_says_whose_weights_it_holds(architecture, theirs, tmp_path):
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture, "num_classes": 10}))
    with pytest.raises(ValueError, match=f"holds timm's {architecture}, and that is not vit_b16"):
        ours(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_base_patch16_384"}))
    assert same(ours(tmp_path), theirs.double())


def test_torchvisions_weights_are_recognised(tmp_path, capsys):
    theirs = randomised(torchvision("vit_b_16", "_vision_transformer", **TORCHVISION_VIT))
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    assert same(ours(tmp_path / "a.pth"), theirs.double()) and "of torchvision" in capsys.readouterr().out


def test_another_number_of_classes_has_to_be_asked_for_and_is_said(theirs, tmp_path, capsys):
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="is for 10 classes, and vit_b16 for 1000: num_classes=10 takes it as it is"):
        ours(tmp_path / "a.pth", num_classes=None)
    model = ours(tmp_path / "a.pth", num_classes=3)
    assert "a new last layer for 3 classes stands in place of that for 10" in capsys.readouterr().out
    assert model(IMAGES.float()).shape == (2, 3)
    taken = ours(tmp_path / "a.pth", num_classes=0).double()
    assert same(taken, lambda x: theirs.double().forward_head(theirs.forward_features(x), pre_logits=True))
    headless = {k: v for k, v in theirs.float().state_dict().items() if not k.startswith("head.")}
    torch.save(headless, tmp_path / "b.pth")
    with pytest.raises(ValueError, match="has no last layer, and vit_b16 for 1000: num_classes=0 takes it as it is"):
        ours(tmp_path / "b.pth", num_classes=None)
    capsys.readouterr()
    assert ours(tmp_path / "b.pth", num_classes=5)(IMAGES.float()).shape == (2, 5)
    assert "a new last layer for 5 classes stands, for the file has none" in capsys.readouterr().out


@pytest.mark.parametrize("asked", [1, 5])
def test_other_channels_see_what_grey_or_repeated_images_would_show(asked, theirs, tmp_path, capsys):
    torch.save(theirs.float().state_dict(), tmp_path / "a.pth")
    model = ours(tmp_path / "a.pth", in_chans=asked).double()
    assert f"3 channels of its first layer made {asked}" in capsys.readouterr().out
    grey = IMAGES[:, :1]
    with torch.no_grad():
        expected = theirs.double()(grey.expand(-1, 3, -1, -1))
        if asked == 1:
            torch.testing.assert_close(model(grey), expected)
        weight, old = model.stem.proj.weight, theirs.patch_embed.proj.weight
        if asked == 5:
            torch.testing.assert_close(weight, old[:, [0, 1, 2, 0, 1]] * 3 / 5, rtol=1e-6, atol=0)
    torch.save(model.float().state_dict(), tmp_path / "b.pth")
    with pytest.raises(ValueError, match=f"is for {asked} channels, and vit_b16 for 3: in_chans={asked} takes it"):
        ours(tmp_path / "b.pth")
    assert ours(tmp_path / "b.pth", in_chans=asked)(grey.expand(-1, asked, -1, -1).float()).shape == (2, 10)


def test_another_image_size_is_at_resolutions_and_is_said(theirs, tmp_path, capsys):
    torch.save(theirs.float().state_dict(), tmp_path / "a.pth")
    small = ours(tmp_path / "a.pth")
    capsys.readouterr()
    with pytest.raises(ValueError, match="is of another image size than vit_b16's: img_size=..."):
        ours(tmp_path / "a.pth", img_size=None, patch_size=8)
    large = ours(tmp_path / "a.pth", img_size=48)
    assert "resized to these pixels" in capsys.readouterr().out
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1)).double()
    assert same(large, at_resolution(small, 48).double(), images)


def test_from_the_usual_size_to_another(tmp_path, capsys):
    """At 224 pixels as the model is registered: then what at_resolution makes of it is what was asked for."""
    sizes = dict(embed_dim=24, depth=1, num_heads=2, num_classes=10)
    made = create_model("vit_b16", **sizes).eval()
    save_file(made.state_dict(), tmp_path / "a.safetensors")
    model = create_model("vit_b16", pretrained=tmp_path / "a.safetensors", img_size=64, **sizes).eval()
    assert "what belongs to places is resized to 64 pixels" in capsys.readouterr().out
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(images), at_resolution(made, 64)(images))


def test_names_that_are_missing_are_still_listed(theirs, tmp_path):
    state = theirs.float().state_dict()
    del state["blocks.0.attn.qkv.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ReferenceMismatch, match="missing.*token_mixer.branch.qkv.weight|(?s:missing.*qkv.weight)"):
        ours(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "typed, found",
    [
        ("vit_base_patch16_224", "vit_b16"),
        ("vit_base_patch16_224.augreg2_in21k_ft_in1k", "vit_b16"),
        ("timm/swin_tiny_patch4_window7_224.ms_in1k", "swin_t"),
        ("hf-hub:timm/convnext_tiny.fb_in22k", "convnext_t"),
        ("google/vit-base-patch16-224", "vit_b16"),
        ("vit_b_16", "vit_b16"),
        ("resnet50", "resnet_50"),
    ],
)
def test_a_public_name_is_ours(typed, found):
    with torch.device("meta"):
        assert create_model(typed).name == found


def test_a_public_name_that_is_not_ours_gets_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'vit_b16', which is 'vit_base_patch16_224' elsewhere"):
        create_model("vit_base_patch16_225")
    with pytest.raises(ValueError, match="no model 'vit_b61': did you mean 'vit_b16'"):
        create_model("vit_b61")
    with pytest.raises(ValueError, match="there is no model 5"):
        create_model(5)


def test_every_public_name_is_of_a_model_and_a_source_that_it_has():
    for source, names in PUBLIC.items():
        assert set(names) <= set(list_models()) and len(set(names.values())) == len(names)
        assert all(source in entry(name).keys for name in names)
    of = [(theirs.lower(), ours) for names in PUBLIC.values() for ours, theirs in names.items()]
    assert len(dict(of)) == len(set(of)), "one public name for two of ours"
