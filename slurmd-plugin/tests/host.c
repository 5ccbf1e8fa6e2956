/*
 * Calls one hook of a plugin as `slurmstepd spank` does: host PLUGIN HOOK [TENANTS-FILE-TEXT].
 *
 * In a mount namespace of its own, where /etc, /run and /var/lib are empty and /sys/fs/cgroup is no cgroup v2.
 * Prints `private`, or why it could not, then what the plugin logs and `HOOK = what it returned`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

struct spank_handle { int magic; };
static struct spank_handle handle = { 0x53504b };

/* S_CTX_JOB_SCRIPT, which has three items only: uid, gid and job id. */
int spank_context(void) { return 5; }

int spank_get_item(struct spank_handle *sp, int item, ...)
{
	va_list ap;
	void *out;

	va_start(ap, item);
	out = va_arg(ap, void *);
	va_end(ap);
	if (sp != &handle || item > 2)
		return 3009;
	if (item == 2)
		*(uint32_t *) out = 4711;
	else
		*(uid_t *) out = 1001;
	return 0;
}

#define LOG(function, level)                              \
	void function(const char *format, ...)            \
	{                                                 \
		va_list ap;                               \
		va_start(ap, format);                     \
		printf(level ": ");                       \
		vprintf(format, ap);                      \
		printf("\n");                             \
		va_end(ap);                               \
	}

LOG(slurm_error, "error")
LOG(slurm_info, "info")
LOG(slurm_verbose, "verbose")
LOG(slurm_debug, "debug")

static int write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return -1;
	return (fputs(text, f) < 0) | (fclose(f) != 0) ? -1 : 0;
}

/* Who is not root is root of a user namespace. */
static int make_private(void)
{
	static const char *const hidden[] = { "/etc", "/run", "/var/lib", "/sys/fs/cgroup" };
	unsigned uid = geteuid();
	char map[32];

	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) || (uid && write_file("/proc/self/uid_map", map)))
		return -1;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++)
		if (mount("none", hidden[i], "tmpfs", 0, NULL))
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	char symbol[64];
	int (*hook)(struct spank_handle *, int, char **);
	void *plugin = argc > 2 ? dlopen(argv[1], RTLD_LAZY) : NULL;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!plugin) {
		printf("dlopen: %s\n", argc > 2 ? dlerror() : "no arguments");
		return 1;
	}
	if (make_private()) {
		printf("not private: %s\n", strerror(errno));
		return 0;
	}
	printf("private\n");
	if (argc > 3 && (mkdir("/etc/tenantry", 0755) || write_file("/etc/tenantry/tenants.toml", argv[3]))) {
		printf("tenants file: %s\n", strerror(errno));
		return 1;
	}
	snprintf(symbol, sizeof(symbol), "slurm_spank_%s", argv[2]);
	*(void **) &hook = dlsym(plugin, symbol);
	if (!hook) {
		printf("no symbol %s\n", symbol);
		return 1;
	}
	printf("%s = %d\n", argv[2], hook(&handle, 0, NULL));
	return 0;
}
