// SPDX-License-Identifier: Apache-2.0
//
// Reads of a file in no order, for the rows about mounts; an interpreter would be measured instead
// of what is below it.
//
//     readers read|map FILE COUNT THREADS
//
// `read` reads 4 KiB at each of COUNT places, `map` touches a byte of each of COUNT pages of the
// mapped file. The places are the same in every run.

#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { page_size = 4096 };

static const char *path;
static uint64_t reads_of_each;

// splitmix64
static uint64_t next(uint64_t *state) {
    uint64_t value = *state += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

static int open_pages(uint64_t *pages) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file == -1 || fstat(file, &status) == -1) err(1, "%s", path);
    *pages = (uint64_t)status.st_size / page_size;
    if (!*pages) errx(1, "%s: less than a page", path);
    return file;
}

static void *read_pages(void *seed) {
    uint64_t pages, state = (uintptr_t)seed;
    char buffer[page_size];
    int file = open_pages(&pages);
    // Else the kernel reads around each of them.
    posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
    for (uint64_t left = reads_of_each; left > 0; left--) {
        off_t place = (off_t)(next(&state) % pages * page_size);
        if (pread(file, buffer, page_size, place) != page_size) err(1, "%s", path);
    }
    close(file);
    return NULL;
}

static void *touch_pages(void *seed) {
    uint64_t pages, state = (uintptr_t)seed;
    int file = open_pages(&pages);
    const volatile char *bytes = mmap(NULL, pages * page_size, PROT_READ, MAP_SHARED, file, 0);
    if (bytes == MAP_FAILED) err(1, "%s", path);
    for (uint64_t left = reads_of_each; left > 0; left--) bytes[next(&state) % pages * page_size];
    return NULL;
}

int main(int count, char **words) {
    enum { most = 64 };
    pthread_t threads[most];
    if (count != 5) errx(2, "usage: readers read|map FILE COUNT THREADS");
    void *(*work)(void *) = strcmp(words[1], "map") ? read_pages : touch_pages;
    path = words[2];
    int readers = atoi(words[4]);
    if (readers < 1 || readers > most) errx(2, "1 to %d threads", most);
    reads_of_each = strtoull(words[3], NULL, 10) / (uint64_t)readers;
    for (int index = 0; index < readers; index++)
        if (pthread_create(&threads[index], NULL, work, (void *)(uintptr_t)(index + 1)))
            err(1, "pthread_create");
    for (int index = 0; index < readers; index++) pthread_join(threads[index], NULL);
    return 0;
}
