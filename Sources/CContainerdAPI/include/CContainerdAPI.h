// SPDX-License-Identifier: Apache-2.0
// The messages of containerd's services behind plain C. Of its snapshots service (snapshots.proto)
// requests are read, and responses are written. A text is UTF-8, is not terminated, and may hold
// any byte.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *bytes;
    size_t size;
} ccontainerd_text;

// A request, whatever its method: what a method's message has no field for is empty.
typedef struct ccontainerd_request ccontainerd_request;

typedef enum {
    CCONTAINERD_PREPARE,  // and View: key, parent, labels
    CCONTAINERD_COMMIT,   // name, key, labels, parent
    CCONTAINERD_KEY,      // Mounts, Remove, Stat, Usage, Cleanup: key
    CCONTAINERD_UPDATE,   // name, labels, paths of the field mask
    CCONTAINERD_LIST,     // filters
} ccontainerd_shape;

// NULL for bytes that are no such message, or where there is no memory for it. The texts that the
// functions below give live as long as the request.
ccontainerd_request *ccontainerd_request_parse(ccontainerd_shape shape, const void *bytes,
                                               size_t size);
void ccontainerd_request_free(ccontainerd_request *request);

ccontainerd_text ccontainerd_request_key(const ccontainerd_request *request);
ccontainerd_text ccontainerd_request_name(const ccontainerd_request *request);
ccontainerd_text ccontainerd_request_parent(const ccontainerd_request *request);

typedef void (*ccontainerd_label_visitor)(void *context, ccontainerd_text key,
                                          ccontainerd_text value);
// Calls back for every label, in no order; a key that was sent twice comes once.
void ccontainerd_request_visit_labels(const ccontainerd_request *request,
                                      ccontainerd_label_visitor visitor, void *context);

typedef void (*ccontainerd_text_visitor)(void *context, ccontainerd_text text);
// Calls back for every filter, or every path of the field mask, in order.
void ccontainerd_request_visit_texts(const ccontainerd_request *request,
                                     ccontainerd_text_visitor visitor, void *context);

// A response being made. Texts are copied.
typedef struct ccontainerd_response ccontainerd_response;

typedef enum {
    CCONTAINERD_MOUNTS,  // Prepare, View, Mounts
    CCONTAINERD_INFO,    // Stat, Update: one snapshot
    CCONTAINERD_INFOS,   // List: any number
    CCONTAINERD_USAGE,
} ccontainerd_response_shape;

// NULL where there is no memory. What follows does nothing to a response of another shape.
ccontainerd_response *ccontainerd_response_make(ccontainerd_response_shape shape);
void ccontainerd_response_free(ccontainerd_response *response);

void ccontainerd_response_add_mount(ccontainerd_response *response, ccontainerd_text type,
                                    ccontainerd_text source, ccontainerd_text target);
// An option of the mount added last.
void ccontainerd_response_add_option(ccontainerd_response *response, ccontainerd_text option);

typedef struct {
    ccontainerd_text name;
    ccontainerd_text parent;
    int32_t kind;
    int64_t created_seconds;
    int64_t updated_seconds;
    int32_t created_nanoseconds;
    int32_t updated_nanoseconds;
} ccontainerd_snapshot;

void ccontainerd_response_add_snapshot(ccontainerd_response *response,
                                       const ccontainerd_snapshot *snapshot);
// A label of the snapshot added last.
void ccontainerd_response_add_label(ccontainerd_response *response, ccontainerd_text key,
                                    ccontainerd_text value);

void ccontainerd_response_set_usage(ccontainerd_response *response, int64_t size, int64_t inodes);

// The message's size in bytes.
size_t ccontainerd_response_size(const ccontainerd_response *response);
// Writes the message, of the size just asked for; 0 if that cannot be done.
int ccontainerd_response_write(const ccontainerd_response *response, void *bytes, size_t size);

// The messages of containerd's own services (content.proto): here requests are written, and
// responses are read. 0 for bytes that are no such message, or where there is no memory for it.

// Calls back with the message that asks for what a filter lets through.
int ccontainerd_content_list_request(ccontainerd_text filter, ccontainerd_text_visitor visitor,
                                     void *context);
// Calls back with the message that asks for a blob.
int ccontainerd_content_read_request(ccontainerd_text digest, ccontainerd_text_visitor visitor,
                                     void *context);

// Calls back with every name.
int ccontainerd_namespaces_visit(const void *bytes, size_t size, ccontainerd_text_visitor visitor,
                                 void *context);
// Calls back with every blob's digest, and after each with its labels.
int ccontainerd_content_visit(const void *bytes, size_t size, ccontainerd_text_visitor blob,
                              ccontainerd_label_visitor label, void *context);
// Calls back with a part of a blob.
int ccontainerd_content_visit_data(const void *bytes, size_t size,
                                   ccontainerd_text_visitor visitor, void *context);

#ifdef __cplusplus
}
#endif
