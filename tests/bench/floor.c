/* The floor: the FDB of all bridges, dumped and decoded in C, as fast as one process can ask this kernel for it.
 *
 * floor NETNS-FILE prints "ENTRIES NANOSECONDS": the entries that carry NDA_MASTER, and the processor time from the
 * request to the last entry decoded. Starting the process and entering the namespace are not in it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct entry {
    unsigned char mac[6];
    unsigned short vid, state;
    unsigned char flags;
    int ifindex;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int decode(struct nlmsghdr *message, struct entry *entry)
{
    struct ndmsg *neighbour = NLMSG_DATA(message);
    int left = NLMSG_PAYLOAD(message, sizeof(*neighbour)), master = 0;
    struct rtattr *attribute = (void *)(neighbour + 1);

    entry->vid = 0;
    entry->ifindex = neighbour->ndm_ifindex;
    entry->state = neighbour->ndm_state;
    entry->flags = neighbour->ndm_flags;
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type == NDA_LLADDR)
            memcpy(entry->mac, RTA_DATA(attribute), sizeof(entry->mac));
        else if (attribute->rta_type == NDA_VLAN)
            entry->vid = *(unsigned short *)RTA_DATA(attribute);
        else if (attribute->rta_type == NDA_MASTER)
            master = 1;
    }
    return master;
}

int main(int argc, char **argv)
{
    static char buffer[65536];
    struct { struct nlmsghdr header; struct ndmsg body; } request = {
        {sizeof(request), RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.ndm_family = AF_BRIDGE}};
    size_t count = 0, room = 1024;
    struct entry *entries = malloc(room * sizeof(*entries));
    int namespace, opened;
    long start;

    if (argc != 2 || !entries)
        return 2;
    if ((namespace = open(argv[1], O_RDONLY)) < 0 || setns(namespace, CLONE_NEWNET))
        fail(argv[1]);
    if ((opened = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)) < 0)
        fail("socket");
    start = now();
    if (send(opened, &request, sizeof(request), 0) < 0)
        fail("send");
    for (;;) {
        int size = recv(opened, buffer, sizeof(buffer), 0);
        struct nlmsghdr *message = (void *)buffer;
        if (size < 0)
            fail("recv");
        for (; NLMSG_OK(message, size); message = NLMSG_NEXT(message, size)) {
            if (message->nlmsg_type == NLMSG_DONE) {
                printf("%zu %ld\n", count, now() - start);
                return 0;
            }
            if (message->nlmsg_type == NLMSG_ERROR)
                fail("dump");
            if (count == room && !(entries = realloc(entries, (room *= 2) * sizeof(*entries))))
                fail("memory");
            count += decode(message, &entries[count]);
        }
    }
}
