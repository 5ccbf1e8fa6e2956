// ipc leave TEXT | read: System V and POSIX shared memory, message queues and keys, left for or taken from others.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

static void said(const char *what, long rc) {
  printf("tried: %s: %s\n", what, rc < 0 ? strerror(errno) : "done");
}

static int leave(const char *text) {
  struct { long type; char text[64]; } message = {.type = 1};
  strncpy(message.text, text, sizeof message.text - 1);
  int shm = shmget(0x1e5, 1 << 20, IPC_CREAT | 0666), queue = msgget(0x1e5, IPC_CREAT | 0666);
  said("shmget", shm), said("semget", semget(0x1e5, 1, IPC_CREAT | 0666)), said("msgget", queue);
  char *at = shmat(shm, NULL, 0);
  if (at != (char *)-1) strcpy(at, text);
  msgsnd(queue, &message, sizeof message.text, 0);
  mqd_t posix = mq_open("/escape-residue", O_CREAT | O_RDWR, 0666, NULL);
  said("mq_open", posix), mq_send(posix, text, strlen(text), 0);
  int file = open("/dev/shm/escape-residue", O_CREAT | O_RDWR, 0666);
  said("/dev/shm", file);
  return write(file, text, strlen(text)) < 0;
}

static int take(void) {
  char text[8192];
  for (int id = 0; id < 64; id++) {
    char *at = shmat(id, NULL, SHM_RDONLY);
    if (at != (char *)-1) printf("%.64s\n", at);
  }
  said("shmat of every id", shmat(0, NULL, SHM_RDONLY) == (void *)-1 ? -1 : 0);
  said("shmget", shmget(0x7e57, 4096, 0));
  mqd_t queue = mq_open("/victim", O_RDONLY | O_NONBLOCK);
  said("mq_open", queue);
  ssize_t n = mq_receive(queue, text, sizeof text, NULL);
  if (n > 0) fwrite(text, 1, (size_t)n, stdout);
  int file = open("/dev/shm/victim", O_RDONLY);
  said("open /dev/shm", file);
  n = read(file, text, sizeof text);
  if (n > 0) fwrite(text, 1, (size_t)n, stdout);
  FILE *keys = fopen("/proc/keys", "r");
  for (unsigned id; keys && fgets(text, sizeof text, keys);) {
    char key[4096];
    if (sscanf(text, "%x", &id) != 1) continue;
    long got = syscall(SYS_keyctl, 11 /* read */, id, key, sizeof key);
    if (got > 0) fwrite(key, 1, (size_t)got, stdout);
  }
  // Serials are guessed from the victim's own.
  for (char *key = getenv("VICTIM_KEY"); key; key = NULL) {
    long got = syscall(SYS_keyctl, 11, atoi(key), text, sizeof text);
    said("read the victim's key", got);
    if (got > 0) fwrite(text, 1, (size_t)got, stdout);
    said("link the victim's key", syscall(SYS_keyctl, 8, atoi(key), -4));
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "leave")) return leave(argv[2]);
  if (argc == 2 && !strcmp(argv[1], "read")) return take();
  return 64;
}
