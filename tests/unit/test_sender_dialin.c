/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names as real providers give them, dynamic and not; the patterns' language; and the ways in which
 * an address stands in a name.  Each row's address is the one that its provider wrote into it.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "sender/sender_dialin.h"
#include "sender/sender_dialin_address.h"
#include "tests/unit/scratch.h"

#define OWN "84.23.12.9"

static struct inet_endpoint
address(const char *text)
{
    struct inet_endpoint e;
    char bracketed[80];

    snprintf(bracketed, sizeof bracketed, strchr(text, ':') ? "[%s]" : "%s", text);
    cr_assert_eq(inet_endpoint_parse(slice_of(bracketed), 25, &e), ERR_OK, "%s", text);
    return e;
}

static struct sender_dialin *
load(const char *path)
{
    struct sender_dialin *patterns;
    struct buf problems;

    buf_init(&problems, 0);
    cr_assert_eq(sender_dialin_load(path, &problems, &patterns), ERR_OK, "%s", buf_text(&problems));
    buf_fini(&problems);
    return patterns;
}

struct named {
    const char *name, *address;
};

static const struct named dynamic[] = {
    {"p5b0c1d2e.dip0.t-ipconnect.de", "91.12.29.46"},
    {"p200300c1d2e3f4a5.dip0.t-ipconnect.de", "2003:c1:d2e3:f4a5::1"},
    {"84-23-12-9.dynamic.mnet-online.de", OWN},
    {"pool-72-84-3-9.washdc.fios.verizon.net", "72.84.3.9"},
    {"c-73-22-1-9.hsd1.il.comcast.net", "73.22.1.9"},
    {"dslb-088-066-012-009.088.066.pools.vodafone-ip.de", "88.66.12.9"},
    {"ip5f5abc12.dynamic.kabel-deutschland.de", "95.90.188.18"},
    {"x4db1c2d3.dyn.telefonica.de", "77.177.194.211"},
    {"i59f4c0d1.versanet.de", "89.244.192.209"},
    {"xdsl-84-44-12-9.nc.de", "84.44.12.9"},
    {"hsi-kbw-149-172-12-9.hsi14.kabel-badenwuerttemberg.de", "149.172.12.9"},
    {"ppp-93-104-12-9.dynamic.mnet-online.de", "93.104.12.9"},
    {"84-115-12-9.cable.dynamic.surfer.at", "84.115.12.9"},
    {"91-115-12-9.adsl.highway.telekom.at", "91.115.12.9"},
    {"178-190-12-9.adsl.highway.telekom.at", "178.190.12.9"},
    {"adsl-84-226-12-9.adslplus.ch", "84.226.12.9"},
    {"9-12-62-188.dynamic.bluewin.ch", "188.62.12.9"},
    {"77-56-12-9.dclient.hispeed.ch", "77.56.12.9"},
    {"host86-128-12-9.range86-128.btcentralplus.com", "86.128.12.9"},
    {"cpc91234-cmbg18-2-0-cust9.5-4.cable.virginm.net", "82.4.12.9"},
    {"02c1d2e3.bb.sky.com", "2.193.210.227"},
    {"92.40.12.9.threembb.co.uk", "92.40.12.9"},
    {"88-104-12-9.dynamic.dsl.as9105.com", "88.104.12.9"},
    {"lfbn-idf1-1-123-9.w86-238.abo.wanadoo.fr", "86.238.12.9"},
    {"9.12.23.84.rev.sfr.net", OWN},
    {"82-64-12-9.subs.proxad.net", "82.64.12.9"},
    {"lns-bzn-45-82-253-12-9.adsl.proxad.net", "82.253.12.9"},
    {"host-79-12-9-1.retail.telecomitalia.it", "79.12.9.1"},
    {"host9-12-dynamic.23-84-r.retail.telecomitalia.it", OWN},
    {"net-93-66-12-9.cust.vodafonedsl.it", "93.66.12.9"},
    {"2-228-12-9.ip191.fastwebnet.it", "2.228.12.9"},
    {"ppp-12-9.20-151.wind.it", "151.20.12.9"},
    {"9.red-83-45-12.dynamicip.rima-tde.net", "83.45.12.9"},
    {"84.78.12.9.dyn.user.ono.com", "84.78.12.9"},
    {"bl4-12-9.dsl.telepac.pt", "81.193.12.9"},
    {"a81-84-12-9.cpe.netcabo.pt", "81.84.12.9"},
    {"abcd123.neoplus.adsl.tpnet.pl", "83.5.12.9"},
    {"87-205-12-9.adsl.inetia.pl", "87.205.12.9"},
    {"89-64-12-9.dynamic.chello.pl", "89.64.12.9"},
    {"user-5-173-12-9.play-internet.pl", "5.173.12.9"},
    {"ip-86-49-12-9.net.upcbroadband.cz", "86.49.12.9"},
    {"catv-80-98-12-9.catv.broadband.hu", "80.98.12.9"},
    {"ppp-2-84-12-9.home.otenet.gr", "2.84.12.9"},
    {"78.188.12.9.dynamic.ttnet.com.tr", "78.188.12.9"},
    {"broadband-90-154-12-9.ip.moscow.rt.ru", "90.154.12.9"},
    {"ppp91-76-12-9.pppoe.mtu-net.ru", "91.76.12.9"},
    {"h-84-23-12-9.a163.priv.bahnhof.se", OWN},
    {"ua-84-216-12-9.cust.bredbandsbolaget.se", "84.216.12.9"},
    {"0x4d4d0c09.adsl.cybercity.dk", "77.77.12.9"},
    {"5357f8a2.cable.casema.nl", "83.87.248.162"},
    {"84-104-12-9.cable.dynamic.v4.ziggo.nl", "84.104.12.9"},
    {"d54c1d2e3.access.telenet.be", "84.193.210.227"},
    {"cpe-72-224-12-9.nycap.res.rr.com", "72.224.12.9"},
    {"adsl-99-23-12-9.dsl.hstntx.sbcglobal.net", "99.23.12.9"},
    {"ip72-200-12-9.ph.ph.cox.net", "72.200.12.9"},
    {"71-34-12-9.ptld.qwest.net", "71.34.12.9"},
    {"dhcp-077-249-012-009.chello.nl", "77.249.12.9"},
    {"189.23.12.9.dynamic.adsl.gvt.net.br", "189.23.12.9"},
    {"177-23-12-9.user.veloxzone.com.br", "177.23.12.9"},
    {"201-23-12-9.prod-infinitum.com.mx", "201.23.12.9"},
    {"190-23-12-9.fibertel.com.ar", "190.23.12.9"},
    {"abts-north-dynamic-009.12.23.84.airtelbroadband.in", OWN},
    {"softbank126012009001.bbtec.net", "126.12.9.1"},
    {"node-1abc.pool-101-108.dynamic.totinternet.net", "101.108.12.9"},
    {"123-192-12-9.dynamic.kbronet.com.tw", "123.192.12.9"},
    {"1-161-12-9.dynamic-ip.hinet.net", "1.161.12.9"},
    {"84-23-12-9.dyn.estpak.ee", OWN},
    {"2a02-8071-1234-5678-9abc-def0-1234-5678.ipv6.example.net",
     "2a02:8071:1234:5678:9abc:def0:1234:5678"},
    {"ipv6-2a02-8109.dyn.example.net", "2a02:8109::1"},
    {"ec2-54-93-12-9.eu-central-1.compute.amazonaws.com", "54.93.12.9"}, /* by its address alone */
    {"9.12.23.84.bc.googleusercontent.com", OWN},
    {"modemcable009.12-23-84.mc.videotron.ca", OWN},
};

static const struct named fixed[] = {
    {"mail-ej1-f41.google.com", "209.85.218.41"},
    {"mail-db5eur01on2098.outbound.protection.outlook.com", "40.107.15.98"},
    {"o1.ptr1234.sendgrid.net", "167.89.12.9"},
    {"xvfrpqcm.outbound-mail.sendgrid.net", "168.245.12.9"},
    {"static.9.12.23.84.clients.your-server.de", OWN},
    {"static-84-23-12-9.business.example.net", OWN},
    {"static-72-84-3-9.washdc.fios.verizon.net", "72.84.3.9"},
    {"84-23-12-9.static.upcbusiness.at", OWN},
    {"c-84-23-12-9-static.hfc.comcastbusiness.net", OWN},
    {"host-84-23-12-9.business.telecomitalia.it", OWN},
    {"host9-12-static.23-84-b.business.telecomitalia.it", OWN},
    {"dsl-static-84-23-12-9.isp.example", OWN},
    {"business-084-023-012-009.static.arcor-ip.net", OWN},
    {"b2b-84-23-12-9.static.unitymedia.biz", OWN},
    {"84-23-12-9.ip-static.isp.example", OWN},
    {"sdsl-84-23-12-9.isp.example", OWN},
    {"fixed-84-23-12-9.totalplay.net", OWN},
    {"corporate-84-23-12-9.isp.example", OWN},
    {"dsl51b6c0d1.fixip.t-online.hu", "81.182.192.209"},
    {"mout.kundenserver.de", "212.227.126.130"},
    {"mout.gmx.net", "212.227.15.15"},
    {"mout-p-101.mailbox.org", "80.241.56.151"},
    {"out1-smtp.messagingengine.com", "66.111.4.25"},
    {"sonic304-21.consmr.mail.gq1.yahoo.com", "98.137.68.202"},
    {"b224-4.smtp-out.eu-central-1.amazonses.com", "69.169.224.4"},
    {"a8-31.smtp-out.amazonses.com", "54.240.8.31"},
    {"mx0a-00082601.pphosted.com", "67.231.145.42"},
    {"eu-smtp-delivery-151.mimecast.com", "207.82.80.151"},
    {"m42-5.mailgun.net", "69.72.42.5"},
    {"mail1.bemta24.messagelabs.com", "67.219.250.1"},
    {"17.mo582.mail-out.ovh.net", "46.105.12.9"},
    {"esa5.hc1234-12.iphmx.com", "216.71.150.9"},
    {"mail123.atl11.rsgsv.net", "205.201.12.9"},
    {"sender4-op-o12.zoho.com", "136.143.188.12"},
    {"mta-70-15-2.sparkpostmail.com", "156.70.15.2"},
    {"mailout09.t-online.de", "194.25.134.9"},
    {"mailout2.rwth-aachen.de", "134.130.5.186"},
    {"mail.acme.example", OWN},
    {"mx1.isp.example", OWN},
    {"mx-out-03.isp.example", OWN},
    {"smtp-out-84-23-12-9.isp.example", OWN},
    {"smtp3.customer.isp.example", OWN},
    {"mta1.newsletter.example", OWN},
    {"relay-4.isp.example", OWN},
    {"outbound-7.filter.example", OWN},
    {"exchange.firm.example", OWN},
    {"webmail.firm.example", OWN},
    {"vps123456.ovh.net", "51.75.12.9"},
    {"ns3012345.ip-51-75-12.eu", "51.75.12.9"},
    {"srv42.hosting.example", OWN},
    {"gateway.firm.co.uk", OWN},
    {"server.dynamic.com", OWN}, /* the words of a domain say nothing */
    {"www.dsl.net", OWN},        /* likewise */
    {"host.pool.co.uk", OWN},    /* likewise */
    {"firm-gw.dialog-telekom.example", OWN},
    {"crm.dynamics.example", OWN}, /* a word is a whole word */
    {"carpool.firm.example", OWN},
    {"poole.council.example", OWN},
    {"host-12-34-56-78.isp.example", OWN}, /* the address of another */
    {"84-23-12.rack4.hosting.example", OWN},
    {"firm.example", OWN},
    {"localhost", OWN},
    {"mail.dyn.firm.example", OWN},
    {"postfix.home.firm.example", OWN},
    {"mail-84-23-12-9.dynamic.isp.example", OWN},
    {"lists.firm.example", OWN},
    {"bounce.firm.example", OWN},
};

Test(sender_dialin, names_of_providers)
{
    struct sender_dialin *patterns = load("");

    for (size_t i = 0; i < ARRAY_SIZE(dynamic); i++) {
        struct inet_endpoint e = address(dynamic[i].address);

        cr_expect_not_null(sender_dialin_match(patterns, dynamic[i].name, &e), "%s",
                           dynamic[i].name);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        struct inet_endpoint e = address(fixed[i].address);
        const char *pattern = sender_dialin_match(patterns, fixed[i].name, &e);

        cr_expect_null(pattern, "%s: %s", fixed[i].name, pattern);
    }
    sender_dialin_free(&patterns);
}

Test(sender_dialin, ways_to_write_an_address)
{
    static const struct {
        const char *text, *address;
        bool is_there;
    } cases[] = {
        {"84-23-12-9", OWN, true},
        {"host84.23.12.9x", OWN, true},
        {"9_12_23_84", OWN, true},
        {"084-023-012-009", OWN, true},
        {"84023012009", OWN, false},
        {"ip084023012009", OWN, true},
        {"009012023084", OWN, true},
        {"54170c09", OWN, true},
        {"090c1754", OWN, true},
        {"x54170c09y", OWN, true},
        {"n1410796553", OWN, true},
        {"n14107965530", OWN, false},
        {"84-23-12", OWN, false},
        {"84--23-12-9", OWN, false},
        {"84x23x12x9", OWN, false},
        {"84-23-12-90", OWN, false},
        {"184-23-12-9", OWN, false},
        {"1-84-23-12-9-1", OWN, true},
        {"", OWN, false},
        {"2001-db8-0-0-1-2-3-4", "2001:db8::1:2:3:4", true},
        {"2001-0db8-0000-0000", "2001:db8::1:2:3:4", true},
        {"0001-0002-0003-0004", "2001:db8::1:2:3:4", true},
        {"20010db8000000000001000200030004", "2001:db8::1:2:3:4", true},
        {"4000.3000.2000.1000.0000.0000.8bd0.1002", "2001:db8::1:2:3:4", true},
        {"4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2", "2001:db8::1:2:3:4",
         true},
        {"0001000200030004", "2001:db8::1:2:3:4", true},
        {"2001-db8", "2001:db8::1:2:3:4", false},
        {"0-0-0-0", "2001:db8::1", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct inet_endpoint e = address(cases[i].address);

        cr_expect_eq(sender_dialin_has_address(cases[i].text, &e), cases[i].is_there, "%s",
                     cases[i].text);
    }
}

/* --- The operator's file. */

static const char *
write_file(const char *text)
{
    static char path[SCRATCH_PATH];
    int fd;

    scratch_name(path, "postern-dialin");
    fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

Test(sender_dialin, the_operators_patterns_come_first)
{
    static const struct {
        const char *name, *pattern;
    } cases[] = {
        {"a-84-23-12-9.customers.isp.example", NULL},
        {"gate.roaming.isp.example", "roam*  gate"},
        {"roaming.isp.example", NULL},
        {"mail.guests.isp.example", ".guests.isp.example"},
        {"guests.isp.example", ".guests.isp.example"},
        {"xguests.isp.example", NULL},
        {"a.lan9.isp.example", ".lan?.ISP.example"},
        {"a.lan19.isp.example", NULL},
        {"84-23-12-9.isp.example", "<addr>"},
        {"84-23-12-9.hosting.example", "<ADDR> .hosting.example"},
        {"gw.hosting.example", NULL},
        {"MAIL.DYN.other.example.", NULL},
        {"HOST.DYN.other.example.", "dyn"},
    };
    const char *path = write_file("# ours\n! .customers.isp.example\n\nroam*  gate # both\n"
                                  "\t.guests.isp.example \n.lan?.ISP.example\n"
                                  "<ADDR> .hosting.example\n");
    struct sender_dialin *patterns = load(path);
    struct inet_endpoint e = address(OWN);

    unlink(path);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *pattern = sender_dialin_match(patterns, cases[i].name, &e);

        if (cases[i].pattern == NULL)
            cr_expect_null(pattern, "%s: %s", cases[i].name, pattern);
        else
            cr_expect_str_eq(pattern ? pattern : "none", cases[i].pattern, "%s: %s", cases[i].name,
                             pattern ? pattern : "none");
    }
    sender_dialin_free(&patterns);
}

Test(sender_dialin, every_problem_is_told_with_its_line)
{
    static const struct {
        const char *text, *problem; /* behind "FILE:" */
    } cases[] = {
        {"dyn\n!\n", ":2: dialin-patterns: the pattern has nothing behind the !"},
        {"p[0-9]+\n", ":1: dialin-patterns: the pattern has a character that no name has"},
        {"dyn7\n", ":1: dialin-patterns: the pattern has a word with more than letters in it"},
        {"a.b\n", ":1: dialin-patterns: the pattern has a word with more than letters in it"},
        {"*\n", ":1: dialin-patterns: the pattern has a word without a letter"},
        {".a..b\n", ":1: dialin-patterns: the pattern has an end with an empty label"},
        {".\n", ":1: dialin-patterns: the pattern has an end with an empty label"},
        {"a b c d e f g\n", ":1: dialin-patterns: the pattern has more than 6 terms"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
         ":1: dialin-patterns: the pattern has a term of more than 63 characters"},
        {"ok\n<addr\n\nb!\n", ":4: dialin-patterns: the pattern has a character"},
    };
    struct sender_dialin *patterns;
    struct buf problems;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *path = write_file(cases[i].text);

        buf_init(&problems, 0);
        cr_expect_eq(sender_dialin_load(path, &problems, &patterns), ERR_SYNTAX, "%s",
                     cases[i].text);
        unlink(path);
        cr_expect_null(patterns);
        cr_expect(strstr(buf_text(&problems), cases[i].problem) != NULL, "%s: %s", cases[i].text,
                  buf_text(&problems));
        buf_fini(&problems);
    }
    buf_init(&problems, 0);
    cr_expect_eq(sender_dialin_load("/nonexistent/patterns", &problems, &patterns), ERR_IO);
    cr_expect_str_eq(buf_text(&problems), "/nonexistent/patterns: dialin-patterns: cannot be read: "
                                          "No such file or directory; name another file\n");
    buf_fini(&problems);
}

/* P8: the worst name and the worst patterns that may be written take no noticeable time. */
Test(sender_dialin, cost_is_bounded)
{
    struct buf text;
    struct sender_dialin *patterns;
    struct inet_endpoint e = address(OWN);
    char name[INET_DOMAIN_SIZE];
    const char *path;
    int64_t began_ms;

    buf_init(&text, 0);
    for (unsigned i = 0; i < 1000; i++)
        buf_add_text(&text, "*a*a*a*a*a*a*a*a*a*a*a*a*b\n");
    path = write_file(buf_text(&text));
    patterns = load(path);
    unlink(path);
    for (size_t i = 0; i < sizeof name - 1; i++)
        name[i] = i % 64 == 63 ? '.' : 'a';
    name[sizeof name - 1] = '\0';
    began_ms = clock_monotonic_ms();
    cr_expect_null(sender_dialin_match(patterns, name, &e));
    cr_expect(clock_monotonic_ms() - began_ms < 100, "%lld ms",
              (long long)(clock_monotonic_ms() - began_ms));
    sender_dialin_free(&patterns);
    buf_fini(&text);
}
