// ring open FILE | connect ADDRESS PORT | sqpoll: io_uring does it on the process's behalf.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int submit(struct io_uring_sqe *entry) {
  struct io_uring_params p = {0};
  int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
  if (ring < 0) return -errno;
  size_t size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  if (size < p.sq_off.array + p.sq_entries * sizeof(unsigned)) size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
  char *sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
  char *cq = p.features & IORING_FEAT_SINGLE_MMAP ? sq : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
  struct io_uring_sqe *sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
  sqes[0] = *entry;
  *(unsigned *)(sq + p.sq_off.array) = 0;
  __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
  if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) return -errno;
  return ((struct io_uring_cqe *)(cq + p.cq_off.cqes))[0].res;
}

int main(int argc, char **argv) {
  if (argc < 2) return 64;
  struct io_uring_sqe entry = {0};
  int rc;
  if (!strcmp(argv[1], "open") && argc == 3) {
    // ASYNC: by a worker of the kernel's, not in the call.
    entry.opcode = IORING_OP_OPENAT, entry.fd = AT_FDCWD, entry.addr = (unsigned long)argv[2];
    entry.flags = IOSQE_ASYNC;
    rc = submit(&entry);
    char text[4096];
    ssize_t n = rc >= 0 ? read(rc, text, sizeof text) : 0;
    if (n > 0) fwrite(text, 1, (size_t)n, stdout);
  } else if (!strcmp(argv[1], "connect") && argc == 4) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
    inet_pton(AF_INET, argv[2], &to.sin_addr);
    entry.opcode = IORING_OP_CONNECT, entry.fd = socket(AF_INET, SOCK_STREAM, 0), entry.addr = (unsigned long)&to;
    entry.off = sizeof to, entry.flags = IOSQE_ASYNC;
    rc = submit(&entry);
    if (rc >= 0 && write(entry.fd, "io_uring\n", 9) < 0) rc = -errno;
  } else if (!strcmp(argv[1], "sqpoll")) {
    // A thread of the kernel's that polls for this process.
    struct io_uring_params p = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 20000};
    prctl(PR_SET_NAME, "escapee");
    rc = (int)syscall(SYS_io_uring_setup, 4, &p);
    if (rc < 0) rc = -errno;
    printf("tried: sqpoll: %s\n", rc < 0 ? strerror(-rc) : "set up"), fflush(stdout);
    if (fork() == 0) { prctl(PR_SET_NAME, "escapee"); sleep(20); }
    return 0;
  } else {
    return 64;
  }
  printf("tried: io_uring %s %s: %s\n", argv[1], argv[2], rc < 0 ? strerror(-rc) : "done");
}
