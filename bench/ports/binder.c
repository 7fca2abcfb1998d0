/*
 * Binds sockets and tells how long it took, one command a line, one answer a line:
 *
 *   bind COUNT PORT      COUNT sockets one after the other, each bound to 127.0.0.1:PORT and closed
 *                        again -> the median time of bind(2) alone, in tenths of a nanosecond
 *   cycle COUNT PORT     the same -> the median time of socket, bind and close, in tenths
 *   refused COUNT PORT   the same where every bind is refused -> as bind
 *   hold COUNT PORT      binds COUNT sockets, UDP and TCP by turns, to ports from PORT on, keeps them
 *   place COUNT PORT     a placeholder a port, dual-stack, as the fallback and portreserve have it
 *                        -> microseconds; closes them again
 *   empty DIRECTORY      attaches a program that does nothing to a control group
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 100000

static uint64_t times[MOST];
static int held[MOST];

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

/* Tells the median of the times: some in a batch meet an interrupt. */
static void tell(int count)
{
	qsort(times, count, sizeof *times, compare);
	/* The mean of the middle tenth: finer than the clock. */
	uint64_t sum = 0, from = count * 45ull / 100, to = count * 55ull / 100 + 1;
	for (uint64_t i = from; i < to; i++)
		sum += times[i];
	printf("%llu\n", (unsigned long long)(sum * 10 / (to - from)));
}

/*
 * Whoever reads /proc/PID/fd of this process, as ss -p and others on the machine do, holds a socket for
 * a moment, and its port is taken although it was closed. Some of that is no fault.
 */
static int meanwhile(int result)
{
	static int times_left = 1000;
	return result < 0 && errno == EADDRINUSE && times_left-- > 0;
}

static void binds(int count, int port, int refused)
{
	struct sockaddr_in address = loopback(port);
	for (int i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0)
			fail("socket");
		uint64_t start = now();
		int result = bind(fd, (void *)&address, sizeof address);
		times[i] = now() - start;
		if ((result < 0) != refused && !meanwhile(result))
			fail("bind");
		close(fd);
	}
	tell(count);
}

static void cycles(int count, int port)
{
	struct sockaddr_in address = loopback(port);
	for (int i = 0; i < count; i++) {
		uint64_t start = now();
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		int result = fd < 0 ? fd : bind(fd, (void *)&address, sizeof address);
		if (result < 0 && !meanwhile(result))
			fail("bind");
		close(fd);
		times[i] = now() - start;
	}
	tell(count);
}

static void hold(int count, int port)
{
	for (int i = 0; i < count; i++) {
		struct sockaddr_in address = loopback(port + i / 2);
		int fd = socket(AF_INET, i % 2 ? SOCK_STREAM : SOCK_DGRAM, 0);
		if (fd < 0 || bind(fd, (void *)&address, sizeof address) < 0)
			fail("hold");
	}
	printf("0\n");
}

static void place(int count, int port)
{
	uint64_t start = now();
	for (int i = 0; i < count; i++) {
		struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port + i)};
		held[i] = socket(AF_INET6, SOCK_STREAM, 0);
		if (held[i] < 0 || bind(held[i], (void *)&address, sizeof address) < 0)
			fail("place");
	}
	uint64_t took = now() - start;
	for (int i = 0; i < count; i++)
		close(held[i]);
	printf("%llu\n", (unsigned long long)(took / 1000));
}

static int bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static void empty(const char *directory)
{
	struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {0}, attach = {0};
	load.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
	load.expected_attach_type = BPF_CGROUP_INET4_BIND;
	load.insns = (uintptr_t)program;
	load.insn_cnt = 2;
	load.license = (uintptr_t) "GPL";
	attach.link_create.prog_fd = bpf(BPF_PROG_LOAD, &load);
	attach.link_create.target_fd = open(directory, O_RDONLY | O_DIRECTORY);
	attach.link_create.attach_type = BPF_CGROUP_INET4_BIND;
	if (bpf(BPF_LINK_CREATE, &attach) < 0)
		fail("empty");
	printf("0\n");
}

int main(int count, char **arguments)
{
	/* All on one processor, so that it is the same for all; which one the caller says. */
	if (count > 1) {
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(atoi(arguments[1]), &one);
		sched_setaffinity(0, sizeof one, &one);
	}
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);

	char line[4096], verb[16], second[4000];
	int port;
	while (fgets(line, sizeof line, stdin)) {
		port = 0;
		if (sscanf(line, "%15s %3999s %d", verb, second, &port) < 2)
			fail("command");
		int number = atoi(second);
		if (!strcmp(verb, "empty"))
			empty(second);
		else if (number < 1 || number > MOST)
			fail("count");
		else if (!strcmp(verb, "bind"))
			binds(number, port, 0);
		else if (!strcmp(verb, "refused"))
			binds(number, port, 1);
		else if (!strcmp(verb, "cycle"))
			cycles(number, port);
		else if (!strcmp(verb, "hold"))
			hold(number, port);
		else if (!strcmp(verb, "place"))
			place(number, port);
		else
			fail("command");
		fflush(stdout);
	}
	return 0;
}
