"""What a person reads: cards, comparisons, tables; and the errors of the registry."""

import re
from pathlib import Path

import pytest
import torch

from course.cli import main
from course.models import card, compare, create_model, list_models, load_reference, show
from course.models.pages import neighbours
from course.models.registry import entry, register
from course.models.spec import Whole


def test_a_card_says_which_figure_is_wrong_and_why():
    text = str(card("mixer_b16"))
    assert "79M is WRONG for this network: +32%, it has 59.9M" in text
    assert "no mixer variant has 79M" in text
    assert "59M agrees" in text


def test_a_card_tells_that_307m_is_another_patch_size():
    assert "yes for L/32" in str(card("vit_l16"))
    assert "307M agrees" in str(card("vit_l32"))


def test_a_card_names_no_deck_by_a_code_that_its_reader_does_not_know():
    assert "the decks say" in str(card("vit_l16"))
    assert re.findall(r"\bS[0-4]\b", str(card("vit_l16")) + card("vit_l16")._repr_html_()) == []


def test_a_card_is_a_table_in_a_notebook():
    assert "<th" in card("vit_b16")._repr_html_()


def test_models_that_differ_in_one_idea_differ_in_one_line():
    lines = compare("swin_t", "swin_s").splitlines()[1:-2]
    assert lines == ["depths         (2, 2, 6, 2)  (2, 2, 18, 2)"]


def test_comparing_goes_down_to_the_option():
    assert "token_mixer.num_heads" in compare("vit_b16", "vit_l16")
    assert "equal" in compare("vit_b16", "vit_b16")


def test_comparing_layouts_names_them():
    text = compare("vit_s16", "swin_t")
    assert "Isotropic" in text and "Pyramid" in text and "WindowAttention" in text
    assert max(map(len, text.splitlines())) <= 100, "a page of 1000 pixels wraps it"
    assert "num_heads=per_stage(3, 6, 12, 24)" in text, "no word is cut"


def test_the_page_is_coloured_in_a_notebook():
    page = show("vit_cifar")
    assert "<span" in page._repr_html_() and repr(page) == str(page)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: create_model("swin_tt"), "did you mean 'swin_t'"),
        (lambda: create_model("vit_b16", depht=2), "did you mean 'depth'"),
        (
            lambda: create_model("vit_b16", img_size=100),
            "vit_b16: an image of 100×100 is not divided by patches of 16×16: 96 and 112 fit",
        ),
        (lambda: create_model("vit_b16", num_heads=7), "7 heads do not divide 768 channels: 4, 6, 8 do"),
        (
            lambda: create_model("swin_t", img_size=222),
            "swin_t: an image of 222×222 is not divided by patches of 4×4: 220 and 224 fit",
        ),
        (lambda: create_model("swin_t", depths=(2, 2)), "dims and depths have one entry a stage each"),
        (lambda: create_model("vit_b16", depth="two"), "does not fit together"),
        (lambda: create_model("vit_cifar")(torch.zeros(1, 1, 32, 32)), "made for 3 channels and got 1"),
        (lambda: create_model("vit_cifar")(torch.zeros(1, 3, 28, 28)), "img_size=(28, 28)"),
        (lambda: create_model("vit_cifar")(torch.zeros(3, 32, 32)), "takes a batch (B, C, H, W)"),
        (lambda: register("vit_b16", None, paper=""), "there is a model 'vit_b16' already"),
        (lambda: register("new", None, paper="", says="86 million"), "written like '28.6M 4.5G'"),
        (lambda: show("swin_tt"), "did you mean"),
        (lambda: compare("vit_b16", "swin_tt"), "did you mean"),
        (lambda: card("swin_tt"), "did you mean"),
    ],
)
def test_bad_input_gets_one_sentence_that_says_what_fits(call, sentence):
    with pytest.raises(ValueError) as error:
        call()
    assert sentence in str(error.value)


def test_weights_that_do_not_fit_are_listed_and_nothing_changes():
    from timm.models.vision_transformer import VisionTransformer

    sizes = dict(img_size=32, patch_size=4, embed_dim=48, num_heads=4, num_classes=10)
    model = create_model("vit_cifar", **sizes, depth=2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = VisionTransformer(**sizes | {"num_classes": 7}, depth=2).state_dict()
    state["surprise"] = state.pop("norm.bias")
    with pytest.raises(ValueError) as error:
        load_reference(model, state)
    text = str(error.value)
    assert "unknown names (1):\n    surprise" in text
    assert "head.norm.bias" in text.split("missing")[1].split("of another shape")[0]
    assert "head.fc.weight: theirs (7, 48), ours (10, 48)" in text
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "model, source, sentence",
    [
        (torch.nn.Linear(2, 2), "timm", "made by create_model"),
        ("vit_cifar", "keras", "There are: timm, torchvision, transformers"),
    ],
)
def test_loading_from_nowhere_is_a_sentence(model, source, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_reference(create_model(model) if isinstance(model, str) else model, {}, source)


def test_without_classes_the_features_come_out():
    assert create_model("vit_cifar", num_classes=0)(torch.zeros(2, 3, 32, 32)).shape == (2, 192)


def test_stochastic_depth_grows_and_only_acts_in_training():
    model = create_model("vit_cifar", drop_path=0.3, depth=4)
    rates = [block.token_mixer.drop_path for block in model.stages[0].blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    x = torch.randn(64, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), model(x))
        torch.manual_seed(0)
        model.train()
        first, second = model(x), model(x)
    assert not torch.equal(first, second)
    assert (first - second).abs().amax(1).gt(1e-4).float().mean() > 0.3  # whole branches went, for some images


def test_the_command(capsys):
    assert main(["models", "vit_cifar"]) == 0
    out = capsys.readouterr().out
    assert "parameters" in out and "model = Backbone(" in out
    assert main(["models", "vit_b16", "--compare", "mixer_b16"]) == 0
    assert "TokenMLP" in capsys.readouterr().out
    assert main(["models", "nothing"]) == 2
    assert "there is no model 'nothing'" in capsys.readouterr().err


def test_list_models_is_sorted_and_searchable():
    assert (
        list_models() == sorted(list_models())
        and "swin_t" in list_models("swin")
        and "vit_b16" not in list_models("swin")
    )


@pytest.mark.parametrize("name", ["vit_cifar", "swin_t", "convit_s"])
def test_the_page_has_the_network_and_nothing_about_it(name):
    page = show(name)
    assert "resized" not in page and "reset_classifier" not in page and "(Model)" not in page


def test_list_models_takes_wildcards_for_the_whole_name():
    vits = list_models("vit*")
    assert "vit_b16" in vits and "vit_cifar" in vits and not [name for name in vits if not name.startswith("vit")]
    assert "convit_s" in list_models("vit") and "convit_s" in list_models("*vit*")  # a plain word is a piece
    assert list_models("swin_?") == ["swin_b", "swin_s", "swin_t"] == list_models("Swin_[bst]")
    assert list_models("*") == list_models() and list_models("b16") and not list_models("b16*")


def test_the_readme_counts_what_is_on_the_map():
    specs = [entry(name).spec for name in list_models()]
    whole = sum(isinstance(spec, Whole) for spec in specs)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for words in (f"Of {len(specs)} networks, {len(specs) - whole} are points on", f"the other {whole} are"):
        assert words in readme, f"README.md does not say {words!r}, which is how many models there are now"


def test_the_nearest_networks_differ_in_least():
    names = ["vit_b16", "vit_b32", "vit_b16_384", "deit_b", "swin_t", "resnet_50_v1"]
    near = neighbours("vit_b16", names)
    assert near == neighbours("vit_b16", names[::-1]) and len(near) == 2
    lines = {name: len(compare("vit_b16", name, sizes=False).splitlines()) for name in names if name != "vit_b16"}
    assert "swin_t" not in near and max(lines[name] for name in near) <= min(
        lines[name] for name in ("vit_b32", "vit_b16_384", "deit_b") if name not in near
    )
    assert neighbours("resnet_50_v1", names) == [], "a class of its own, and no other of it among these"


def test_a_comparison_without_sizes_is_the_rest_of_it():
    whole, rest = (str(compare("vit_b16", "vit_b32", sizes=s)).splitlines() for s in (True, False))
    assert rest == whole[:-2] and whole[-2].startswith("parameters")
