/* What the guest sends and what it receives: ping, raw frames, numbered streams, counts. */
#define _GNU_SOURCE
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STREAM_MARK "MACMGRST" /* starts the payload of a numbered frame; the number follows */
#define STREAM_LIMIT 65536

int listening = -1;

static pid_t streaming;
static volatile uint32_t *streamed; /* shared with the process that sends */

/* Frames that look the same are one row. */
static struct row {
	int nic;
	uint8_t dst[6], src[6];
	uint16_t ethertype;
	uint8_t to; /* PACKET_HOST and so on: was it for us? */
	unsigned int count;
} rows[512];
static int row_count;
static unsigned int not_counted;

static struct source {
	uint8_t mac[6];
	unsigned int distinct, duplicates;
	uint8_t seen[STREAM_LIMIT / 8];
} sources[16];
static int source_count;

static long milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int send_raw(const char *name, const void *frame, int length)
{
	int packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name)};
	ssize_t sent = sendto(packet, frame, (size_t)length, 0, (struct sockaddr *)&to, sizeof to);
	int problem = errno;
	close(packet);
	errno = problem;
	return sent == length ? 0 : -1;
}

/* Dst, src and type of a frame; returns -1 with errno when one of them is not readable. */
static int head(uint8_t *frame, const uint8_t src[6], const char *dst, const char *ethertype)
{
	unsigned long type = strtoul(ethertype, NULL, 16);
	memcpy(frame + 6, src, 6);
	frame[12] = (uint8_t)(type >> 8);
	frame[13] = (uint8_t)type;
	return parse_mac(dst, frame);
}

int send_frames(struct reply *reply, char **argv)
{
	uint8_t frame[1518] = {0}, src[6];
	int length = 14, count = atoi(argv[5]);
	if (parse_mac(argv[1], src) < 0 || head(frame, src, argv[2], argv[3]) < 0)
		return refuse(reply, "MAC address");
	for (const char *hex = argv[4]; hex[0] && hex[1] && length < 1514; hex += 2)
		sscanf(hex, "%2hhx", frame + length++);
	if (length < 60)
		length = 60;
	for (int i = 0; i < count; i++)
		if (send_raw(argv[0], frame, length) < 0)
			return refuse(reply, argv[0]);
	say(reply, ",\"sent\":%d", count);
	return 0;
}

int stream(struct reply *reply, char **argv)
{
	uint8_t frame[60] = {0}, src[6];
	long count = atol(argv[3]), interval = atol(argv[4]);
	if (nic_mac(argv[0], src) < 0)
		return refuse(reply, argv[0]);
	if (count > STREAM_LIMIT || head(frame, src, argv[1], argv[2]) < 0) {
		errno = EINVAL;
		return refuse(reply, "stream");
	}
	memcpy(frame + 14, STREAM_MARK, 8);
	if (!streamed)
		streamed = mmap(NULL, sizeof *streamed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (streamed == MAP_FAILED)
		return refuse(reply, "mmap");
	*streamed = 0;
	/* In a process of its own: the guest keeps obeying while it sends. */
	streaming = fork();
	if (streaming != 0)
		return 0;
	struct timespec pause = {interval / 1000000, interval % 1000000 * 1000};
	for (long number = 0; number < count; number++) {
		uint32_t wire = htonl((uint32_t)number);
		memcpy(frame + 22, &wire, 4);
		send_raw(argv[0], frame, sizeof frame);
		*streamed = (uint32_t)number + 1;
		nanosleep(&pause, NULL);
	}
	_exit(0);
}

int stream_stop(struct reply *reply)
{
	if (streaming > 0)
		kill(streaming, SIGKILL);
	streaming = 0;
	say(reply, ",\"sent\":%u", streamed ? *streamed : 0);
	return 0;
}

int listen_frames(struct reply *reply, int promiscuous)
{
	if (listening >= 0)
		close(listening);
	listening = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	if (listening < 0)
		return refuse(reply, "listen");
	int room = 4 << 20;
	setsockopt(listening, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	struct if_nameindex *nics = promiscuous ? if_nameindex() : NULL;
	for (struct if_nameindex *nic = nics; nic && nic->if_index; nic++) {
		struct packet_mreq all = {.mr_ifindex = (int)nic->if_index, .mr_type = PACKET_MR_PROMISC};
		setsockopt(listening, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all);
	}
	if (nics)
		if_freenameindex(nics);
	memset(sources, 0, sizeof sources);
	row_count = source_count = 0;
	not_counted = 0;
	return 0;
}

static void count_row(const uint8_t *frame, const struct sockaddr_ll *from)
{
	struct row new = {.nic = from->sll_ifindex, .to = from->sll_pkttype, .count = 1};
	memcpy(new.dst, frame, 6);
	memcpy(new.src, frame + 6, 6);
	new.ethertype = (uint16_t)(frame[12] << 8 | frame[13]);
	for (struct row *row = rows; row < rows + row_count; row++)
		if (row->nic == new.nic && row->to == new.to && row->ethertype == new.ethertype &&
		    !memcmp(row->dst, new.dst, 12)) {
			row->count++;
			return;
		}
	if (row_count < (int)(sizeof rows / sizeof *rows))
		rows[row_count++] = new;
	else
		not_counted++;
}

static void count_stream(const uint8_t *frame)
{
	uint32_t number;
	memcpy(&number, frame + 22, 4);
	number = ntohl(number) % STREAM_LIMIT;
	struct source *source = sources;
	while (source < sources + source_count && memcmp(source->mac, frame + 6, 6))
		source++;
	if (source == sources + source_count) {
		if (source_count == sizeof sources / sizeof *sources)
			return;
		memcpy(sources[source_count++].mac, frame + 6, 6);
	}
	uint8_t bit = (uint8_t)(1 << number % 8);
	if (source->seen[number / 8] & bit)
		source->duplicates++;
	else
		source->distinct++;
	source->seen[number / 8] |= bit;
}

void take_frames(void)
{
	uint8_t frame[2048];
	struct sockaddr_ll from;
	socklen_t size = sizeof from;
	ssize_t length;
	while ((length = recvfrom(listening, frame, sizeof frame, 0, (struct sockaddr *)&from, &size)) > 0) {
		if (length >= 14 && from.sll_pkttype != PACKET_OUTGOING && from.sll_hatype == 1) {
			count_row(frame, &from);
			if (length >= 26 && !memcmp(frame + 14, STREAM_MARK, 8))
				count_stream(frame);
		}
		size = sizeof from;
	}
}

int report(struct reply *reply)
{
	static const char *to[] = {"host", "broadcast", "multicast", "other"};
	char name[IF_NAMESIZE];
	if (listening < 0) {
		errno = EBADF;
		return refuse(reply, "say listen first");
	}
	take_frames();
	say(reply, ",\"frames\":[");
	for (struct row *row = rows; row < rows + row_count; row++)
		say(reply,
		    "%s{\"nic\":\"%s\",\"src\":\"%s\",\"dst\":\"%s\",\"ethertype\":\"%04x\",\"to\":\"%s\",\"count\":%u}",
		    row == rows ? "" : ",", if_indextoname((unsigned int)row->nic, name) ? name : "?",
		    mac_text(row->src), mac_text(row->dst), row->ethertype, to[row->to & 3], row->count);
	say(reply, "],\"not_counted\":%u,\"streams\":[", not_counted);
	for (struct source *source = sources; source < sources + source_count; source++)
		say(reply, "%s{\"src\":\"%s\",\"distinct\":%u,\"duplicates\":%u}", source == sources ? "" : ",",
		    mac_text(source->mac), source->distinct, source->duplicates);
	say(reply, "]");
	return 0;
}

int ping(struct reply *reply, const char *address, int count, const char *name)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int icmp = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP);
	static uint16_t session = 1;
	int sent = 0, received = 0;
	if (icmp < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1)
		return refuse(reply, address);
	if (name)
		setsockopt(icmp, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name));
	session++;
	/* One request each 0.2 s; after the last one, up to 1 s for what is still under way. */
	for (long next = milliseconds(); received < count;) {
		long now = milliseconds();
		if (now >= next && sent == count)
			break;
		if (now >= next) {
			struct icmphdr request = {.type = ICMP_ECHO};
			request.un.echo.id = session;
			request.un.echo.sequence = (uint16_t)++sent;
			uint32_t sum = ICMP_ECHO + request.un.echo.id + request.un.echo.sequence;
			request.checksum = (uint16_t) ~((sum & 0xffff) + (sum >> 16));
			sendto(icmp, &request, sizeof request, 0, (struct sockaddr *)&to, sizeof to);
			next = now + (sent == count ? 1000 : 200);
		}
		struct pollfd wait = {.fd = icmp, .events = POLLIN};
		poll(&wait, 1, (int)(next > milliseconds() ? next - milliseconds() : 0));
		uint8_t packet[256];
		while (recv(icmp, packet, sizeof packet, 0) >= 28) {
			struct icmphdr answer;
			memcpy(&answer, packet + (packet[0] & 15) * 4, sizeof answer);
			if (answer.type == ICMP_ECHOREPLY && answer.un.echo.id == session)
				received++;
		}
	}
	close(icmp);
	say(reply, ",\"sent\":%d,\"received\":%d", sent, received);
	return 0;
}
