/* What the two halves of the guest's only program share. */
#pragma once
#include <stdint.h>

struct reply; /* the JSON object that answers one command */
void say(struct reply *reply, const char *format, ...) __attribute__((format(printf, 2, 3)));
int refuse(struct reply *reply, const char *what); /* with errno's words; returns -1 */

/* NICs: nic.c */
int parse_mac(const char *text, uint8_t mac[6]);
const char *mac_text(const uint8_t mac[6]); /* valid until the fourth call from now */
int nic_mac(const char *name, uint8_t mac[6]);
void nics_follow(int netlink); /* give new NICs the address of the kernel command line */
int nics_watch(void);          /* a socket that gets readable when a NIC comes or goes */
int nic_set_mac(struct reply *reply, const char *name, const char *mac);
int nic_set_address(struct reply *reply, const char *name, const char *address);
int nics_list(struct reply *reply);

/* Frames: frames.c */
int ping(struct reply *reply, const char *address, int count, const char *name);
int send_frames(struct reply *reply, char **argv); /* IFACE SRC DST ETHERTYPE HEX COUNT */
int stream(struct reply *reply, char **argv);      /* IFACE DST ETHERTYPE COUNT INTERVAL_US */
int stream_stop(struct reply *reply); /* and say how many frames were sent */
int listen_frames(struct reply *reply, int promiscuous);
void take_frames(void); /* count what has arrived */
int report(struct reply *reply);
int send_raw(const char *name, const void *frame, int length);
extern int listening; /* the packet socket, or -1 */
