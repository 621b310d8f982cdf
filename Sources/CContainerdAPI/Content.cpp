// SPDX-License-Identifier: Apache-2.0
#include <climits>
#include <new>
#include <string>

#include "CContainerdAPI.h"
#include "generated/content.pb.h"

namespace content = lazypull::content;

namespace {

ccontainerd_text text(const std::string &string) { return {string.data(), string.size()}; }

template <typename Message>
int written(const Message &message, ccontainerd_text_visitor visitor, void *context) {
    std::string bytes;
    if (!message.SerializeToString(&bytes)) return 0;
    visitor(context, text(bytes));
    return 1;
}

// Calls back with the message; 0 if the bytes are none.
template <typename Message, typename Body>
int read(const void *bytes, size_t size, Body body) {
    try {
        Message message;
        if (size > INT_MAX || !message.ParseFromArray(bytes, static_cast<int>(size))) return 0;
        body(message);
        return 1;
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

}  // namespace

extern "C" {

int ccontainerd_content_list_request(ccontainerd_text filter, ccontainerd_text_visitor visitor,
                                     void *context) {
    try {
        content::ListRequest message;
        message.add_filters(filter.bytes, filter.size);
        return written(message, visitor, context);
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

int ccontainerd_content_read_request(ccontainerd_text digest, ccontainerd_text_visitor visitor,
                                     void *context) {
    try {
        content::ReadRequest message;
        message.set_digest(digest.bytes, digest.size);
        return written(message, visitor, context);
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

int ccontainerd_namespaces_visit(const void *bytes, size_t size, ccontainerd_text_visitor visitor,
                                 void *context) {
    return read<content::NamespacesResponse>(bytes, size, [&](const auto &message) {
        for (const auto &item : message.namespaces()) visitor(context, text(item.name()));
    });
}

int ccontainerd_content_visit(const void *bytes, size_t size, ccontainerd_text_visitor blob,
                              ccontainerd_label_visitor label, void *context) {
    return read<content::ListResponse>(bytes, size, [&](const auto &message) {
        for (const auto &info : message.info()) {
            blob(context, text(info.digest()));
            for (const auto &[key, value] : info.labels()) label(context, text(key), text(value));
        }
    });
}

int ccontainerd_content_visit_data(const void *bytes, size_t size,
                                   ccontainerd_text_visitor visitor, void *context) {
    return read<content::ReadResponse>(bytes, size, [&](const auto &message) {
        visitor(context, text(message.data()));
    });
}

}  // extern "C"
