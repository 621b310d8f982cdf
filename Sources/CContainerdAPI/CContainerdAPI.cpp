// SPDX-License-Identifier: Apache-2.0
#include "CContainerdAPI.h"

#include <climits>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "generated/snapshots.pb.h"

using google::protobuf::Map;
using google::protobuf::MessageLite;
using google::protobuf::RepeatedPtrField;
namespace snapshots = lazypull::snapshots;

// What all requests have in common, as pointers into the message that was read.
struct ccontainerd_request {
    std::unique_ptr<MessageLite> message;
    const std::string *key = nullptr;
    const std::string *name = nullptr;
    const std::string *parent = nullptr;
    const Map<std::string, std::string> *labels = nullptr;
    const RepeatedPtrField<std::string> *texts = nullptr;
};

struct ccontainerd_response {
    std::unique_ptr<MessageLite> message;
    snapshots::MountsResponse *mounts = nullptr;
    snapshots::InfoResponse *info = nullptr;
    snapshots::ListResponse *infos = nullptr;
    snapshots::UsageResponse *usage = nullptr;
    // What was added last; owned by the message.
    snapshots::Mount *mount = nullptr;
    snapshots::Info *snapshot = nullptr;
};

namespace {

ccontainerd_text text(const std::string *string) {
    return string ? ccontainerd_text{string->data(), string->size()} : ccontainerd_text{"", 0};
}

std::string string(ccontainerd_text text) { return std::string(text.bytes, text.size); }

// Makes a message of a type the request's; nullptr if the bytes are none.
template <typename Message>
Message *parsed(ccontainerd_request &request, const void *bytes, size_t size) {
    auto message = std::make_unique<Message>();
    if (size > INT_MAX || !message->ParseFromArray(bytes, static_cast<int>(size))) return nullptr;
    auto *found = message.get();
    request.message = std::move(message);
    return found;
}

template <typename Message>
Message *made(ccontainerd_response &response) {
    auto message = std::make_unique<Message>();
    auto *found = message.get();
    response.message = std::move(message);
    return found;
}

bool parse(ccontainerd_request &request, ccontainerd_shape shape, const void *bytes, size_t size) {
    switch (shape) {
        case CCONTAINERD_PREPARE: {
            const auto *message = parsed<snapshots::PrepareRequest>(request, bytes, size);
            if (!message) return false;
            request.key = &message->key();
            request.parent = &message->parent();
            request.labels = &message->labels();
            return true;
        }
        case CCONTAINERD_COMMIT: {
            const auto *message = parsed<snapshots::CommitRequest>(request, bytes, size);
            if (!message) return false;
            request.key = &message->key();
            request.name = &message->name();
            request.parent = &message->parent();
            request.labels = &message->labels();
            return true;
        }
        case CCONTAINERD_KEY: {
            const auto *message = parsed<snapshots::KeyRequest>(request, bytes, size);
            if (!message) return false;
            request.key = &message->key();
            return true;
        }
        case CCONTAINERD_UPDATE: {
            const auto *message = parsed<snapshots::UpdateRequest>(request, bytes, size);
            if (!message) return false;
            request.name = &message->info().name();
            request.labels = &message->info().labels();
            request.texts = &message->update_mask().paths();
            return true;
        }
        case CCONTAINERD_LIST: {
            const auto *message = parsed<snapshots::ListRequest>(request, bytes, size);
            if (!message) return false;
            request.texts = &message->filters();
            return true;
        }
    }
    return false;
}

}  // namespace

extern "C" {

ccontainerd_request *ccontainerd_request_parse(ccontainerd_shape shape, const void *bytes,
                                               size_t size) {
    try {
        auto request = std::make_unique<ccontainerd_request>();
        return parse(*request, shape, bytes, size) ? request.release() : nullptr;
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void ccontainerd_request_free(ccontainerd_request *request) { delete request; }

ccontainerd_text ccontainerd_request_key(const ccontainerd_request *request) {
    return text(request->key);
}

ccontainerd_text ccontainerd_request_name(const ccontainerd_request *request) {
    return text(request->name);
}

ccontainerd_text ccontainerd_request_parent(const ccontainerd_request *request) {
    return text(request->parent);
}

void ccontainerd_request_visit_labels(const ccontainerd_request *request,
                                      ccontainerd_label_visitor visitor, void *context) {
    if (!request->labels) return;
    for (const auto &[key, value] : *request->labels) visitor(context, text(&key), text(&value));
}

void ccontainerd_request_visit_texts(const ccontainerd_request *request,
                                     ccontainerd_text_visitor visitor, void *context) {
    if (!request->texts) return;
    for (const auto &item : *request->texts) visitor(context, text(&item));
}

ccontainerd_response *ccontainerd_response_make(ccontainerd_response_shape shape) {
    auto response = std::make_unique<ccontainerd_response>();
    switch (shape) {
        case CCONTAINERD_MOUNTS:
            response->mounts = made<snapshots::MountsResponse>(*response);
            break;
        case CCONTAINERD_INFO:
            response->info = made<snapshots::InfoResponse>(*response);
            break;
        case CCONTAINERD_INFOS:
            response->infos = made<snapshots::ListResponse>(*response);
            break;
        case CCONTAINERD_USAGE:
            response->usage = made<snapshots::UsageResponse>(*response);
            break;
    }
    return response->message ? response.release() : nullptr;
}

void ccontainerd_response_free(ccontainerd_response *response) { delete response; }

void ccontainerd_response_add_mount(ccontainerd_response *response, ccontainerd_text type,
                                    ccontainerd_text source, ccontainerd_text target) {
    if (!response->mounts) return;
    response->mount = response->mounts->add_mounts();
    response->mount->set_type(string(type));
    response->mount->set_source(string(source));
    response->mount->set_target(string(target));
}

void ccontainerd_response_add_option(ccontainerd_response *response, ccontainerd_text option) {
    if (response->mount) response->mount->add_options(string(option));
}

void ccontainerd_response_add_snapshot(ccontainerd_response *response,
                                       const ccontainerd_snapshot *snapshot) {
    if (response->infos) {
        response->snapshot = response->infos->add_info();
    } else if (response->info) {
        response->snapshot = response->info->mutable_info();
    } else {
        return;
    }
    auto *info = response->snapshot;
    info->set_name(string(snapshot->name));
    info->set_parent(string(snapshot->parent));
    info->set_kind(static_cast<snapshots::Kind>(snapshot->kind));
    info->mutable_created_at()->set_seconds(snapshot->created_seconds);
    info->mutable_created_at()->set_nanos(snapshot->created_nanoseconds);
    info->mutable_updated_at()->set_seconds(snapshot->updated_seconds);
    info->mutable_updated_at()->set_nanos(snapshot->updated_nanoseconds);
}

void ccontainerd_response_add_label(ccontainerd_response *response, ccontainerd_text key,
                                    ccontainerd_text value) {
    if (response->snapshot) (*response->snapshot->mutable_labels())[string(key)] = string(value);
}

void ccontainerd_response_set_usage(ccontainerd_response *response, int64_t size, int64_t inodes) {
    if (!response->usage) return;
    response->usage->set_size(size);
    response->usage->set_inodes(inodes);
}

size_t ccontainerd_response_size(const ccontainerd_response *response) {
    return response->message->ByteSizeLong();
}

int ccontainerd_response_write(const ccontainerd_response *response, void *bytes, size_t size) {
    return size <= INT_MAX && response->message->SerializeToArray(bytes, static_cast<int>(size));
}

}  // extern "C"
