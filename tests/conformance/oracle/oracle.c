/*
 * An independent witness: a SPANK plugin that stands before ours in the stack and shares no code with it.
 *
 * In each task, before its program runs: which cgroup it is in.
 * At each step's end, before Slurm removes its groups: what its tasks used.
 * In the job's epilog, before ours removes the job's group: what the kernel says it used.
 * Both as lines of JSON under /var/log/oracle, which the tests compare with what is billed.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <slurm/spank.h>

SPANK_PLUGIN(oracle, 1);

#define LOG "/var/log/oracle/"

static void say(const char *file, const char *line)
{
	int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		slurm_error("oracle: cannot write %s: %s", file, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* The value of a `key value` line, or of a file that is one number (key ""); -1 where there is none. */
static long long value_of(const char *group, const char *file, const char *key)
{
	char path[1024], line[256];
	long long value = -1;
	size_t length = strlen(key);
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	if (!(f = fopen(path, "re")))
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!length) {
			value = atoll(line);
			break;
		}
		if (!strncmp(line, key, length) && line[length] == ' ') {
			value = atoll(line + length);
			break;
		}
	}
	fclose(f);
	return value;
}

/* Slurm's own name for the job's group, as slurmstepd uses it: 26.05 takes the SLUID unless told otherwise. */
static int find_group(const char *node, unsigned job, char *group, size_t size)
{
	const char *sluid = getenv("SLURM_JOB_SLUID");
	char pattern[512];
	glob_t found;
	int rc;

	snprintf(pattern, sizeof(pattern), "/sys/fs/cgroup/system.slice/%s_slurmstepd.scope/job_%u", node, job);
	rc = glob(pattern, 0, NULL, &found);
	if (rc && sluid) {
		snprintf(pattern, sizeof(pattern), "/sys/fs/cgroup/system.slice/%s_slurmstepd.scope/%s", node, sluid);
		rc = glob(pattern, 0, NULL, &found);
	}
	if (rc)
		return -1;
	snprintf(group, size, "%s", found.gl_pathv[0]);
	globfree(&found);
	return 0;
}

int slurm_spank_job_epilog(spank_t sp, int ac, char **av)
{
	const char *node = getenv("SLURMD_NODENAME");
	char group[512], line[1024];
	unsigned job = 0;
	long long usage, peak;
	int waited;

	(void) ac;
	(void) av;
	if (!node || spank_get_item(sp, S_JOB_ID, &job) || find_group(node, job, group, sizeof(group)))
		return 0;
	/* Slurm begins the epilog while a killed step is still going: for some it takes more than a second. */
	for (waited = 0; waited < 1000 && value_of(group, "cgroup.events", "populated") == 1; waited++)
		usleep(5000);
	/* The last task's last moment may be charged just after it has left. */
	usleep(20000);
	usage = value_of(group, "cpu.stat", "usage_usec");
	peak = value_of(group, "memory.peak", "");
	/* Removed meanwhile, or nothing ever ran in it, for its prolog died: a record of that stands alone in the comparison. */
	if (usage < 0 || (usage == 0 && peak == 0))
		return 0;
	snprintf(line, sizeof(line),
		 "{\"job\": %u, \"node\": \"%s\", \"usage_usec\": %lld, \"memory_peak\": %lld, \"oom_kill\": %lld}\n",
		 job, node, usage, peak,
		 value_of(group, "memory.events", "oom_kill"));
	say(LOG "epilog", line);
	return 0;
}

int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
	char group[700] = "", line[1024];
	unsigned job = 0;
	FILE *f = fopen("/proc/self/cgroup", "re");

	(void) ac;
	(void) av;
	if (!f || spank_get_item(sp, S_JOB_ID, &job) || !fgets(group, sizeof(group), f))
		group[0] = 0;
	if (f)
		fclose(f);
	group[strcspn(group, "\n")] = 0;
	snprintf(line, sizeof(line), "{\"job\": %u, \"cgroup\": \"%s\"}\n", job, group);
	say(LOG "tasks", line);
	return 0;
}

int slurm_spank_exit(spank_t sp, int ac, char **av)
{
	char path[700] = "", group[900], line[1200], *own, *end;
	unsigned job = 0;
	int waited;
	FILE *f;

	(void) ac;
	(void) av;
	if (spank_context() != S_CTX_REMOTE || !(f = fopen("/proc/self/cgroup", "re")))
		return 0;
	own = fgets(path, sizeof(path), f) ? strstr(path, "::/") : NULL;
	fclose(f);
	if (!own || !(end = strstr(own, "/slurm\n")) || spank_get_item(sp, S_JOB_ID, &job))
		return 0;
	*end = 0;
	snprintf(group, sizeof(group), "/sys/fs/cgroup/%s/user", own + 3);
	for (waited = 0; waited < 400 && value_of(group, "cgroup.events", "populated") == 1; waited++)
		usleep(5000);
	/* As in the epilog; and long enough for slurmstepd to be the user for a moment, in an extern step, when ours writes. */
	usleep(20000);
	snprintf(line, sizeof(line), "{\"job\": %u, \"step\": \"%s\", \"usage_usec\": %lld}\n", job, strrchr(own, '/') + 1,
		 value_of(group, "cpu.stat", "usage_usec"));
	say(LOG "steps", line);
	return 0;
}
