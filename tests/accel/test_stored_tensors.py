"""Networks that are no chain: where their tensors lie, what reads and adds them, and what is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.executor import code_offset, tokens_of
from foldwright.accel.export.package import package
from foldwright.accel.known_workloads import LayerChain, pooling, with_sums
from foldwright.accel.layout import AcceleratorLayout, Source, lay_out
from foldwright.accel.mapping import M_INTERVAL, M_T, map_layers
from foldwright.accel.random_network import RandomNetwork, random_entry, random_weights
from foldwright.accel.rtl.program import Field, text_of
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.tilings import LayerTiling
from foldwright.accel.workload import IMAGE, ActKind, Layer, Pool, PoolKind, ResultKind, WeightKind
from foldwright.errors import ConfigError

COLUMN, BATCH = LaneMode.COLUMN, LaneMode.BATCH
BATCHES = Engine(8, 32, 2, lanes=BATCH, planes_per_word=(2,), levels=3, acc_bits=14)
COLUMNS = replace(BATCHES, lanes=COLUMN, dn=4)


def residual_chain(
    end: Callable[[LayerChain, str], object] = lambda chain, x: chain.matmul(4, raw=True),
) -> LayerChain:
    """Returns x, two layers beside it that end in an add of x, and what `end` adds."""
    chain = LayerChain((3, 8, 8, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    a = chain.conv(24, reads=x, name="a")
    end(chain, chain.conv(16, reads=a, adds=x, name="b"))
    return chain


def network(chain: LayerChain) -> RandomNetwork:
    return random_weights(chain.workload("by hand"), np.random.default_rng(0))


def laid_out(chain: LayerChain, *engines: Engine, assignment: tuple[int, ...] = ()) -> AcceleratorLayout:
    made = network(chain)
    return lay_out(made, Datapath(engines, assignment or (0,) * len(made.layers), batch_frames=2))


def test_a_tensor_with_two_readers_lives_until_the_last() -> None:
    layout = laid_out(residual_chain(), BATCHES)
    x, a, b = (layout.tensors[k] for k in range(3))
    assert (x.uses.inputs, x.uses.residuals, a.uses.readers, b.uses.readers) == ((1,), (2,), (2,), (3,))
    # 64 pixels of 16, 24 and 16 channels: one word for two blocks of eight channels by two planes.
    assert (x.words, a.words, b.words) == (64, 128, 64)
    assert (x.copies, a.copies, b.copies) == ((0,), (256 - 128,), (64,))
    assert layout.own_words == (256,)
    assert layout.layers[2].residual == 0
    assert [layout.residual_reads(layer) for layer in layout.layers] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("kernel", "engine", "reads"),
    [
        (3, BATCHES, 1),  # frames in lanes lie as they are
        (3, COLUMNS, 2),  # a column to the left of the lanes: two words hold the residual
        (1, COLUMNS, 1),
        (3, replace(COLUMNS, dn=1), 1),
        (3, replace(COLUMNS, planes_per_word=(1,)), 4),  # and of either plane
    ],
)
def test_lanes_askew_take_two_reads_each(kernel: int, engine: Engine, reads: int) -> None:
    chain = LayerChain((3, 8, 8, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    a = chain.conv(16, kernel=kernel, reads=x)
    chain.conv(16, reads=a, adds=x)
    made = network(chain)
    datapath = Datapath((engine,), (0, 0, 0), batch_frames=2)
    layout = lay_out(made, datapath)
    assert layout.residual_reads(layout.layers[2]) == reads
    got = map_layers(
        layer_table(made.workload), engine_table(datapath.engines), np.zeros(3, dtype=np.int64), 2
    )
    assert got[2, M_INTERVAL] == got[2, M_T] + reads


def test_what_is_only_added_lies_as_its_words_are_read() -> None:
    """The layer of stride 2 beside the block reads words for the block's first layer, whose padding they have."""
    chain = LayerChain((3, 8, 8, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="x")
    a = chain.conv(16, stride=2, reads=x, name="a")
    down = chain.conv(16, kernel=1, stride=2, reads=x, name="down")
    chain.conv(16, reads=a, adds=down, name="b")
    layout = laid_out(chain, COLUMNS)
    assert (layout.layers[1].map_padding, layout.layers[2].map_padding) == (1, 1)
    assert layout.layers[2].entry.layer.padding[1] == 0
    assert layout.tensors[2].form.consumer.padding == (0, 0, 0, 0)
    assert layout.residual_reads(layout.layers[3]) == 1


def test_a_tensor_from_another_engine_is_full_once_and_free_behind_its_last_reader() -> None:
    layout = laid_out(residual_chain(), BATCHES, BATCHES, assignment=(0, 1, 1, 1))
    tokens = tokens_of(layout)
    assert (tokens.full, tokens.free) == ({-1: 0, 0: 2}, {-1: 1, 0: 3})
    assert layout.tensors[0].source is Source.INBOX
    words = package(layout, 32).programs[1]
    waits = [w & 0xFFFFFF for w in words if w >> 24 == Field.WAIT]
    assert waits == [tokens.full[0], tokens.results_free] * 2
    gives = [w & 0xFFFFFF for w in words if w >> 24 == Field.GO]
    assert gives == [0, tokens.free[0] + 1, 0] * 2  # a, b, the last layer


def test_programs_show_reads_of_residuals() -> None:
    built = package(laid_out(residual_chain(), COLUMNS), 32)
    text = "\n".join(text_of(built.programs[0], built.hardware.engines[0].extra_names))
    assert "STEP_FLAGS last idle residual duration 2" in text
    assert "residual.add 1" in text
    assert "residual.lane 1" in text


def test_sums_are_as_wide_as_they_can_be() -> None:
    layout = laid_out(residual_chain(), BATCHES)
    # One level of b and three of x: 0 .. 4 takes three bits, though readers need but two.
    assert (layout.residual_bits(0), layout.stored_bits(0)) == (2, 3)


@pytest.mark.parametrize(
    ("kind", "planes", "offset"),
    [
        (ActKind.UNSIGNED, 1, 0),
        (ActKind.SIGNED, 1, -8 % 16),  # four times -2, in two's complement
        (ActKind.SIGNED, 2, 0),  # words of two planes hold what lies above -8
    ],
)
def test_a_sum_begins_at_as_many_lowest_results_as_its_window_has_pixels(
    kind: ActKind, planes: int, offset: int
) -> None:
    chain = LayerChain((3, 8, 8, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, kind))
    chain.conv(16, pool=pooling(2, 2, kind=PoolKind.AVERAGE))
    chain.conv(8, kernel=1)
    made = random_weights(with_sums(chain.workload("by hand")), np.random.default_rng(0))
    engine = replace(BATCHES, planes_per_word=(planes,), sum_bits=4)
    layout = lay_out(made, Datapath((engine,), (0, 0)))
    assert (layout.stored_bits(0), layout.result_bits(0)) == (2, 4)
    assert code_offset(layout, layout.layers[0]) % 16 == offset


def _adds(**changes: Any) -> Callable[[], AcceleratorLayout]:
    """Returns how to lay out a network whose adding layer is changed."""

    def lay() -> AcceleratorLayout:
        made = network(residual_chain(lambda *_: None))
        layers = [replace(layer, **changes) if layer.name == "b" else layer for layer in made.workload.layers]
        entries = {layer.name: replace(made.layers[layer.name], layer=layer) for layer in layers}
        workload = replace(made.workload, layers=tuple(layers))
        return lay_out(replace(made, workload=workload, layers=entries), Datapath((BATCHES,), (0,) * 3))

    return lay


def _bipolar() -> AcceleratorLayout:
    rng = np.random.default_rng(0)
    shape: dict[str, Any] = {"act_bits": 1, "out_bits": 1}
    x = Layer("x", _CONV, (IMAGE,), 8, 4, 4, 8, **shape)
    b = Layer("b", _CONV, ("x", "x"), 8, 4, 4, 8, out_kind=ActKind.UNSIGNED, **shape)
    chain = LayerChain((8, 4, 4, 1, ActKind.BIPOLAR), (1, WeightKind.BINARY), (1, ActKind.BIPOLAR))
    chain.layers += [x, b]
    made = RandomNetwork("by hand", chain.workload("by hand"), {n.name: random_entry(n, rng) for n in (x, b)})
    return lay_out(made, Datapath((BATCHES,), (0, 0)))


def _averages(
    bits: int, kind: ActKind, *, padding: tuple[int, int, int, int] = (0, 0, 0, 0), result: ResultKind = ResultKind.THRESHOLDS
) -> Callable[[], AcceleratorLayout]:  # fmt: skip
    """Returns how to lay out one layer, whose results are averaged."""
    pool = Pool(PoolKind.AVERAGE, (2, 2), (2, 2), padding)
    layer = Layer(
        "x", _CONV, (IMAGE,), 8, 4, 4, 8, out_bits=4, out_kind=kind, code_bits=bits, pool=pool, result=result
    )
    chain = LayerChain((8, 4, 4, 1, ActKind.BIPOLAR), (1, WeightKind.BINARY), (1, ActKind.BIPOLAR))
    chain.layers.append(layer)
    made = RandomNetwork(
        "by hand", chain.workload("by hand"), {"x": random_entry(layer, np.random.default_rng(0))}
    )
    return lambda: lay_out(made, Datapath((replace(BATCHES, sum_bits=4),), (0,)))


def _strides(chain: LayerChain, x: str) -> None:
    a = chain.conv(8, reads=x, name="c")
    chain.conv(8, stride=2, reads=x, name="d")
    chain.conv(8, reads="d", name="e")
    chain.conv(8, reads="e", adds="d", name="f")
    chain.conv(8, kernel=1, stride=2, reads=a, adds="f", name="g")


def _groups(chain: LayerChain, x: str) -> None:
    chain.conv(16, reads=x, groups=2, name="c")
    chain.conv(16, reads=x, adds="c", name="d")


_CONV = residual_chain().layers[0].kind


@pytest.mark.parametrize(
    ("lay", "message"),
    [
        # A writer fills one map.
        (
            lambda: laid_out(residual_chain(), BATCHES, BATCHES, assignment=(0, 1, 0, 0)),
            r"what layer 'x' makes is read on engines 0, 1; a writer fills one map, so put its readers on one engine",
        ),
        # Columns lie in lanes for one stride; 'c' and 'd' have two.
        (
            lambda: laid_out(residual_chain(_strides), COLUMNS),
            r"layers 'c' and 'd' both read what 'b' makes, with strides 1 and 2 and 1 and 1 columns of padding; .* use batch",
        ),
        # Groups begin words of their own.
        (
            lambda: laid_out(residual_chain(_groups), BATCHES),
            r"layers 'c' and 'd' both read what 'b' makes, in 2 and 1 groups; a map has words for one number of groups",
        ),
        # Blocks of 16 rows are added to blocks of 8.
        (
            lambda: laid_out(
                residual_chain(), replace(BATCHES, dm=16), BATCHES, assignment=(0, 1, 1, 1)
            ),
            r"layer 'b' adds what 'x' makes in blocks of 16 channels to its own of 8; give both engines the same dm",
        ),
        # Values of -1 and +1 would have to be added in steps of two.
        (_bipolar, r"layer 'b' adds what 'x' makes, in steps of two; only integers in steps of one can be added"),
        # What is added has the shape of the convolution's output, before its pooling.
        (
            _adds(stride=(2, 2), padding=(0, 0, 0, 0), kernel=(1, 1)),
            r"layer 'b' adds what 'x' makes: \(16, 8, 8\) channels, rows and columns to \(16, 4, 4\)",
        ),
        (
            _adds(inputs=("a", IMAGE)),
            r"layer 'b' reads the image too; only the first layer may, and only as its input",
        ),
        # All results but the last layer's are read.
        (
            lambda: laid_out(residual_chain(lambda chain, b: chain.conv(8, reads="a")), BATCHES),
            r"no layer reads what layer 'b' makes; only the last layer's results may leave",
        ),
        # 64 sums of a level of b and three of x: up to 256.
        (
            _adds(pool=Pool(PoolKind.AVERAGE, (8, 8), (8, 8)), out_bits=8),
            r"layer 'b' averages in sums of 9 bits, engine 8x32x2 has sum_bits=0; give it 9",
        ),
        # A padded pixel counts 0, a code of 0 stands for -2.
        (
            _averages(2, ActKind.SIGNED, padding=(1, 0, 0, 0)),
            r"layer 'x' averages over padding results that begin at -2, as which a padded pixel would count; pad only where",
        ),
        (
            _averages(1, ActKind.BIPOLAR),
            r"layer 'x' averages results in steps of 2; only integers in steps of one are summed, so quantize to two bits",
        ),
        (
            _averages(2, ActKind.SIGNED, result=ResultKind.RAW),
            r"layer 'x' pools raw accumulators; only results of thresholds are pooled, so quantize them",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told(lay: Callable[[], AcceleratorLayout], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lay()


def test_a_tile_gives_three_tokens_at_most() -> None:
    """Layer b frees its input and its residual, ends a tile of weights, and hands its own results over."""
    apart = LayerChain((3, 8, 8, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = apart.conv(16, name="x")
    a = apart.conv(16, reads=x, name="a")
    down = apart.conv(16, reads=x, kernel=1, name="down")
    apart.conv(16, reads=a, adds=down, name="b")
    apart.matmul(4, raw=True)
    layout = lay_out(network(apart), Datapath((BATCHES,) * 3, (0, 0, 0, 1, 2), batch_frames=2))
    assert sorted(tokens_of(layout).full) == [-1, 1, 2, 3]
    with pytest.raises(ConfigError, match="layer 'b' ends with 4 tokens to give, a tile can give 3"):
        lay_out(network(apart), layout.datapath, tilings={3: LayerTiling(blocks=1, streams_weights=True)})
