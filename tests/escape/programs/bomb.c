// bomb KIND AMOUNT: takes processes or MiB until refused, then holds them for a moment. Says how much it got.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1UL << 20)

static char block[MIB];

static void *sleeper(void *unused) { (void)unused; sleep(3); return NULL; }

static int one_more(const char *kind, long i) {
  char path[64];
  if (!strcmp(kind, "fork")) {
    pid_t pid = fork();
    if (pid == 0) { sleep(3); _exit(0); }
    return pid < 0;
  }
  if (!strcmp(kind, "thread")) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    return pthread_create(&thread, &small, sleeper, NULL);
  }
  if (!strcmp(kind, "memory")) {
    char *page = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED || !memset(page, 1, MIB);
  }
  if (!strcmp(kind, "memfd") || !strcmp(kind, "tmpfs")) {
    snprintf(path, sizeof path, "/dev/shm/escape-bomb-%d", getuid());
    static int fd = -1;
    if (fd < 0) fd = kind[0] == 'm' ? memfd_create("bomb", 0) : open(path, O_CREAT | O_WRONLY, 0600);
    return write(fd, block, MIB) < 0;
  }
  if (!strcmp(kind, "sysv")) {
    int id = shmget(IPC_PRIVATE, MIB, 0600);
    char *at = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
    if (id >= 0) shmctl(id, IPC_RMID, NULL);
    return at == (char *)-1 || !memset(at, 1, MIB);
  }
  if (!strcmp(kind, "pipes")) {
    // Kernel memory: each pipe and each socket pair holds what nobody reads.
    for (int n = 0; n < 8; n++) {
      int ends[2];
      if (pipe(ends) < 0) return 1;
      fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
      fcntl(ends[1], F_SETFL, O_NONBLOCK);
      while (write(ends[1], block, 65536) > 0) {}
    }
    return 0;
  }
  if (!strcmp(kind, "cache")) {
    static int fd = -1;
    if (fd < 0) fd = open("cache-bomb", O_CREAT | O_TRUNC | O_WRONLY, 0600);
    return write(fd, block, MIB) < 0;
  }
  (void)i;
  exit(64);
}

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  memset(block, 1, sizeof block);
  printf("tried: %s x %s\n", argv[1], argv[2]), fflush(stdout);
  long got = 0;
  while (got < atol(argv[2]) && !one_more(argv[1], got)) got++;
  printf("got %ld: %s\n", got, strerror(errno)), fflush(stdout);
  if (got) sleep(1);
}
