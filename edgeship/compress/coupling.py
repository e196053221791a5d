"""Which channels of a float model go together: `couple(file)`, one pass over the main graph.

Channels come from the weights of layers. They are followed through everything that keeps them apart (`following/`);
those that meet in an ADD, a CONCATENATION's twin, a depthwise convolution or the columns of a dense layer are one
**group**. What cannot be followed keeps its channels whole; so do the model's inputs and outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeship.compress.following import layers, moves, values
from edgeship.compress.lanes import Change, Cut, Lane, Places, Rewrite, Trace
from edgeship.tflite.file import Operator, TfliteFile

Rule = Callable[[Trace, Operator], None]

SOURCES: Mapping[str, Rule] = {
    "CONV_2D": layers.convolution,
    "DEPTHWISE_CONV_2D": layers.depthwise,
    "FULLY_CONNECTED": layers.dense,
    "TRANSPOSE_CONV": layers.transposed,
    "BATCH_MATMUL": layers.product,
    "EMBEDDING_LOOKUP": layers.lookup,
    "GATHER": moves.picked,
}
"""Operations where channels come from: asked even where nothing that they read can be gone without."""

RULES: Mapping[str, Rule] = {
    **SOURCES,
    **dict.fromkeys(values.UNARY, values.same),
    **dict.fromkeys(values.BROADCAST, values.broadcast),
    **dict.fromkeys(values.REDUCED, values.reduced),
    **dict.fromkeys(values.PICTURES, values.pictures),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), values.padded),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), moves.reshaped),
    **dict.fromkeys(("CONCATENATION", "PACK"), moves.joined),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), moves.batches),
    "TRANSPOSE": moves.turned,
    "REVERSE_V2": moves.reversed_,
    "UNPACK": moves.unpacked,
    "SPLIT": moves.split,
    "SPLIT_V": moves.split_by_sizes,
    "SLICE": moves.sliced,
    "STRIDED_SLICE": moves.strided,
    "SPACE_TO_DEPTH": moves.to_depth,
    "DEPTH_TO_SPACE": moves.to_space,
    "TILE": moves.tiled,
    "BROADCAST_TO": moves.spread,
}
"""Operations that channels are followed through; all others keep theirs whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """The groups of channels of a model and all that each of them takes along."""

    file: TfliteFile
    group: Places
    """Of every atom: the number of its group from 0; -1: it stays whatever happens."""
    groups: int
    """How many there are."""
    lanes: Mapping[int, Lane]
    """Tensor -> where its channels lie, in atoms."""
    cuts: tuple[Cut, ...]
    rewrites: tuple[Rewrite, ...]
    changes: tuple[Change, ...]
    pinned: Mapping[str, int]
    """Why channels of layers stay whole -> how many, most first."""

    def of(self, atoms: Places) -> Places:
        """Return the groups of atoms; -1 where one stays."""
        return self.group[atoms]


def couple(file: TfliteFile) -> Coupling:
    """Return which channels of the main graph go together."""
    trace = Trace(file)
    for op in file.main.operators:
        follow = None if op.custom else RULES.get(op.op)
        if op.op not in SOURCES and not any(i in trace.lanes for i in op.inputs):
            continue
        (follow or Trace.stop)(trace, op)
    for index in file.main.outputs:
        lane = trace.lane(index)
        if lane is not None:
            trace.atoms.pin(lane.atoms, "the model's outputs")
    _share(trace)
    group, why = trace.atoms.groups()
    made = [atom for cut in trace.cuts if cut.role == "makes" for atom in cut.atoms.tolist()]
    reasons = Counter(why[atom] for atom in made if group[atom] < 0)
    return Coupling(
        file=file,
        group=group,
        groups=int(group.max(initial=-1)) + 1,
        lanes=trace.lanes,
        cuts=tuple(trace.cuts),
        rewrites=tuple(trace.rewrites),
        changes=tuple(trace.changes),
        pinned=dict(reasons.most_common()),
    )


def _share(trace: Trace) -> None:
    """Let layers that share a matrix lose the same of it. A shared vector (a bias, slopes) costs little: each gets one
    of its own, as do constants of shapes and indices."""
    uses: dict[int, dict[tuple[int, int], dict[int, Places]]] = {}
    for op in trace.graph.operators:
        for position, index in enumerate(op.inputs):
            if index >= 0 and trace.graph.tensors[index].has_data:
                uses.setdefault(index, {})[op.index, position] = {}
    for cut in trace.cuts:
        uses[cut.tensor][cut.operator, cut.position][cut.axis] = cut.atoms
    shown = {*trace.graph.outputs, *trace.graph.inputs}
    for index, each in uses.items():
        shape = trace.shape(index)
        matrix = sum(size > 1 for size in shape) > 1
        if index not in shown and (len(each) == 1 or not matrix):
            continue
        for axis in range(len(shape)):
            found = [held.get(axis) for held in each.values()]
            along = [atoms for atoms in found if atoms is not None]
            for atoms in along[1:]:
                trace.atoms.join(along[0], atoms)
            if along and (len(along) < len(found) or index in shown):
                name = trace.graph.tensors[index].name
                trace.atoms.pin(along[0], f"{name} is shared with what keeps it whole")
