/* minimal.c INTERFACE: the least that a DHCP client does from its start to an address: DISCOVER and
 * REQUEST on a packet socket, each answered, and the address and the default route by rtnetlink. No
 * retransmission, no file, no timer, no options but those it needs, nothing checked that is not used.
 * It is a floor for a cold start. Once it has the address it sleeps until it is killed. */

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5 };

struct packet {
    uint8_t version, service;
    uint16_t length, number, fragment;
    uint8_t hops, protocol;
    uint16_t sum;
    uint32_t source, destination;
    uint16_t from, to, udp_length, udp_sum;
    uint8_t operation, hardware_type, hardware_length, relays;
    uint32_t exchange;
    uint16_t seconds, flags;
    uint32_t client, yours, server, relay;
    uint8_t hardware[16], names[192];
    uint32_t cookie;
    uint8_t options[312];
} __attribute__((packed));

static int link_socket, interface;
static uint8_t own[6];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint16_t sum(const void *bytes, size_t length) {
    const uint16_t *word = bytes;
    uint32_t total = 0;
    for (; length > 1; length -= 2) total += *word++;
    while (total >> 16) total = (total & 0xffff) + (total >> 16);
    return ~total;
}

static void send_message(uint8_t kind, uint32_t address, uint32_t server) {
    struct packet packet = {
        .version = 0x45, .length = htons(sizeof packet), .hops = 64, .protocol = IPPROTO_UDP,
        .destination = INADDR_BROADCAST, .from = htons(68), .to = htons(67),
        .udp_length = htons(sizeof packet - 20), .operation = 1, .hardware_type = 1,
        .hardware_length = 6, .exchange = 0x12345678, .cookie = htonl(0x63825363),
    };
    uint8_t *option = packet.options;
    memcpy(packet.hardware, own, 6);
    memcpy(option, (uint8_t[]){53, 1, kind, 55, 3, 1, 3, 51}, 8);
    option += 8;
    if (kind == REQUEST) {
        memcpy(option, (uint8_t[]){50, 4}, 2);
        memcpy(option + 2, &address, 4);
        memcpy(option + 6, (uint8_t[]){54, 4}, 2);
        memcpy(option + 8, &server, 4);
        option += 12;
    }
    *option = 255;
    packet.sum = sum(&packet, 20);
    struct sockaddr_ll to = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = interface,
        .sll_halen = 6, .sll_addr = {255, 255, 255, 255, 255, 255},
    };
    if (sendto(link_socket, &packet, sizeof packet, 0, (void *)&to, sizeof to) < 0) die("sendto");
}

static const uint8_t *option(const struct packet *packet, size_t length, uint8_t code) {
    const uint8_t *at = packet->options, *end = (const uint8_t *)packet + length;
    while (at + 1 < end && *at != 255) {
        if (*at == code) return at + 2;
        at += *at ? 2 + at[1] : 1;
    }
    return NULL;
}

static struct packet wait_for(uint8_t kind, size_t *length) {
    for (;;) {
        struct packet packet;
        ssize_t got = recv(link_socket, &packet, sizeof packet, 0);
        if (got < 0) die("recv");
        if (got < 270 || packet.protocol != IPPROTO_UDP || packet.to != htons(68) ||
            packet.exchange != 0x12345678 || memcmp(packet.hardware, own, 6)) continue;
        const uint8_t *found = option(&packet, got, 53);
        if (found && *found == kind) {
            *length = got;
            return packet;
        }
    }
}

static void attribute(struct nlmsghdr *message, int type, const void *data, size_t length) {
    struct rtattr *new = (void *)((char *)message + NLMSG_ALIGN(message->nlmsg_len));
    new->rta_type = type;
    new->rta_len = RTA_LENGTH(length);
    memcpy(RTA_DATA(new), data, length);
    message->nlmsg_len = NLMSG_ALIGN(message->nlmsg_len) + RTA_ALIGN(new->rta_len);
}

static void request(int netlink, struct nlmsghdr *message) {
    char answer[1024];
    if (send(netlink, message, message->nlmsg_len, 0) < 0) die("netlink");
    if (recv(netlink, answer, sizeof answer, 0) < 0) die("netlink");
    struct nlmsgerr *error = NLMSG_DATA((struct nlmsghdr *)answer);
    if (error->error) fprintf(stderr, "netlink: %s\n", strerror(-error->error));
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    struct ifreq name = {0};
    strncpy(name.ifr_name, arguments[1], IFNAMSIZ - 1);
    /* No protocol before bind(2): a socket that listens already is moved only after all processors have
     * seen it leave (synchronize_net in packet_do_bind), which takes milliseconds. */
    link_socket = socket(AF_PACKET, SOCK_DGRAM, 0);
    if (link_socket < 0) die("socket");
    if (ioctl(link_socket, SIOCGIFINDEX, &name) < 0) die(arguments[1]);
    interface = name.ifr_ifindex;
    if (ioctl(link_socket, SIOCGIFHWADDR, &name) < 0) die(arguments[1]);
    memcpy(own, name.ifr_hwaddr.sa_data, 6);
    struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = interface};
    if (bind(link_socket, (void *)&here, sizeof here) < 0) die("bind");

    size_t length;
    send_message(DISCOVER, 0, 0);
    struct packet offer = wait_for(OFFER, &length);
    const uint8_t *found = option(&offer, length, 54);
    uint32_t server = 0;
    if (found) memcpy(&server, found, 4);
    send_message(REQUEST, offer.yours, server);
    struct packet ack = wait_for(ACK, &length);

    uint32_t mask = 0, router = 0;
    if ((found = option(&ack, length, 1))) memcpy(&mask, found, 4);
    if ((found = option(&ack, length, 3))) memcpy(&router, found, 4);
    int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (netlink < 0) die("netlink");
    struct { struct nlmsghdr header; struct ifaddrmsg body; char room[64]; } address = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof address.body), .nlmsg_type = RTM_NEWADDR,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE},
        .body = {.ifa_family = AF_INET, .ifa_prefixlen = __builtin_popcount(mask), .ifa_index = interface},
    };
    uint32_t broadcast = ack.yours | ~mask;
    attribute(&address.header, IFA_LOCAL, &ack.yours, 4);
    attribute(&address.header, IFA_BROADCAST, &broadcast, 4);
    request(netlink, &address.header);
    if (router) {
        struct { struct nlmsghdr header; struct rtmsg body; char room[64]; } route = {
            .header = {.nlmsg_len = NLMSG_LENGTH(sizeof route.body), .nlmsg_type = RTM_NEWROUTE,
                       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE},
            .body = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_DHCP,
                     .rtm_type = RTN_UNICAST},
        };
        attribute(&route.header, RTA_GATEWAY, &router, 4);
        attribute(&route.header, RTA_OIF, &interface, 4);
        request(netlink, &route.header);
    }
    pause();
}
