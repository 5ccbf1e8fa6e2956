// into_group DIR: a child is born in another group by clone3(CLONE_INTO_CGROUP).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 2) return 64;
  int dir = open(argv[1], O_DIRECTORY | O_PATH);
  struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)dir};
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 1), dup2(null, 2);
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n] = 0;
    strcpy(strrchr(path, '/') + 1, "escapee");
    execl(path, "escapee", "escapee", "40", NULL);
    _exit(1);
  }
  printf("tried: clone3 into %s: %s\n", argv[1], pid < 0 ? strerror(errno) : "born");
}
