// SPDX-License-Identifier: Apache-2.0
// toml++ (TOML 1.0, C++17) behind plain C.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A parsed document; a value in one, which lives as long as the document.
typedef struct ctoml_document ctoml_document;
typedef struct ctoml_node ctoml_node;

typedef enum {
    CTOML_STRING,
    CTOML_INTEGER,
    CTOML_NUMBER,
    CTOML_BOOLEAN,
    // A date, a time or both.
    CTOML_MOMENT,
    CTOML_ARRAY,
    CTOML_TABLE,
} ctoml_kind;

// What is wrong with a text, and where: lines and columns count from 1.
typedef struct {
    char message[256];
    uint32_t line;
    uint32_t column;
} ctoml_error;

// NULL for a text that is no TOML; the error then says why. Freed by ctoml_free.
ctoml_document *ctoml_parse(const char *text, size_t size, ctoml_error *error);
void ctoml_free(ctoml_document *document);

const ctoml_node *ctoml_root(const ctoml_document *document);
ctoml_kind ctoml_node_kind(const ctoml_node *node);
uint32_t ctoml_node_line(const ctoml_node *node);
uint32_t ctoml_node_column(const ctoml_node *node);

// The value of a node of that kind; zero or empty for one of another. A string is not terminated.
const char *ctoml_string(const ctoml_node *node, size_t *size);
int64_t ctoml_integer(const ctoml_node *node);
double ctoml_number(const ctoml_node *node);
int ctoml_boolean(const ctoml_node *node);

// Calls back for every value of an array (without a key) or a table, tables in no useful order.
typedef void (*ctoml_visitor)(void *context, const char *key, size_t key_size,
                              const ctoml_node *value);
void ctoml_visit(const ctoml_node *node, ctoml_visitor visitor, void *context);

#ifdef __cplusplus
}
#endif
