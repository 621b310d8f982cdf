// SPDX-License-Identifier: Apache-2.0
//
// The polynomial is x^32 + x^26 + x^23 + x^22 + x^16 + x^12 + x^11 + x^10 + x^8 + x^7 + x^5 + x^4 +
// x^2 + x + 1, its bits reflected: the lowest bit of a byte stands for the highest power.
#include "CChecksum.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

#define POLYNOMIAL UINT32_C(0xEDB88320)

// tables[k][b]: what byte b does to the checksum when k more bytes follow it.
static uint32_t tables[8][256];

static void fill_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
        tables[0][byte] = value;
    }
    for (int after = 1; after < 8; after++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t value = tables[after - 1][byte];
            tables[after][byte] = value >> 8 ^ tables[0][value & 0xFF];
        }
    }
}

static uint32_t load32(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

// Here and below `state` is the checksum with all bits inverted.
static uint32_t update_by_tables(uint32_t state, const uint8_t *bytes, size_t count) {
    for (; count >= 8; bytes += 8, count -= 8) {
        uint32_t low = state ^ load32(bytes);
        uint32_t high = load32(bytes + 4);
        state = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^
                tables[4][low >> 24] ^ tables[3][high & 0xFF] ^ tables[2][high >> 8 & 0xFF] ^
                tables[1][high >> 16 & 0xFF] ^ tables[0][high >> 24];
    }
    for (; count > 0; bytes++, count--) state = state >> 8 ^ tables[0][(state ^ *bytes) & 0xFF];
    return state;
}

#if defined(__x86_64__)

// Carries 128 bits of remainder past the bits that follow, as many as the constants say, and adds
// those. The constants are x^(n + 32) and x^(n - 32) modulo the polynomial, reflected, for n bits:
// Gopal, Ozturk et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
// Instruction", Intel 2009, where they are called k1 to k4.
__attribute__((target("pclmul"))) static inline __m128i fold(__m128i value, __m128i constants,
                                                             __m128i next) {
    __m128i low = _mm_clmulepi64_si128(value, constants, 0x00);
    __m128i high = _mm_clmulepi64_si128(value, constants, 0x11);
    return _mm_xor_si128(next, _mm_xor_si128(low, high));
}

// At least 64 bytes.
__attribute__((target("pclmul"))) static uint32_t update_by_clmul(uint32_t state,
                                                                  const uint8_t *bytes,
                                                                  size_t count) {
    const __m128i by_512 = _mm_set_epi64x(0x1C6E41596, 0x154442BD4);
    const __m128i by_128 = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);
    const __m128i *next = (const __m128i *)bytes;
    __m128i first = _mm_xor_si128(_mm_loadu_si128(next), _mm_cvtsi32_si128((int)state));
    __m128i second = _mm_loadu_si128(next + 1);
    __m128i third = _mm_loadu_si128(next + 2);
    __m128i fourth = _mm_loadu_si128(next + 3);
    for (next += 4, count -= 64; count >= 64; next += 4, count -= 64) {
        first = fold(first, by_512, _mm_loadu_si128(next));
        second = fold(second, by_512, _mm_loadu_si128(next + 1));
        third = fold(third, by_512, _mm_loadu_si128(next + 2));
        fourth = fold(fourth, by_512, _mm_loadu_si128(next + 3));
    }
    first = fold(first, by_128, second);
    first = fold(first, by_128, third);
    first = fold(first, by_128, fourth);
    for (; count >= 16; next++, count -= 16) first = fold(first, by_128, _mm_loadu_si128(next));
    // What is left has the remainder of all bytes so far: the tables reduce it to 32 bits.
    uint8_t remainder[16];
    _mm_storeu_si128((__m128i *)remainder, first);
    state = update_by_tables(0, remainder, sizeof remainder);
    return update_by_tables(state, (const uint8_t *)next, count);
}

static int has_instructions(void) { return __builtin_cpu_supports("pclmul"); }

static uint32_t update_by_instructions(uint32_t state, const uint8_t *bytes, size_t count) {
    // Below that the tables are as fast.
    return count >= 64 ? update_by_clmul(state, bytes, count)
                       : update_by_tables(state, bytes, count);
}

#elif defined(__aarch64__)

static int has_instructions(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

__attribute__((target("crc"))) static uint32_t update_by_instructions(uint32_t state,
                                                                      const uint8_t *bytes,
                                                                      size_t count) {
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        state = __crc32d(state, word);
    }
    for (; count > 0; bytes++, count--) state = __crc32b(state, *bytes);
    return state;
}

#else

static int has_instructions(void) { return 0; }

static uint32_t update_by_instructions(uint32_t state, const uint8_t *bytes, size_t count) {
    return update_by_tables(state, bytes, count);
}

#endif

static uint32_t (*update)(uint32_t, const uint8_t *, size_t);
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void) {
    fill_tables();
    update = has_instructions() ? update_by_instructions : update_by_tables;
}

uint32_t cchecksum_crc32(uint32_t checksum, const void *bytes, size_t count) {
    pthread_once(&once, prepare);
    return ~update(~checksum, bytes, count);
}

uint32_t cchecksum_crc32_portable(uint32_t checksum, const void *bytes, size_t count) {
    pthread_once(&once, prepare);
    return ~update_by_tables(~checksum, bytes, count);
}
