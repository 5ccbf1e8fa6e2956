// spy PID [ADDRESS TEXT]: everything by which one process gets at another's memory and files. What it can read goes to
// stdout; at ADDRESS it writes TEXT.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void said(const char *what, long rc) {
  printf("tried: %s: %s\n", what, rc < 0 ? strerror(errno) : "done");
}

static void copy(int pid, const char *name) {
  char path[64], what[80], buffer[4096];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  snprintf(what, sizeof what, "read %s", path);
  int fd = open(path, O_RDONLY);
  said(what, fd);
  for (ssize_t n; fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0;) fwrite(buffer, 1, (size_t)n, stdout);
  if (fd >= 0) close(fd);
}

static void dump(int pid, int memory) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "r");
  said("read maps", maps ? 0 : -1);
  while (maps && fgets(line, sizeof line, maps)) {
    unsigned long from, to;
    char mode[8];
    if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w') continue;
    for (; from < to; from += 4096) {
      char page[4096];
      struct iovec mine = {page, sizeof page}, theirs = {(void *)from, sizeof page};
      if (pread(memory, page, sizeof page, (off_t)from) > 0 || syscall(SYS_process_vm_readv, pid, &mine, 1UL, &theirs, 1UL, 0UL) > 0)
        fwrite(page, 1, sizeof page, stdout);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 2) return 64;
  int pid = atoi(argv[1]);
  char path[64];
  static const char *files[] = {"environ", "auxv", "stack", "syscall", "io", "fd/0"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) copy(pid, files[i]);
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  int memory = open(path, O_RDWR);
  said("open mem", memory);
  dump(pid, memory);
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  said("pidfd_open", pidfd);
  for (int fd = 0; fd < 4; fd++) said("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, fd, 0));
  said("kcmp", syscall(SYS_kcmp, getpid(), pid, 0, 0, 0));
  if (argc > 3) {
    unsigned long address = strtoul(argv[2], NULL, 16);
    struct iovec mine = {argv[3], strlen(argv[3]) + 1}, theirs = {(void *)address, strlen(argv[3]) + 1};
    said("write mem", pwrite(memory, argv[3], strlen(argv[3]) + 1, (off_t)address));
    said("process_vm_writev", syscall(SYS_process_vm_writev, pid, &mine, 1UL, &theirs, 1UL, 0UL));
  }
  long traced = ptrace(PTRACE_SEIZE, pid, 0, 0);
  said("ptrace seize", traced);
  if (traced < 0) said("ptrace attach", traced = ptrace(PTRACE_ATTACH, pid, 0, 0));
  return 0;
}
