"""benchmarks/accelerators reads HLO, bundles and thunks: small ones written by hand."""

from pathlib import Path

import bundles
import gpu
import pytest
import tpu
from hlo import Module

# A loop over rounds whose bound is data, and in a round a loop of 40 turns, whose comparison is a fusion.
TPU = """HloModule jit_advance, is_scheduled=true

FileNames
1 "/home/me/jaxbandit/simulation/rounds.py"
2 "/home/me/jaxbandit/agents/linear.py"
3 "/home/me/jax/numpy.py"

FileLocations
1 {file_name_id=1 function_name_id=1 line=60 end_line=60 column=25 end_column=59}
2 {file_name_id=2 function_name_id=2 line=155 end_line=155 column=1 end_column=5}
3 {file_name_id=3 function_name_id=3 line=9 end_line=9 column=1 end_column=5}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}

%less (a: s32[], b: s32[]) -> pred[] {
  %a = s32[]{:T(128)} parameter(0)
  %b = s32[]{:T(128)} parameter(1)
  ROOT %compare = pred[]{:T(512)} compare(%a, %b), direction=LT
}

%inner_condition (p: (s32[], f32[8], s32[])) -> pred[] {
  %p = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %n = s32[]{:T(128)} get-tuple-element(%p), index=2
  ROOT %fusion.9 = pred[]{:T(512)} fusion(%i, %n), kind=kLoop, calls=%less
}

%inner_body (q: (s32[], f32[8], s32[])) -> (s32[], f32[8], s32[]) {
  %q = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%q), index=0
  %x = f32[8]{0:T(128)} get-tuple-element(%q), index=1
  %m = s32[]{:T(128)} get-tuple-element(%q), index=2
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%j, %one)
  %copy.1 = s32[]{:T(128)} copy(%m)
  %scale = f32[8]{0:T(128)} fusion(%x), kind=kLoop, calls=%less, metadata={op_name="s" stack_frame_id=3}, \
backend_config={"window_config":{"estimated_cycles":"25"}}
  ROOT %tuple.1 = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) tuple(%next, %scale, %copy.1)
}

%round_condition (p: (s32[], f32[8], s32[])) -> pred[] {
  %p = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %n = s32[]{:T(128)} get-tuple-element(%p), index=2
  ROOT %compare.2 = pred[]{:T(512)} compare(%i, %n), direction=LT
}

%round (r: (s32[], f32[8], s32[])) -> (s32[], f32[8], s32[]) {
  %r = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) parameter(0)
  %k = s32[]{:T(128)} get-tuple-element(%r), index=0
  %last = s32[]{:T(128)} get-tuple-element(%r), index=2
  %y = f32[8]{0:T(128)} get-tuple-element(%r), index=1
  %zero = s32[]{:T(128)} constant(0)
  %forty = s32[]{:T(128)} constant(40)
  %start = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) tuple(%zero, %y, %forty)
  %while.1 = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) while(%start), condition=%inner_condition, \
body=%inner_body, metadata={op_name="w" stack_frame_id=2}
  %z = f32[8]{0:T(128)} get-tuple-element(%while.1), index=1
  %gather_fusion = f32[8]{0:T(128)S(1)} fusion(%z), kind=kCustom, calls=%less, metadata={stack_frame_id=2}
  %gather_fusion.2 = f32[8]{0:T(128)S(1)} fusion(%z), kind=kCustom, calls=%less, metadata={op_name="g"}
  %sum = f32[8]{0:T(128)} all-reduce(%gather_fusion.2), to_apply=%less, \
backend_config={"window_config":{"estimated_cycles":"7"}}
  %k1 = s32[]{:T(128)} add(%k, %zero)
  ROOT %tuple.2 = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) tuple(%k1, %sum, %last)
}

ENTRY %main (e: s32[], f: f32[8]) -> f32[8] {
  %e = s32[]{:T(128)} parameter(0)
  %f = f32[8]{0:T(128)} parameter(1)
  %nought = s32[]{:T(128)} constant(0)
  %begin = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) tuple(%nought, %f, %e)
  %while.2 = (s32[]{:T(128)}, f32[8]{0:T(128)}, s32[]{:T(128)}) while(%begin), condition=%round_condition, body=%round
  ROOT %out = f32[8]{0:T(128)} get-tuple-element(%while.2), index=1
}
"""

# Three turns of a loop of seven bundles with its four delay slots, then a branch that is taken over two bundles.
GATHER = """= control target key start
LB: loop body
= control target key end

     0   :  { %s1_s0 = inlined_call_operand.vmem [shape: f32[8], index: 0] /* operand 0 */  ;;  %s2_s9 = smov.u32 0 }
   0x1 LB: > { %s4_s9 = sphi %s2_s9, %s3_s9  ;;  %5 = sst [smem:[#allocation3_spill]] %s4_s9 } /* Start region 7 */
   0x2   : > { %v1_v0 = vld [vmem:[%s1_s0] sm:$0xff]  ;;  %s6_s4 = sld [smem:[#allocation3_spill]] /* spilled
over two lines */ }
   0x3   : > { %s3_s9 = sadd.s32 1, %s6_s4 }
   0x4   : > { %p7_p0 = scmp.ge.s32.totalorder %s3_s9, 3 /* loop exit test */  ;;  %s8_s5 = smov.u32 (!%p7_p0), 2 }
   0x5   :  { %9 = sbr.rel (!%p7_p0) target = $region7 }
   0x6   :  {}
   0x7   :  {}
   0x8   :  {}
   0x9   :  {} /* End region 7 */
   0xa   :  { %p10_p1 = pnand %p7_p0, %p7_p0 }
   0xb   :  { %11 = sbr.rel (!%p10_p1) target = $region8 }
   0xc   :  {}
   0xd   :  {}
   0xe   :  {}
   0xf   :  {}
  0x10   :  { %v2_v0 = vld [vmem:[%s1_s0] sm:$0xff] }
  0x11   :  { %v3_v0 = vld [vmem:[%s1_s0] sm:$0xff] }
  0x12 PF:  { %12 = vst [vmem:[%s1_s0] sm:$0xff] /*vst_source=*/%v3_v0  ;;  vdelay 2 } /* Start/End empty region 8 */
"""
BUNDLES_OF_GATHER = 1 + 3 * 9 + 1 + 5 + (1 + 2)

THUNKS = """000: kCommandBuffer [source       | next=006 (1)]
    001: kCopy         [source | sink] kCopy
006: kWhile         [prev=000 (1) | next=000 (1)]
condition:
    007: kCustomKernel [source | sink] wrapped_compare grid: [1, 1, 1] threads: [1, 1, 1]  shared_memory: 0 bytes
  body:
    000: kCommandBuffer      [source       | next=015 (1)]
        008: kCustomKernel [source       | sink        ] loop_slice_fusion_7 grid: [1, 1, 1] threads: [1, 1, 1]
        009: kCopy         [prev=009 (1) | sink        ] kCopy
    015: kWhile              [prev=000 (1) | next=077 (1)]
condition:
        016: kCustomKernel [source | sink] inner_compare grid: [1, 1, 1] threads: [1, 1, 1]  shared_memory: 0 bytes
      body:
        017: kCustomKernel [source       | next=018 (1)] scale grid: [1, 1, 1] threads: [1, 1, 1]
        018: kGemm         [source       | next=018 (1)] products
    019: kCustomKernel [prev=015 (1) | sink] gather_fusion grid: [1, 1, 1] threads: [1, 1, 1]
020: kCopy [prev=006 (1) | sink        ] kCopy
"""


METADATA = """thunk_metadata {
  thunk_info {
    profile_annotation: "copy.9"
    thunk_id: 9
  }
  thunk_kind: "kCopy"
}
"""


def write_thunks(directory: Path) -> None:
    for name, text in zip(gpu.WRITTEN, (THUNKS, METADATA), strict=True):
        (directory / f"module_0001.jit_advance.thunk_{name}.txt").write_text(text)


@pytest.fixture
def module() -> Module:
    return Module(TPU)


def test_the_loop_over_rounds_is_that_of_unknown_length_and_a_counter_in_a_fusion_is_counted(module: Module) -> None:
    loop = module.loop_over_rounds()
    assert loop.body == "round"
    assert loop.trips is None
    assert [inner.trips for inner in module.loops("round")] == [40]
    assert [op.name for _, op, times in module.executed("round") if times == 40] == [
        *("q", "j", "x", "m", "one", "next", "copy.1", "scale", "tuple.1")
    ]


def test_a_bound_that_the_loop_changes_is_not_a_number_of_turns() -> None:
    moving = Module(TPU.replace("tuple(%next, %scale, %copy.1)", "tuple(%next, %scale, %next)"))
    assert moving.loops("round")[0].trips is None


def test_operations_are_traced_to_lines_of_the_package_the_innermost_first(module: Module) -> None:
    assert module.source(module.computations["inner_body"]["scale"]) == [
        "jaxbandit/agents/linear.py:155",
        "jaxbandit/simulation/rounds.py:60",
    ]
    assert module.source(module.computations["round"]["gather_fusion.2"]) == []


def test_bundles_are_counted_with_loops_turned_and_delay_slots() -> None:
    assert bundles.count(GATHER) == bundles.Count(BUNDLES_OF_GATHER, unknown=0, finished=True)


def test_a_branch_to_the_last_bundle_is_one_to_a_region_that_nobody_names() -> None:
    assert bundles.count(GATHER.replace("Start/End empty region 8", "exit bundle")).cycles == BUNDLES_OF_GATHER


def test_a_branch_that_depends_on_data_is_not_taken_and_told() -> None:
    text = GATHER.replace("%p10_p1 = pnand %p7_p0, %p7_p0", "%p10_p1 = scmp.eq.s32.totalorder %s1_s0, 3")
    assert bundles.count(text) == bundles.Count(BUNDLES_OF_GATHER + 2, unknown=1, finished=True)


def test_cycles_of_a_round_are_estimates_with_loops_multiplied_out_and_bundles_where_there_are_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "17-gather_fusion-01-final_bundles.txt").write_text("0 : {}")  # of an earlier try
    (tmp_path / "18-gather_fusion-01-final_bundles.txt").write_text(GATHER)  # its twin has none of its own
    (tmp_path / "18-scale-01-final_bundles.txt").write_text("   0x1   : { }\n   0x2   : { }\n")
    got = tpu.summary(TPU, tmp_path)
    assert got["cycles_per_round"] == 40 * 25 + 2 * BUNDLES_OF_GATHER + 7
    assert got["of_them_counted_from_bundles"] == 2 * BUNDLES_OF_GATHER
    assert got["bundles_per_round"] == 40 * 2 + 2 * BUNDLES_OF_GATHER + 7
    assert got["kernels_per_round"] == 43
    assert got["collectives_in_loop"] == ["all-reduce"]
    assert got["dearest"][0]["source"][0] == "jaxbandit/agents/linear.py:155"
    assert not got["not_counted"] + got["uncertain"]


def test_of_branches_the_dearest_counts_and_what_is_seldom_done_as_often_as_the_source_says() -> None:
    module = Module("""HloModule m

%often (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %small = f32[8]{0} negate(%a), metadata={op_name="cond/branch_0_fun/neg"}
}

%seldom (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  %first = f32[8]{0} negate(%b)
  ROOT %large = f32[8]{0} negate(%first), metadata={op_name="cond/branch_1_fun/vmap(once_in_20_rounds)/neg"}
}

ENTRY %main (which: s32[], x: f32[8]) -> f32[8] {
  %which = s32[] parameter(0)
  %x = f32[8]{0} parameter(1)
  ROOT %conditional = f32[8]{0} conditional(%which, %x, %x), branch_computations={%often, %seldom}
}
""")

    def counted(price):
        return {op.name: times for _, op, times in module.executed("main", price) if op.opcode == "negate"}

    assert counted(None) == {"small": 1, "first": 1 / 20, "large": 1 / 20}
    for dearest, expected in (("small", {"small": 1}), ("large", {"first": 1 / 20, "large": 1 / 20})):
        assert counted(lambda done, name=dearest: sum(op.name == name for _, op, _ in done)) == expected


def test_an_operation_that_nobody_counted_is_told(tmp_path: Path) -> None:
    assert tpu.summary(TPU, tmp_path)["not_counted"] == ["gather_fusion f32[8]", "gather_fusion.2 f32[8]"]


def test_kernels_of_a_round_are_counted_in_and_outside_graphs(tmp_path: Path) -> None:
    write_thunks(tmp_path)
    got = gpu.summary(TPU, tmp_path)
    assert got["kernels_per_round"] == 2 + 40 * 2 + 1 + 1  # with the comparison that ends the loop over rounds
    assert got["outside_graphs"] == 40 * 2 + 1 + 1
    assert got["graphs_per_round"] == 1
    assert got["host_waits_per_round"] == 1
    assert got["library_calls"] == {"kGemm": 40}
    assert {"copy_9", "scale", "gather_fusion", "wrapped_compare"} <= {kernel["name"] for kernel in got["dearest"]}
    assert got["us_per_round"] == pytest.approx(gpu.NODE * 2 + gpu.LAUNCH * 82 + gpu.GRAPH + gpu.WAIT)


def test_the_host_waits_for_every_loop_of_unknown_length(tmp_path: Path) -> None:
    write_thunks(tmp_path)
    moving = TPU.replace("tuple(%next, %scale, %copy.1)", "tuple(%next, %scale, %next)")
    assert gpu.summary(moving, tmp_path)["host_waits_per_round"] == 2


def test_the_host_waits_for_a_branch_and_all_branches_count() -> None:
    text = """000: kConditional   [prev=160 (1) | next=000 (1)]
  false_branch:
    001: kCommandBuffer [source | sink]
        002: kCopy         [source       | sink        ] kCopy
  true_branch:
    003: kCustomKernel [source | sink] loop_broadcast_fusion_3 grid: [1, 1, 1] threads: [128, 1, 1]
"""
    launches = gpu.launched(gpu.tree(text, ""), {})
    assert [(launch.thunk.kind, launch.in_graph) for launch in launches] == [
        ("kConditional", False),
        ("kCommandBuffer", False),
        ("kCopy", True),
        ("kCustomKernel", False),
    ]


def test_a_product_counts_its_operations_and_a_gather_the_bytes_that_it_touches() -> None:
    module = Module("""HloModule m

%slices (p0: f32[1000,20], p1: s32[4]) -> f32[4,20] {
  %p0 = f32[1000,20]{1,0} parameter(0)
  %p1 = s32[4]{0} parameter(1)
  ROOT %gather.1 = f32[4,20]{1,0} gather(%p0, %p1), offset_dims={1}
}

ENTRY %main (table: f32[1000,20], at: s32[4], w: f32[20,7]) -> f32[4,7] {
  %table = f32[1000,20]{1,0} parameter(0)
  %at = s32[4]{0} parameter(1)
  %w = f32[20,7]{1,0} parameter(2)
  %some = f32[4,20]{1,0} fusion(%table, %at), kind=kLoop, calls=%slices
  ROOT %dot.1 = f32[4,7]{1,0} dot(%some, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
""")
    ops = module.computations["main"]
    assert gpu.work(module, "main", ops["some"]) == gpu.Work(4 * (4 * 20 + 4 + 4 * 20), 0)
    assert gpu.work(module, "main", ops["dot.1"]) == gpu.Work(4 * (4 * 20 + 20 * 7 + 4 * 7), 2 * 4 * 20 * 7)
