// SPDX-License-Identifier: Apache-2.0
// What Swift's Glibc overlay cannot give: variadic functions, macros, mutable globals, and
// functions it marks unavailable. No logic.
#pragma once

#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

// Swift marks fork unavailable; callers fork only while the process has one thread.
static inline pid_t clinux_fork(void) { return fork(); }

// open and openat are variadic.
static inline int clinux_open(const char *path, int flags, mode_t mode) {
    return open(path, flags, mode);
}
static inline int clinux_openat(int directory, const char *path, int flags, mode_t mode) {
    return openat(directory, path, flags, mode);
}

// fcntl is variadic.
static inline int clinux_set_close_on_exec(int fd) { return fcntl(fd, F_SETFD, FD_CLOEXEC); }

static inline int clinux_duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }

// A mutable global.
char **clinux_environment(void);

// ioctl is variadic; FS_IOC_GETVERSION is a macro with a cast.
static inline int clinux_inode_generation(int fd, int *generation) {
    return ioctl(fd, FS_IOC_GETVERSION, generation);
}

// getopt_long keeps its place in mutable globals, which Swift 6 does not let through.
static inline int clinux_optind(void) { return optind; }
static inline int clinux_optopt(void) { return optopt; }
static inline const char *clinux_optarg(void) { return optarg; }
static inline void clinux_getopt_reset(void) {
    optind = 0;
    opterr = 0;
}

// A macro that takes the address of a function-local struct.
static inline int clinux_ioctl_winsize_columns(int fd) {
    struct winsize size;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static inline int clinux_statfs(const char *path, struct statfs *out) { return statfs(path, out); }
static inline int clinux_fstatfs(int fd, struct statfs *out) { return fstatfs(fd, out); }

// Hidden without _GNU_SOURCE.
static inline int clinux_o_tmpfile(void) { return __O_TMPFILE | O_DIRECTORY; }

// A macro with a cast.
static inline void *clinux_map_failed(void) { return MAP_FAILED; }

// A macro.
static inline dev_t clinux_makedev(unsigned int major, unsigned int minor) {
    return makedev(major, minor);
}

// Macros over a status word.
static inline int clinux_exited(int status) { return WIFEXITED(status); }
static inline int clinux_exit_status(int status) { return WEXITSTATUS(status); }

// Without _GNU_SOURCE in Swift's own Glibc module these are hidden or have another type.
int clinux_strerror(int code, char *buffer, size_t size);
int clinux_set_thread_name(pthread_t thread, const char *name);
int clinux_allowed_processors(void);
// errno is set, and -1 returned, as by a system call.
int clinux_receive_descriptor(int socket);
// One message with at most one descriptor beside it, -1 for none.
ssize_t clinux_send_message(int socket, const void *bytes, size_t size, int descriptor);
// `truncated` tells that the message was longer, or had more descriptors, which are closed.
ssize_t clinux_receive_message(
    int socket, void *bytes, size_t size, int *descriptor, int *truncated
);
// The user at the other end of a unix socket.
int clinux_peer_user(int socket, uid_t *user);
int clinux_close_from(int first);
int clinux_accept(int socket);
int clinux_open_directory_same_mount(int directory, const char *name);
ssize_t clinux_read_uncached(int fd, void *buffer, size_t size, off_t offset);
int clinux_o_direct(void);
// The number of pages of a range that are in memory; -1 with errno.
int64_t clinux_cached_pages(int fd, uint64_t offset, uint64_t size);
ssize_t clinux_read_at_once(int fd, void *buffer, size_t size, off_t offset);
int clinux_pipe(int ends[2]);
int clinux_configure_lookup(const char *database, const char *services);
