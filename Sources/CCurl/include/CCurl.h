// SPDX-License-Identifier: Apache-2.0
// What Swift cannot import of libcurl: variadic functions and macros. No logic.
#pragma once

#include <curl/curl.h>

// curl_easy_setopt is variadic: one function per type of value.
static inline CURLcode ccurl_set_long(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode ccurl_set_offset(CURL *handle, CURLoption option, curl_off_t value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode ccurl_set_text(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode ccurl_set_pointer(CURL *handle, CURLoption option, void *value) {
    return curl_easy_setopt(handle, option, value);
}

typedef size_t (*ccurl_data_function)(char *bytes, size_t size, size_t count, void *context);

static inline CURLcode ccurl_set_data_function(CURL *handle, CURLoption option,
                                               ccurl_data_function function) {
    return curl_easy_setopt(handle, option, function);
}

// Copies the bytes.
static inline CURLcode ccurl_set_blob(CURL *handle, CURLoption option, const void *bytes,
                                      size_t size) {
    struct curl_blob blob = {(void *)bytes, size, CURL_BLOB_COPY};
    return curl_easy_setopt(handle, option, &blob);
}

// curl_multi_setopt is variadic.
static inline CURLMcode ccurl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
    return curl_multi_setopt(multi, option, value);
}

// Macros over others.
static inline long ccurl_global_all(void) { return CURL_GLOBAL_ALL; }
static inline int ccurl_pause_nothing(void) { return CURLPAUSE_CONT; }

// A union inside of the message.
static inline CURLcode ccurl_result(const CURLMsg *message) { return message->data.result; }
