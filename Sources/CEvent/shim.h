// SPDX-License-Identifier: Apache-2.0
// libevent and its HTTP server.

// First: libevent's headers define _GNU_SOURCE, and types of libc's would differ from what other
// modules see.
#include <features.h>
#include <sys/select.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
