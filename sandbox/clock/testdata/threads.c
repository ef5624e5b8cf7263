/* What the tests of package clock run by a C library: threads that all ask, a
   wait until a time, threads that ask for a file's times, and a thread that executes another program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { start = 2208988800u, threads = 16, rounds = 300 };

static int ours(time_t t) { return t >= start && t < (time_t)start + 600; }

static void *ask(void *bad) {
	for (int i = 0; i < rounds; i++) {
		struct timespec ts;
		struct timeval tv;
		clock_gettime(CLOCK_REALTIME, &ts);
		gettimeofday(&tv, NULL);
		if (!ours(ts.tv_sec) || !ours(tv.tv_sec) || !ours(time(NULL)))
			*(int *)bad = 1;
	}
	return NULL;
}

static double elapsed(const struct timespec *since) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - since->tv_sec + (now.tv_nsec - since->tv_nsec) / 1e9;
}

/* All wait until one shared moment. */
static struct timespec shared;

static void *wait(void *bad) {
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	sem_t s;
	struct timespec began;
	clock_gettime(CLOCK_MONOTONIC, &began);
	pthread_mutex_lock(&m);
	if (pthread_cond_timedwait(&c, &m, &shared) != ETIMEDOUT || elapsed(&began) < 0.3 || elapsed(&began) > 3)
		*(int *)bad = 1;
	/* A mutex held by this thread itself, which a normal one does not notice. */
	if (pthread_mutex_timedlock(&m, &shared) != ETIMEDOUT || elapsed(&began) > 3)
		*(int *)bad = 2;
	sem_init(&s, 0, 0);
	if (sem_timedwait(&s, &shared) != -1 || errno != ETIMEDOUT || elapsed(&began) > 3)
		*(int *)bad = 3;
	return NULL;
}

static void *execute(void *unused) {
	execlp("date", "date", "+%s", NULL);
	return unused;
}

static void *idle(void *unused) {
	pause();
	return unused;
}

static const char *name;

/* All ask for the times of one file, by each call, in buffers between others' bytes. */
static void *files(void *bad) {
	struct { char before[64]; struct stat s; char after[64]; } b;
	struct { char before[64]; struct statx s; char after[64]; } x;
	char zeroes[64] = {0};
	int fd = open(name, O_RDONLY);
	for (int i = 0; i < rounds; i++) {
		memset(&b, 0, sizeof b);
		memset(&x, 0, sizeof x);
		if (stat(name, &b.s) || !ours(b.s.st_mtime) || !ours(b.s.st_ctime) || !ours(b.s.st_atime) || b.s.st_mtim.tv_nsec)
			*(int *)bad = 1;
		if (lstat(name, &b.s) || !ours(b.s.st_mtime) || fstat(fd, &b.s) || !ours(b.s.st_mtime))
			*(int *)bad = 2;
#ifdef SYS_stat
		if (syscall(SYS_stat, name, &b.s) || !ours(b.s.st_mtime) || syscall(SYS_lstat, name, &b.s) || !ours(b.s.st_mtime))
			*(int *)bad = 3;
#endif
		if (statx(AT_FDCWD, name, 0, STATX_ALL, &x.s) || !ours(x.s.stx_mtime.tv_sec) || !ours(x.s.stx_ctime.tv_sec))
			*(int *)bad = 4;
		if ((x.s.stx_mask & STATX_BTIME) && (!ours(x.s.stx_btime.tv_sec) || x.s.stx_btime.tv_nsec))
			*(int *)bad = 5;
		if (memcmp(b.before, zeroes, 64) || memcmp(b.after, zeroes, 64) || memcmp(x.before, zeroes, 64) || memcmp(x.after, zeroes, 64))
			*(int *)bad = 6;
		if (b.s.st_size != 1 || x.s.stx_size != 1)
			*(int *)bad = 7;
	}
	return NULL;
}

int main(int argc, char **argv) {
	pthread_t t[threads];
	int bad = 0;
	void *(*body)(void *) = argc < 2 ? ask : argc > 2 ? files : strcmp(argv[1], "wait") == 0 ? wait : idle;
	if (argc > 2) {
		FILE *f = fopen(name = argv[2], "w");
		if (!f || fputs("x", f) < 0 || fclose(f))
			return 3;
	}
	clock_gettime(CLOCK_REALTIME, &shared);
	shared.tv_nsec += 400000000;
	if (shared.tv_nsec >= 1000000000)
		shared.tv_sec++, shared.tv_nsec -= 1000000000;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, i == threads - 1 && body == idle ? execute : body, &bad))
			return 2;
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	printf("%d\n", bad);
	return 0;
}
