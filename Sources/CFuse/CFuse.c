// SPDX-License-Identifier: Apache-2.0
#include "CFuse.h"

static _Thread_local void *worker_memory;

void cfuse_set_worker_memory(void *memory) { worker_memory = memory; }

void *cfuse_worker_memory(void) { return worker_memory; }
