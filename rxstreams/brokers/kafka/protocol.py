"""Requests that aiokafka has not: offsets of a group once its open transactions have ended, and settings of topics."""

from __future__ import annotations

from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

__all__ = ["IncrementalAlterConfigs", "StableOffsets"]


class _StableOffsetsResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _StableOffsetsRequest(RequestStruct):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _StableOffsetsResponse
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(("name", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsets(Request[_StableOffsetsRequest]):  # type: ignore[misc]  # aiokafka ships no types
    """All committed offsets of a group; an error for partitions of which a transaction has pending ones (KIP-447, Kafka 2.5)."""

    API_KEY = 9

    def __init__(self, group: str) -> None:
        self.group = group

    def build(self, request_struct_class: type[_StableOffsetsRequest]) -> _StableOffsetsRequest:
        return request_struct_class(self.group, None, True, {})


class _AlterResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(("error_code", Int16), ("error_message", String("utf-8")), ("type", Int8), ("name", String("utf-8"))),
        ),
    )


class _AlterRequest(RequestStruct):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _AlterResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("type", Int8),
                ("name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class IncrementalAlterConfigs(Request[_AlterRequest]):  # type: ignore[misc]  # aiokafka ships no types
    """Set some of a topic's settings, and leave the others (KIP-339, Kafka 2.3)."""

    API_KEY = 44

    def __init__(self, topic: str, settings: dict[str, str]) -> None:
        self.topic, self.settings = topic, settings

    def build(self, request_struct_class: type[_AlterRequest]) -> _AlterRequest:
        topic, put = 2, 0
        configs: list[Any] = [(name, put, value) for name, value in self.settings.items()]
        return request_struct_class([(topic, self.topic, configs)], False)
