// SPDX-License-Identifier: Apache-2.0
#pragma once

// The API level that libfuse 3.12 and later offer. _FILE_OFFSET_BITS must not be defined here: it
// would give the module another `off_t` than Glibc's, and Swift refuses to build.
#define FUSE_USE_VERSION 312

#include <fuse3/fuse_lowlevel.h>
#include <fuse3/fuse_opt.h>

// libfuse calls an operation back on the thread that processes the request, and hands over nothing
// of that thread: its reply memory is found here. Swift has no thread-local variables.
void cfuse_set_worker_memory(void *memory);
void *cfuse_worker_memory(void);
