// SPDX-License-Identifier: Apache-2.0
// The module is its header; a C target needs one source file.
#include "CFuse.h"
