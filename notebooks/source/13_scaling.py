# %% tags=["setup"]
import time
from dataclasses import replace
import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from scipy.optimize import curve_fit
from torch import nn
from course import budget, plots, setup
from course.data import load
from course.figures import metaformer
from course.figures import scaling as figures
from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.registry import entry
from course.models.spec import part
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %%
cost = {"ViT, JFT-300M": {"L/16": (0.68, 87.76), "H/14": (2.5, 88.55)},
        "ViT, ImageNet-21k": {"L/16, 21k": (0.23, 85.30)},
        "CNN: BiT, JFT-300M": {"R152x4": (9.9, 87.54)},
        "CNN: Noisy Student": {"EfficientNet-L2": (12.3, 88.4)}}
metaformer.families(cost, above=["EfficientNet-L2"], ylabel="ImageNet top-1, %",
                    xlabel="pre-training, thousand TPUv3-core-days")

# %%
train = load("digits", "train", device="cpu")  # 1,400 images (C, H, W) = (1, 8, 8)
test = load("digits", "test", device="cpu")  # 397
DIGITS = dict(num_classes=10, img_size=8, patch_size=2, in_chans=1, num_heads=2,
              mlp_ratio=2, position="sinusoidal")  # 16 tokens

def small_vit(width, depth=2, **changes):
    return create_model("vit_cifar", embed_dim=width, depth=depth, **DIGITS | changes)

def trained(network, count=len(train), steps=400, lr=4e-3, seed=0):
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=steps), lr=lr, seed=seed)
    fit(network, train.subset(count), recipe, plot=False, progress=False)
    return network

plots.image_grid(train, count=6)

# %%
WIDTHS, COUNTS = (4, 8, 16, 32), (88, 350, 1400)

def one_run(width, count, seed):
    torch.manual_seed(seed)
    return 1 - evaluate(trained(small_vit(width), count, seed=seed), test)

def twelve_runs(seed):
    return {f"{width}": {f"{count}": one_run(width, count, seed) for count in COUNTS}
            for width in WIDTHS}

runs = over_seeds("13_scaling/law", twelve_runs, live=False)
for width, row in runs.items():
    print(f"width {width:>2}:", ", ".join(f"{100 * np.mean(seeds):4.1f} % at {count} images"
                                         for count, seeds in row.items()))

# %%
P = {width: count_parameters(small_vit(width)) for width in WIDTHS}

def law(x, A, alpha, B, beta):
    """(parameters, images), each (n,), -> error (n,)"""
    return A * x[0] ** -alpha + B * x[1] ** -beta

def fitted(widths):
    """The law through the runs of these widths, and how uncertain each of its numbers is."""
    points = [(P[width], count, error) for width in widths for count in COUNTS
              for error in runs[str(width)][str(count)]]
    *x, errors = np.array(points, dtype=float).T  # three times (n,)
    return curve_fit(lambda x, *numbers: np.log(law(x, *numbers)), np.stack(x), np.log(errors),
                     p0=(10, 0.5, 10, 0.5), bounds=(0, np.inf))

best, covariance = fitted(WIDTHS)
for name, value, width in zip(("A", "alpha", "B", "beta"), best, np.diag(covariance) ** 0.5):
    print(f"{name:5} = {value:6.2f} ± {width:.2f}")

# %%
as_numbers = {width: {count: runs[str(width)][str(count)] for count in COUNTS}
              for width in WIDTHS}
figures.law(as_numbers, P, lambda parameters, images: law((parameters, images), *best))

# %%
def beyond(seed):
    return {"width 64": one_run(64, 1400, seed)}

small, _ = fitted(WIDTHS[:3])
for count in COUNTS:
    predicted, found = law((P[32], count), *small), np.mean(runs["32"][str(count)])
    print(f"width 32, {count:4} images: predicted {predicted:.1%}, measured {found:.1%}")
P[64] = count_parameters(small_vit(64))
measured = over_seeds("13_scaling/beyond", beyond, live=False)["width 64"]
print(f"width 64, 1400 images: predicted {law((P[64], 1400), *best):.1%}, "
      f"measured {', '.join(f'{error:.1%}' for error in measured)}")

# %%
A, alpha, B, beta = best
for width in WIDTHS:
    bend = (B / A * P[width] ** alpha) ** (1 / beta)  # images at which both terms are equal
    print(f"width {width:2}, {P[width]:6,} parameters: bends at {bend:6,.0f} images")

# %%
SCALES = {"none": None, "1": 1.0, "0.1": 0.1, "1e-5": 1e-5}
pixels = (test.images.float() - 77) / 96  # (n, C, H, W), about mean 0 and spread 1
growth = {}
for name, scale in SCALES.items():
    torch.manual_seed(0)
    network = small_vit(32, depth=24, layer_scale=scale)
    z = network.stages[0].entry(network.stem(pixels))  # (n, N + 1, D)
    growth[f"LayerScale {name}"] = [z.std().item()]
    for block in network.stages[0].blocks:
        z = block(z)  # (n, N + 1, D)
        growth[f"LayerScale {name}"].append(z.std().item())
plots.curves(range(25), growth, xlabel="blocks", ylabel="spread of the residual stream")

# %%
DEPTHS, SLOWER = (2, 6, 12, 24), "none, rate ÷ 4"

def loss(network):
    network.eval()
    with torch.no_grad():
        logits = network(network.normalise_images(test.images))  # (n, 10)
    return F.cross_entropy(logits, test.labels).item()

def after_fifty(depth, scale, seed, lr=4e-3):
    """The first layer's gradient before training, and the test loss after 50 steps."""
    torch.manual_seed(seed)
    network = small_vit(32, depth, layer_scale=scale)
    F.cross_entropy(network(pixels[:100]), test.labels[:100]).backward()
    gradient = network.stem.proj.weight.grad.norm().item()
    return {"gradient": gradient, "loss": loss(trained(network, steps=50, lr=lr, seed=seed))}

# %%
def depths(seed):
    """LayerScale -> depth -> gradient and loss"""
    found = {name: {f"{depth}": after_fifty(depth, SCALES[name], seed) for depth in DEPTHS}
             for name in ("none", "0.1", "1e-5")}
    found["1"] = {"24": after_fifty(24, 1.0, seed)}
    found[SLOWER] = {"24": after_fifty(24, None, seed, lr=1e-3)}
    return found

deep = over_seeds("13_scaling/depth", depths, live=False)
lines = {f"LayerScale {name}": tuple(zip(*(deep[name][f"{depth}"]["loss"] for depth in DEPTHS)))
         for name in ("none", "0.1", "1e-5")}
plots.curves(DEPTHS, lines, log="x", xlabel="blocks", ylabel="test loss after 50 steps",
             levels={"guessing": np.log(10)})

# %%
for name, row in deep.items():
    found = row["24"]
    print(f"24 blocks, LayerScale {name:15}:",
          "; ".join(f"{what} {', '.join(f'{each:.3f}' for each in seeds)}"
                    for what, seeds in found.items()))

# %%
torch.manual_seed(0)
network = trained(small_vit(32, depth=12, layer_scale=1e-5), steps=50)
blocks = network.stages[0].blocks
after = {half: [getattr(block, half).scale.abs().mean().item() for block in blocks]  # of (D,)
         for half in ("token_mixer", "channel_mixer")}
plots.curves(range(1, 13), {"attention": after["token_mixer"], "MLP": after["channel_mixer"]},
             log="y", xlabel="block", ylabel="mean size of LayerScale")

# %%
from course.models.token_mixers.talking_heads import TalkingHeadsAttention

deit, cait = entry("deit_s").spec, entry("cait_s36").spec
talking = replace(deit, token_mixer=part(TalkingHeadsAttention, num_heads=8))
ROWS = {  # what changes: (spec, top-1, printed parameters and multiply-adds)
    "DeiT-S": (deit, 79.9, "22M 4.6B"),
    "8 heads": (deit.but(num_heads=8), 80.0, "22M 4.6B"),
    "talking heads": (talking, 80.5, "22M 4.6B"),
    "36 blocks": (talking.but(depth=36), 69.9, "64M 13.8B"),
    "LayerScale 1e-6": (talking.but(depth=36, layer_scale=1e-6), 80.5, "64M 13.8B"),
    "stochastic depth 0.2": (talking.but(depth=36, layer_scale=1e-6, drop_path=0.2), 83.0,
                             "64M 13.8B"),
    "class attention": (cait.but(drop_path=0.2), 83.2, "68M 13.9B"),
    "400 epochs": (cait.but(drop_path=0.2), 83.4, "68M 13.9B"),
    "256 pixels": (cait.but(img_size=256), 83.8, "68M 18.6B"),
    "fine-tuned at 384": (cait.but(img_size=384), 84.8, "68M 48.0B"),
    "hard distillation": (cait.but(img_size=384), 85.2, "68M 48.0B"),
    "crop ratio 1.0": (cait.but(img_size=384), 85.4, "68M 48.0B")}

# %%
counted = {}
for name, (spec, _, printed) in list(ROWS.items())[: budget(tiny=2, cpu=12)]:
    key = repr(spec)
    if key not in counted:
        with torch.device("meta"):  # shapes without numbers
            network = spec.build()
        macs = count_macs(network, 1, 3, spec.img_size, spec.img_size)
        counted[key] = f"{count_parameters(network) / 1e6:.2f}M {macs / 1e9:.2f}G"
    print(f"{name:22} printed {printed:10}  counted {counted[key]}")
figures.ladder({name: accuracy for name, (_, accuracy, _) in ROWS.items()}, start=66,
               xlabel="ImageNet-1k top-1, %")

# %%
figures.class_attention()

# %%
from course.models.token_mixers.class_attention import ClassAttention

layer = ClassAttention(dim=48, num_heads=4)
z = torch.randn(2, 10, 48)  # (B, 1 + N, D): class token and 9 patches
q = rearrange(layer.q(z[:, :1]), "b 1 (h d) -> b h 1 d", h=4)  # one query
k, v = rearrange(layer.kv(z), "b n (two h d) -> two b h n d", two=2, h=4)
scores = einsum(q, k, "b h i d, b h j d -> b h i j") / 12**0.5  # (B, h, 1, 1 + N)
out = layer.proj(rearrange(scores.softmax(dim=-1) @ v, "b h 1 d -> b 1 (h d)"))  # (B, 1, D)
print("the same as the class:", torch.allclose(layer(z)[:, :1], out, atol=1e-6))
print("what is added to the patches:", layer(z)[:, 1:].abs().max().item())
D, N = 384, 197
costs = {"self-attention": 4 * N * D**2 + 2 * N**2 * D,
         "class attention": 2 * N * D**2 + 2 * D**2 + 2 * N * D}
print("; ".join(f"{name} {cost / 1e6:.1f} M multiply-adds" for name, cost in costs.items()))

# %%
def ranks(heads, D=32, N=64):
    """Rank of one head's N × N table before softmax: alone, and after heads have talked."""
    torch.manual_seed(0)
    layer = TalkingHeadsAttention(D, heads)
    q, k, _ = rearrange(layer.qkv(torch.randn(1, N, D)), "b n (three h d) -> three b h n d",
                        three=3, h=heads)
    scores = einsum(q, k, "b h i d, b h j d -> b h i j")  # (B, h, N, N)
    talked = einsum(layer.talk_before.weight, scores, "g h, b h i j -> b g i j")
    return [int(torch.linalg.matrix_rank(each[0, 0], rtol=1e-4)) for each in (scores, talked)]

for heads in (1, 2, 4, 8):
    alone, talked = ranks(heads)
    print(f"{heads} heads of {32 // heads:2}: rank {alone:2} alone, {talked:2} after talking")

# %%
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.linformer import LinformerAttention
from course.models.token_mixers.performer import PerformerAttention

LENGTHS = (64, 256, 1024, 4096)

def three(N, sharpness=1.0, D=64, heads=2):
    """Attention, and two approximations with the same projections."""
    torch.manual_seed(0)
    exact = SelfAttention(D, heads)
    exact.qkv.weight.data[: 2 * D] *= sharpness**0.5  # of queries and keys
    others = {"Performer, 256 features": PerformerAttention(D, heads, num_features=256),
              "Linformer, 64 summaries": LinformerAttention(D, (1, N), heads, class_tokens=0)}
    for other in others.values():
        other.qkv, other.proj = exact.qkv, exact.proj
    return {"attention": exact} | others

# %%
@torch.inference_mode()
def errors(N, sharpness):
    exact, *others = three(N, sharpness).values()
    x = torch.randn(1, N, 64)  # (B, N, D)
    y = exact(x) - exact.proj.bias  # (B, N, D)
    found = [((other(x) - exact(x)).norm() / y.norm()).item() for other in others]
    q, k, _ = rearrange(exact.qkv(x), "b n (three h d) -> three b h n d", three=3, h=2)
    table = (q[0, 0] @ k[0, 0].T / 32**0.5).softmax(dim=-1)  # (N, N)
    return *found, table.max(dim=-1).values.mean().item()

for sharpness in (1, 3, 10, 30):
    performer, linformer, largest = errors(budget(tiny=64, cpu=1024), sharpness)
    print(f"scores × {sharpness:2}: largest weight {largest:.3f}; error of Performer "
          f"{performer:.2f}, of Linformer {linformer:.2f}")
by_length = {N: errors(N, 3) for N in LENGTHS[: budget(tiny=1, cpu=4)]}
plots.curves(list(by_length), {name: [found[i] for found in by_length.values()] for i, name in
             enumerate(("Performer, 256 features", "Linformer, 64 summaries"))},
             log="x", xlabel="tokens N", ylabel="error, relative to the output")

# %%
@torch.inference_mode()
def seconds(layer, *inputs, times=budget(tiny=1, cpu=5)):
    layer(*inputs)  # once to warm up
    found = []
    for _ in range(times):
        start = time.perf_counter()
        layer(*inputs)
        found.append(time.perf_counter() - start)
    return min(found)

lengths = LENGTHS[: budget(tiny=1, cpu=4)]
taken = {name: [1e3 * seconds(three(N)[name], torch.randn(1, N, 64)) for N in lengths]
         for name in three(64)}
plots.curves(lengths, taken, log="xy", xlabel="tokens N", ylabel="milliseconds")

# %%
from course.models.heads import MeanHead
from course.models.stems import Tokens
from course.models.token_mixers.retention import Retention

CHEAPER = {"attention": part(SelfAttention), "retention": part(Retention, value_ratio=1),
           "Linformer, 4 summaries": part(LinformerAttention, class_tokens=0, num_summaries=4),
           "Performer, 16 features": part(PerformerAttention, num_features=16)}

def with_mixer(mixer):
    """A ViT of width 32 without a class token: its head takes the mean of the 16 tokens."""
    spec = replace(entry("vit_cifar").spec, token_mixer=mixer, head=part(MeanHead),
                   tokens=part(Tokens, class_tokens=0))
    return spec.but(embed_dim=32, depth=2, **DIGITS).build()

def trained_through(seed):
    found = {}
    for name, mixer in CHEAPER.items():
        torch.manual_seed(seed)
        found[name] = {"digits": evaluate(trained(with_mixer(mixer), seed=seed), test)}
    return found

plots.bars(over_seeds("13_scaling/trained through", trained_through, live=False), chance=0.1)

# %%
from course.models.channel_mixers.mixture_of_experts import (
    MixtureOfExperts, load_balancing_loss)

moe = MixtureOfExperts(dim=6, num_experts=4, top_k=2)
x = torch.randn(1, 5, 6)  # (B, N, D)
logits, expert = moe.router(x).topk(2, dim=-1)  # (B, N, k) each
weight = logits.softmax(dim=-1)  # (B, N, k): over the chosen ones only
y = torch.zeros_like(x)  # (B, N, D)
for n in range(5):
    for choice in range(2):
        e = expert[0, n, choice]
        hidden = F.gelu(x[0, n] @ moe.fc1[e])  # (4 D,): W₁ of this expert
        y[0, n] += weight[0, n, choice] * (hidden @ moe.fc2[e])  # (D,): W₂
print("the same as the class:", torch.allclose(y, moe(x), atol=1e-5))
print("experts of token 0:", expert[0, 0].tolist(), "with weights",
      ", ".join(f"{each:.2f}" for each in weight[0, 0].tolist()))

# %%
for name in ("vit_s16", "vit_moe_s16"):
    with torch.device("meta"):
        network = create_model(name)
    print(f"{name:12} {count_parameters(network) / 1e6:6.1f} M parameters, "
          f"{count_macs(network, 1, 3, 224, 224) / 1e9:.2f} G multiply-adds")

# %%
mean, spread = train.images.float().mean(), train.images.float().std()

def routed(balance, seed, steps=200):
    """A ViT with 8 experts in its second block, trained; and its router's logits (T, E)."""
    torch.manual_seed(seed)
    network = create_model("vit_moe_s16", embed_dim=32, depth=2, capacity_factor=None,
                           **DIGITS)
    moe, seen = network.stages[0].blocks[1].channel_mixer.branch, {}
    moe.router.register_forward_hook(lambda *call: seen.update(logits=call[-1]))  # (B, N, E)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(budget(tiny=2, cpu=steps)):
        batch = torch.randint(len(train), (64,))
        out = network((train.images[batch].float() - mean) / spread)  # (B, 10)
        balanced = load_balancing_loss(seen["logits"].flatten(0, 1), top_k=2)
        (F.cross_entropy(out, train.labels[batch]) + balance * balanced).backward()
        optimizer.step(), optimizer.zero_grad()
    with torch.no_grad():
        out = network((test.images.float() - mean) / spread)
    return (out.argmax(dim=1) == test.labels).float().mean().item(), seen["logits"]

# %%
looked_at = {}

def balance(seed):
    """weight of the loss -> accuracy, its value, largest load, choices without a place"""
    found = {}
    for weight in (0.0, 0.01, 0.1):
        accuracy, logits = routed(weight, seed)
        chosen = logits.topk(2, dim=-1).indices  # (B, N, k)
        counts = F.one_hot(chosen, 8).sum(dim=(1, 2))  # (B, E): choices of an image
        room = int(np.ceil(1.05 * counts[0].sum().item() / 8))  # a box of 1.05 fair shares
        loads = counts.sum(dim=0) / counts.sum()  # (E,)
        found[f"{weight:g}"] = {
            "accuracy": accuracy, "largest load": loads.max(),
            "loss": load_balancing_loss(logits.flatten(0, 1), top_k=2).item(),
            "no place": 1 - counts.clamp(max=room).sum() / counts.sum()}
        if seed == 0:
            looked_at[f"{weight:g}"] = chosen[:, :, 0], loads.tolist()
    return found

for weight, found in over_seeds("13_scaling/balance", balance).items():
    print(f"weight {weight:4}", "; ".join(
        f"{name} {', '.join(f'{float(each):.2f}' for each in seeds)}"
        for name, seeds in found.items()))

# %%
first, _ = looked_at["0.01"]  # (n, N + 1): the first choice of class token and patches
figures.routing(test.images[:5], rearrange(first[:5, 1:], "n (h w) -> n h w", h=4),
                {f"weight {weight}": looked_at[weight][1] for weight in ("0", "0.01")})

# %%
from course.models.token_mixers import retention

q, k, v = torch.randn(3, 1, 4, 128, 16)  # (B, h, N, d) each
gamma = retention.decay_rates(4)  # (h,)
parallel = retention.parallel_retention(q, k, v, gamma)  # (B, h, N, d)
for form in (retention.recurrent_retention, retention.chunkwise_retention):
    difference = (form(q, k, v, gamma) - parallel).abs().max() / parallel.abs().max()
    print(f"{form.__name__}: largest difference {difference:.0e}")
place = torch.arange(6)
decay = {f"head {head}: γ = {rate:.3f}": (rate ** (place[:, None] - place).clamp(min=0)).tril()
         for head, rate in enumerate(gamma[[0, 3]].tolist())}
plots.matrices(decay)

# %%
forms = {"parallel": retention.parallel_retention, "recurrent": retention.recurrent_retention,
         "chunkwise": retention.chunkwise_retention}
lengths = (64, 256, 1024, 4096)[: budget(tiny=1, cpu=4)]
spent = {name: [] for name in forms}
for N in lengths:
    sequence = torch.randn(3, 1, 4, N, 16)  # q, k, v: (B, h, N, d)
    for name, form in forms.items():
        spent[name].append(1e3 * seconds(form, *sequence, gamma, times=budget(tiny=1, cpu=2)))
plots.curves(lengths, spent, log="xy", xlabel="tokens N", ylabel="milliseconds")

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

class Traffic(TorchDispatchMode):
    """Of every operation: its FLOPs, and the bytes it reads and writes (2 a number)."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        if not operation.is_view:  # a view moves nothing
            count = flop_registry.get(operation.overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=out) if count else 0
            tensors = [t for t in tree_leaves((args, out)) if isinstance(t, torch.Tensor)]
            self.operations.append((flops, 2 * sum(t.numel() for t in tensors)))
        return out

# %%
PEAK, BANDWIDTH = 312e12, 1.555e12  # FLOP/s, bytes/s: A100 (NVIDIA 2020), 16-bit numbers

def on_the_roof(name, batch=64):
    """FLOP per byte, and the share of the peak that memory allows, 0..1"""
    with torch.device("meta"):
        network = create_model(name).eval().requires_grad_(False)
        images = torch.empty(batch, 3, 224, 224)  # (B, C, H, W)
    with Traffic() as traffic, sdpa_kernel(SDPBackend.MATH):
        network(images)
    flops, moved = np.array(traffic.operations, dtype=float).T  # (operations,) each
    needed = np.maximum(flops / PEAK, moved / BANDWIDTH).sum()  # s: the slower of the two
    return flops.sum() / moved.sum(), flops.sum() / PEAK / needed

shown = {"ViT-L/16": "vit_l16", "ViT-B/16": "vit_b16", "ConvNeXt-T": "convnext_t",
         "CNN: ResNet-50": "resnet_50", "Swin-T": "swin_t", "CNN: MobileNet": "mobilenet_v1"}
on_roof = {name: on_the_roof(model) for name, model in
           list(shown.items())[: budget(tiny=1, cpu=6)]}
figures.roofline(on_roof, peak=PEAK, bandwidth=BANDWIDTH)

# %%
def layers(D=384, side=14, batch=64):
    """FLOP per byte of single layers on a map (B, side, side, D), 2 bytes a number"""
    places = batch * side**2
    both = 2 * 2 * places * D  # bytes: the map read and written
    return {"linear D to D": 2 * places * D**2 / (both + 2 * D**2),
            "3 × 3 convolution": 18 * places * D**2 / (both + 18 * D**2),
            "depthwise 7 × 7": 98 * places * D / (both + 2 * 49 * D),
            "depthwise 3 × 3": 18 * places * D / (both + 2 * 9 * D),
            "LayerNorm, GELU, ...": 10 * places * D / both}

for name, intensity in layers().items():
    print(f"{name:22} {intensity:6.1f} FLOP per byte")
