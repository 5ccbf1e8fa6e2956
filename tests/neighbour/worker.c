// worker ROLE KIND ...: does one thing until DIR/stop is there, and counts it in DIR/ROLE.PID, where anybody can look
// at any time. Static, so that it runs in every guest.
//
//   cpu          computes: units are microseconds of the processor, as the guest's kernel shares it out
//   hog MIB      takes memory and keeps using it: units are rounds over all of it
//   stream FILE  reads a file into the page cache, end to end, again and again: units are MiB
//   cached FILE  reads a mapped file, again and again: units are pages that were in memory, of all that it read
//   disk FILE    reads a file past the cache: units are bytes
//
// worker window SECONDS: what each role did in so long: a line of ROLE UNITS OF USEC.
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DIR_PATH "/run/neighbour"
#define MIB (1 << 20)
#define PAGE 4096
#define ROLES 8

struct counter {
    _Atomic uint64_t done, of;
};

static struct counter *counter;

static int stopped(void) { return access(DIR_PATH "/stop", F_OK) == 0; }

// Only what is ready to be measured has a counter.
static void begin(const char *role) {
    char path[256];
    snprintf(path, sizeof path, DIR_PATH "/%s.%d", role, getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || ftruncate(fd, PAGE) != 0)
        err(1, "%s", path);
    counter = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (counter == MAP_FAILED)
        err(1, "%s", path);
    close(fd);
}

static void add(uint64_t done, uint64_t of) {
    counter->done += done;
    counter->of += of;
}

static int open_file(const char *path, int flags, off_t *size) {
    struct stat st;
    int fd = open(path, O_RDONLY | flags);
    if (fd < 0 || fstat(fd, &st) != 0)
        err(1, "%s", path);
    *size = st.st_size;
    return fd;
}

static int64_t usec(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void cpu(const char *role) {
    begin(role);
    volatile uint64_t sum = 0;
    for (int64_t last = usec(CLOCK_PROCESS_CPUTIME_ID); !stopped();) {
        for (int i = 0; i < 1000000; i++)
            sum += (uint64_t)i;
        int64_t now = usec(CLOCK_PROCESS_CPUTIME_ID);
        add((uint64_t)(now - last), (uint64_t)(now - last));
        last = now;
    }
}

static void hog(const char *role, size_t bytes) {
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "%zu bytes", bytes);
    for (size_t at = 0; at < bytes; at += PAGE)
        memory[at] = 1;
    for (begin(role); !stopped(); add(1, 1)) {
        for (size_t at = 0; at < bytes; at += PAGE)
            memory[at]++;
        usleep(200000);
    }
}

static void stream(const char *role, const char *path) {
    static char buffer[MIB];
    off_t size;
    int fd = open_file(path, 0, &size);
    off_t at = 0;
    for (begin(role); !stopped(); add(1, 1)) {
        // Twice: what is read once the kernel would rather drop than another's page.
        for (int again = 0; again < 2; again++)
            if (pread(fd, buffer, sizeof buffer, at) < 0)
                err(1, "%s", path);
        at = at + MIB < size ? at + MIB : 0;
    }
}

static void cached(const char *role, const char *path) {
    static unsigned char resident[MIB / PAGE];
    off_t size;
    int fd = open_file(path, 0, &size);
    char *file = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        err(1, "%s", path);
    volatile char sum = 0;
    for (off_t at = 0; at < size; at += PAGE)
        sum += file[at];
    // From here on what is read back is what was asked for: pages read ahead would look as if they had been kept.
    if (madvise(file, (size_t)size, MADV_RANDOM) != 0)
        err(1, "madvise");
    begin(role);
    while (!stopped()) {
        for (off_t at = 0; at + MIB <= size && !stopped(); at += MIB) {
            uint64_t found = 0;
            if (mincore(file + at, MIB, resident) != 0)
                err(1, "mincore");
            for (int page = 0; page < MIB / PAGE; page++) {
                found += resident[page] & 1;
                sum += file[at + page * PAGE];
            }
            add(found, MIB / PAGE);
        }
        // It uses what it has all the time, and leaves the processor to others.
        usleep(20000);
    }
}

static void disk(const char *role, const char *path) {
    size_t size = 256 << 10;
    off_t length, at = 0;
    char *buffer = aligned_alloc(PAGE, size);
    int fd = open_file(path, O_DIRECT, &length);
    for (begin(role); !stopped(); at = at + 2 * (off_t)size <= length ? at + (off_t)size : 0) {
        ssize_t got = pread(fd, buffer, size, at);
        if (got <= 0)
            err(1, "%s", path);
        add((uint64_t)got, (uint64_t)got);
    }
}

struct sum {
    char role[32];
    uint64_t done, of;
};

static int look(struct sum *sums) {
    int roles = 0;
    DIR *dir = opendir(DIR_PATH);
    if (!dir)
        err(1, DIR_PATH);
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct counter now;
        char *dot = strchr(entry->d_name, '.');
        int fd = dot && dot > entry->d_name ? openat(dirfd(dir), entry->d_name, O_RDONLY) : -1;
        if (fd < 0)
            continue;
        if (read(fd, &now, sizeof now) == (ssize_t)sizeof now) {
            *dot = 0;
            int at = 0;
            while (at < roles && strcmp(sums[at].role, entry->d_name) != 0)
                at++;
            if (at == roles && roles < ROLES)
                snprintf(sums[roles++].role, sizeof sums->role, "%.31s", entry->d_name);
            if (at < ROLES) {
                sums[at].done += now.done;
                sums[at].of += now.of;
            }
        }
        close(fd);
    }
    closedir(dir);
    return roles;
}

static void window(double seconds) {
    struct sum before[ROLES] = {0}, after[ROLES] = {0};
    int64_t from = usec(CLOCK_MONOTONIC);
    int roles = look(before);
    usleep((useconds_t)(seconds * 1e6));
    int64_t to = usec(CLOCK_MONOTONIC);
    look(after);
    for (int at = 0; at < roles; at++)
        for (int other = 0; other < ROLES; other++)
            if (strcmp(before[at].role, after[other].role) == 0)
                printf("%s %lu %lu %ld\n", before[at].role, after[other].done - before[at].done,
                       after[other].of - before[at].of, to - from);
}

int main(int argc, char **argv) {
    const char *kind = argc > 2 ? argv[2] : "";
    if (argc == 3 && strcmp(argv[1], "window") == 0)
        window(atof(argv[2]));
    else if (argc == 3 && strcmp(kind, "cpu") == 0)
        cpu(argv[1]);
    else if (argc == 4 && strcmp(kind, "hog") == 0)
        hog(argv[1], (size_t)atol(argv[3]) * MIB);
    else if (argc == 4 && strcmp(kind, "stream") == 0)
        stream(argv[1], argv[3]);
    else if (argc == 4 && strcmp(kind, "cached") == 0)
        cached(argv[1], argv[3]);
    else if (argc == 4 && strcmp(kind, "disk") == 0)
        disk(argv[1], argv[3]);
    else
        errx(64, "worker ROLE KIND ..., or worker window SECONDS");
    return 0;
}
