"""The words of the field that the lectures use: the one list of them.

``notebooks/glossary.md`` is built from it (``course build``), and the build links the first use of each term, in the
lecture that explains it, to its place there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from course.syllabus import LECTURES

PAGE = "glossary.md"  # in notebooks/
# Where no link goes: headings, code, formulas, links and pictures, HTML, rows of tables.
_NO_LINK = re.compile(
    r"^#[^\n]*$|^\|[^\n]*$|```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|!?\[[^\]]*\]\([^)]*\)|<[^>]*>",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Term:
    """One term.

    Args:
        name: as the lectures write it.
        meaning: a sentence or two.
        lecture: number of the lecture that explains it.
        also: other names for the same thing.
        chinese, korean: the name in Traditional Chinese and in Korean, where slides in these languages have one.
    """

    name: str
    meaning: str
    lecture: int
    also: tuple[str, ...] = ()
    chinese: str = ""
    korean: str = ""

    @property
    def anchor(self) -> str:
        """Its place on the page, as Markdown makes it of the heading."""
        return re.sub(r"[^\w-]", "", self.name.lower().replace(" ", "-"))


TERMS = (
    Term("ablation", "Changing or taking out one part of a network at a time, to see what each is worth.", 12),
    Term(
        "accuracy",
        "The share of the test images whose class is predicted rightly. Top-1 accuracy asks for the class with the "
        "highest logit; top-5 accuracy is content if the right class is among the five highest.",
        5,
        also=("top-1", "top-5"),
    ),
    Term(
        "arithmetic intensity",
        "Operations for each byte that is moved between processor and memory. Below a certain value, 201 on one kind of "
        "GPU, the processor waits for its memory.",
        13,
    ),
    Term(
        "attention",
        "Each token takes a weighted mean of the values of all tokens. The weights come from its query and their keys: "
        "a softmax over their scalar products.",
        3,
        also=("self-attention",),
        chinese="自注意力",
    ),
    Term(
        "attention pooling",
        "A head in which one learned query weighs all tokens once, behind the last block; also called multi-head "
        "attention pooling, MAP (Lee et al. 2019; Zhai et al. 2022).",
        9,
        also=("MAP",),
    ),
    Term(
        "attention rollout",
        "The attention maps of all blocks multiplied with each other, each mixed with the identity for the residual "
        "connection: an estimate of how much each input token reaches each output token.",
        6,
    ),
    Term(
        "Adam",
        "An update rule: steps along the running mean of the gradients, divided, number by number, by the root of the "
        "running mean of their squares (Kingma and Ba 2015). AdamW also shrinks the weights, whatever the gradient.",
        1,
        also=("AdamW",),
    ),
    Term(
        "augmentation",
        "Changing training images at random (crop, flip, colour) in ways that leave the label right, so that a network "
        "sees more images than there are.",
        8,
        also=("data augmentation",),
    ),
    Term(
        "auxiliary head",
        "A second, small output in the middle of a network. Its loss is added in training; afterwards it is thrown away.",
        15,
        also=("auxiliary decoder",),
    ),
    Term(
        "bag of words",
        "A sentence as the count of its words, without their order. A network that is blind to order sees no more.",
        4,
    ),
    Term(
        "batch norm",
        "Normalises each channel over all images and places of a batch; at test time with stored means.",
        11,
    ),
    Term(
        "beam search",
        "Writing with several beginnings at once: of all their continuations by one word the few likeliest are kept. "
        "Greedy decoding keeps one.",
        4,
    ),
    Term(
        "BLEU",
        "How much of a translation, in runs of one to four words, is in a translation made by people; with a factor "
        "against short ones (Papineni et al. 2002).",
        4,
    ),
    Term(
        "causal mask",
        "A mask that hides from each word the words behind it, so that all predictions of a sentence can be trained at "
        "once.",
        4,
    ),
    Term(
        "chain rule",
        "The derivative of a chain of steps is the product of the derivatives of the steps: what training computes "
        "backwards through a network.",
        1,
    ),
    Term(
        "channel mixer",
        "The half of a block that works on each token alone: usually an MLP over its channels.",
        10,
        also=("channel-mixing MLP",),
    ),
    Term("chance", "The accuracy of guessing: 10 % where there are ten classes, all equally frequent.", 3),
    Term(
        "class attention",
        "Blocks behind the others in which only the class token changes: it asks the patches, and they do not ask "
        "(CaiT: Touvron et al. 2021).",
        9,
    ),
    Term(
        "class token",
        "A learned token that is put before the tokens of the image. It attends to all of them, and the head reads it.",
        5,
        also=("CLS token",),
    ),
    Term(
        "CKA",
        "Centred kernel alignment: how similar the activations of two layers are, from 0 to 1, whatever rotation lies "
        "between them (Kornblith et al. 2019).",
        6,
    ),
    Term(
        "convolution",
        "A weighted sum of a small neighbourhood, with the same weights at every place.",
        3,
        also=("kernel", "filter"),
        chinese="卷積",
    ),
    Term(
        "cross-attention",
        "Attention whose queries come from one sequence and whose keys and values come from another: a translation looks "
        "at the sentence it translates.",
        3,
    ),
    Term(
        "CutMix",
        "A rectangle of one image is put into another; the targets are mixed by the share of the area (Yun et al. 2019).",
        7,
    ),
    Term(
        "decoder",
        "The half of a transformer that writes: masked self-attention, cross-attention to what was read, an MLP.",
        4,
    ),
    Term(
        "dense prediction",
        "A prediction for every place of an image: boxes around things (detection), a class for each pixel (segmentation).",
        8,
    ),
    Term(
        "depthwise convolution",
        "A convolution that treats each channel alone: one small kernel a channel, no mixing between channels.",
        10,
        chinese="depth-wise convolution",
    ),
    Term(
        "dilated convolution",
        "A convolution whose weights stand some places apart: it sees further with as many weights, and leaves holes.",
        2,
        also=("dilation",),
    ),
    Term(
        "distillation",
        "A network, the student, also learns from the answers of a trained one, the teacher (Hinton et al. 2015).",
        7,
        chinese="蒸餾",
    ),
    Term(
        "distillation token",
        "A second class token of DeiT, whose answer is compared with the teacher (Touvron et al. 2021).",
        7,
    ),
    Term(
        "dropout",
        "Setting units to 0 at random while training, and dividing the others so that their mean stays.",
        1,
    ),
    Term(
        "drop path",
        "Leaving out a residual branch at random while training; also called stochastic depth (Huang et al. 2016).",
        14,
        also=("stochastic depth",),
    ),
    Term("embedding", "A vector that stands for something: a patch, a position, a class.", 5),
    Term(
        "encoder",
        "The half of a transformer that reads: every token sees every other one. BERT and ViT are encoders.",
        4,
    ),
    Term(
        "equivariance",
        "If the input is changed in a certain way, the output changes in the same way: a shifted image gives a shifted "
        "feature map, permuted tokens give permuted outputs.",
        3,
        chinese="等變性",
    ),
    Term(
        "feature map",
        "What a layer gives at every place of a grid: (B, C, H, W), or (B, H, W, D).",
        5,
        chinese="特徵圖",
    ),
    Term(
        "feature pyramid",
        "Maps of several sizes of which each finer one gets the sum of the coarser ones (FPN).",
        15,
        also=("FPN",),
    ),
    Term(
        "few-shot",
        "Learning a new task from a handful of labelled images a class, here by a linear layer on frozen features.",
        5,
    ),
    Term(
        "fine-tuning",
        "Training a pre-trained network further on the data one really wants, with a small learning rate and usually "
        "with a new head.",
        5,
    ),
    Term(
        "fully convolutional network",
        "A network without a layer that knows the image's size: it answers at every place (FCN).",
        15,
        also=("FCN",),
    ),
    Term(
        "gate",
        "Factors between 0 and 1, computed from a feature map, that multiply it: for each channel, each place, or both.",
        2,
    ),
    Term("GELU", "Gaussian error linear unit: x times the share of a normal distribution below x; a smooth ReLU.", 5),
    Term(
        "gated positional self-attention",
        "Attention whose heads choose, by a learned gate, between what is at a place and where it lies (ConViT: "
        "d'Ascoli et al. 2021).",
        9,
        also=("GPSA",),
    ),
    Term(
        "gradient",
        "The derivative of the loss by a weight, or of an output by the input: where to, and how strongly.",
        6,
    ),
    Term("head", "The last layers, which turn features into logits. (Not to be confused with a head of attention.)", 3),
    Term(
        "hybrid",
        "A network with both convolution and attention: stacked, one behind the other, or both within one layer.",
        9,
    ),
    Term(
        "Hessian",
        "The matrix of all second derivatives of the loss: how it bends in each direction.",
        7,
    ),
    Term(
        "inductive bias",
        "What a network assumes before it has seen data: a convolution assumes that near pixels belong together and that "
        "place does not matter.",
        5,
        chinese="歸納偏置",
        korean="inductive bias",
    ),
    Term("invariance", "If the input is changed in a certain way, the output stays the same.", 3),
    Term(
        "inverted bottleneck",
        "A block that is wide inside and narrow outside, as a transformer's MLP; a bottleneck is narrow inside.",
        12,
    ),
    Term(
        "isotropic",
        "Of one grid and one width from the first block to the last, as ViT; a pyramid is not.",
        9,
    ),
    Term(
        "label smoothing",
        "A part of the target, often a tenth, is spread over all classes (Szegedy et al. 2016).",
        7,
    ),
    Term(
        "layer norm",
        "Normalises the numbers of each token by their own mean and variance, then scales and shifts each channel by "
        "learned factors.",
        5,
        also=("LayerNorm", "LN"),
    ),
    Term(
        "LayerScale",
        "A learned factor for each channel of a residual branch that starts near 0 (Touvron et al. 2021).",
        11,
    ),
    Term("linear layer", "A matrix product and a bias, y = W x + b, the same for every token.", 5),
    Term(
        "load balancing",
        "Making the router of a mixture of experts use all experts alike, by a term of the loss.",
        13,
    ),
    Term(
        "LSTM",
        "Long short-term memory: a recurrent network whose memory is changed by gates (Hochreiter and Schmidhuber 1997).",
        4,
        also=("long short-term memory",),
    ),
    Term("MAC", "One multiply-add: a multiplication and an addition.", 3, also=("multiply-add", "multiply–add")),
    Term("mask", "Minus infinity added to the scores that attention must not use.", 3),
    Term(
        "masked language model",
        "Learning from text without labels: some words are hidden and have to be guessed from the others on both sides.",
        4,
        also=("MLM",),
    ),
    Term(
        "minibatch",
        "The examples from which one step's gradient is computed: more than one, fewer than all.",
        1,
    ),
    Term(
        "mIoU",
        "The mean over the classes of their intersection over union, counted over the pixels of all images together.",
        15,
    ),
    Term(
        "mixture of experts",
        "Many MLPs in place of one. A router rates them for each token, and the token goes to the best few: many "
        "parameters, few multiply-adds.",
        13,
        also=("MoE",),
    ),
    Term(
        "momentum",
        "Steps follow a running sum of the gradients: what agrees adds up, what goes to and fro cancels.",
        1,
    ),
    Term("MetaFormer", "The block that transformers share, whatever mixes the tokens (Yu et al. 2022).", 11),
    Term(
        "MLP",
        "Two linear layers with a nonlinearity between them; usually four times as wide inside.",
        5,
        also=("feed-forward network",),
    ),
    Term(
        "mixup",
        "Training on weighted means of two images with the same weighted mean of their labels (Zhang et al. 2018).",
        14,
    ),
    Term(
        "neural tangent kernel",
        "How much a small step on one image changes the output for another: products of gradients (Jacot et al. 2018).",
        7,
        also=("NTK",),
    ),
    Term(
        "non-local block",
        "Self-attention inside a CNN: each place adds a weighted mean of all places, by how similar they are.",
        2,
    ),
    Term("patch", "A square of pixels, 16 × 16 say, that becomes one token.", 3),
    Term(
        "patch merging",
        "Swin's step between two stages: 2 × 2 tokens become one token, by a linear layer on the channels of all four.",
        8,
    ),
    Term("padding", "Numbers put around a map, mostly zeros, so that windows fit at its border.", 1),
    Term(
        "pointwise convolution",
        "A convolution of 1 × 1: it mixes the channels of one place and sees no other.",
        1,
        also=("1 × 1 convolution",),
        chinese="point-wise convolution",
    ),
    Term(
        "pooling",
        "Putting the values of a neighbourhood, or of a whole map, together into one: their mean or their maximum.",
        11,
        chinese="池化",
    ),
    Term(
        "position embedding",
        "What is added to a token to tell its place: learned, or made of sines.",
        3,
        also=("position code", "positional encoding"),
        chinese="位置編碼",
    ),
    Term(
        "pre-norm",
        "The norm stands inside the residual branch, before attention or MLP. Post-norm stands after the sum.",
        5,
    ),
    Term(
        "pre-training",
        "Training on a large data set first, often with another task, so that fine-tuning needs few images.",
        5,
        chinese="預訓練",
        korean="pretraining",
    ),
    Term(
        "pyramid",
        "A layout in stages: from one to the next the map becomes smaller and wider, as in most CNNs, Swin and PVT.",
        9,
    ),
    Term(
        "pyramid pooling",
        "Means of a map over a few coarse grids, put beside every place: what the image is like as a whole.",
        15,
    ),
    Term(
        "random features",
        "Random directions with which a kernel, such as the exponential of a product, is estimated as a product of two "
        "vectors.",
        13,
    ),
    Term("receptive field", "The part of the input that can change one output.", 3),
    Term("ReLU", "The activation max(0, x): what is negative becomes 0.", 1),
    Term(
        "RandAugment",
        "Random changes of an image from a fixed list, all of one strength (Cubuk et al. 2020).",
        7,
    ),
    Term(
        "relative position bias",
        "A learned number for each displacement from query to key, which is added to the score of that pair.",
        8,
    ),
    Term(
        "re-parameterisation",
        "Computing one layer that does what several together do, once training is over.",
        12,
    ),
    Term(
        "residual connection",
        "A layer's input is added to its output, x + f(x): the layer learns only the difference, and gradients pass it by.",
        5,
        also=("skip connection",),
    ),
    Term("residual stream", "What runs through all blocks and to which every branch adds: x in x + f(x).", 5),
    Term(
        "retention",
        "Attention without a softmax, in which the past fades by a fixed factor at each step. It can be computed in "
        "parallel or step by step.",
        13,
        also=("RetNet",),
    ),
    Term(
        "roofline",
        "The speed that a processor can reach at an arithmetic intensity: rising where memory sets the limit, flat where "
        "arithmetic does.",
        13,
    ),
    Term(
        "scaling law",
        "A formula, mostly a power law, for how the error falls with parameters, images or computing.",
        13,
    ),
    Term(
        "seed",
        "The number from which random weights and orders follow: another seed is another run of the same experiment.",
        3,
    ),
    Term(
        "SAM",
        "Sharpness-aware minimisation: the gradient is taken a small step uphill, so that training ends in flat minima (Foret et al. 2021).",
        7,
        also=("sharpness-aware minimisation",),
    ),
    Term(
        "semantic segmentation",
        "A class for every pixel. Two discs that touch are one region of the class disc.",
        15,
    ),
    Term(
        "shifted window",
        "In every second block Swin moves its windows by half their size, so that neighbours across a border meet.",
        8,
        chinese="移動窗口",
    ),
    Term(
        "spatial-reduction attention",
        "Attention in which every place asks and only patches of R × R places answer (PVT: Wang et al. 2021).",
        9,
        also=("SRA",),
    ),
    Term("softmax", "Turns scores into shares that are positive and sum to 1: exponentials divided by their sum.", 3),
    Term(
        "squeeze-and-excitation",
        "A gate with a factor for each channel, computed by a small MLP from the means of all channels.",
        2,
        also=("SE",),
    ),
    Term("stem", "The first layers, which turn an image into tokens or into the first feature map.", 5),
    Term("stride", "By how many pixels a kernel or a window moves on.", 3),
    Term(
        "talking heads",
        "Two small matrices that mix the tables of all attention heads, before the softmax and after it.",
        13,
    ),
    Term(
        "teacher forcing",
        "Training a decoder with the right beginning at every place, whatever it would have written itself.",
        4,
    ),
    Term("token", "One vector of a sequence: a patch of an image, a tubelet of a clip, a word.", 3),
    Term(
        "token mixer",
        "The half of a block that lets tokens exchange something: attention, a convolution, an MLP over places.",
        10,
    ),
    Term("tubelet", "A patch with a length in time: some pixels wide and high, some frames long.", 14),
    Term(
        "up-convolution",
        "A convolution that makes several places of each one, so that the map grows.",
        15,
        also=("transposed convolution",),
    ),
    Term(
        "VTAB",
        "The Visual Task Adaptation Benchmark: nineteen tasks with 1,000 examples each, to which a trained network is "
        "transferred.",
        13,
    ),
    Term(
        "warm-up",
        "A learning rate that rises from near 0 during the first steps of a training.",
        4,
    ),
    Term(
        "weak label",
        "A label that nobody checked: a hashtag, a word on a page. A pseudo-label is what another network says.",
        13,
        also=(
            "pseudo-label",
            "weak labels",
        ),
    ),
    Term("weight decay", "Shrinking the weights a little at each step, which keeps them small.", 5),
    Term(
        "window attention",
        "Attention within small squares of tokens only: the cost grows with the image, not with its square.",
        8,
    ),
    Term(
        "object detection",
        "To list the objects in an image: for each its class and a box around it.",
        15,
        chinese="物件偵測",
        korean="객체 탐지",
    ),
    Term(
        "anchor",
        "One of thousands of boxes that a detector lays over every image before it looks; it moves them to objects.",
        15,
    ),
    Term(
        "non-maximum suppression",
        "Throwing away each box that covers a surer one of the same class too well.",
        15,
        also=("NMS",),
    ),
    Term(
        "intersection over union",
        "How well two regions agree: what both cover, over what at least one of them covers; from 0 to 1.",
        15,
        also=("IoU",),
    ),
    Term(
        "generalised IoU",
        "IoU, less the share of the smallest box around both that neither covers; it tells how far boxes are apart.",
        15,
        also=("GIoU",),
    ),
    Term(
        "object query",
        "In DETR a learned vector that asks the image for one object, the same vector for every image.",
        15,
        also=("object queries",),
    ),
    Term(
        "one-to-one matching",
        "Which query answers for which object: each object has one query, and the sum of the costs is the smallest. The "
        "Hungarian algorithm finds it.",
        15,
        also=("Hungarian algorithm",),
    ),
    Term(
        "auxiliary loss",
        "The loss of what an earlier layer says, added to that of the last one.",
        15,
        also=("auxiliary losses",),
    ),
    Term(
        "average precision",
        "One number for a detector of one class: the mean precision over all recalls. AP50 asks for an IoU of 0.5; COCO's "
        "AP is the mean over ten thresholds and all classes.",
        15,
        also=("AP",),
    ),
    Term(
        "self-supervised",
        "Trained on a task that is made from the data themselves, such as to fill in what was hidden; nobody writes labels.",
        16,
        also=("self-supervision",),
    ),
    Term(
        "masked autoencoder",
        "A network that is trained to fill in hidden patches of images: the encoder sees those that are left, a small "
        "decoder makes pixels of all (He et al. 2022).",
        16,
        also=("MAE",),
    ),
    Term("mask token", "A learned vector that stands where a word or a patch is hidden.", 16),
    Term(
        "linear probe",
        "One linear layer, trained with labels on the features of a frozen network: what can be read from them.",
        16,
    ),
    Term(
        "nearest neighbours",
        "A class by vote of the labelled images whose features are most alike; nothing is trained.",
        16,
        also=("kNN",),
    ),
    Term(
        "collapse",
        "A network that learns by agreeing with itself gives the same answer to every image.",
        16,
    ),
    Term(
        "centring",
        "DINO takes the mean answer to all images off the teacher's, so that no prototype takes everything.",
        16,
    ),
    Term("sharpening", "A low temperature makes the teacher's answers decided.", 16),
    Term(
        "mutual information",
        "How much an answer tells of the image: the entropy of the mean answer, minus the mean entropy of the answers.",
        16,
    ),
    Term(
        "Fourier features",
        "A place told by sines and cosines of its coordinates, at fixed frequencies, beside the colour of the pixel.",
        16,
    ),
    Term(
        "latents",
        "Learned vectors that belong to no part of the input and read it by cross-attention, as in a Perceiver.",
        16,
    ),
    Term(
        "modality",
        "A kind of data, such as images, sound or text. Multimodal: of more than one kind.",
        16,
        also=("multimodal",),
    ),
    Term(
        "noise contrastive estimation",
        "A loss that asks for the share of the true pair among it and many false pairs of the batch.",
        16,
        also=("NCE", "contrastive loss"),
    ),
    Term(
        "registers",
        "Extra tokens of a ViT that are thrown away at the end: a place for what is no patch's own (Darcet et al. 2024).",
        16,
    ),
    Term(
        "retrieval@1",
        "The share of questions whose nearest answer, of all that are offered, is the right one.",
        16,
    ),
    Term(
        "zero-shot",
        "Without a labelled example of the task: classes are given by their names, and the nearest name wins.",
        16,
    ),
)


def page(terms: tuple[Term, ...] = TERMS) -> str:
    """The glossary as Markdown, in the order of the alphabet."""
    lines = [
        "# Glossary",
        "",
        "The words of the field that the lectures use. The number says which lecture explains them.",
        "",
    ]
    for term in sorted(terms, key=lambda term: term.name.lower()):
        lecture = LECTURES[term.lecture]
        where = lecture.heading if lecture.is_to_come else f"[{lecture.heading}]({lecture.name}.ipynb)"
        other = [f"also: {', '.join(term.also)}"] if term.also else []
        other += [f"Chinese: {term.chinese}"] if term.chinese else []
        other += [f"Korean: {term.korean}"] if term.korean else []
        lines += [f"## {term.name}", "", f"{term.meaning} *({'; '.join([*other, where])})*", ""]
    return "\n".join(lines)


def with_links(texts: Sequence[str], lecture: int, terms: tuple[Term, ...] = TERMS) -> list[str]:
    """The Markdown cells of a lecture, the first use of each of its terms linked to the page."""
    texts = list(texts)
    for term in (term for term in terms if term.lecture == lecture):
        for i, text in enumerate(texts):
            found = first_use(text, term)
            if found:
                texts[i] = f"{text[: found.start()]}[{found[0]}]({PAGE}#{term.anchor}){text[found.end() :]}"
                break
    return texts


def first_use(text: str, term: Term) -> re.Match | None:
    """Where a text first names a term in its prose, with a plural's s if it has one; LN is not ln, the logarithm."""
    blanked = _NO_LINK.sub(lambda match: "\0" * len(match[0]), text)
    written = {name: re.escape(name).replace("\\ ", r"\s+") for name in (term.name, *term.also)}
    names = "|".join(f"(?-i:{shape})" if name.isupper() else shape for name, shape in written.items())
    return re.compile(rf"(?<![\w-])(?:{names})(?:e?s)?(?![\w-])", re.IGNORECASE).search(blanked)
