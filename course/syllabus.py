"""The lectures and homeworks of the course, a row each: the one list of them.

The map in lecture 0 is drawn from it. The table in README.md and the headers of the sources in ``notebooks/source/``
say the same in words: ``tests/test_syllabus.py`` compares them, and says what to write where.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Homework:
    """``name``: its folder in ``solutions/``. ``minutes``: a student's."""

    name: str
    title: str
    minutes: int

    @property
    def number(self) -> int:
        return int(self.name.partition("_")[0].removeprefix("hw"))

    @property
    def heading(self) -> str:
        """``hw1 · Self-attention``"""
        return f"hw{self.number} · {self.title}"


@dataclass(frozen=True)
class Lecture:
    """One lecture, written or to come.

    Args:
        name: its file in ``notebooks/source/``, without the ending.
        title: what its heading begins with.
        box: the title as it stands on the map, in lines that fit a box.
        on_map: (column, row) of its box on the map.
        needs: the numbers of the lectures it builds on: the arrows of the map.
        about: what one builds or meets in it.
        minutes: a reader's; 0 as long as the lecture is to come.
        homework: what follows it.
    """

    name: str
    title: str
    box: str
    on_map: tuple[float, float]
    needs: tuple[int, ...] = ()
    about: str = ""
    minutes: int = 0
    homework: Homework | None = None

    @property
    def number(self) -> int:
        return int(self.name[:2])

    @property
    def heading(self) -> str:
        """``3 · Self-attention``"""
        return f"{self.number} · {self.title}"

    @property
    def is_to_come(self) -> bool:
        return not self.minutes


LECTURES = (
    Lecture(
        "00_start_here",
        "Start here",
        box="start here",
        on_map=(0, 0),
        about="how the course works, its data, its checks",
        minutes=25,
        homework=Homework("hw0_first_check", "Your first check", 5),
    ),
    Lecture(
        "01_convolution",
        "Convolution",
        box="convolution",
        on_map=(0, 1),
        needs=(0,),
        about="equivariance and invariance tested, CNNs counted, depth, update rules, norms, a bias as a prior",
        minutes=105,
    ),
    Lecture(
        "02_beyond_local",
        "Beyond local",
        box="beyond local",
        on_map=(0, 2),
        needs=(1,),
        about="gates (SE, gather-excite, BAM, CBAM), the non-local block, local attention; two tables recounted",
        minutes=70,
    ),
    Lecture(
        "03_self_attention",
        "Self-attention",
        box="self-attention",
        on_map=(0, 3),
        needs=(2,),
        about="attention, heads, masks, positions, a transformer block, its cost",
        minutes=110,
        homework=Homework("hw1_self_attention", "Self-attention", 180),
    ),
    Lecture(
        "04_transformer",
        "The transformer",
        box="the transformer",
        on_map=(0, 4),
        needs=(3,),
        about="LSTM, encoder and decoder, cross-attention, teacher forcing, beam search, BERT and GPT",
        minutes=85,
        homework=Homework("hw7_transformer", "From the LSTM to the transformer", 210),
    ),
    Lecture(
        "05_vision_transformer",
        "The vision transformer",
        box="vision\ntransformer",
        on_map=(0, 5),
        needs=(4,),
        about="patches, class token, positions, the size table, data against inductive bias, higher resolution",
        minutes=95,
        homework=Homework("hw2_vit", "Vision transformer", 240),
    ),
    Lecture(
        "06_what_vits_see",
        "What ViTs see",
        box="what ViTs see",
        on_map=(1, 0.5),
        needs=(5,),
        about="filters, attention distance, rollout, CKA, receptive fields, occlusion, shuffling",
        minutes=115,
    ),
    Lecture(
        "07_training_with_less_data",
        "Training with less data",
        box="training with\nless data",
        on_map=(2, 0.5),
        needs=(6,),
        about="augmentation, one recipe for two networks, DeiT's tables, distillation, flat minima (SAM), transfer",
        minutes=95,
        homework=Homework("hw8_training", "How transformers are trained", 240),
    ),
    Lecture(
        "08_swin",
        "Swin",
        box="Swin",
        on_map=(1, 2.5),
        needs=(5,),
        about="windows, cost, shift and mask, relative positions, merging",
        minutes=80,
        homework=Homework("hw3_swin", "Swin", 240),
    ),
    Lecture(
        "09_vit_cnn_spectrum",
        "The ViT–CNN spectrum",
        box="the ViT–CNN\nspectrum",
        on_map=(2, 2.5),
        needs=(8,),
        about="five choices apart: pyramids, stems, heads, stacked hybrids, locality inside attention",
        minutes=85,
    ),
    Lecture(
        "10_all_mlp",
        "All-MLP",
        box="all-MLP",
        on_map=(3, 2.5),
        needs=(9,),
        about="mixing without attention, what is shared, nine mixers, resolution",
        minutes=90,
        homework=Homework("hw4_mlp_mixer", "MLP-Mixer", 210),
    ),
    Lecture(
        "11_metaformer",
        "MetaFormer",
        box="MetaFormer",
        on_map=(4, 2.5),
        needs=(10,),
        about="any mixer in one body, compared honestly; what latency is made of",
        minutes=85,
        homework=Homework("hw5_poolformer", "PoolFormer", 180),
    ),
    Lecture(
        "12_convnets_strike_back",
        "ConvNets strike back",
        box="convnets\nstrike back",
        on_map=(5, 2.5),
        needs=(11,),
        about="from ResNet to ConvNeXt step by step, ConvMixer, kernels of 31 and 51, equal compute",
        minutes=75,
    ),
    Lecture(
        "13_scaling",
        "Scaling",
        box="scaling",
        on_map=(3, 0.5),
        needs=(7,),
        about="a scaling law fitted, LayerScale, CaiT recounted, cheaper attention, experts, retention, intensity",
        minutes=95,
    ),
    Lecture(
        "14_video",
        "Video",
        box="video",
        on_map=(1, 4.5),
        needs=(5,),
        about="tubelets, factorised and divided attention, what order tells",
        minutes=90,
        homework=Homework("hw6_vivit", "ViViT", 240),
    ),
    Lecture(
        "15_dense_prediction",
        "Dense prediction",
        box="dense\nprediction",
        on_map=(2, 4.5),
        needs=(8,),
        about="masks: FCN, U-Net, SETR, UperNet; boxes as a set: DETR, matching, average precision; tables recounted",
        minutes=110,
    ),
    Lecture(
        "16_self_supervision_and_multimodal",
        "Self-supervision, multimodal",
        box="self-supervision\n& multimodal",
        on_map=(4, 0.5),
        needs=(13,),
        about="MAE and SimMIM, what a probe proves, DINO and its collapse, Perceiver, clip, tone and word in one encoder",
        minutes=120,
        homework=Homework("hw9_self_supervision", "Learning without labels", 240),
    ),
)

# Homeworks that follow no lecture, or none yet: `course new` adds a row. In the row of its lecture, a homework is on
# the map and in the table of README.md as well.
WITHOUT_LECTURE: list[Homework] = []


def readme_table(lectures: tuple[Lecture, ...] = LECTURES) -> str:
    """The lectures that are written, as the table of README.md."""
    lines = ["| lecture | homework | you build or meet | minutes |", "|---|---|---|---|"]
    for lecture in lectures:
        if lecture.is_to_come:
            continue
        homework, minutes = "", f"{lecture.minutes}"
        if lecture.homework:
            homework = f"`{lecture.homework.name}` "
            minutes += f" + {lecture.homework.minutes}"
        lines.append(f"| `{lecture.name}` | {homework}| {lecture.about} | {minutes} |")
    return "\n".join(lines)
