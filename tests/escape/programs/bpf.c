// bpf GROUP: loads and attaches programs that allow everything, and takes off those that stand there.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long call(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

static void said(const char *what, int type, long rc) {
  printf("tried: %s of type %d: %s\n", what, type, rc < 0 ? strerror(errno) : "done");
}

int main(int argc, char **argv) {
  if (argc != 2) return 64;
  int group = open(argv[1], O_DIRECTORY | O_RDONLY);
  struct bpf_insn allow[] = {{.code = 0xb7, .imm = 1}, {.code = 0x95}};
  static const struct { int program, attach; } kinds[] = {
    {BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE}, {BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS},
    {BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE}, {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT},
    {BPF_PROG_TYPE_SOCKET_FILTER, -1},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    union bpf_attr load = {.prog_type = (uint32_t)kinds[i].program, .insns = (uint64_t)allow, .insn_cnt = 2, .license = (uint64_t) "MIT"};
    load.expected_attach_type = kinds[i].attach < 0 ? 0 : (uint32_t)kinds[i].attach;
    int program = (int)call(BPF_PROG_LOAD, &load);
    said("load", kinds[i].program, program);
    if (kinds[i].attach < 0) continue;
    union bpf_attr query = {.query = {.target_fd = (uint32_t)group, .attach_type = (uint32_t)kinds[i].attach}};
    uint32_t ids[8] = {0};
    query.query.prog_ids = (uint64_t)ids, query.query.prog_cnt = 8;
    said("query", kinds[i].program, call(BPF_PROG_QUERY, &query));
    for (int n = 0; n < 8 && ids[n]; n++) {
      union bpf_attr by_id = {.prog_id = ids[n]};
      int theirs = (int)call(BPF_PROG_GET_FD_BY_ID, &by_id);
      said("get", kinds[i].program, theirs);
      union bpf_attr detach = {.target_fd = (uint32_t)group, .attach_bpf_fd = (uint32_t)theirs, .attach_type = (uint32_t)kinds[i].attach};
      said("detach", kinds[i].program, call(BPF_PROG_DETACH, &detach));
    }
    for (uint32_t flags = 0; flags <= 2; flags += 2) {
      union bpf_attr attach = {.target_fd = (uint32_t)group, .attach_bpf_fd = (uint32_t)program, .attach_type = (uint32_t)kinds[i].attach};
      attach.attach_flags = flags;
      said("attach", kinds[i].program, call(BPF_PROG_ATTACH, &attach));
    }
  }
}
