// SPDX-License-Identifier: Apache-2.0
#include "CRE2.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstring>
#include <memory>

struct cre2_pattern {
    re2::RE2 expression;
};

extern "C" {

cre2_pattern *cre2_compile(const char *pattern, size_t size, size_t memory, char *message,
                           size_t message_size) {
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(static_cast<int64_t>(memory));
    auto *compiled = new cre2_pattern{re2::RE2(re2::StringPiece(pattern, size), options)};
    if (compiled->expression.ok()) return compiled;
    const std::string &error = compiled->expression.error();
    if (message_size > 0) {
        const size_t count = std::min(error.size(), message_size - 1);
        std::memcpy(message, error.data(), count);
        message[count] = '\0';
    }
    delete compiled;
    return nullptr;
}

void cre2_free(cre2_pattern *pattern) { delete pattern; }

int cre2_matches(const cre2_pattern *pattern, const char *text, size_t size) {
    return re2::RE2::PartialMatch(re2::StringPiece(text, size), pattern->expression);
}

}  // extern "C"
