"""What torch's `weights_only` loading calls and builds: the record of torch 2.13, held against the installed torch
by a test.

Source: `torch._weights_only_unpickler._get_allowed_globals()`, and what `import torch` adds to it.
"""

from __future__ import annotations

from itertools import product

_TENSOR_TYPES = ("BFloat16", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_DENSE_TYPES = (*_TENSOR_TYPES, "Bool")
_STORAGE_TYPES = (*_DENSE_TYPES, "ComplexDouble", "ComplexFloat")
_QUANTISED = ("QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8")

_BUILT_IN = """
    _codecs.encode builtins.bytearray builtins.complex builtins.set collections.Counter collections.OrderedDict
    torch.Size torch.Tensor torch.device torch.nn.parameter.Parameter torch.serialization._get_layout
    torch.storage.TypedStorage torch.storage.UntypedStorage torch._tensor._rebuild_from_type_v2
"""
_REBUILD = """
    device_tensor_from_cpu_tensor device_tensor_from_numpy meta_tensor_no_storage nested_tensor parameter
    parameter_with_state qtensor sparse_tensor tensor tensor_v2 tensor_v3 wrapper_subclass
"""
_DTYPES = """
    bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 float16 float32 float64
    float4_e2m1fn_x2 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu
    int1 int2 int3 int4 int5 int6 int7 int8 int16 int32 int64 uint1 uint2 uint3 uint4 uint5 uint6 uint7 uint8
    uint16 uint32 uint64 qint32 qint8 quint2x4 quint4x2 quint8
    per_channel_affine per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine per_tensor_symmetric
"""
#: What `import torch` registers with `add_safe_globals` by itself.
REGISTERED = frozenset(
    {
        "torch.distributed._mesh_layout._FlatLayout",
        "torch.distributed._mesh_layout._MeshLayout",
        "torch.nested._internal.nested_tensor.NestedTensor",
        "torch.nested._internal.nested_tensor._rebuild_njt",
    }
)
#: Torch's own list: module and name with a dot between.
ALLOWED = frozenset(
    [
        *_BUILT_IN.split(),
        *(f"torch._utils._rebuild_{name}" for name in _REBUILD.split()),
        *(f"torch.{name}" for name in _DTYPES.split()),
        *(f"{where}.{name}Tensor" for where, name in product(("torch", "torch.cuda"), _DENSE_TYPES)),
        *(f"{where}.{name}Tensor" for where, name in product(("torch.sparse", "torch.cuda.sparse"), _TENSOR_TYPES)),
        *(f"{where}.{name}Storage" for where, name in product(("torch", "torch.cuda"), _STORAGE_TYPES)),
        *(f"torch.{name}Storage" for name in _QUANTISED),
    ]
)
#: The functions of `torch.jit._pickle`, whole names only: other names lead out of that module.
_TORCHSCRIPT = frozenset(
    f"torch.jit._pickle.{name}"
    for name in (*(f"build_{kind}list" for kind in ("int", "tensor", "double", "bool")), "build_tensor_from_id")
) | {"torch.jit._pickle.restore_type_tag"}
_INSTRUCTIONS = """
    APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT EMPTY_LIST
    EMPTY_SET EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWOBJ NEWTRUE NONE PROTO REDUCE SETITEM
    SETITEMS SHORT_BINSTRING STOP TUPLE TUPLE1 TUPLE2 TUPLE3
"""
#: The instructions that torch's unpickler has; it refuses all others.
INSTRUCTIONS = frozenset(_INSTRUCTIONS.split())


def is_allowed(name: str) -> bool:
    """Whether torch's `weights_only` loading calls `module.name`."""
    return name in ALLOWED or name in REGISTERED


def is_torchscript(name: str) -> bool:
    """Whether a TorchScript archive names it for torch's C++ reader, which calls no Python: the program's own types,
    and the functions with which types were marked."""
    return name.startswith("__torch__.") or name in _TORCHSCRIPT
