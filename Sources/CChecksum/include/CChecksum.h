// SPDX-License-Identifier: Apache-2.0
// CRC-32 as gzip has it (RFC 1952 section 8), by the instructions that the processor at hand has:
// Swift can neither ask for them in one function only nor find out whether they are there.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Continues a checksum, which begins as 0, with more bytes.
uint32_t cchecksum_crc32(uint32_t checksum, const void *bytes, size_t count);

// The same without any particular instruction, to hold the other against.
uint32_t cchecksum_crc32_portable(uint32_t checksum, const void *bytes, size_t count);
