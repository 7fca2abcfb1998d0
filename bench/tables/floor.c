// The least a program can do: raw rtnetlink dumps into plain arrays, 32 KiB a receive.
//   floor            links and addresses
//   floor links      links alone
// Prints nanoseconds, links, addresses, and whether a dump was flagged inconsistent.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct link {
    unsigned index, flags, mtu;
    char name[16];
    unsigned char address[6];
};
struct address {
    unsigned index;
    unsigned char family, prefix_length, bytes[16];
};
static struct link *links;
static struct address *addresses;
static size_t link_count, link_room, address_count, address_room;
static int torn;

static void take_link(struct nlmsghdr *message) {
    struct ifinfomsg *info = NLMSG_DATA(message);
    if (link_count == link_room)
        links = realloc(links, (link_room = link_room ? link_room * 2 : 64) * sizeof *links);
    struct link *row = &links[link_count++];
    memset(row, 0, sizeof *row);
    row->index = info->ifi_index;
    row->flags = info->ifi_flags;
    int left = IFLA_PAYLOAD(message);
    for (struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == IFLA_IFNAME)
            strncpy(row->name, RTA_DATA(a), 15);
        else if (a->rta_type == IFLA_MTU)
            row->mtu = *(unsigned *)RTA_DATA(a);
        else if (a->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(a) == 6)
            memcpy(row->address, RTA_DATA(a), 6);
    }
}

static void take_address(struct nlmsghdr *message) {
    struct ifaddrmsg *info = NLMSG_DATA(message);
    if (address_count == address_room)
        addresses = realloc(addresses, (address_room = address_room ? address_room * 2 : 64) * sizeof *addresses);
    struct address *row = &addresses[address_count++];
    memset(row, 0, sizeof *row);
    row->index = info->ifa_index;
    row->family = info->ifa_family;
    row->prefix_length = info->ifa_prefixlen;
    int left = IFA_PAYLOAD(message);
    for (struct rtattr *a = IFA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && info->ifa_family == AF_INET6))
            memcpy(row->bytes, RTA_DATA(a), RTA_PAYLOAD(a) > 16 ? 16 : RTA_PAYLOAD(a));
}

static int dump(int fd, int type, size_t header) {
    static char buffer[32768];
    struct {
        struct nlmsghdr header;
        struct ifinfomsg body;
    } request = {{.nlmsg_len = NLMSG_LENGTH(header), .nlmsg_type = type,
                  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = type}};
    if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
        return perror("send"), 1;
    for (;;) {
        ssize_t length = recv(fd, buffer, sizeof buffer, MSG_TRUNC);
        if (length < 0 || (size_t)length > sizeof buffer)
            return perror("recv"), 1;
        for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, length); m = NLMSG_NEXT(m, length)) {
            torn |= (m->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (m->nlmsg_type == NLMSG_DONE)
                return 0;
            if (m->nlmsg_type == NLMSG_ERROR)
                return fprintf(stderr, "refused\n"), 1;
            if (type == RTM_GETLINK)
                take_link(m);
            else
                take_address(m);
        }
    }
}

int main(int count, char **arguments) {
    int links_only = count > 1 && !strcmp(arguments[1], "links");
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), one = 1;
    setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one);
    if (dump(fd, RTM_GETLINK, sizeof(struct ifinfomsg)))
        return 1;
    if (!links_only && dump(fd, RTM_GETADDR, sizeof(struct ifaddrmsg)))
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%ld %zu %zu %d\n", (end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec,
           link_count, address_count, torn);
    return 0;
}
