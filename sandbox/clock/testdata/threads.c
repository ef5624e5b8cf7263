/* What the tests of package clock run by a C library: threads that all ask, a
   wait until a time, and a thread that executes another program. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
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

int main(int argc, char **argv) {
	pthread_t t[threads];
	int bad = 0;
	void *(*body)(void *) = argc < 2 ? ask : strcmp(argv[1], "wait") == 0 ? wait : idle;
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
