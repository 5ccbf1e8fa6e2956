// sendmany ADDRESS PORT: sends it datagrams with sendmmsg, each time behind fewer messages to loopback, which may be sent.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static socklen_t address(struct sockaddr_storage *to, const char *host, int port) {
  struct sockaddr_in *v4 = (void *)to;
  struct sockaddr_in6 *v6 = (void *)to;
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET, v4->sin_port = htons((unsigned short)port);
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1) exit(64);
  v6->sin6_family = AF_INET6, v6->sin6_port = htons((unsigned short)port);
  return sizeof *v6;
}

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  struct sockaddr_storage to[3] = {0};
  struct iovec text = {"x", 1};
  struct mmsghdr messages[3] = {0};
  int v6 = strchr(argv[1], ':') != NULL, fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
  for (int i = 0; i < 3; i++) {
    messages[i].msg_hdr.msg_namelen = i ? address(&to[i], argv[1], atoi(argv[2])) : address(&to[i], v6 ? "::1" : "127.0.0.1", 9);
    messages[i].msg_hdr.msg_name = &to[i], messages[i].msg_hdr.msg_iov = &text, messages[i].msg_hdr.msg_iovlen = 1;
  }
  for (unsigned first = 0; first < 3; first++) {
    int sent = sendmmsg(fd, messages + first, 3 - first, 0);
    printf("tried: sendmmsg of %u to %s: %s, %d sent\n", 3 - first, argv[1], sent < 0 ? strerror(errno) : "done", sent);
  }
}
