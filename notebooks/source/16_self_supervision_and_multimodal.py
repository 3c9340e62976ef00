# %% [markdown]
# # 16 · Self-supervision, multimodal: learning without labels
#
# TEXT

# %% tags=["setup"]
import math
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import nn
from course import budget, plots, setup
from course.analysis import (
    PIXELS, attention_masks, attention_weights, frozen_features, iou, knn, linear_probe)
from course.data import load
from course.data.digits import MOTIONS
from course.data.normalise import Normalise
from course.figures import self_supervision as figures
from course.figures.what_vits_see import panels
from course.models import create_model
from course.models.dino import DINO, dino_loss
from course.models.masked_images import (
    MAE, SimMIM, mae_loss, patchify, random_masking, simmim_loss, unmask, unpatchify)
from course.seeds import cache, over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1

# %%
def middle(split, size):
    """The middle frame (N, 1, 16, 16) of each clip, uint8, and which digit it shows, (N,)."""
    clips = load("digit_video", split, size=size, label="digit", device="cpu")
    return clips.images[:, 2], clips.labels

frames, _ = middle("train", budget(tiny=60, cpu=4000))  # to learn from: nobody looks at labels
known = middle("train", budget(tiny=60, cpu=2000))  # whose labels a probe may see
asked = middle("test", budget(tiny=40, cpu=1000))
plots.image_grid(frames, count=8, columns=8)

# %% [markdown]
# mask

# %%
images = asked[0][:8].float() / 255  # (B, C, H, W) = (8, 1, 16, 16)
tokens = patchify(images, 4)  # (B, N, P·P·C) = (8, 16, 16)
kept, hidden, restore = random_masking(tokens, mask_ratio=0.5)
print("left", tuple(kept.shape), "hidden", tuple(hidden.shape), "restore", tuple(restore.shape))
where = rearrange(hidden, "b (h w) -> b h 1 w 1", h=4).expand(-1, -1, 4, -1, 4)
where = where.reshape(8, 16, 16)  # bool (B, H, W): each patch a square of pixels
figures.rows({"image": images, "what is left": images}, painted={"what is left": where},
             colour="#767676")

# %% [markdown]
# unmask

# %%
mask_token = torch.full((16,), 0.5)  # (P·P·C,): learned in MAE, here a grey patch
back = unmask(kept, mask_token, restore)  # (B, N, P·P·C)
right = torch.where(hidden[..., None], mask_token, tokens)  # (B, N, P·P·C)
f"largest difference: {(back - right).abs().max():.0f}"

# %% [markdown]
# figure

# %%
figures.two_ways(count=16, kept=8)

# %% [markdown]
# loss

# %%
said = torch.randn(8, 16, 16)  # (B, N, P·P·C): what a network might answer
error = (said - tokens).square().mean(dim=-1)  # (B, N)
by_hand = (error * hidden).sum() / hidden.sum()
ours = mae_loss(said, images, hidden, patch_size=4, norm_pix_loss=False)
print(f"MAE     {by_hand:.5f} {ours:.5f}")
drawn = unpatchify(said, 4, grid=(4, 4))  # (B, C, H, W)
by_hand = ((drawn - images).abs() * where[:, None]).sum() / where.sum()
print(f"SimMIM  {by_hand:.5f} {simmim_loss(drawn, images, where):.5f}")

# %% [markdown]
# train

# %%
def small_vit(num_classes=0):
    """16 × 16 pixels as 16 tokens of 48 numbers, with a class token; three blocks."""
    return create_model("vit_cifar", img_size=16, patch_size=4, in_chans=1, embed_dim=48,
                        depth=3, num_heads=4, num_classes=num_classes)

@cache
def pretrained(way, seed):
    """An encoder that saw no label, in what trained it, and the curve of its loss."""
    torch.manual_seed(seed)
    if way == "SimMIM":
        model = SimMIM(small_vit(), mask_ratio=0.5, mask_size=4)
    else:
        model = MAE(small_vit(), mask_ratio=0.5, norm_pix_loss=way == "MAE, normalised",
                    decoder_dim=48, decoder_depth=1, decoder_heads=4)
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=400), lr=2e-3, seed=seed)
    return model, fit(model, frames, recipe, plot=False, progress=False).loss

mae, loss = pretrained("MAE, pixels", seed=0)
plots.curves(range(1, len(loss) + 1), {"MAE": loss}, xlabel="step", ylabel="loss",
             levels={"variance of the pixels": 1.0})

# %% [markdown]
# reconstruct

# %%
normalise = mae.normalise_images  # to mean 0 and standard deviation 1, as fit found them
target = normalise(asked[0])  # (B, C, H, W), floats
torch.manual_seed(1)
with torch.no_grad():
    patches, hidden = mae.reconstruct(target)  # (B, N, P·P·C), bool (B, N)
filled = unpatchify(torch.where(hidden[..., None], patches, patchify(target, 4)), 4, (4, 4))
where = unpatchify(hidden[..., None].expand(-1, -1, 16), 4, (4, 4))[:, 0]  # bool (B, H, W)
place = normalise(frames).mean(dim=0)  # (C, H, W): the mean frame
wrong = {"black everywhere": target - target.median(), "the mean frame": target - place,
         "MAE": target - filled}
for name, error in wrong.items():
    print(f"{name:16} {error.square()[:, 0][where].mean():.2f}")
figures.rows({"image": target[:8], "what is left": target[:8], "filled in": filled[:8]},
             painted={"what is left": where[:8]}, colour="#767676")

# %% [markdown]
# stems

# %%
def refusal(method, name, **options):
    try:
        method(create_model(name, num_classes=0), **options)
    except ValueError as error:
        return str(error)
    return "takes it"

print("MAE,    Swin:      ", refusal(MAE, "swin_cifar"))
print("SimMIM, Swin:      ", refusal(SimMIM, "swin_cifar", mask_size=4))
print("SimMIM, ConvStem:  ", refusal(SimMIM, "poolformer_cifar", mask_size=4))

# %% [markdown]
# leak

# %%
from course.models.conv_stems import ConvStem
from course.models.stems import PatchEmbed

mask = torch.rand(16).argsort().view(4, 4) >= 8  # bool (h, w): half of 4 × 4 patches hidden
large = mask.repeat_interleave(8, 0).repeat_interleave(8, 1)  # bool (H, W)

def seen_by_visible(stem):
    """The pixels (H, W) on which any token depends that is not hidden."""
    pixels = torch.randn(1, 3, 32, 32, requires_grad=True)  # (B, C, H, W)
    visible = stem(pixels)[0][~mask]  # (K, D)
    (gradient,) = torch.autograd.grad(visible.abs().sum(), pixels)
    return gradient[0].abs().sum(dim=0) > 0

separate = PatchEmbed(16, (32, 32), patch_size=8)  # (B, 3, 32, 32) -> (B, 4, 4, 16)
overlapping = ConvStem(16, patch_size=13, stride=8, padding=3)  # the same shapes
figures.leak(large, {"patches of 8 × 8": seen_by_visible(separate),
                     "13 × 13, stride 8": seen_by_visible(overlapping)})

# %% [markdown]
# ## 2

# %%
def untrained(seed):
    torch.manual_seed(seed)
    encoder = small_vit()
    encoder.normalise_images = Normalise.of(frames)  # as `fit` would do it
    return encoder

features, labels = frozen_features(untrained(0), known[0]), known[1]  # (n, D), (n,)
mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6  # (D,)
scaled = (features - mean) / std  # (n, D)
probe = nn.Linear(48, 10)
optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=budget(tiny=5, cpu=100))

def penalised():
    optimiser.zero_grad()
    loss = F.cross_entropy(probe(scaled), labels)
    loss = loss + probe.weight.square().sum() / (2 * len(labels))
    loss.backward()
    return loss

optimiser.step(penalised)
right = (probe(scaled).argmax(dim=1) == labels).float().mean()
print(f"an untrained ViT, on the frames that the probe was fitted to: {100 * right:.0f} %")

# %% [markdown]
# ways

# %%
def both(model, known, asked):
    return {"linear probe": linear_probe(model, known, asked),
            "nearest neighbours": knn(model, known, asked)}

def ways(seed):
    found = {"pixels": both(PIXELS, known, asked),
             "untrained": both(untrained(seed), known, asked)}
    for way in ("MAE, pixels", "MAE, normalised", "SimMIM"):
        found[way] = both(pretrained(way, seed)[0].encoder, known, asked)
    return found

plots.bars(over_seeds("16_self_supervision_and_multimodal/ways", ways, live=False), chance=0.1)

# %% [markdown]
# neighbours

# %%
def nearest(model, count=8):
    """Of the first test frames, the frame of `known` that is most alike: (count,) places."""
    table, query = frozen_features(model, known[0]), frozen_features(model, asked[0][:count])
    mean = table.mean(dim=0)  # (D,)
    table, query = F.normalize(table - mean, dim=1), F.normalize(query - mean, dim=1)
    return (query @ table.T).argmax(dim=1)  # (B,)

found = {"by pixels": nearest(PIXELS), "by MAE": nearest(mae.encoder)}
digits_of = {name: [str(n) for n in known[1][which].tolist()] for name, which in found.items()}
digits_of["asked"] = [str(n) for n in asked[1][:8].tolist()]
shown = {"asked": asked[0][:8]} | {name: known[0][which] for name, which in found.items()}
figures.rows(shown, captions=digits_of)

# %% [markdown]
# two questions

# %%
@cache
def on_two_questions(seed):
    torch.manual_seed(seed)
    encoder = create_model("vit_cifar", embed_dim=48, depth=3, num_heads=4, num_classes=0)
    model = MAE(encoder, decoder_dim=48, decoder_depth=1, decoder_heads=4)  # hides 75 %
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=400), lr=2e-3, seed=seed)
    images = load("two_questions", size=budget(tiny=60, cpu=4000), device="cpu").images
    fit(model, images, recipe, plot=False, progress=False)
    return encoder

def turned(seed):
    train = load("two_questions", size=budget(tiny=60, cpu=2000), device="cpu")
    test = load("two_questions", "test", size=budget(tiny=40, cpu=1000), device="cpu")
    found = {}
    for name, model in {"pixels": PIXELS, "MAE": on_two_questions(seed)}.items():
        for way, probe in {"linear probe": linear_probe, "nearest neighbours": knn}.items():
            found[f"{name}, {way}"] = {
                question: probe(model, train.ask(question), test.ask(question))
                for question in ("texture", "relation")}
    return found

results = over_seeds("16_self_supervision_and_multimodal/turned", turned, live=False)
plots.bars(results, chance=0.1)

# %% [markdown]
# ## 3

# %%
digits = load("digits", size=budget(tiny=60, cpu=1437), device="cpu")
inked = F.pad(digits.images, (1, 1, 1, 1))  # (N, 1, 10, 10), uint8

def view(images):
    """Turned, moved, scaled, lighter or darker, with noise: (B, 1, H, W), 0 to 255 -> the same."""
    B = len(images)
    turn, scale = 0.6 * torch.rand(B) - 0.3, 0.7 + 0.45 * torch.rand(B)  # (B,), (B,)
    move = 0.4 * torch.rand(B, 2) - 0.2  # (B, 2)
    rows = [[scale * turn.cos(), -scale * turn.sin(), move[:, 0]],
            [scale * turn.sin(), scale * turn.cos(), move[:, 1]]]
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (B, 2, 3)
    grid = F.affine_grid(theta, images.shape, align_corners=False)  # (B, H, W, 2)
    moved = F.grid_sample(images.float(), grid, align_corners=False)
    return moved * (0.7 + 0.6 * torch.rand(B, 1, 1, 1)) + 25 * torch.randn(images.shape)

pairs = {name: view(inked[:8]).clamp(0, 255) / 255 for name in ("one view", "another")}
figures.rows({"image": inked[:8]} | pairs)

# %% [markdown]
# equation

# %%
student, teacher = torch.randn(2, 4, 5), torch.randn(2, 4, 5)  # logits (views, B, K)
centre = teacher.mean(dim=(0, 1))  # (K,)
target = ((teacher - centre) / 0.04).softmax(dim=-1)  # (2, B, K)
answer = (student / 0.1).log_softmax(dim=-1)  # (2, B, K)
by_hand = -(target[0] * answer[1] + target[1] * answer[0]).sum(dim=-1).mean() / 2
print(f"{by_hand:.5f} {dino_loss(list(student), list(teacher), centre, 0.1, 0.04):.5f}")

# %% [markdown]
# sharp

# %%
logits = torch.tensor([0.55, 0.5, 0.45, 0.4, 0.9, 0.35, 0.3, 0.5])  # (K,), cosines of one image
usual = torch.tensor([0.5, 0.3, 0.4, 0.4, 0.85, 0.4, 0.3, 0.4])  # (K,), the mean over all images
figures.answers({
    "temperature 1": logits.softmax(0), "temperature 0.1": (logits / 0.1).softmax(0),
    "temperature 0.02": (logits / 0.02).softmax(0),
    "0.02, centred": ((logits - usual) / 0.02).softmax(0)})

# %% [markdown]
# train

# %%
class Encoder(nn.Sequential):
    """(B, 1, 10, 10) -> (B, 64): an MLP is enough for digits that lie in the middle."""

    num_features = 64

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(100, 128), nn.LayerNorm(128), nn.GELU(),
                         nn.Linear(128, 64), nn.GELU())

@torch.no_grad()
def entropies(model, images):
    """Of the mean answer, and the mean of the answers': H(E p) and E H(p), in nats."""
    (logits,) = model.teacher_logits([model.normalise_images(images)])  # (N, K)
    p = ((logits - model.centre) / model.teacher_temp).softmax(dim=-1)  # (N, K)
    H = lambda q: -(q * q.clamp(min=1e-12).log()).sum(dim=-1)
    return H(p.mean(dim=0)).item(), H(p).mean().item()

# %%
def learn(encoder, images, steps, **options):
    """DINO's training, and the two entropies ten times on the way: (10, 2)."""
    options = {"momentum": 0.99, "teacher_temp": 0.02} | options
    model = DINO(encoder, prototypes=32, hidden=64, bottleneck=32, **options)
    model.normalise_images = normalise = Normalise.of(images)
    learned = [p for p in model.parameters() if p.requires_grad]  # the student's
    optimiser = torch.optim.AdamW(learned, lr=3e-3, weight_decay=0)
    rate = lambda step: min(1, (step + 1) / 60) * (1 + math.cos(math.pi * step / steps)) / 2
    schedule, curve = torch.optim.lr_scheduler.LambdaLR(optimiser, rate), []
    for step in range(steps):
        batch = images[torch.randint(len(images), (128,))]  # (B, 1, H, W)
        loss = model([normalise(view(batch)), normalise(view(batch))])  # a scalar
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        model.after_step(step, steps)  # the teacher follows
        if (step + 1) % max(1, steps // 10) == 0:
            curve.append(entropies(model, images))
    return model, torch.tensor(curve)

# %%
ARMS = {"centre and sharpen": {}, "no centre": {"centre_momentum": 1.0},
        "no sharpening": {"teacher_temp": 1.0}, "teacher follows at once": {"momentum": 0.0}}

@cache
def dino(arm, seed):
    torch.manual_seed(seed)
    return learn(Encoder(), inked, budget(tiny=2, cpu=400), **ARMS[arm])

def collapse(seed):
    found = {}
    for arm in ARMS:
        of_mean, of_each = dino(arm, seed)[1].T  # (10,) each
        found[arm] = {"of the mean": of_mean, "of each": of_each,
                      "information": of_mean - of_each, "in the end": of_mean[-1] - of_each[-1]}
    return found

collapsed = over_seeds("16_self_supervision_and_multimodal/collapse", collapse)
tenths = range(1, 1 + len(collapsed["no centre"]["information"][0]))
drawn = {title: (tenths, {arm: collapsed[arm][key] for arm in ARMS})
         for title, key in (("of the mean answer", "of the mean"),
                            ("of each answer, mean", "of each"), ("their difference", "information"))}
panels(drawn, xlabel="tenth of the training", ylabel="entropy, nats",
       level=("log 32", math.log(32)))

# %% [markdown]
# prototypes

# %%
model = dino("centre and sharpen", seed=0)[0]
logits = model.teacher_logits([model.normalise_images(inked)])[0] - model.centre  # (N, K)
counts = torch.zeros(32, 10).index_put_(
    (logits.argmax(dim=1), digits.labels), torch.ones(len(inked)), accumulate=True)  # (K, 10)
busy = counts.sum(dim=1).argsort(descending=True)[:10]  # (10,): those with most digits
names = [f"prototype {k}" for k in busy.tolist()]
plots.matrices({"how many images": counts[busy]}, rows=names, columns=[*"0123456789"])

# %% [markdown]
# ## 4

# %%
def glyphs(split, size):
    """Middle frames (B, 1, H, W), and where their digit lies, bool (B, H, W)."""
    clips = load("digit_video", split, size=size, label="motion", device="cpu")
    means = []
    for clip, motion in zip(clips.images / 255, clips.labels.tolist()):  # (T, 1, H, W)
        x, y = list(MOTIONS.values())[motion]
        shifted = [clip[t, 0].roll(((2 - t) * y, (2 - t) * x), (0, 1)) for t in range(5)]
        means.append(torch.stack(shifted).mean(dim=0))  # (H, W), with half of the noise
    return clips.images[:, 2], torch.stack(means) > 0.3

shown, truth = glyphs("test", budget(tiny=20, cpu=300))
to_choose, truth_to_choose = glyphs("train", budget(tiny=20, cpu=300))
figures.rows({"frame": shown[:8], "the digit": shown[:8]}, painted={"the digit": truth[:8]})

# %% [markdown]
# masks

# %%
def masks(encoder, images):
    """Of each head of the last layer, bool (B, heads, H, W)."""
    return attention_masks(attention_weights(encoder, images)[-1], size=(16, 16))

def best_head(encoder):
    """Which head fits best on frames for choosing, and its IoU on the others."""
    overlap = iou(masks(encoder, to_choose), truth_to_choose[:, None]).mean(dim=0)  # (heads,)
    head = overlap.argmax()
    return head, iou(masks(encoder, shown)[:, head], truth).mean().item()

encoders = {"untrained": untrained(0), "MAE": mae.encoder}
painted = {name: masks(each, shown)[:8, best_head(each)[0]] for name, each in encoders.items()}
figures.rows({"frame": shown[:8], "untrained": shown[:8], "MAE": shown[:8]}, painted=painted)

# %% [markdown]
# compared

# %%
@cache
def with_labels(seed, count, start=None):
    """A ViT that learns digits from so many labels, from an encoder or from nothing."""
    torch.manual_seed(seed)
    model = small_vit()
    if start is not None:
        model.load_state_dict(pretrained(start, seed)[0].encoder.state_dict())
    model.reset_classifier(10)
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=150), lr=2e-3, seed=seed)
    fit(model, (known[0][:count], known[1][:count]), recipe, plot=False, progress=False)
    return model

def attended(seed):
    encoders = {"untrained": untrained(seed), "MAE": pretrained("MAE, pixels", seed)[0].encoder,
                "with labels": with_labels(seed, 2000)}
    torch.manual_seed(seed)
    encoders["DINO"] = learn(small_vit(), frames, budget(tiny=2, cpu=150))[0].teacher
    return {name: {"IoU": best_head(each)[1]} for name, each in encoders.items()}

overlaps = over_seeds("16_self_supervision_and_multimodal/attended", attended, live=False)
cuts = [0.2, 0.3, 0.4, 0.5, 0.6]
by_cut = [iou(to_choose[:, 0] / 255 > cut, truth_to_choose).mean().item() for cut in cuts]
cut = cuts[by_cut.index(max(by_cut))]  # chosen on the same frames as the heads
bright = iou(shown[:, 0] / 255 > cut, truth).mean().item()
plots.bars(overlaps | {f"brighter than {cut}": {"IoU": bright}})

# %% [markdown]
# labels

# %%
COUNTS = (50, 200, 2000)

def few(seed):
    found = {}
    for way, start in {"from nothing": None, "fine-tuned from MAE": "MAE, normalised"}.items():
        found[way] = [evaluate(with_labels(seed, count, start), asked) for count in COUNTS]
    encoder = pretrained("MAE, normalised", seed)[0].encoder
    for name, model in {"MAE": encoder, "pixels": PIXELS}.items():
        found[f"linear probe on {name}"] = [
            linear_probe(model, (known[0][:n], known[1][:n]), asked) for n in COUNTS]
    return found

plots.curves(COUNTS, over_seeds("16_self_supervision_and_multimodal/few", few, live=False),
             xlabel="labels", ylabel="accuracy", log="x")
