// SPDX-License-Identifier: Apache-2.0
// What Swift cannot import of the gRPC C core: macros over a union, and names of
// arguments that are to be C strings. No logic.
// First: gRPC's headers define _GNU_SOURCE, and types of libc's would differ from what other modules
// see.
#include <features.h>
#include <sys/select.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

static inline const uint8_t *cgrpc_slice_bytes(const grpc_slice *slice) {
    return GRPC_SLICE_START_PTR(*slice);
}
static inline size_t cgrpc_slice_size(const grpc_slice *slice) {
    return GRPC_SLICE_LENGTH(*slice);
}

static inline grpc_server *cgrpc_server_create(int message_limit, int stream_limit) {
    grpc_arg arguments[] = {
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, {0}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, {0}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_MAX_CONCURRENT_STREAMS, {0}},
        // No probing of the round trip: on a unix socket there is nothing to learn, and it adds frames
        // to every call.
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_HTTP2_BDP_PROBE, {0}},
    };
    arguments[0].value.integer = message_limit;
    arguments[1].value.integer = message_limit;
    arguments[2].value.integer = stream_limit;
    grpc_channel_args all = {sizeof(arguments) / sizeof(arguments[0]), arguments};
    return grpc_server_create(&all, 0);
}

// A client's connection to a unix socket, which is made with the first call.
static inline grpc_channel *cgrpc_channel_create(const char *target) {
    grpc_arg arguments[] = {
        // Go's servers refuse a path in its place.
        {GRPC_ARG_STRING, (char *)GRPC_ARG_DEFAULT_AUTHORITY, {0}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_HTTP2_BDP_PROBE, {0}},
        // None that another part of the process has.
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, {0}},
    };
    arguments[0].value.string = (char *)"localhost";
    arguments[2].value.integer = 1;
    grpc_channel_args all = {sizeof(arguments) / sizeof(arguments[0]), arguments};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, &all);
    grpc_channel_credentials_release(credentials);
    return channel;
}
