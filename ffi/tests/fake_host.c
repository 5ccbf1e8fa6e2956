/*
 * A stand-in for the programs that load SPANK plugins: it offers the functions that tests/host.rs wants the
 * plugin to meet, calls the hooks in the order given, and prints what happened, one line each.
 *
 *   fake_host PLUGIN CONTEXT CALL... [-- PLUGIN_ARGUMENT...]
 *
 * CONTEXT: slurmd, remote, local, allocator, job_script, error.
 * CALL: the name behind slurm_spank_, or option:NAME:ARGUMENT, option:NAME, or option#NUMBER. A last one with
 * atexit: in front is called when the process exits, which is how sbatch and salloc end their plugins.
 *
 * Compiled with OLD it lacks the functions that older releases lack, with BARE it has none at all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define MAX 16

struct option_entry {
	char *name, *arginfo, *usage;
	int has_arg, val;
	int (*cb)(int, const char *, int);
};

struct spank_handle { int magic; };

enum { ERROR, LOCAL, REMOTE, ALLOCATOR, SLURMD, JOB_SCRIPT };
static const char *contexts[] = { "error", "local", "remote", "allocator", "slurmd", "job_script" };

static struct spank_handle handle = { 0x53504b };
static int context;
static const char *call;
static struct option_entry options[MAX];
static int n_options;
static char *names[MAX], *values[MAX];
static int n_variables;

#ifndef BARE

static int phase(const char *name) { return strcmp(call, name) == 0; }

int spank_context(void) { return context; }

/* The widths and the refusals are those of Slurm's documentation. */
int spank_get_item(struct spank_handle *sp, int item, ...)
{
	va_list ap;
	void *out;
	const char *task_id = getenv("FAKE_NO_TASK") ? NULL : "task";
	const char *step = getenv("FAKE_STEP");

	if (sp != &handle)
		return 3001;
	va_start(ap, item);
	out = va_arg(ap, void *);
	va_end(ap);
	if (item == 20) {
		*(const char **) out = "24.11.5";
		return 0;
	}
	if (context == SLURMD || (context == JOB_SCRIPT && item > 2))
		return 3009;
	if (context == ALLOCATOR || (context == LOCAL && !phase("local_user_init")))
		return 3009;
	if (getenv("FAKE_REFUSE"))
		return atoi(getenv("FAKE_REFUSE"));
	switch (item) {
	case 0: *(uid_t *) out = 1001; break;
	case 1: *(gid_t *) out = 1002; break;
	case 2: *(uint32_t *) out = 4000000007u; break;
	case 3: *(uint32_t *) out = step ? (uint32_t) strtoul(step, NULL, 0) : 5; break;
	case 4: *(uint32_t *) out = 3; break;
	case 5: *(uint32_t *) out = 2; break;
	case 6: *(uint32_t *) out = 4; break;
	case 7: *(uint32_t *) out = 12; break;
	case 8: *(uint16_t *) out = 65535; break;
	case 11: *(int *) out = task_id ? 1 : -1; return task_id ? 0 : 3002;
	case 12: if (!task_id) return 3002; *(uint32_t *) out = 9; break;
	case 13: *(int *) out = 3 << 8; break;
	case 14: if (!task_id) { *(pid_t *) out = 0; return 3002; } *(pid_t *) out = getenv("FAKE_PID") ? atoi(getenv("FAKE_PID")) : 4242; break;
	case 24: *(uint32_t *) out = 16; break;
	case 25: *(const char **) out = "0-3"; break;
	case 26: *(uint64_t *) out = 8589934592ull; break;
	case 27: *(const char **) out = NULL; break;
	case 28: *(uint64_t *) out = 0; break;
	case 30: *(uint32_t *) out = 77; break;
	case 31: *(uint32_t *) out = 8; break;
	default: return 3001;
	}
	return 0;
}

static char **find(const char *name)
{
	for (int i = 0; i < n_variables; i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return &values[i];
	return NULL;
}

static int put(const char *name, const char *value, int overwrite)
{
	char **old = find(name);

	if (old && !overwrite)
		return 3003;
	if (old) {
		*old = strdup(value);
	} else {
		names[n_variables] = strdup(name);
		values[n_variables++] = strdup(value);
	}
	return 0;
}

static int get(const char *name, char *buf, int len)
{
	char **value = find(name);

	if (!value)
		return 3004;
	snprintf(buf, len, "%s", *value);
	return strlen(*value) >= (size_t) len ? 3005 : 0;
}

static void drop(const char *name)
{
	for (int i = 0; i < n_variables; i++)
		if (names[i] && strcmp(names[i], name) == 0)
			names[i] = NULL;
}

int spank_getenv(struct spank_handle *sp, const char *name, char *buf, int len)
{
	return sp != &handle ? 3001 : context != REMOTE ? 3006 : get(name, buf, len);
}

int spank_setenv(struct spank_handle *sp, const char *name, const char *value, int overwrite)
{
	if (sp != &handle || context != REMOTE)
		return 3006;
	printf("setenv %s %zu bytes\n", name, strlen(value));
	return put(name, value, overwrite);
}

int spank_unsetenv(struct spank_handle *sp, const char *name)
{
	if (sp != &handle || context != REMOTE)
		return 3006;
	printf("unsetenv %s\n", name);
	drop(name);
	return 0;
}

int spank_job_control_getenv(struct spank_handle *sp, const char *name, char *buf, int len)
{
	return sp != &handle || context == REMOTE ? 3010 : get(name, buf, len);
}

int spank_job_control_setenv(struct spank_handle *sp, const char *name, const char *value, int overwrite)
{
	return sp != &handle || context == REMOTE ? 3010 : put(name, value, overwrite);
}

int spank_job_control_unsetenv(struct spank_handle *sp, const char *name)
{
	if (sp != &handle || context == REMOTE)
		return 3010;
	drop(name);
	return 0;
}

/* Like Slurm, it copies. */
int spank_option_register(struct spank_handle *sp, struct option_entry *opt)
{
	if (sp != &handle || !phase("init") || !opt->name || !opt->usage)
		return 3001;
	if (getenv("FAKE_NO_OPTIONS"))
		return 3005;
	options[n_options] = *opt;
	options[n_options].name = strdup(opt->name);
	options[n_options].arginfo = opt->arginfo ? strdup(opt->arginfo) : NULL;
	options[n_options].usage = strdup(opt->usage);
	n_options++;
	printf("register --%s=%s (%s) has_arg=%d\n", opt->name, opt->arginfo ? opt->arginfo : "", opt->usage, opt->has_arg);
	return 0;
}

int spank_option_getopt(struct spank_handle *sp, struct option_entry *opt, char **argument)
{
	char variable[64];

	*argument = NULL;
	if (sp != &handle || phase("init") || phase("init_post_opt") || phase("task_post_fork") || phase("exit"))
		return 3009;
	snprintf(variable, sizeof(variable), "FAKE_OPTION_%s", opt->name);
	if (!getenv(variable))
		return 3000;
	if (opt->has_arg)
		*argument = getenv(variable);
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

#ifndef OLD
LOG(slurm_spank_log, "user")

int spank_prepend_task_argv(struct spank_handle *sp, int argc, const char *argv[])
{
	if (sp != &handle || !(phase("task_init_privileged") || phase("task_init")))
		return 3002;
	printf("argv");
	for (int i = 0; i < argc; i++)
		printf(" %s", argv[i]);
	printf("%s\n", argv[argc] ? " not ended by NULL" : "");
	return 0;
}
#endif
#endif

static int run(void *plugin, const char *what, int argc, char **argv)
{
	char symbol[64];
	int (*hook)(struct spank_handle *, int, char **);

	call = what;
	if (strncmp(what, "option:", 7) == 0) {
		char *name = strdup(what + 7), *argument = strchr(name, ':');

		if (argument)
			*argument++ = '\0';
		for (int i = 0; i < n_options; i++)
			if (strcmp(options[i].name, name) == 0)
				return options[i].cb(options[i].val, argument, context == REMOTE);
		printf("no option %s\n", name);
		return 99;
	}
	if (strncmp(what, "option#", 7) == 0)
		return options[0].cb(atoi(what + 7), NULL, 1);
	snprintf(symbol, sizeof(symbol), "slurm_spank_%s", what);
	*(void **) &hook = dlsym(plugin, symbol);
	if (!hook) {
		printf("no symbol %s\n", symbol);
		return 99;
	}
	return hook(getenv("FAKE_NO_HANDLE") ? NULL : &handle, argc, argv);
}

static void *late_plugin;
static char *late_call, **late_argv;
static int late_argc;

static void at_exit(void)
{
	printf("atexit:%s = %d\n", late_call, run(late_plugin, late_call, late_argc, late_argv));
}

int main(int argc, char **argv)
{
	void *plugin = dlopen(argv[1], getenv("FAKE_NOW") ? RTLD_NOW : RTLD_LAZY);
	int first = 3, last = argc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!plugin) {
		printf("dlopen: %s\n", dlerror());
		return 1;
	}
	const char *name = dlsym(plugin, "plugin_name"), *type = dlsym(plugin, "plugin_type");
	const unsigned *version = dlsym(plugin, "plugin_version");
	const int *mode = dlsym(plugin, "slurm_spank_init_failure_mode");
	printf("plugin %s %s 0x%06x %d\n", name, type, *version, *mode);
	if (dlsym(plugin, "init") || dlsym(plugin, "fini"))
		printf("exports init or fini\n");

	while (context < 5 && strcmp(contexts[context], argv[2]))
		context++;
	for (int i = 0; environ[i]; i++)
		if (strncmp(environ[i], "JOB_", 4) == 0) {
			char *pair = strdup(environ[i] + 4), *value = strchr(pair, '=');
			*value++ = '\0';
			names[n_variables] = pair;
			values[n_variables++] = value;
		}
	for (int i = first; i < argc; i++)
		if (strcmp(argv[i], "--") == 0)
			last = i;
	for (int i = first; i < last; i++) {
		int words = last < argc ? argc - last - 1 : 0;
		char **word = last < argc ? argv + last + 1 : NULL;

		if (strncmp(argv[i], "atexit:", 7) == 0) {
			late_plugin = plugin, late_call = argv[i] + 7, late_argc = words, late_argv = word;
			atexit(at_exit);
			continue;
		}
		int rc = run(plugin, argv[i], words, word);
		printf("%s = %d\n", argv[i], rc);
	}
	if (!late_call)
		dlclose(plugin);
	printf("end\n");
	return 0;
}
