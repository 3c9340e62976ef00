"""The spectrum: backbones as stem × token mixer × channel mixer × layout × head, and what does not fit that beside.

``list_models()`` names them, ``create_model(name)`` makes one, ``show(name)`` prints its source in forward order,
``architecture(name)`` draws it,
``compare(a, b)`` what differs, ``card(name)`` its figures; ``load_reference`` copies public weights into it.

The way of an image through ``create_model("swin_t")``, to be read with the files of this folder at hand. First the
network is made:

1. ``registry.create_model`` (by way of ``weight_files.create_from_file``, if it is to have the weights of a file) asks ``registry.entry`` for the name. That imports ``families``, and with it every file of
   the folder: in ``families.swin`` the function ``families.swin.swin`` writes the spec and ``registry.register`` gives it
   its name.
2. ``spec.overridden`` puts other values into the spec, if there are any (``num_classes=10``, ``window_size=14``).
3. ``spec.Pyramid.build`` makes the modules. ``spec.Part.build`` hands to each what its constructor asks for by name
   (``dim``, ``grid``, ...) and its options, of which a ``spec.per_stage`` has one for each stage.
   ``recording.make`` calls the constructors, and notes the calls while ``source.source_of`` prints the network.
4. What comes out is a ``backbone.Backbone``, which is a ``model.Model``. ``registry._InputCheck`` is put in front of it.

Then ``model(images)``, in the order in which it happens:

1. ``registry._InputCheck`` refuses images (B, 3, 224, 224) of another shape with a sentence.
2. ``backbone.Backbone.forward`` calls ``backbone.Backbone.stage_outputs``, which calls the stem and each stage in turn.
3. ``stem``: ``stems.PatchEmbed`` makes tokens of 4×4 pixels, (B, 56, 56, 96), with a ``norms.LayerNorm`` behind.
4. ``stages.0``: a ``backbone.Stage`` of two ``backbone.Block``, (B, 56, 56, 96). In each block
   ``token_mixer`` is a ``backbone.Residual``: ``norms.LayerNorm``, then ``token_mixers.window.WindowAttention``, which
   cuts the map with ``token_mixers.window.window_partition`` and puts it together with
   ``token_mixers.window.window_reverse``, and the path around both. The windows of every second block are shifted
   (``spec.alternate``). ``channel_mixer`` is another ``backbone.Residual``: ``norms.LayerNorm``, then
   ``channel_mixers.mlp.MLP``, and the path around.
5. ``stages.1``: its entry, ``downsampling.PatchMerging``, makes the map half as large and twice as wide; two blocks,
   (B, 28, 28, 192).
6. ``stages.2``: the same with six blocks, (B, 14, 14, 384).
7. ``stages.3``: the same with two blocks, (B, 7, 7, 768), where a window covers the map and nothing is shifted.
8. ``head``: ``heads.MeanHead`` norms the last map, takes the mean of its places and maps it to logits, (B, 1000).

Another backbone has other parts at the same places; an ``spec.Isotropic`` one has a single stage, whose entry makes a
sequence of the map (``stems.Tokens``). A ``spec.Whole`` one is a class of its own: its ``forward`` is the way.
"""

from course.models.drawn import architecture
from course.models.pages import card, compare, show
from course.models.reference import ReferenceMismatch, load_reference
from course.models.registry import create_model, list_models
from course.models.resizing import at_resolution

__all__ = [
    "ReferenceMismatch",
    "architecture",
    "at_resolution",
    "card",
    "compare",
    "create_model",
    "list_models",
    "load_reference",
    "show",
]
