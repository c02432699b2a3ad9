/* The guest's NICs: names, MAC addresses, IPv4 addresses. */
#define _GNU_SOURCE
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int parse_mac(const char *text, uint8_t mac[6])
{
	unsigned int part[6];
	if (sscanf(text, "%x:%x:%x:%x:%x:%x", part, part + 1, part + 2, part + 3, part + 4, part + 5) != 6) {
		errno = EINVAL;
		return -1;
	}
	for (int i = 0; i < 6; i++)
		mac[i] = (uint8_t)part[i];
	return 0;
}

const char *mac_text(const uint8_t mac[6])
{
	static char texts[4][18];
	static int turn;
	char *text = texts[turn++ % 4];
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return text;
}

/* One ioctl on a NIC by name. */
static int nic_ioctl(const char *name, unsigned long what, struct ifreq *request)
{
	int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strncpy(request->ifr_name, name, IFNAMSIZ - 1);
	int result = ioctl(socket_, what, request);
	int problem = errno;
	close(socket_);
	errno = problem;
	return result;
}

int nic_mac(const char *name, uint8_t mac[6])
{
	struct ifreq request = {0};
	if (nic_ioctl(name, SIOCGIFHWADDR, &request) < 0)
		return -1;
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	return 0;
}

static int nic_up(const char *name, int up)
{
	struct ifreq request = {0};
	request.ifr_flags = (short)(up ? IFF_UP : 0);
	return nic_ioctl(name, SIOCSIFFLAGS, &request);
}

/* "10.0.0.11/24" on a NIC, and the NIC up. */
static int configure(const char *name, const char *address)
{
	char text[64] = {0};
	strncpy(text, address, sizeof text - 1);
	char *slash = strchr(text, '/');
	int prefix = slash ? atoi(slash + 1) : 24;
	if (slash)
		*slash = 0;
	struct ifreq request = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
	in->sin_family = AF_INET;
	if (inet_pton(AF_INET, text, &in->sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	if (nic_ioctl(name, SIOCSIFADDR, &request) < 0)
		return -1;
	in->sin_addr.s_addr = htonl(~0u << (32 - prefix));
	if (nic_ioctl(name, SIOCSIFNETMASK, &request) < 0)
		return -1;
	return nic_up(name, 1);
}

/* The address that the kernel command line gives to a MAC. */
static int wanted_address(const uint8_t mac[6], char address[64])
{
	char line[4096] = {0};
	FILE *file = fopen("/proc/cmdline", "r");
	if (!file)
		return 0;
	if (!fgets(line, sizeof line, file))
		line[0] = 0;
	fclose(file);
	for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
		if (!strncmp(word, "lab.", 4) && !strncasecmp(word + 4, mac_text(mac), 17) && word[21] == '=') {
			strncpy(address, word + 22, 63);
			return 1;
		}
	return 0;
}

int nics_watch(void)
{
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct sockaddr_nl groups = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	bind(netlink, (struct sockaddr *)&groups, sizeof groups);
	return netlink;
}

void nics_follow(int netlink)
{
	static unsigned char known[1 << 12]; /* by index: a NIC is configured once */
	char message[8192];
	while (netlink >= 0 && recv(netlink, message, sizeof message, 0) > 0)
		; /* what changed does not matter: look at all of them */
	struct if_nameindex *nics = if_nameindex();
	for (struct if_nameindex *nic = nics; nic && nic->if_index; nic++) {
		uint8_t mac[6];
		char address[64] = {0};
		if (nic->if_index >= sizeof known || known[nic->if_index]++)
			continue;
		if (nic_mac(nic->if_name, mac) == 0 && wanted_address(mac, address))
			configure(nic->if_name, address);
		else
			nic_up(nic->if_name, 1);
	}
	if_freenameindex(nics);
}

int nic_set_address(struct reply *reply, const char *name, const char *address)
{
	return configure(name, address) < 0 ? refuse(reply, name) : 0;
}

/* Tell the neighbours where the address of this NIC is now. */
static void announce(const char *name, const uint8_t mac[6])
{
	struct ifreq request = {0};
	if (nic_ioctl(name, SIOCGIFADDR, &request) < 0)
		return;
	struct in_addr address = ((struct sockaddr_in *)&request.ifr_addr)->sin_addr;
	uint8_t frame[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const uint8_t head[10] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1}; /* ARP request, Ethernet, IPv4 */
	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, head, 10);
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, &address, 4);
	memcpy(frame + 38, &address, 4);
	send_raw(name, frame, sizeof frame);
}

int nic_set_mac(struct reply *reply, const char *name, const char *text)
{
	struct ifreq request = {0};
	uint8_t mac[6];
	if (parse_mac(text, mac) < 0)
		return refuse(reply, text);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, mac, 6);
	int failed = nic_ioctl(name, SIOCSIFHWADDR, &request);
	if (failed && errno == EBUSY) { /* a driver that cannot do it while the link is up */
		nic_up(name, 0);
		failed = nic_ioctl(name, SIOCSIFHWADDR, &request);
		nic_up(name, 1);
	}
	if (failed)
		return refuse(reply, name);
	announce(name, mac);
	return 0;
}

int nics_list(struct reply *reply)
{
	const char *comma = "";
	say(reply, ",\"nics\":[");
	struct if_nameindex *nics = if_nameindex();
	for (struct if_nameindex *nic = nics; nic && nic->if_index; nic++) {
		struct ifreq request = {0}, address = {0};
		char text[INET_ADDRSTRLEN] = "";
		uint8_t mac[6];
		if (nic_ioctl(nic->if_name, SIOCGIFFLAGS, &request) < 0 || (request.ifr_flags & IFF_LOOPBACK))
			continue;
		if (nic_mac(nic->if_name, mac) < 0)
			continue;
		if (nic_ioctl(nic->if_name, SIOCGIFADDR, &address) == 0)
			inet_ntop(AF_INET, &((struct sockaddr_in *)&address.ifr_addr)->sin_addr, text, sizeof text);
		say(reply, "%s{\"name\":\"%s\",\"mac\":\"%s\",\"address\":\"%s\",\"up\":%s}", comma,
		    nic->if_name, mac_text(mac), text, request.ifr_flags & IFF_UP ? "true" : "false");
		comma = ",";
	}
	if_freenameindex(nics);
	say(reply, "]");
	return 0;
}
