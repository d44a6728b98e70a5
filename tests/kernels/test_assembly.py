"""Machine code as text, and what is read out of it."""

import pytest

from crosspt.kernels.tools.assembly import read_amdgcn, read_resource_usage, read_sass


def test_sass_is_read():
    text = """
        /*0090*/                   LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;     /* 0x0 */
        /*00a0*/              @!P0 LDG.E.U16 R4, desc[UR4][R2.64] ;              /* 0x0 */
        /*00b0*/              @UP1 UBLKCP [UR8], [UR6], UR4 ;                    /* 0x0 */
        /*00c0*/               @P2 LDGSTS.E.BYPASS.LTC128B.64 [R1], [R2.64] ;    /* 0x0 */
        /*00d0*/                   STG.E desc[UR4][R2.64], R4 ;                  /* 0x0 */
        /*00d0*/                   STG.E.S8 desc[UR4][R2.64], R4 ;               /* 0x0 */
        /*00e0*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4] ;     /* 0x0 */
        /*00f0*/                   LDS.128 R4, [R2] ;                            /* 0x0 */
        /*00f8*/                   DMMA.8x8x4 R4, R2, R3, R4 ;                   /* 0x0 */
    """
    facts = read_sass(text)
    assert facts["loads"] == {16: 1, 64: 1, 128: 2}
    assert facts["stores"] == {8: 1, 32: 1}
    assert (facts["load_bits"], facts["store_bits"]) == (128, 32)
    assert facts["matrix_instructions"] == ("DMMA.8x8x4", "HGMMA.64x64x16.F32.BF16")
    assert facts["loop_instructions"] == 0


def test_the_inner_loop_is_measured_in_sass():
    """Of two loops in a third the longer one counts, with what waits in it; a way back from behind the end is none."""
    lines = ["MOV R1, R2 ;"] * 200
    for branch, target in ((40, 20), (100, 50), (60, 55), (110, 10), (150, 30)):
        lines[branch] = f"@!P0 BRA 0x{16 * target:x} ;"
    lines[120] = "EXIT ;"
    text = "".join(f"        /*{16 * i:04x}*/                   {line}   /* 0x0 */\n" for i, line in enumerate(lines))
    assert read_sass(text)["loop_instructions"] == 51


def test_the_inner_loop_is_measured_in_amdgcn():
    body = "\tv_add_u32_e32 v0, v1, v2\n" * 30
    inner = f".LBB0_2:                ; a comment\n{body}\ts_cbranch_scc1 .LBB0_2\n"
    text = f"{AMDGCN}.LBB0_1:\n{body}{inner}{body}\ts_branch .LBB0_1\n\ts_endpgm\n"
    assert read_amdgcn(text)["loop_instructions"] == 31


def test_resource_usage_is_read():
    text = " Function f:\n  REG:255 STACK:16 SHARED:1024 LOCAL:8 CONSTANT[0]:576 TEXTURE:0 SURFACE:0 SAMPLER:0"
    assert read_resource_usage(text) == {
        "registers": 255, "stack_bytes": 16, "local_bytes": 8, "shared_bytes": 1024
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="expected REG, STACK, LOCAL and SHARED, got 'nothing'"):
        read_resource_usage("nothing")


AMDGCN = """
	global_load_dwordx4 v[2:5], v0, s[4:5]
	buffer_load_dword v1, v0, s[4:7], 0 offen
	global_load_ushort v1, v0, s[4:5]
	global_load_ubyte v1, v0, s[4:5]
	s_load_dwordx4 s[0:3], s[4:5], 0x0
	global_store_short_d16_hi v0, v1, s[4:5]
	global_store_dwordx2 v0, v[1:2], s[4:5]
	v_mfma_f32_32x32x8_bf16 a[0:15], v[0:1], v[2:3], a[0:15]
    .group_segment_fixed_size: 64
    .private_segment_fixed_size: 12
    .sgpr_spill_count: 1
    .vgpr_count:     96
    .vgpr_spill_count: 2
"""


def test_amdgcn_is_read():
    facts = read_amdgcn(AMDGCN)
    assert facts["loads"] == {8: 1, 16: 1, 32: 1, 128: 1}
    assert facts["stores"] == {16: 1, 64: 1}
    assert facts["matrix_instructions"] == ("v_mfma_f32_32x32x8_bf16",)
    assert (facts["registers"], facts["stack_bytes"], facts["local_bytes"], facts["shared_bytes"]) == (96, 12, 8, 64)
    assert facts["scalar_spills"] == 1
    with pytest.raises(RuntimeError, match=r"expected \.vgpr_spill_count in the metadata"):
        read_amdgcn(AMDGCN.replace(".vgpr_spill_count", ".other"))
