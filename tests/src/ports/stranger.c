/*
 * A program that uses ports as any program may, and does it word by word: it reads one command a
 * line, and answers each with one line, "ok ..." or the name of the error.
 *
 * Sockets have names. An address is IPv4 or IPv6 as the socket is.
 *
 *   socket NAME KIND             tcp4 tcp6 udp4 udp6 mptcp4 mptcp6 udplite4 udplite6 unix
 *   option NAME OPTION           reuseaddr reuseport v6only dualstack freebind
 *                                late (IP_BIND_ADDRESS_NO_PORT)
 *   range NAME LOW HIGH          IP_LOCAL_PORT_RANGE
 *   bind NAME ADDRESS PORT       -> the port it got; so do listen, connect, send and port
 *   insist KIND PORT AFTER FOR   after so many microseconds binds new sockets to the port of any address
 *                                until one gets it, or for so many milliseconds -> "got" or "never",
 *                                and how many were refused; keeps the one that got it as "got"
 *   listen NAME
 *   connect NAME ADDRESS PORT
 *   send NAME ADDRESS PORT
 *   port NAME
 *   accept NAME NEW
 *   uring NAME ADDRESS PORT HOW  binds through io_uring, HOW: inline or async
 *   dup NAME NEW
 *   close NAME
 *   fork                         -> a child that holds the same sockets until it is told to end
 *   end PID                      kills a child made by fork, and waits for its end
 *   user ID                      becomes this user, without groups and capabilities, for good
 *   cgroup DIRECTORY             moves into a control group
 *   allow DIRECTORY              attaches programs to a control group that allow every bind
 *   call SOCKET NAMES TEXT       sends TEXT and a zero byte with the sockets NAMES (a,b or -)
 *                                -> the answer up to its zero byte
 *   pins DIRECTORY               -> what is pinned below it: PATH=LINK:PROGRAM, identifiers, 0 for
 *                                what is no link
 *   attached DIRECTORY           -> identifiers of the programs attached to a control group
 *   link ID                      ok if a link of this identifier exists
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Not in every libc's or kernel's headers. */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#define URING_OP_BIND 56

#define MOST 4096

static struct { char name[32]; int fd, domain; } sockets[MOST];
static int used;

static int find(const char *name)
{
	for (int i = 0; i < used; i++)
		if (sockets[i].fd >= 0 && !strcmp(sockets[i].name, name))
			return i;
	return -1;
}

static int remember(const char *name, int fd, int domain)
{
	int slot = 0;
	while (slot < used && sockets[slot].fd >= 0)
		slot++;
	if (slot == MOST)
		return -1;
	if (slot == used)
		used++;
	snprintf(sockets[slot].name, sizeof sockets[slot].name, "%s", name);
	sockets[slot].fd = fd;
	sockets[slot].domain = domain;
	return slot;
}

static const char *error_name(int error)
{
	static char number[32];
	switch (error) {
	case EACCES: return "EACCES";
	case EADDRINUSE: return "EADDRINUSE";
	case EADDRNOTAVAIL: return "EADDRNOTAVAIL";
	case EAGAIN: return "EAGAIN";
	case EBADF: return "EBADF";
	case ECONNREFUSED: return "ECONNREFUSED";
	case EINVAL: return "EINVAL";
	case ENOENT: return "ENOENT";
	case ENOSYS: return "ENOSYS";
	case EOPNOTSUPP: return "EOPNOTSUPP";
	case EPERM: return "EPERM";
	case EPROTONOSUPPORT: return "EPROTONOSUPPORT";
	}
	snprintf(number, sizeof number, "errno %d", error);
	return number;
}

static void failed(void) { printf("%s\n", error_name(errno)); }

static void done(int result) { result < 0 ? failed() : (void)printf("ok\n"); }

static socklen_t parse(int domain, const char *text, int port, struct sockaddr_storage *address)
{
	memset(address, 0, sizeof *address);
	if (domain == AF_INET) {
		struct sockaddr_in *v4 = (void *)address;
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return inet_pton(AF_INET, text, &v4->sin_addr) == 1 ? sizeof *v4 : 0;
	}
	struct sockaddr_in6 *v6 = (void *)address;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	return inet_pton(AF_INET6, text, &v6->sin6_addr) == 1 ? sizeof *v6 : 0;
}

static int port_of(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	if (getsockname(fd, (void *)&address, &length) < 0)
		return -1;
	return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
						  : ((struct sockaddr_in6 *)&address)->sin6_port);
}

static void with_port(int result, int fd)
{
	result < 0 ? failed() : (void)printf("ok %d\n", port_of(fd));
}

static void make(const char *name, const char *kind)
{
	static const struct { const char *kind; int domain, type, protocol; } kinds[] = {
		{"tcp4", AF_INET, SOCK_STREAM, 0},
		{"tcp6", AF_INET6, SOCK_STREAM, 0},
		{"udp4", AF_INET, SOCK_DGRAM, 0},
		{"udp6", AF_INET6, SOCK_DGRAM, 0},
		{"mptcp4", AF_INET, SOCK_STREAM, IPPROTO_MPTCP},
		{"mptcp6", AF_INET6, SOCK_STREAM, IPPROTO_MPTCP},
		{"udplite4", AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE},
		{"udplite6", AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE},
		{"unix", AF_UNIX, SOCK_STREAM, 0},
	};
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(kind, kinds[i].kind))
			continue;
		int fd = socket(kinds[i].domain, kinds[i].type | SOCK_CLOEXEC, kinds[i].protocol);
		if (fd < 0)
			failed();
		else
			done(remember(name, fd, kinds[i].domain));
		return;
	}
	printf("no such kind\n");
}

static uint64_t microseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

/* Again and again, each time with a new socket. */
static void insist(const char *kind, int port, int after, int moments)
{
	int domain = kind[strlen(kind) - 1] == '6' ? AF_INET6 : AF_INET;
	int type = kind[0] == 'u' ? SOCK_DGRAM : SOCK_STREAM;
	struct sockaddr_storage address;
	socklen_t length = parse(domain, domain == AF_INET ? "0.0.0.0" : "::", port, &address);
	uint64_t begin = microseconds() + after;
	while (microseconds() < begin)
		;
	for (long refused = 0;; refused++) {
		int fd = socket(domain, type | SOCK_CLOEXEC, 0);
		if (!bind(fd, (void *)&address, length)) {
			remember("got", fd, domain);
			printf("ok got %ld\n", refused);
			return;
		}
		close(fd);
		if (microseconds() >= begin + moments * 1000ull) {
			printf("ok never %ld\n", refused + 1);
			return;
		}
	}
}

static void option(int fd, const char *which)
{
	int on = 1, off = 0;
	if (!strcmp(which, "reuseaddr"))
		done(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	else if (!strcmp(which, "reuseport"))
		done(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	else if (!strcmp(which, "v6only"))
		done(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
	else if (!strcmp(which, "dualstack"))
		done(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off));
	else if (!strcmp(which, "freebind"))
		done(setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on));
	else if (!strcmp(which, "late"))
		done(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on));
	else
		printf("no such option\n");
}

/* One request through a ring of its own, without liburing. Returns the request's result. */
static int through_ring(int fd, void *address, socklen_t length, int async)
{
	struct io_uring_params parameters = {0};
	int ring = syscall(SYS_io_uring_setup, 2, &parameters);
	if (ring < 0)
		return -errno;
	size_t size = parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
	size_t cq_size = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
	if (cq_size > size)
		size = cq_size;
	char *sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *entry = mmap(NULL, parameters.sq_entries * sizeof *entry,
					  PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	int result = -ENOMEM;
	if (sq != MAP_FAILED && cq != MAP_FAILED && (void *)entry != MAP_FAILED) {
		memset(entry, 0, sizeof *entry);
		entry->opcode = URING_OP_BIND;
		entry->flags = async ? IOSQE_ASYNC : 0;
		entry->fd = fd;
		entry->addr = (uintptr_t)address;
		entry->off = length; /* addr2 */
		((unsigned *)(sq + parameters.sq_off.array))[0] = 0;
		__atomic_store_n((unsigned *)(sq + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
		if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
			result = -errno;
		else
			result = ((struct io_uring_cqe *)(cq + parameters.cq_off.cqes))->res;
	}
	/* The rings go with the process; tests make a handful. */
	close(ring);
	return result;
}

static int bpf(int command, union bpf_attr *attributes, size_t size)
{
	return syscall(SYS_bpf, command, attributes, size);
}

/* A program for one hook that sets no error and allows. */
static int allow(int directory, int hook)
{
	struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .imm = 0},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_set_retval},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {0}, attach = {0};
	load.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
	load.expected_attach_type = hook;
	load.insns = (uintptr_t)program;
	load.insn_cnt = sizeof program / sizeof *program;
	load.license = (uintptr_t) "GPL";
	int fd = bpf(BPF_PROG_LOAD, &load, sizeof load);
	if (fd < 0)
		return -1;
	attach.link_create.prog_fd = fd;
	attach.link_create.target_fd = directory;
	attach.link_create.attach_type = hook;
	return bpf(BPF_LINK_CREATE, &attach, sizeof attach);
}

/* Everything pinned below a directory, on one line. */
static void list_pins(const char *directory)
{
	DIR *listing = opendir(directory);
	if (!listing)
		return;
	for (struct dirent *entry; (entry = readdir(listing));) {
		if (entry->d_name[0] == '.')
			continue;
		char path[4096];
		struct stat status;
		if (snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= (int)sizeof path)
			continue;
		if (lstat(path, &status) < 0)
			continue;
		if (S_ISDIR(status.st_mode)) {
			list_pins(path);
			continue;
		}
		union bpf_attr get = {0}, about = {0};
		struct bpf_link_info link = {0};
		get.pathname = (uintptr_t)path;
		int fd = bpf(BPF_OBJ_GET, &get, sizeof get);
		char shown[64] = "", target[128] = "";
		if (fd >= 0) {
			snprintf(shown, sizeof shown, "/proc/self/fd/%d", fd);
			ssize_t length = readlink(shown, target, sizeof target - 1);
			target[length < 0 ? 0 : length] = 0;
		}
		int is_link = strstr(target, "bpf_link") || strstr(target, "bpf-link");
		if (is_link) {
			about.info.bpf_fd = fd;
			about.info.info_len = sizeof link;
			about.info.info = (uintptr_t)&link;
			if (bpf(BPF_OBJ_GET_INFO_BY_FD, &about, sizeof about) < 0)
				link.id = 0;
		}
		printf(" %s=%u:%u", path, link.id, link.prog_id);
		if (fd >= 0)
			close(fd);
	}
	closedir(listing);
}

static void list_attached(const char *path)
{
	static const int hooks[] = {
		BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND, BPF_CGROUP_INET4_POST_BIND,
		BPF_CGROUP_INET6_POST_BIND, BPF_CGROUP_INET_SOCK_RELEASE, BPF_CGROUP_SYSCTL,
	};
	int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0) {
		failed();
		return;
	}
	printf("ok");
	for (unsigned i = 0; i < sizeof hooks / sizeof *hooks; i++) {
		uint32_t programs[64];
		union bpf_attr query = {0};
		query.query.target_fd = directory;
		query.query.attach_type = hooks[i];
		query.query.prog_ids = (uintptr_t)programs;
		query.query.prog_cnt = 64;
		if (bpf(BPF_PROG_QUERY, &query, sizeof query) < 0)
			continue;
		for (unsigned j = 0; j < query.query.prog_cnt; j++)
			printf(" %u", programs[j]);
	}
	printf("\n");
	close(directory);
}

static void call(const char *path, char *names, const char *text)
{
	int descriptors[8], count = 0;
	for (char *name = strtok(names, ","); name && count < 8; name = strtok(NULL, ",")) {
		int slot = find(name);
		if (slot >= 0)
			descriptors[count++] = sockets[slot].fd;
	}
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = 40};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (fd < 0 || connect(fd, (void *)&address, sizeof address) < 0) {
		failed();
		close(fd);
		return;
	}
	char control[CMSG_SPACE(sizeof descriptors)] = {0};
	struct iovec bytes = {(void *)text, strlen(text) + 1};
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
	if (count) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
	}
	if (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)bytes.iov_len) {
		failed();
		close(fd);
		return;
	}
	static char answer[1 << 20];
	size_t length = 0;
	for (;;) {
		ssize_t got = read(fd, answer + length, sizeof answer - length);
		if (got <= 0) {
			printf("ended\n");
			break;
		}
		length += got;
		if (!answer[length - 1]) {
			printf("ok %s\n", answer);
			break;
		}
	}
	close(fd);
}

static void carry_out(char *line)
{
	char *rest = line, *word[5] = {0};
	int words = 0;
	while (words < 4 && (word[words] = strsep(&rest, " ")))
		words++;
	word[4] = rest; /* whatever is left, spaces included */
	const char *verb = word[0] ? word[0] : "";
	const char *name = word[1] ? word[1] : "";
	const char *third = word[2] ? word[2] : "";
	const char *fourth = word[3] ? word[3] : "";

	if (!strcmp(verb, "socket"))
		return make(name, third);
	if (!strcmp(verb, "insist"))
		return insist(name, atoi(third), atoi(fourth), atoi(word[4] ? word[4] : "0"));
	if (!strcmp(verb, "fork")) {
		fflush(stdout);
		pid_t parent = getpid(), child = fork();
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(0);
			close(0);
			close(1);
			for (;;)
				pause();
		}
		if (child < 0)
			failed();
		else
			printf("ok %d\n", child);
		return;
	}
	if (!strcmp(verb, "end")) {
		kill(atoi(name), SIGKILL);
		return done(waitpid(atoi(name), NULL, 0));
	}
	if (!strcmp(verb, "user")) {
		uid_t user = atoi(name);
		if (setgroups(0, NULL) < 0 || setresgid(user, user, user) < 0)
			return failed();
		done(setresuid(user, user, user));
		/* A change of user takes the parent-death signal away. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return;
	}
	if (!strcmp(verb, "cgroup")) {
		char path[4096];
		snprintf(path, sizeof path, "%s/cgroup.procs", name);
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		done(fd < 0 ? -1 : write(fd, "0", 1));
		close(fd);
		return;
	}
	if (!strcmp(verb, "allow")) {
		int directory = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (directory < 0 || allow(directory, BPF_CGROUP_INET4_BIND) < 0)
			return failed();
		return done(allow(directory, BPF_CGROUP_INET6_BIND));
	}
	if (!strcmp(verb, "call")) {
		char names[256];
		snprintf(names, sizeof names, "%s", third);
		/* The text is the fourth word and what follows it. */
		if (word[4])
			word[4][-1] = ' ';
		return call(name, names, fourth);
	}
	if (!strcmp(verb, "pins")) {
		printf("ok");
		list_pins(name);
		printf("\n");
		return;
	}
	if (!strcmp(verb, "attached"))
		return list_attached(name);
	if (!strcmp(verb, "link")) {
		union bpf_attr get = {0};
		get.link_id = strtoul(name, NULL, 10);
		int fd = bpf(BPF_LINK_GET_FD_BY_ID, &get, sizeof get);
		done(fd);
		if (fd >= 0)
			close(fd);
		return;
	}

	int slot = find(name);
	if (slot < 0) {
		printf("no such socket\n");
		return;
	}
	int fd = sockets[slot].fd;
	struct sockaddr_storage address;
	socklen_t length = parse(sockets[slot].domain, third, atoi(fourth), &address);
	if (!strcmp(verb, "option"))
		return option(fd, third);
	if (!strcmp(verb, "range")) {
		uint32_t range = (uint32_t)atoi(fourth) << 16 | atoi(third);
		return done(setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range));
	}
	if (!strcmp(verb, "bind"))
		return with_port(bind(fd, (void *)&address, length), fd);
	if (!strcmp(verb, "listen"))
		return with_port(listen(fd, 16), fd);
	if (!strcmp(verb, "connect"))
		return with_port(connect(fd, (void *)&address, length), fd);
	if (!strcmp(verb, "send"))
		return with_port(sendto(fd, "x", 1, MSG_DONTWAIT, (void *)&address, length), fd);
	if (!strcmp(verb, "port"))
		return with_port(0, fd);
	if (!strcmp(verb, "uring")) {
		int result = through_ring(fd, &address, length, !strcmp(word[4] ? word[4] : "", "async"));
		errno = -result;
		return with_port(result, fd);
	}
	if (!strcmp(verb, "accept") || !strcmp(verb, "dup")) {
		int copy = verb[0] == 'a' ? accept4(fd, NULL, NULL, SOCK_CLOEXEC)
					  : fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (copy < 0)
			return failed();
		return done(remember(third, copy, sockets[slot].domain));
	}
	if (!strcmp(verb, "close")) {
		sockets[slot].fd = -1;
		return done(close(fd));
	}
	printf("no such command\n");
}

int main(void)
{
	static char line[1 << 16];
	/* A session or a service has 1024 descriptors, and may have more. */
	struct rlimit limit;
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	signal(SIGPIPE, SIG_IGN);
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		carry_out(line);
		fflush(stdout);
	}
	return 0;
}
