// SPDX-License-Identifier: Apache-2.0
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "CTOML.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

struct ctoml_document {
    toml::table table;
};

namespace {

const toml::node &value(const ctoml_node *node) {
    return *reinterpret_cast<const toml::node *>(node);
}

const ctoml_node *handle(const toml::node &node) {
    return reinterpret_cast<const ctoml_node *>(&node);
}

}  // namespace

extern "C" {

ctoml_document *ctoml_parse(const char *text, size_t size, ctoml_error *error) {
    toml::parse_result result = toml::parse(std::string_view(text, size));
    if (result.failed()) {
        const auto description = result.error().description();
        const size_t count = std::min(description.size(), sizeof error->message - 1);
        std::memcpy(error->message, description.data(), count);
        error->message[count] = '\0';
        error->line = result.error().source().begin.line;
        error->column = result.error().source().begin.column;
        return nullptr;
    }
    return new ctoml_document{std::move(result).table()};
}

void ctoml_free(ctoml_document *document) { delete document; }

const ctoml_node *ctoml_root(const ctoml_document *document) { return handle(document->table); }

ctoml_kind ctoml_node_kind(const ctoml_node *node) {
    switch (value(node).type()) {
        case toml::node_type::table: return CTOML_TABLE;
        case toml::node_type::array: return CTOML_ARRAY;
        case toml::node_type::string: return CTOML_STRING;
        case toml::node_type::integer: return CTOML_INTEGER;
        case toml::node_type::floating_point: return CTOML_NUMBER;
        case toml::node_type::boolean: return CTOML_BOOLEAN;
        default: return CTOML_MOMENT;
    }
}

uint32_t ctoml_node_line(const ctoml_node *node) { return value(node).source().begin.line; }

uint32_t ctoml_node_column(const ctoml_node *node) { return value(node).source().begin.column; }

const char *ctoml_string(const ctoml_node *node, size_t *size) {
    const auto *text = value(node).as_string();
    *size = text ? text->get().size() : 0;
    return text ? text->get().data() : "";
}

int64_t ctoml_integer(const ctoml_node *node) {
    const auto *number = value(node).as_integer();
    return number ? number->get() : 0;
}

double ctoml_number(const ctoml_node *node) {
    const auto *number = value(node).as_floating_point();
    return number ? number->get() : 0;
}

int ctoml_boolean(const ctoml_node *node) {
    const auto *boolean = value(node).as_boolean();
    return boolean && boolean->get();
}

void ctoml_visit(const ctoml_node *node, ctoml_visitor visitor, void *context) {
    if (const auto *array = value(node).as_array()) {
        for (const auto &item : *array) visitor(context, "", 0, handle(item));
    } else if (const auto *table = value(node).as_table()) {
        for (const auto &[key, item] : *table) {
            visitor(context, key.str().data(), key.str().size(), handle(item));
        }
    }
}

}  // extern "C"
