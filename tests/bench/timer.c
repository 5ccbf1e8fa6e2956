/*
 * Two SPANK plugins of one source, the lines before and after Tenantry's in the stack: the time between them is
 * its hook's. Slurm calls the stack in its order, in one process.
 *
 * Built with -DBEFORE it notes the time as its hooks return; without, it writes the difference as its hooks begin,
 * a line each: `HOOK NANOSECONDS`. Built with -DEMPTY its hooks do nothing: what Slurm itself takes to call one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <slurm/spank.h>

#if defined(EMPTY)
SPANK_PLUGIN(bench_empty, 1);
#elif defined(BEFORE)
SPANK_PLUGIN(bench_before, 1);
#else
SPANK_PLUGIN(bench_after, 1);
#endif

#define NOTE "TENANTRY_BENCH_BEFORE_NS"
#define LOG "/var/log/tenantry-bench-start"

static int at(const char *hook)
{
#ifndef EMPTY
	struct timespec now;
	long long ns;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ns = now.tv_sec * 1000000000LL + now.tv_nsec;
#ifdef BEFORE
	char text[32];

	(void) hook;
	snprintf(text, sizeof(text), "%lld", ns);
	setenv(NOTE, text, 1);
#else
	const char *before = getenv(NOTE);
	FILE *log = before ? fopen(LOG, "ae") : NULL;

	if (log) {
		fprintf(log, "%s %lld\n", hook, ns - atoll(before));
		fclose(log);
	}
#endif
#else
	(void) hook;
#endif
	return 0;
}

int slurm_spank_job_prolog(spank_t sp, int ac, char **av)
{
	(void) sp;
	(void) ac;
	(void) av;
	return at("prolog");
}

int slurm_spank_job_epilog(spank_t sp, int ac, char **av)
{
	(void) sp;
	(void) ac;
	(void) av;
	return at("epilog");
}
