// SPDX-License-Identifier: Apache-2.0
// RE2 behind plain C: the syntax of Go's regular expressions, in time linear in the text.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cre2_pattern cre2_pattern;

// NULL for what is no pattern, or would take more than `memory` bytes; the message, terminated and
// of at most `message_size` bytes, then says why. May be used by several threads at once.
cre2_pattern *cre2_compile(const char *pattern, size_t size, size_t memory, char *message,
                           size_t message_size);
void cre2_free(cre2_pattern *pattern);

// Whether some part of the text matches.
int cre2_matches(const cre2_pattern *pattern, const char *text, size_t size);

#ifdef __cplusplus
}
#endif
