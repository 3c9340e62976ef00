"""VATT: no public implementation runs in PyTorch, so tokens, encoder, projections and losses against their equations."""

import math

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.norms import LayerNorm
from course.models.vatt import VATT, AudioTokens, TextTokens, VideoTokens, encoder, mil_nce, nce, vatt_loss
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    difference,
    each,
    proves,
    randomised,
)

SIZES = dict(num_frames=4, img_size=8, tubelet_size=2, patch_size=4, embed_dim=12, depth=2, num_heads=3, mlp_ratio=2)
SMALL = {"vatt_medium": SIZES | dict(num_classes=10)}
GENERATOR = torch.Generator().manual_seed(2)
CLIPS = torch.randn(3, 4, 3, 8, 8, generator=GENERATOR)
WAVES = torch.randn(3, 20, generator=GENERATOR)
WORDS = torch.randint(0, 7, (3, 2, 5), generator=GENERATOR)


def fresh() -> VATT:
    return VATT(
        VideoTokens(12, num_frames=4, img_size=8, tubelet_size=2, patch_size=4, drop_token=0.5),
        AudioTokens(12, num_samples=20, audio_patch=5, drop_token=0.5),
        TextTokens(12, vocab_size=7, num_words=5),
        encoder(12, depth=2, num_heads=3, mlp_ratio=2),
        dim=12,
        audio_dim=8,
        text_dim=6,
    )


def small() -> VATT:
    return randomised(fresh())


def slow_video_tokens(module, clip: Tensor) -> Tensor:
    """Equation 1, voxel by voxel, (T, C, H, W) -> (1 + N, D)."""
    rows = [module.aggregation.agg[0]]
    for i in range(2):
        for j in range(2):
            for k in range(2):
                voxel = []
                for t in range(2):
                    for y in range(4):
                        for x in range(4):
                            voxel += [clip[2 * i + t, c, 4 * j + y, 4 * k + x] for c in range(3)]
                position = module.time[i] + module.row[j] + module.column[k]
                rows.append(module.proj.weight @ torch.stack(voxel) + module.proj.bias + position)
    return torch.stack(rows)


def slow_audio_tokens(module, wave: Tensor) -> Tensor:
    pieces = [module.proj.weight @ wave[5 * n : 5 * n + 5] + module.proj.bias + module.time[n] for n in range(4)]
    return torch.stack([module.aggregation.agg[0], *pieces])


def slow_text_tokens(module, words: Tensor) -> Tensor:
    rows = []
    for n, word in enumerate(words.tolist()):
        one_hot = torch.zeros(len(module.words), dtype=module.words.dtype)
        one_hot[word] = 1
        rows.append(one_hot @ module.words + module.place[n])
    return torch.stack([module.aggregation.agg[0], *rows])


def torch_encoder(model: nn.Module) -> nn.TransformerEncoder:
    """PyTorch's own pre-norm encoder with the weights of ours."""
    layer = nn.TransformerEncoderLayer(12, 3, 24, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(layer, 2, nn.LayerNorm(12, eps=1e-6), enable_nested_tensor=False)
    state = {f"norm.{leaf}": value for leaf, value in model.encoder.norm.state_dict().items()}
    for i, block in enumerate(model.encoder.blocks):
        for theirs_name, ours in {
            "self_attn.in_proj_": block.token_mixer.branch.qkv,
            "self_attn.out_proj.": block.token_mixer.branch.proj,
            "linear1.": block.channel_mixer.branch.fc1,
            "linear2.": block.channel_mixer.branch.fc2,
            "norm1.": block.token_mixer.norm,
            "norm2.": block.channel_mixer.norm,
        }.items():
            state |= {f"layers.{i}.{theirs_name}{leaf}": value for leaf, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs.to(model.video.proj.weight.dtype)  # in training mode: the plain path, without fused kernels


def slow_projection(layers: nn.Sequential, x: Tensor) -> Tensor:
    for layer in layers:
        if isinstance(layer, nn.Linear):
            x = layer.weight @ x + layer.bias
        elif isinstance(layer, nn.BatchNorm1d):
            x = (x - layer.running_mean) / torch.sqrt(layer.running_var + 1e-5) * layer.weight + layer.bias
        else:
            x = x.clamp(min=0)
    return x


def slow_vatt(model: VATT):
    def forward(clips, waves, words):
        model.to(clips.dtype)
        encode = torch_encoder(model)
        out = []
        for clip, wave, sentences in zip(clips, waves, words):
            video = encode(slow_video_tokens(model.video, clip)[None])[0, 0]
            audio = encode(slow_audio_tokens(model.audio, wave)[None])[0, 0]
            texts = [encode(slow_text_tokens(model.text, sentence)[None])[0, 0] for sentence in sentences]
            video_va = slow_projection(model.video_to_va, video)
            out.append(
                (
                    video_va,
                    slow_projection(model.audio_to_va, audio),
                    slow_projection(model.va_to_vt, video_va),
                    torch.stack([slow_projection(model.text_to_vt, text) for text in texts]),
                )
            )
        return tuple(torch.stack(parts) for parts in zip(*out))

    return forward


@proves(141)
def test_agrees_with_its_equations():
    assert_agrees(small(), slow_vatt(small()), CLIPS[:2], WAVES[:2], WORDS[:2])


@proves(141)
def test_the_classifier_reads_the_same_video():
    model = randomised(create_model("vatt_medium", **SMALL["vatt_medium"]))

    def slow(clips):
        model.to(clips.dtype)
        tokens = torch.stack([slow_video_tokens(model.video, clip) for clip in clips])
        return torch_encoder(model)(tokens)[:, 0] @ model.head.weight.T + model.head.bias

    assert_agrees(model, slow, CLIPS)


def agg_at_the_end(model):
    model.encoder.register_forward_hook(lambda module, inputs, y: y.flip(1))


def rows_and_columns_swapped(model):
    model.video.row, model.video.column = model.video.column, model.video.row


def text_compared_without_the_first_space(model):
    model.va_to_vt = nn.Sequential(nn.Linear(8, 6))


def no_batch_norm(model):
    model.audio_to_va[1] = nn.Identity()


def no_relu_between(model):
    model.video_to_va[2] = nn.Identity()


def audio_reads_with_the_video_s_agg(model):
    model.audio.aggregation.agg = model.video.aggregation.agg


def eps_of_torch(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


@pytest.mark.parametrize(
    "mistake",
    [
        agg_at_the_end,
        rows_and_columns_swapped,
        text_compared_without_the_first_space,
        no_batch_norm,
        no_relu_between,
        audio_reads_with_the_video_s_agg,
        eps_of_torch,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, small(), slow_vatt(small()), CLIPS[:2], WAVES[:2], WORDS[:2])


VIDEO = torch.randn(4, 6, generator=GENERATOR)
TEXT = torch.randn(4, 3, 6, generator=GENERATOR)


def slow_mil_nce(video: Tensor, text: Tensor) -> Tensor:
    """Equation 5, clip by clip, with the sets of positive and of negative pairs written out."""
    size, sentences = text.shape[:2]

    def term(i, j, p):
        cosine = video[i] @ text[j, p] / (video[i].square().sum().sqrt() * text[j, p].square().sum().sqrt())
        return torch.exp(cosine / 0.07)

    losses = []
    for i in range(size):
        positive = sum(term(i, i, p) for p in range(sentences))
        others = [j for j in range(size) if j != i]
        negative = sum(term(i, j, p) + term(j, i, p) for j in others for p in range(sentences))
        losses.append(-torch.log(positive / (positive + negative)))
    return sum(losses) / size


@proves(141)
def test_mil_nce_is_its_equation():
    assert_agrees(mil_nce, slow_mil_nce, VIDEO, TEXT)


@proves(141)
def test_nce_is_its_equation():
    assert_agrees(nce, lambda v, a: slow_mil_nce(v, a[:, None]), VIDEO, TEXT[:, 0])


@proves(141)
def test_the_loss_is_the_sum_of_both():
    assert_agrees(
        lambda v, a, w, t: vatt_loss(v, a, w, t, text_weight=0.5),
        lambda v, a, w, t: slow_mil_nce(v, a[:, None]) + 0.5 * slow_mil_nce(w, t),
        VIDEO,
        TEXT[:, 0],
        VIDEO.flip(0),
        TEXT,
    )


def mean_of_the_sentences(video, text):
    return nce(video, text.mean(dim=1))


def each_sentence_for_itself(video, text):
    return torch.stack([nce(video, text[:, p]) for p in range(3)]).mean()


def not_normalised(video, text):
    return mil_nce(video, text, temperature=0.07 * 2)


def other_clips_forgotten(video, text):
    v, t = nn.functional.normalize(video, dim=-1), nn.functional.normalize(text, dim=-1)
    score = torch.einsum("id,jpd->ijp", v, t) / 0.07
    return (score.flatten(1).logsumexp(1) - score.diagonal().logsumexp(0)).mean()


@pytest.mark.parametrize(
    "wrong", [mean_of_the_sentences, each_sentence_for_itself, not_normalised, other_clips_forgotten]
)
def test_mistaken_losses_are_seen(wrong):
    assert difference(wrong, slow_mil_nce, VIDEO, TEXT)[0] > 1e-3


def test_the_loss_of_pairs_that_say_nothing_is_that_of_guessing():
    """All alike: one positive against 2(B - 1) negatives."""
    alike = torch.ones(4, 6)
    assert nce(alike, alike).item() == pytest.approx(math.log(1 + 2 * 3), rel=1e-5)


def test_training_drops_half_of_the_tokens_and_never_agg_nor_words():
    model = small().train()
    for module in (model.video, model.audio):
        module.aggregation.drop_token = 0.5
    assert model.video(CLIPS).shape == (3, 1 + 4, 12) and model.audio(WAVES).shape == (3, 1 + 2, 12)
    assert torch.equal(model.video(CLIPS)[:, 0], model.video.aggregation.agg.expand(3, -1))
    assert model.text(WORDS[:, 0]).shape == (3, 1 + 5, 12)
    kept, whole = model.audio(WAVES)[0, 1:], model.eval().audio(WAVES)[0, 1:]
    assert all(any(torch.allclose(row, other) for other in whole) for row in kept)


def test_trains_all_modalities_into_agreement():
    torch.manual_seed(0)
    model = fresh()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = vatt_loss(*model(CLIPS, WAVES, WORDS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_runs_compiled_in_one_graph():
    model = small()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for ours, theirs in zip(compiled(CLIPS, WAVES, WORDS), model(CLIPS, WAVES, WORDS)):
        torch.testing.assert_close(ours, theirs)
    classifier = create_model("vatt_medium", **SMALL["vatt_medium"]).eval()
    torch.testing.assert_close(torch.compile(classifier, fullgraph=True, backend="eager")(CLIPS), classifier(CLIPS))


def test_sizes_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="5 frames are not divided by voxels of 2 frames"):
        create_model("vatt_medium", **SMALL["vatt_medium"] | dict(num_frames=5))
    with pytest.raises(ValueError, match="8 and 12 fit"):
        create_model("vatt_medium", **SMALL["vatt_medium"] | dict(img_size=10))
