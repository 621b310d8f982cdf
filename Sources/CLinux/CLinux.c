// SPDX-License-Identifier: Apache-2.0
// For what glibc gives beyond POSIX. Only here: in the header it would give this
// module other definitions of fd_set and the like than Swift's own Glibc module has.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "CLinux.h"

#include <errno.h>
#include <linux/openat2.h>
#include <nss.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

// linux/fs.h of 6.14; the headers that this is built with may be older.
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

int clinux_strerror(int code, char *buffer, size_t size) {
    // The GNU variant, which may return a constant text instead of filling the buffer.
    const char *text = strerror_r(code, buffer, size);
    if (text != buffer && size > 0) {
        strncpy(buffer, text, size - 1);
        buffer[size - 1] = '\0';
    }
    return 0;
}

int clinux_set_thread_name(pthread_t thread, const char *name) {
    return pthread_setname_np(thread, name);
}

int clinux_allowed_processors(void) {
    // CPU_COUNT is a macro; the set holds 1,024 processors, more are EINVAL.
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
}

ssize_t clinux_read_uncached(int fd, void *buffer, size_t size, off_t offset) {
    struct iovec part = {buffer, size};
    return preadv2(fd, &part, 1, offset, RWF_DONTCACHE);
}

ssize_t clinux_read_at_once(int fd, void *buffer, size_t size, off_t offset) {
    struct iovec part = {buffer, size};
    // What is read ahead meanwhile must not stay in the page cache, either.
    ssize_t count = preadv2(fd, &part, 1, offset, RWF_NOWAIT | RWF_DONTCACHE);
    if (count >= 0 || errno != EOPNOTSUPP) return count;
    return preadv2(fd, &part, 1, offset, RWF_NOWAIT);
}

int clinux_o_direct(void) { return O_DIRECT; }

// cachestat(2) of 6.5, which has the same number on all processors; the headers may be older.
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

int64_t clinux_cached_pages(int fd, uint64_t offset, uint64_t size) {
    struct { uint64_t offset, size; } range = {offset, size};
    struct { uint64_t cached, dirty, writeback, evicted, recently_evicted; } counts = {0};
    return syscall(SYS_cachestat, fd, &range, &counts, 0) == 0 ? (int64_t)counts.cached : -1;
}

int clinux_receive_descriptor(int socket) {
    // The macros of cmsg(3) work on an aligned buffer, and mean nothing to Swift.
    char byte;
    struct iovec part = {&byte, 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    // The sender has ended: without a descriptor there is nothing to wait for.
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) == -1) return -1;
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    if (!first || first->cmsg_type != SCM_RIGHTS || first->cmsg_len != CMSG_LEN(sizeof(int))) {
        errno = EBADMSG;
        return -1;
    }
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(first), sizeof descriptor);
    int flags = fcntl(descriptor, F_GETFL);
    if (flags == -1 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == -1) return -1;
    return descriptor;
}

// The macros of cmsg(3) work on an aligned buffer.
union one_descriptor {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

ssize_t clinux_send_message(int socket, const void *bytes, size_t size, int descriptor) {
    struct iovec part = {(void *)bytes, size};
    union one_descriptor control = {0};
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *first = CMSG_FIRSTHDR(&message);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(first), &descriptor, sizeof descriptor);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

ssize_t clinux_receive_message(
    int socket, void *bytes, size_t size, int *descriptor, int *truncated
) {
    struct iovec part = {bytes, size};
    union one_descriptor control = {0};
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    *descriptor = -1;
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (count == -1) return -1;
    *truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS
        && first->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(descriptor, CMSG_DATA(first), sizeof *descriptor);
    return count;
}

int clinux_peer_user(int socket, uid_t *user) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == -1) return -1;
    *user = peer.uid;
    return 0;
}

int clinux_accept(int socket) { return accept4(socket, NULL, NULL, SOCK_CLOEXEC); }

int clinux_close_from(int first) { return (int)syscall(SYS_close_range, first, ~0U, 0); }

char **clinux_environment(void) { return environ; }

int clinux_configure_lookup(const char *database, const char *services) {
    return __nss_configure_lookup(database, services);
}

int clinux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int clinux_open_directory_same_mount(int directory, const char *name) {
    // glibc has no openat2 before 2.42.
    struct open_how how = {0};
    how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_NO_XDEV | RESOLVE_BENEATH;
    return (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
}
