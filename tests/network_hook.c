/* Preloaded into every process of a test: writes down each name that is looked up, each address that is connected or
   written to, and each file that is opened for writing or made, one a line, into the file that HOOK_LOG names. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void note(const char *what, const char *about) {
  const char *log = getenv("HOOK_LOG");
  char line[PATH_MAX + 300];
  int file, length;
  if (!log) return;
  length = snprintf(line, sizeof line, "%s %s\n", what, about ? about : "");
  file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file >= 0) {
    if (syscall(SYS_write, file, line, (size_t)length) < 0) abort();
    syscall(SYS_close, file);
  }
}

static void note_address(const char *what, const struct sockaddr *address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (!address) return;
  if (address->sa_family == AF_INET)
    inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
  else if (address->sa_family == AF_INET6)
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
  else
    return;
  note(what, text);
}

static void note_path(int folder, const char *path) {
  char whole[PATH_MAX] = "", link[64];
  ssize_t length = 0;
  if (path[0] != '/') {
    snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    length = readlink(link, whole, sizeof whole - 1);
    if (length < 0) length = 0;
    whole[length++] = '/';
  }
  snprintf(whole + length, sizeof whole - length, "%s", path);
  note("write", whole);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  note("lookup", name);
  return REAL(getaddrinfo)(name, service, hints, found);
}
struct hostent *gethostbyname(const char *name) {
  note("lookup", name);
  return REAL(gethostbyname)(name);
}
int gethostbyname_r(const char *name, struct hostent *out, char *buffer, size_t size, struct hostent **found, int *why) {
  note("lookup", name);
  return REAL(gethostbyname_r)(name, out, buffer, size, found, why);
}
int connect(int handle, const struct sockaddr *address, socklen_t length) {
  note_address("connect", address);
  return REAL(connect)(handle, address, length);
}
ssize_t sendto(int handle, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
  note_address("send", to);
  return REAL(sendto)(handle, data, size, flags, to, length);
}
ssize_t sendmsg(int handle, const struct msghdr *message, int flags) {
  note_address("send", message->msg_name);
  return REAL(sendmsg)(handle, message, flags);
}

#define WRITES (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)
#define OPEN(name)                                     \
  int name(const char *path, int flags, ...) {         \
    va_list more;                                      \
    mode_t mode;                                       \
    va_start(more, flags);                             \
    mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
    va_end(more);                                      \
    if (flags & WRITES) note_path(AT_FDCWD, path);     \
    return REAL(name)(path, flags, mode);              \
  }
#define OPENAT(name)                                          \
  int name(int folder, const char *path, int flags, ...) {    \
    va_list more;                                             \
    mode_t mode;                                              \
    va_start(more, flags);                                    \
    mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
    va_end(more);                                             \
    if (flags & WRITES) note_path(folder, path);              \
    return REAL(name)(folder, path, flags, mode);             \
  }
#define FOPEN(name)                                          \
  FILE *name(const char *path, const char *mode) {           \
    if (strpbrk(mode, "wa+")) note_path(AT_FDCWD, path);     \
    return REAL(name)(path, mode);                           \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)
int mkdir(const char *path, mode_t mode) {
  note_path(AT_FDCWD, path);
  return REAL(mkdir)(path, mode);
}
