/* SPDX-License-Identifier: BSD-2-Clause
 *
 * postern.conf: good files give their values, bad files every problem with its line.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"
#include "base/resolv_conf.h"
#include "tests/unit/scratch.h"

static char path[SCRATCH_PATH];

static int
load(struct slice text, struct buf *problems, struct config **config)
{
    int fd, rc;

    scratch_name(path, "postern-config");
    fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text.p, text.n), (ssize_t)text.n);
    close(fd);
    rc = config_load(path, problems, config);
    unlink(path);
    return rc;
}

/* The problems, with the file's name taken off each line. */
static const char *
without_path(struct buf *problems, struct buf *out)
{
    struct slice rest = buf_slice(problems), line;
    size_t n = strlen(path);

    while ((line = slice_split(&rest, '\n')).n > 0) {
        cr_assert(slice_starts_nocase(line, slice_of(path)), SLICE_FMT, SLICE_ARG(line));
        buf_add(out, line.p + n + 1, line.n - n - 1);
        buf_add_text(out, "\n");
        if (rest.p == NULL)
            break;
    }
    return buf_text(out);
}

#define GRAMMAR \
    "; write NAME = VALUE or NAME = { VALUE, VALUE }, with \" around texts that hold spaces\n"
#define NOT_DURATION " is not a duration; write a number with a unit: 500ms, 30s, 5m, 4h, 30d\n"
#define NOT_ADDRESS \
    " is not an address; write 192.0.2.10:25 or [2001:db8::10]:25 (names are not looked up)\n"

static const struct {
    const char *name, *file, *problems;
} bad_files[] = {
    {"unknown, with the nearest", "# a comment\n\nlisen = { \"127.0.0.1:25\" }\n",
     "3: lisen: there is no such setting; did you mean listen?\n"},
    {"unknown, with none near", "colour = blue\n",
     "1: colour: there is no such setting; postern.conf(5) lists all\n"},
    {"an unknown list is one problem", "lissten = {\n \"a\",\n \"b\"\n}\nnode = 0\n",
     "1: lissten: there is no such setting; did you mean listen?\n"
     "5: node: \"0\" is out of range; write a value from 1 to 32767\n"},
    {"a section is no setting", "tls {\n certificate = a\n}\nworkers = 65\n",
     "1: tls: there is no such setting; postern.conf(5) lists all\n"
     "4: workers: \"65\" is out of range; write a value from 1 to 31\n"},
    {"all of several",
     "node = 32768\nworkers = many\nbogus = 1\nlisten = { \"host:25\", 1.2.3.4:0 }\n",
     "1: node: \"32768\" is out of range; write a value from 1 to 32767\n"
     "2: workers: \"many\" is not a number; write decimal digits alone\n"
     "3: bogus: there is no such setting; postern.conf(5) lists all\n"
     "4: listen: \"host:25\"" NOT_ADDRESS
     "4: listen: \"1.2.3.4:0\" has a port outside 1 to 65535; write ADDRESS:PORT\n"},
    {"overflow", "node = 4294967297\nmax-message-size = 99999999999GiB\n",
     "1: node: \"4294967297\" is out of range; write a value from 1 to 32767\n"
     "2: max-message-size: \"99999999999GiB\" is too large\n"},
    {"no unit, wrong unit",
     "probe-interval-min = 30\nspill-max = 4TB\nfinal-reply-timeout = 4MiB\n",
     "1: probe-interval-min: \"30\"" NOT_DURATION
     "2: spill-max: \"4TB\" is not a size; write a number with a unit: 100B, 64KiB, 20MiB, 4GiB\n"
     "3: final-reply-timeout: \"4MiB\"" NOT_DURATION},
    {"min over max", "\nprobe-interval-min = 10m\n",
     "2: probe-interval-max: is shorter than probe-interval-min; write a longer one\n"},
    {"min over max, both set", "message-retry-min = 2h\nmessage-retry-max = 1h\n",
     "2: message-retry-max: is shorter than message-retry-min; write a longer one\n"},
    {"a smarthost without a port", "outbound-route = \"smtp.isp.example\"\n",
     "1: outbound-route: \"smtp.isp.example\" has no port; write mx, or the smarthost as "
     "NAME:PORT, such as smtp.isp.example:587\n"},
    {"no route at all", "outbound-route = \"two words:25\"\n",
     "1: outbound-route: \"two words:25\" is no route; write mx, or the smarthost as NAME:PORT or "
     "ADDRESS:PORT\n"},
    {"an odd policy", "outbound-tls = \"always\"\n",
     "1: outbound-tls: \"always\" is unknown; write none, may, encrypt or verify\n"},
    {"a password in the clear",
     "outbound-route = \"192.0.2.9:587\"\noutbound-credentials = \"/etc/postern/smarthost\"\n",
     "2: outbound-credentials: are sent inside TLS only; set outbound-tls to encrypt or verify\n"},
    {"credentials for nobody",
     "outbound-route = mx\noutbound-tls = verify\noutbound-credentials = \"/etc/smarthost\"\n",
     "3: outbound-credentials: are for a smarthost, and there is none; set outbound-route to "
     "NAME:PORT\n"},
    {"an address that ends its line", "notice-from = \"a b@isp.example\"\n",
     "1: notice-from: \"a b@isp.example\" is not a mail address; write one such as "
     "postmaster@isp.example\n"},
    {"no room for one large message", "\nspill-max = 20MiB\n",
     "2: spill-max: has no room for one message of max-message-size; write at least 2 MiB more "
     "than that, and so much for each large message that should pass at once\n"},
    {"room for one, until they were larger", "spill-max = 22MiB\n\nmax-message-size = 20481KiB\n",
     "1: spill-max: has no room for one message of max-message-size; write at least 2 MiB more "
     "than that, and so much for each large message that should pass at once\n"},
    {"empty list", "node = 3\nlisten = { }\n",
     "2: listen: is an empty list; write a value, or leave the setting out\n"},
    {"twice", "node = 1\n# again\nnode = 2\n",
     "3: node: is set in line 1 already; take one away\n"},
    {"an address twice", "listen = {\n 127.0.0.1,\n 127.0.0.1:25 }\n",
     "3: listen: \"127.0.0.1:25\" is in the list twice; take one away\n"},
    {"networks", "proxy-protocol-from = { 192.0.2.1/24, lb.isp.example, 2001:db8::/129 }\n",
     "1: proxy-protocol-from: \"192.0.2.1/24\" has bits set behind its prefix, or a prefix that is "
     "too long; write 192.0.2.0/24\n"
     "1: proxy-protocol-from: \"lb.isp.example\" is not a network; write 192.0.2.0/24, "
     "2001:db8::/32 or an address (names are not looked up)\n"
     "1: proxy-protocol-from: \"2001:db8::/129\" has bits set behind its prefix, or a prefix that "
     "is too long; write 192.0.2.0/24\n"},
    {"lists",
     "dnsbl = { \"bl.example codes=192.0.2.1\", \"bl\", \"bl.example code=127.0.0.2\" }\n"
     "dnswl = \"\"\n",
     "1: dnsbl: \"bl.example codes=192.0.2.1\" has codes outside 127.0.0.1 to 127.255.254.255, or "
     "that are no addresses; write codes=127.0.0.2-127.0.0.11,127.0.0.20\n"
     "1: dnsbl: \"bl\" does not begin with a list's zone; write one such as bl.example "
     "codes=127.0.0.2\n"
     "1: dnsbl: \"bl.example code=127.0.0.2\" has a word that is unknown; write ZONE, and behind "
     "it "
     "codes=, name= or test=no\n"
     "2: dnswl: \"\" does not begin with a list's zone; write one such as bl.example "
     "codes=127.0.0.2\n"},
    {"scanners",
     "milters = { \"inet:127.0.0.1:11332 name=rspamd timeout=90s\",\n"
     " \"localhost:1\", \"unix:/run/a.sock name=rspamd\" }\n",
     "2: milters: \"localhost:1\" does not begin with a milter's address; write "
     "inet:127.0.0.1:11332 or unix:/run/X.sock (names are not looked up)\n"
     "2: milters: \"inet:127.0.0.1:11332 name=rspamd timeout=90s\" has a timeout that is longer "
     "than half of final-reply-timeout; write a shorter one, or a longer final-reply-timeout\n"
     "2: milters: \"unix:/run/a.sock name=rspamd\" has the name of one before it; give each its "
     "own: name=rspamd\n"},
    {"no equal sign", "node 3\nworkers = 0\n",
     "1: missing equal sign after option 'node'" GRAMMAR
     "2: workers: \"0\" is out of range; write a value from 1 to 31\n"},
    {"no value", "node =\nworkers = 0\n",
     "1: a setting has no value; write NAME = VALUE in one line\n"
     "2: workers: \"0\" is out of range; write a value from 1 to 31\n"},
    {"an open text", "hostname = \"mx.isp.example\nnode = 0\n",
     "1: a text is not closed in its line; end it with \"\n"
     "2: node: \"0\" is out of range; write a value from 1 to 32767\n"},
    {"an open comment", "node = 0\n/* and so on\nworkers = 0\n",
     "1: node: \"0\" is out of range; write a value from 1 to 32767\n"
     "2: a comment begins here and does not end; close it with */\n"},
    {"an open list", "node = 0\nlisten = {\n \"127.0.0.1:25\",\n\n",
     "1: node: \"0\" is out of range; write a value from 1 to 32767\n"
     "2: a list or setting begins here and does not end" GRAMMAR},
    {"a missing comma", "listen = {\n 127.0.0.1\n 127.0.0.2\n}\nnode = 0\n",
     "3: unexpected token '127.0.0.2'" GRAMMAR
     "5: node: \"0\" is out of range; write a value from 1 to 32767\n"},
    {"a list for one value", "node = { 1 }\nworkers = 0\n",
     "1: unexpected token '{'" GRAMMAR
     "2: workers: \"0\" is out of range; write a value from 1 to 31\n"},
    {"two values", "postmaster = ops team\n",
     "1: team: there is no such setting; postern.conf(5) lists all\n"},
    {"lines are counted through comments", "/* one\n two\n three */ # four\n// five\nnode = 0\n",
     "5: node: \"0\" is out of range; write a value from 1 to 32767\n"},
    {"folder, zone, host name",
     "spool-dir = spool\ntimezone = Mars/Olympus\nhostname = \"relay\"\n",
     "1: spool-dir: \"spool\" is not a full path; write one that begins with /\n"
     "2: timezone: \"Mars/Olympus\" is not a time zone of this system; write a name such as "
     "Europe/Berlin\n"
     "3: hostname: \"relay\" needs at least two labels, such as acme.example; write the full name "
     "of "
     "this host, such as mx1.isp.example\n"},
    {"certificates without keys", "workers = 0\ntls-certificate = { /a.pem, /b.pem }\n",
     "1: workers: \"0\" is out of range; write a value from 1 to 31\n"
     "2: tls-key: there are 2 certificates and 0 keys; name one key for each certificate, in the "
     "same order\n"},
    {"a key too few", "tls-key = { /a.key }\ntls-certificate = { /a.pem, b.pem }\n",
     "1: tls-key: there are 2 certificates and 1 keys; name one key for each certificate, in the "
     "same order\n"
     "2: tls-certificate: \"b.pem\" is not a full path; write one that begins with /\n"},
    {"a key too many", "tls-certificate = { /a.pem }\ntls-key = { /a.key, /b.key }\n",
     "1: tls-certificate: there are 1 certificates and 2 keys; name one key for each certificate, "
     "in the same order\n"},
    {"a control character in a text", "user = \"a\002b\"\nworkers = 0\n",
     "1: a control character stands here; write plain text\n"
     "2: workers: \"0\" is out of range; write a value from 1 to 31\n"},
    {"control characters", "node = \001\nworkers = 0\n",
     "1: a control character stands here; write plain text\n"
     "2: workers: \"0\" is out of range; write a value from 1 to 31\n"},
};

Test(config, every_problem_is_told_with_its_line)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad_files); i++) {
        struct buf problems, out;
        struct config *config;

        buf_init(&problems, 0);
        buf_init(&out, 0);
        cr_expect_eq(load(slice_of(bad_files[i].file), &problems, &config), ERR_SYNTAX, "%s",
                     bad_files[i].name);
        cr_expect_null(config, "%s", bad_files[i].name);
        cr_expect_str_eq(without_path(&problems, &out), bad_files[i].problems, "%s: got\n%s",
                         bad_files[i].name, buf_text(&out));
        config_free(&config);
        buf_fini(&problems);
        buf_fini(&out);
    }
}

static struct config *
load_good(const char *name, const char *text)
{
    struct config *config;
    struct buf problems;

    buf_init(&problems, 0);
    cr_assert_eq(load(slice_of(text), &problems, &config), ERR_OK, "%s: %s", name,
                 buf_text(&problems));
    cr_expect_eq(buf_size(&problems), 0, "%s", name);
    buf_fini(&problems);
    return config;
}

Test(config, an_empty_file_gives_the_defaults)
{
    struct config *config = load_good("empty", "");
    char text[INET_ENDPOINT_SIZE], host[256];

    cr_expect_eq(gethostname(host, sizeof host), 0);
    cr_expect_str_eq(config->hostname, host);
    cr_expect_eq(config->node, 1);
    cr_assert_eq(config->listen.count, 1);
    cr_expect_str_eq(inet_endpoint_text(&config->listen.items[0], text), "127.0.0.1:25");
    cr_expect_str_eq(config->database, "");
    cr_expect_eq(config->max_message_size, 20 * 1024 * 1024);
    cr_expect_eq(config->recipient_positive_ttl_ms, 30 * 86400000LL);
    config_free(&config);
    cr_expect_null(config);
    config_free(&config);
}

static const char good_file[] = "\xef\xbb\xbf# Postern\r\n"
                                "hostname = mx1.isp.example\r\n"
                                "node=32767 workers = 31 // two in a line\n"
                                "database = \"host=/run/postgresql dbname=postern\"\n"
                                "listen = {\n"
                                "  \"192.0.2.1\", # the port is 25\n"
                                "  '[2001:db8::1]:2525',\n"
                                "  127.0.0.1:587,\n"
                                "}\n"
                                "/* a\n comment */ spool-dir = /var//spool\n"
                                "postmaster = \"a \\\"quoted\\\" # text\"\n"
                                "user = '${HOME}'\n"
                                "state-dir = \"/x/${HOME}$\"\n"
                                "probe-interval-min = 500ms\n"
                                "max-message-size = 64KiB";

Test(config, a_full_file_gives_its_values)
{
    struct config *config = load_good("full", good_file);
    char text[INET_ENDPOINT_SIZE];

    cr_expect_str_eq(config->hostname, "mx1.isp.example");
    cr_expect_eq(config->node, 32767);
    cr_expect_eq(config->workers, 31);
    cr_expect_str_eq(config->database, "host=/run/postgresql dbname=postern");
    cr_assert_eq(config->listen.count, 3);
    cr_expect_str_eq(inet_endpoint_text(&config->listen.items[0], text), "192.0.2.1:25");
    cr_expect_str_eq(inet_endpoint_text(&config->listen.items[1], text), "[2001:db8::1]:2525");
    cr_expect_str_eq(inet_endpoint_text(&config->listen.items[2], text), "127.0.0.1:587");
    cr_expect_str_eq(config->spool_dir, "/var//spool");
    cr_expect_str_eq(config->postmaster, "a \"quoted\" # text");
    cr_expect_str_eq(config->user, "${HOME}", "the environment is not looked at");
    cr_expect_str_eq(config->state_dir, "/x/${HOME}$");
    cr_expect_eq(config->probe_interval_min_ms, 500);
    cr_expect_eq(config->max_message_size, 65536);
    config_free(&config);
}

Test(config, networks_are_a_list_that_may_be_empty)
{
    struct config *config = load_good("networks", "proxy-protocol-from = { 192.0.2.0/24, ::1 }\n"
                                                  "xclient-from = { }\n");
    char text[INET_ENDPOINT_SIZE];

    cr_assert_eq(config->proxy_protocol_from.count, 2);
    cr_expect_str_eq(inet_network_text(&config->proxy_protocol_from.items[0], text),
                     "192.0.2.0/24");
    cr_expect_str_eq(inet_network_text(&config->proxy_protocol_from.items[1], text), "::1/128");
    cr_expect_eq(config->xclient_from.count, 0);
    config_free(&config);
}

Test(config, a_single_value_may_stand_for_a_list_and_lists_may_grow)
{
    struct config *config = load_good("one", "listen = 127.0.0.1\n");

    cr_expect_eq(config->listen.count, 1);
    config_free(&config);
    config = load_good("grow", "listen = { 127.0.0.1 }\nlisten += { 127.0.0.2 }\n");
    cr_expect_eq(config->listen.count, 2);
    config_free(&config);
}

Test(config, a_missing_file_is_a_problem_with_its_reason)
{
    struct config *config;
    struct buf problems;

    buf_init(&problems, 0);
    cr_expect_eq(config_load("/nonexistent/postern.conf", &problems, &config), ERR_IO);
    cr_expect_str_eq(buf_text(&problems), "/nonexistent/postern.conf: cannot be read: No such file "
                                          "or directory; name another file with -c\n");
    cr_expect_null(config);
    buf_fini(&problems);
}

/* Turns "#name = value" into "name = value". */
static void
uncomment(struct buf *sample, struct buf *out)
{
    struct slice rest = buf_slice(sample);

    while (rest.p != NULL) {
        struct slice line = slice_split(&rest, '\n');

        if (line.n > 1 && line.p[0] == '#' && line.p[1] != ' ') {
            line.p++;
            line.n--;
        }
        buf_add_slice(out, line);
        buf_add_text(out, "\n");
    }
}

Test(config, the_sample_is_a_valid_file_that_changes_nothing)
{
    struct buf sample, active, again;
    struct config *config;

    buf_init(&sample, 0);
    buf_init(&active, 0);
    buf_init(&again, 0);
    config_write_sample(&sample);
    config = load_good("sample", buf_text(&sample));
    config_free(&config);
    uncomment(&sample, &active);
    config = load_good("sample, all set", buf_text(&active));
    cr_expect_eq(config->node, 1);
    cr_expect_eq(config->listen.count, 1);
    config_free(&config);
    config_write_manual(&again);
    cr_expect_not_null(strstr(buf_text(&again), ".It Ic probe-interval-max No = Ar duration\n"));
    buf_fini(&sample);
    buf_fini(&active);
    buf_fini(&again);
}

Test(config, no_cut_of_a_good_file_crashes_the_reader)
{
    for (size_t n = 0; n < sizeof good_file; n++) {
        struct config *config;
        struct buf problems;
        int rc;

        buf_init(&problems, 0);
        rc = load((struct slice){good_file, n}, &problems, &config);
        cr_expect_eq(rc == ERR_OK, buf_size(&problems) == 0, "cut at %zu", n);
        config_free(&config);
        buf_fini(&problems);
    }
}

Test(config, the_first_nameserver_of_the_system)
{
    static const struct {
        const char *name, *text, *endpoint;
    } cases[] = {
        {"plain", "search a.example\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n",
         "192.0.2.53:53"},
        {"IPv6", "nameserver 2001:db8::53", "[2001:db8::53]:53"},
        {"blanks and a comment", "# x\n \tnameserver\t 127.0.0.53 # local\r\n", "127.0.0.53:53"},
        {"one with a zone first", "nameserver fe80::1%eth0\nnameserver 192.0.2.1\n",
         "192.0.2.1:53"},
        {"none", "options edns0\nnameservers 192.0.2.1\nnameserver\nnameserver 192.0.2.1:5353\n",
         NULL},
        {"nothing", "", NULL},
    };
    char text[INET_ENDPOINT_SIZE];
    struct inet_endpoint e;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int rc = resolv_conf_first(slice_of(cases[i].text), &e);

        cr_expect_eq(rc, cases[i].endpoint ? ERR_OK : ERR_NOT_FOUND, "%s: %d", cases[i].name, rc);
        if (rc == ERR_OK)
            cr_expect_str_eq(inet_endpoint_text(&e, text), cases[i].endpoint, "%s", cases[i].name);
    }
}
