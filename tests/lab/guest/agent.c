/*
 * The guest's init and only user program.
 *
 * It loads the virtio modules, gives its NICs the addresses named on the kernel command line
 * (lab.MAC=ADDRESS/PREFIX) and then obeys commands from the first serial port: one line
 * "NUMBER WORD ARGUMENT…" in, one line of JSON out, with the same number. The kernel answers ping.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

struct reply {
	char text[1 << 17];
	size_t length;
};

void say(struct reply *reply, const char *format, ...)
{
	size_t room = sizeof reply->text - reply->length;
	va_list arguments;
	va_start(arguments, format);
	int written = vsnprintf(reply->text + reply->length, room, format, arguments);
	va_end(arguments);
	if (written > 0)
		reply->length += (size_t)written < room ? (size_t)written : room - 1;
}

int refuse(struct reply *reply, const char *what)
{
	say(reply, ",\"error\":\"%s: %s\"", what, strerror(errno));
	return -1;
}

static void load_modules(void)
{
	/* One name per line, in the order in which they need each other. */
	FILE *order = fopen("/modules/order", "r");
	char name[128];
	while (order && fscanf(order, "%127s", name) == 1) {
		int module = open(name, O_RDONLY | O_CLOEXEC);
		if (module >= 0) {
			syscall(SYS_finit_module, module, "", 0);
			close(module);
		}
	}
	if (order)
		fclose(order);
}

static void write_to(const char *path, const char *value)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	if (file >= 0) {
		if (write(file, value, strlen(value)) < 0)
			perror(path);
		close(file);
	}
}

static int open_serial(void)
{
	int serial = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios settings;
	if (serial >= 0 && tcgetattr(serial, &settings) == 0) {
		cfmakeraw(&settings);
		settings.c_cflag |= CLOCAL;
		tcsetattr(serial, TCSANOW, &settings);
	}
	return serial;
}

static int obey(struct reply *reply, int words, char **word)
{
	const char *verb = word[0];
	if (!strcmp(verb, "hello"))
		return 0;
	if (!strcmp(verb, "macs"))
		return nics_list(reply);
	if (!strcmp(verb, "ping") && words >= 3)
		return ping(reply, word[1], atoi(word[2]), words > 3 ? word[3] : NULL);
	if (!strcmp(verb, "send") && words == 7)
		return send_frames(reply, word + 1);
	if (!strcmp(verb, "stream") && words == 6)
		return stream(reply, word + 1);
	if (!strcmp(verb, "streamed"))
		return stream_stop(reply);
	if (!strcmp(verb, "setmac") && words == 3)
		return nic_set_mac(reply, word[1], word[2]);
	if (!strcmp(verb, "address") && words == 3)
		return nic_set_address(reply, word[1], word[2]);
	if (!strcmp(verb, "listen"))
		return listen_frames(reply, words > 1 && !strcmp(word[1], "promiscuous"));
	if (!strcmp(verb, "report"))
		return report(reply);
	if (!strcmp(verb, "poweroff"))
		reboot(RB_POWER_OFF);
	if (!strcmp(verb, "reboot"))
		reboot(RB_AUTOBOOT);
	errno = EINVAL;
	return refuse(reply, "unknown command, or wrong number of arguments");
}

static void answer(int serial, char *line)
{
	static struct reply reply;
	char *word[9] = {0};
	int words = 0;
	for (char *next = strtok(line, " "); next && words < 8; next = strtok(NULL, " "))
		word[words++] = next;
	if (words < 2)
		return;
	reply.length = 0;
	say(&reply, "{\"id\":%d", atoi(word[0]));
	int failed = obey(&reply, words - 1, word + 1);
	say(&reply, ",\"ok\":%s}\n", failed ? "false" : "true");
	for (size_t done = 0; done < reply.length;) {
		ssize_t now = write(serial, reply.text + done, reply.length - done);
		if (now < 0 && errno != EINTR)
			return;
		done += now > 0 ? (size_t)now : 0;
	}
}

static void read_commands(int serial)
{
	static char line[8192];
	static size_t length;
	ssize_t got = read(serial, line + length, sizeof line - 1 - length);
	if (got <= 0)
		return;
	length += (size_t)got;
	line[length] = 0;
	for (char *end; (end = strchr(line, '\n')) != NULL;) {
		*end = 0;
		char *start = end + 1;
		answer(serial, line);
		length -= (size_t)(start - line);
		memmove(line, start, length + 1);
	}
	if (length == sizeof line - 1)
		length = 0; /* no newline in sight: not a command */
}

int main(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, "");
	mount("sysfs", "/sys", "sysfs", 0, "");
	mount("devtmpfs", "/dev", "devtmpfs", 0, "");
	signal(SIGCHLD, SIG_IGN);
	/* Several NICs in one subnet must each answer for themselves only. */
	write_to("/proc/sys/net/ipv4/conf/all/arp_ignore", "1");
	write_to("/proc/sys/net/ipv4/conf/all/arp_announce", "2");
	int netlink = nics_watch();
	load_modules();
	nics_follow(-1);
	int serial = open_serial();
	for (;;) {
		struct pollfd waits[] = {
			{.fd = serial, .events = POLLIN},
			{.fd = netlink, .events = POLLIN},
			{.fd = listening, .events = POLLIN},
		};
		poll(waits, 3, -1);
		if (waits[1].revents)
			nics_follow(netlink);
		if (waits[2].revents)
			take_frames();
		if (waits[0].revents)
			read_commands(serial);
	}
}
