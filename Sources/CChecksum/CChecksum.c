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

// Gopal, Ozturk et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction",
// Intel 2009: 128 bits of remainder are carried past the n bits that follow by multiplying their
// halves with x^(n + 32) and x^(n - 32) modulo the polynomial.
static uint64_t by_128[2], by_512[2], by_1024[2];

// x^power modulo the polynomial, its bits reflected, in the place where the products of reflected
// numbers come out right.
static uint64_t fold_factor(int power) {
    uint32_t value = UINT32_C(1) << 31;
    for (; power > 0; power--) value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
    return (uint64_t)value << 1;
}

static void fill_factors(void) {
    uint64_t *factors[] = {by_128, by_512, by_1024};
    int bits[] = {128, 512, 1024};
    for (int index = 0; index < 3; index++) {
        factors[index][0] = fold_factor(bits[index] + 32);
        factors[index][1] = fold_factor(bits[index] - 32);
    }
}

static __m128i load(const void *bytes) { return _mm_loadu_si128((const __m128i *)bytes); }

__attribute__((target("pclmul"))) static inline __m128i fold(__m128i value, __m128i factors,
                                                             __m128i next) {
    __m128i low = _mm_clmulepi64_si128(value, factors, 0x00);
    __m128i high = _mm_clmulepi64_si128(value, factors, 0x11);
    return _mm_xor_si128(next, _mm_xor_si128(low, high));
}

// Folds the parts of a remainder into one, and then what is left of the bytes.
__attribute__((target("pclmul"))) static uint32_t finish(const __m128i *parts, int part_count,
                                                         const uint8_t *bytes, size_t count) {
    const __m128i factors = load(by_128);
    __m128i value = parts[0];
    for (int part = 1; part < part_count; part++) value = fold(value, factors, parts[part]);
    for (; count >= 16; bytes += 16, count -= 16) value = fold(value, factors, load(bytes));
    // Which has the remainder of all bytes so far: the tables reduce it to 32 bits.
    uint8_t remainder[16];
    _mm_storeu_si128((__m128i *)remainder, value);
    uint32_t state = update_by_tables(0, remainder, sizeof remainder);
    return update_by_tables(state, bytes, count);
}

// At least 64 bytes.
__attribute__((target("pclmul"))) static uint32_t update_by_clmul(uint32_t state,
                                                                  const uint8_t *bytes,
                                                                  size_t count) {
    const __m128i factors = load(by_512);
    __m128i parts[4];
    for (int part = 0; part < 4; part++) parts[part] = load(bytes + 16 * part);
    parts[0] = _mm_xor_si128(parts[0], _mm_cvtsi32_si128((int)state));
    for (bytes += 64, count -= 64; count >= 64; bytes += 64, count -= 64) {
        for (int part = 0; part < 4; part++)
            parts[part] = fold(parts[part], factors, load(bytes + 16 * part));
    }
    return finish(parts, 4, bytes, count);
}

// At least 128 bytes; two parts of the remainder in each register.
__attribute__((target("avx2,pclmul,vpclmulqdq"))) static uint32_t update_by_wide_clmul(
    uint32_t state, const uint8_t *bytes, size_t count) {
    const __m256i factors = _mm256_broadcastsi128_si256(load(by_1024));
    __m256i parts[4];
    for (int part = 0; part < 4; part++)
        parts[part] = _mm256_loadu_si256((const __m256i *)(bytes + 32 * part));
    parts[0] = _mm256_xor_si256(parts[0], _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)state)));
    for (bytes += 128, count -= 128; count >= 128; bytes += 128, count -= 128) {
        for (int part = 0; part < 4; part++) {
            __m256i next = _mm256_loadu_si256((const __m256i *)(bytes + 32 * part));
            __m256i low = _mm256_clmulepi64_epi128(parts[part], factors, 0x00);
            __m256i high = _mm256_clmulepi64_epi128(parts[part], factors, 0x11);
            parts[part] = _mm256_xor_si256(next, _mm256_xor_si256(low, high));
        }
    }
    __m128i halves[8];
    memcpy(halves, parts, sizeof halves);
    return finish(halves, 8, bytes, count);
}

static int is_wide;

static int has_instructions(void) {
    if (!__builtin_cpu_supports("pclmul")) return 0;
    fill_factors();
    is_wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq");
    return 1;
}

static uint32_t update_by_instructions(uint32_t state, const uint8_t *bytes, size_t count) {
    // Below that the tables are as fast.
    if (count < 64) return update_by_tables(state, bytes, count);
    return is_wide && count >= 256 ? update_by_wide_clmul(state, bytes, count)
                                   : update_by_clmul(state, bytes, count);
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
