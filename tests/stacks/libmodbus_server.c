/* A Modbus server on libmodbus, so that the driver meets a stack that is not Python's.
 *
 *   libmodbus_server tcp PORT UNIT [faults|counts]       (PORT 0 takes a free one)
 *   libmodbus_server rtu DEVICE BAUD PARITY UNIT     (PARITY is N, E or O)
 *
 * Reads lines "TABLE ADDRESS VALUE" (TABLE is c, d, h or i) until an empty line or end of file,
 * fills all other registers with 0xEEEE, prints "ready PORT", and serves until it is killed.
 * It runs as unit UNIT; over TCP libmodbus answers every unit id.
 *
 * With "faults" every second request is answered wrongly, in turn: 0.3 s late, with another
 * transaction id, with exception 6, not at all, after the next one's answer (out of order), cut in
 * the middle and closed. With "counts" all holding registers hold the number of the answer. */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 65536, FILL = 0xEEEE };

static void load(modbus_mapping_t *map)
{
    char line[64], table;
    unsigned address, value;
    for (unsigned n = 0; n < SIZE; n++)
        map->tab_registers[n] = map->tab_input_registers[n] = FILL;
    while (fgets(line, sizeof line, stdin) && line[0] != '\n') {
        if (sscanf(line, " %c %u %u", &table, &address, &value) != 3 || address >= SIZE)
            exit(2);
        switch (table) {
        case 'c': map->tab_bits[address] = value != 0; break;
        case 'd': map->tab_input_bits[address] = value != 0; break;
        case 'h': map->tab_registers[address] = value; break;
        case 'i': map->tab_input_registers[address] = value; break;
        default: exit(2);
        }
    }
}

static void ready(int port)
{
    printf("ready %d\n", port);
    fflush(stdout);
}

enum { LATE, OTHER_ID, EXCEPTION, SILENCE, OUT_OF_ORDER, TORN, FAULTS };

/* Answers wrongly; 0 ends the connection. */
static int fail(modbus_t *context, modbus_mapping_t *map, uint8_t *query, int length, int fault)
{
    static const uint8_t torn[] = {0, 0, 0, 7, 1};
    uint8_t next[MODBUS_TCP_MAX_ADU_LENGTH];
    int more;
    switch (fault) {
    case LATE: usleep(300000); return modbus_reply(context, query, length, map) > 0;
    case OTHER_ID: query[1] ^= 0x55; return modbus_reply(context, query, length, map) > 0;
    case EXCEPTION: return modbus_reply_exception(context, query, 6) > 0;
    case SILENCE: return 1;
    case OUT_OF_ORDER:
        if ((more = modbus_receive(context, next)) <= 0)
            return 0;
        modbus_reply(context, next, more, map);
        return modbus_reply(context, query, length, map) > 0;
    default:
        send(modbus_get_socket(context), query, 2, MSG_NOSIGNAL);
        send(modbus_get_socket(context), torn + 2, 3, MSG_NOSIGNAL);
        return 0;
    }
}

static void serve(modbus_t *context, modbus_mapping_t *map, const char *mode)
{
    static unsigned asked, answered;
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(context, query);
        if (length > 0 && !strcmp(mode, "faults") && ++asked % 2 == 0) {
            if (!fail(context, map, query, length, asked / 2 % FAULTS))
                return;
            continue;
        }
        if (length > 0 && !strcmp(mode, "counts") && ++answered)
            for (unsigned n = 0; n < SIZE; n++)
                map->tab_registers[n] = answered;
        if (length > 0)
            modbus_reply(context, query, length, map);
        else if (length < 0 && errno != EMBBADCRC && errno != ETIMEDOUT)
            return;
    }
}

int main(int argc, char **argv)
{
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    modbus_t *context;
    if (!map || argc < 4)
        return 2;
    load(map);
    if (!strcmp(argv[1], "rtu")) {
        if (argc != 6 || !(context = modbus_new_rtu(argv[2], atoi(argv[3]), argv[4][0], 8, 1)))
            return 2;
        modbus_set_slave(context, atoi(argv[5]));
        if (modbus_connect(context) < 0)
            return 1;
        ready(0);
        for (;;)
            serve(context, map, "");
    }
    if (!(context = modbus_new_tcp("127.0.0.1", atoi(argv[2]))))
        return 2;
    modbus_set_slave(context, atoi(argv[3]));
    int listener = modbus_tcp_listen(context, 4);
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    if (listener < 0 || getsockname(listener, (struct sockaddr *)&bound, &size) < 0)
        return 1;
    ready(ntohs(bound.sin_port));
    for (;;) {
        if (modbus_tcp_accept(context, &listener) < 0)
            return 1;
        serve(context, map, argc > 4 ? argv[4] : "");
        modbus_close(context);
    }
}
