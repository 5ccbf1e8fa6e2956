// victim SECRET-FILE HEARTBEAT: another tenant's program. Has a secret in its memory, its environment, a key, System V
// and POSIX shared memory and a message queue, all its own; writes a beat ten times a second, with what its memory says.
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

static char canary[16] = "untouched";
static char secret[64];

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  FILE *file = fopen(argv[1], "r");
  if (!file || !fgets(secret, sizeof secret, file)) return 66;
  fclose(file);
  secret[strcspn(secret, "\n")] = 0;
  if (!getenv("VICTIM_SECRET")) {
    setenv("VICTIM_SECRET", secret, 1);
    execv("/proc/self/exe", argv);
  }
  prctl(PR_SET_NAME, "victim");
  long key = syscall(SYS_add_key, "user", "tenantry-escape", secret, strlen(secret), -4 /* user keyring */);
  int shm = shmget(0x7e57, 4096, IPC_CREAT | 0600);
  strcpy(shmat(shm, NULL, 0), secret);
  int posix = open("/dev/shm/victim", O_CREAT | O_RDWR, 0600);
  if (write(posix, secret, strlen(secret)) < 0) return 74;
  mqd_t queue = mq_open("/victim", O_CREAT | O_RDWR, 0600, NULL);
  mq_send(queue, secret, strlen(secret), 0);
  for (unsigned long beat = 1;; beat++) {
    char next[4096];
    snprintf(next, sizeof next, "%s.next", argv[2]);
    FILE *out = fopen(next, "w");
    if (!out) return 74;
    fprintf(out, "%lu %s\n", beat, canary);
    fclose(out);
    rename(next, argv[2]);
    if (beat == 1) printf("key %ld shm %d canary %p\n", key, shm, (void *)canary), fflush(stdout);
    usleep(100000);
  }
}
