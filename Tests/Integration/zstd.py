# SPDX-License-Identifier: Apache-2.0
"""zstd from Debian's libzstd1, by its plain C calls: Python 3.11 has no module for it."""

from __future__ import annotations

import ctypes

_library = ctypes.CDLL("libzstd.so.1")
_library.ZSTD_compressBound.restype = ctypes.c_size_t
_library.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
_library.ZSTD_compress.restype = ctypes.c_size_t
_library.ZSTD_compress.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
]  # fmt: skip
_library.ZSTD_decompress.restype = ctypes.c_size_t
_library.ZSTD_decompress.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t
]  # fmt: skip
_library.ZSTD_isError.argtypes = [ctypes.c_size_t]
_library.ZSTD_getErrorName.restype = ctypes.c_char_p
_library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]


def compress(data: bytes, level: int = 3) -> bytes:
    """One frame that states its content's size."""
    buffer = ctypes.create_string_buffer(_library.ZSTD_compressBound(len(data)))
    length = _library.ZSTD_compress(buffer, len(buffer), data, len(data), level)
    return buffer.raw[: _checked(length)]


def decompress(data: bytes, size: int) -> bytes:
    """Every frame in `data`, which must give exactly `size` bytes."""
    buffer = ctypes.create_string_buffer(max(size, 1))
    length = _checked(_library.ZSTD_decompress(buffer, size, data, len(data)))
    if length != size:
        raise ValueError(f"zstd data holds {length} bytes, not {size}")
    return buffer.raw[:size]


def _checked(result: int) -> int:
    if _library.ZSTD_isError(result):
        raise ValueError(f"zstd: {_library.ZSTD_getErrorName(result).decode()}")
    return result
