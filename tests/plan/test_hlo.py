"""Reading a compiled program: products and transfers, as often as the loops around them turn."""

import jax
import jax.numpy as jnp
import pytest

from zv_jax.plan import hlo


def compiled(function, *shapes) -> str:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(function).lower(*arguments).compile().as_text()


def test_a_product_counts_two_operations_for_each_pair():
    text = compiled(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (3, 4, 50), (3, 50, 70))
    assert hlo.work(text).flops == 2 * 3 * 4 * 50 * 70


def test_loops_count_as_often_as_they_turn():
    def nested(x, w):
        def inner(x, _):
            return jnp.tanh(x @ w), None

        def outer(x, _):
            return jax.lax.scan(inner, x, None, length=3)[0], None

        return jax.lax.scan(outer, x, None, length=5)[0]

    once = 2 * 32 * 64 * 64
    assert hlo.work(compiled(nested, (32, 64), (64, 64))).flops == 15 * once


def test_recomputation_is_seen():
    def loss(policy):
        def layer(x, w):
            return jnp.tanh(x @ w), None

        if policy:
            layer = jax.checkpoint(layer, prevent_cse=False)
        return jax.grad(lambda w, x: jax.lax.scan(layer, x, w)[0].sum(), argnums=1)

    shapes = (4, 64, 64), (32, 64)
    plain, again = (hlo.work(compiled(loss(p), *shapes)).flops for p in (False, True))
    # Weights carry no gradient: forward and backward; with recomputation the forward once more.
    assert plain == 2 * 4 * 2 * 32 * 64 * 64
    assert again == pytest.approx(plain * 1.5, rel=0.1)


TPU = """
HloModule jit_step
%body (p: (s32[], bf16[8,576,128])) -> (s32[], bf16[8,576,128]) {
  %a = bf16[8,576,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[8,400,128]{2,1,0:T(8,128)(2,1)} parameter(1)
  %c.1 = f32[8,576,400]{2,1,0:T(8,128)} convolution(%a, %b), CONV
  %w = bf16[5120,40]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=1
  %g = bf16[5120,5120]{1,0:T(8,128)(2,1)} all-gather(%w), GATHER
  %f = bf16[8,8]{1,0:T(8,128)(2,1)} fusion(%w), kind=kCustom, calls=%also
}
%also (v: bf16[5120,40]) -> bf16[8,8] {
  %v = bf16[5120,40]{1,0:T(8,128)(2,1)} parameter(0)
  %h = bf16[5120,5120]{1,0:T(8,128)(2,1)} all-gather(%v), GATHER
}
%condition (p: (s32[], bf16[8,576,128])) -> pred[] {
  %n = s32[]{:T(128)} constant(40)
  ROOT %lt = pred[]{:T(512)} compare(%i, %n), direction=LT
}
ENTRY %main (x: bf16[8,576,128]) -> bf16[8,576,128] {
  %loop = (s32[], bf16[8,576]{1,0:T(8,128)(2,1)S(1)}) while(%t), condition=%condition, body=%body
  %r = f32[1024]{0:T(1024)} fusion(%x), kind=kLoop, calls=%fused
  %s = f32[1024]{0:T(1024)} all-reduce-start(%r), REDUCE, to_apply=%add
}
"""
TPU = (
    TPU.replace("CONV", "window={size=8 stride=7 lhs_dilate=8}, dim_labels=0bf_0oi->0bf")
    .replace("GATHER", "channel_id=3, replica_groups=mesh['axis_0'=2,'axis_1'=128] {'axis_1'}")
    .replace("REDUCE", "replica_groups=[128,2]<=[2,128]T(1,0)")
)


def test_programs_of_tpus():
    """Products as convolutions with mostly empty windows, groups named by mesh axes, one transfer
    in the fusions of two products."""
    found = hlo.work(TPU, chips_per_slice=128)
    assert found.flops == 40 * 2 * 8 * 576 * 400 * 128
    gathered, reduced = found.traffic
    assert (gathered.kind, gathered.group, gathered.count) == ("all-gather", 128, 40)
    assert gathered.payload == 40 * 2 * 5120 * 5120
    assert gathered.wire == gathered.payload * 127 / 128 and not gathered.spans_slices
    assert (reduced.kind, reduced.group, reduced.count) == ("all-reduce", 2, 1)
    assert reduced.payload == reduced.wire == 4 * 1024 and reduced.spans_slices


def test_products_that_gpus_leave_to_cublas_count():
    program = """
ENTRY %main (a: bf16[8,16], b: bf16[16,32]) -> bf16[8,32] {
  %a = bf16[8,16]{1,0} parameter(0)
  %b = bf16[16,32]{1,0} parameter(1)
  %gemm = (bf16[8,32]{1,0}, s8[4194304]{0}) custom-call(%a, %b), \
custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"alpha_real":1,\
"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  ROOT %out = bf16[8,32]{1,0} get-tuple-element(%gemm), index=0
}
"""
    assert hlo.work(program).flops == 2 * 8 * 32 * 16


@pytest.mark.parametrize(
    "attributes, groups",
    [
        ("replica_groups={{0,1},{2,3}}, x=1", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}", [[0, 2], [1, 3]]),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ],
)
def test_groups(attributes, groups):
    assert hlo.groups_of(attributes) == groups


def test_a_loop_without_a_number_of_turns_is_an_error():
    with pytest.raises(ValueError, match="trip count of %loop"):
        hlo.work(TPU.replace("constant(40)", "parameter(7)"))
