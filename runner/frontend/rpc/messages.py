"""The messages of `protos/`, as classes.

Why not generated modules? They work with a narrow range of protobuf versions and register their names for the whole
process, where a client library's own copies would clash with them. Here a compiled description is read into a pool
of its own, which any protobuf can do.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

_DESCRIPTION = "services.binpb"


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorSet()
    described.ParseFromString((files(__package__) / _DESCRIPTION).read_bytes())
    for file in described.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def message(name: str) -> Any:
    """The class of that message: "inference.ModelInferRequest". Raises KeyError."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def service(name: str) -> ServiceDescriptor:
    """The description of that service. Raises KeyError."""
    return _POOL.FindServiceByName(name)


def class_of(descriptor: Any) -> Any:
    """The class of a method's input or output."""
    return message_factory.GetMessageClass(descriptor)
