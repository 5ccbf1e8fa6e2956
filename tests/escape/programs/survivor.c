// survivor KIND NAME SECONDS: a process that wants to outlive its job. It stays under NAME for SECONDS.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static time_t end;
static const char *name;

static void deaf(void) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  for (int signal_ = 1; signal_ < NSIG; signal_++) signal(signal_, SIG_IGN);
}

static void stay(void) {
  prctl(PR_SET_NAME, name);
  while (time(NULL) < end) usleep(100000);
  _exit(0);
}

// Every process lives for 20 ms and leaves a child: whoever kills by a list of pids comes late.
static void comet(void) {
  prctl(PR_SET_NAME, name);
  while (time(NULL) < end) {
    pid_t child = fork();
    if (child > 0) _exit(0);
    setsid();
    usleep(20000);
  }
  _exit(0);
}

static int in_namespace(void *kind) {
  (void)kind;
  deaf();
  if (fork() == 0) stay();
  stay();
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 4) return 64;
  const char *kind = argv[1];
  name = argv[2];
  end = time(NULL) + atoi(argv[3]);
  printf("tried: %s\n", kind), fflush(stdout);
  if (fork() > 0) { usleep(300000); return 0; }
  int null = open("/dev/null", O_RDWR);
  dup2(null, 0), dup2(null, 1), dup2(null, 2);
  setsid();
  if (fork() > 0) _exit(0);
  if (!strcmp(kind, "daemon")) deaf(), stay();
  if (!strcmp(kind, "comet")) {
    for (int i = 0; i < 7; i++) if (fork() == 0) break;
    comet();
  }
  if (!strcmp(kind, "stopped")) { prctl(PR_SET_NAME, name); raise(SIGSTOP); stay(); }
  if (!strcmp(kind, "vfork")) {
    // The parent hangs in vfork, in no state that a signal of ours interrupts, for as long as the child does not exec.
    prctl(PR_SET_NAME, name);
    deaf();
    if (vfork() == 0) { while (time(NULL) < end) usleep(100000); _exit(0); }
    _exit(0);
  }
  if (!strcmp(kind, "pidns")) {
    static char stack[1 << 16];
    clone(in_namespace, stack + sizeof stack, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, NULL);
    stay();
  }
  if (!strcmp(kind, "traced")) {
    pid_t child = fork();
    if (child == 0) { prctl(PR_SET_NAME, name); ptrace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); stay(); }
    waitpid(child, NULL, 0);
    ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACEEXIT);
    prctl(PR_SET_NAME, name);
    // Held at its own exit by a tracer that is deaf.
    deaf();
    stay();
  }
  if (!strcmp(kind, "subreaper")) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_DUMPABLE, 0);
    nice(-5);
    deaf(), stay();
  }
  return 64;
}
