// escapee NAME SECONDS: stays under a name, so that root can look where it is.
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  prctl(PR_SET_NAME, argv[1]);
  alarm(atoi(argv[2]));
  pause();
}
