/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Certificate files: each thing that is wrong is a sentence of its own, each thing to know a
 * warning.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "net/tls_certificate.h"
#include "tests/unit/tls_fixture.h"

#define DAY_MS (24 * 3600 * 1000LL)

static const char *const names[] = {"mx1.example", "mx2.example"};

static void
free_pair(struct tls_pair *pair)
{
    free(pair->certificate);
    free(pair->key);
}

/* --- problems --- */

struct files {
    struct tls_files folder;
    char *certificate, *key; /* what is loaded */
};

static void
take(struct files *f, struct tls_pair pair)
{
    f->certificate = pair.certificate;
    f->key = pair.key;
}

static void
use(char **path, char *other)
{
    free(*path);
    *path = other;
}

static void
make_good(struct files *f)
{
    take(f, tls_make(&f->folder, "good", &(struct tls_wish){.names = names[0]}));
}

static void
make_missing(struct files *f)
{
    make_good(f);
    cr_assert_eq(remove(f->certificate), 0);
}

static void
make_no_pem(struct files *f)
{
    make_good(f);
    use(&f->certificate, tls_write(&f->folder, "no.pem", "this is no certificate\n"));
}

static void
make_folder(struct files *f)
{
    make_good(f);
    use(&f->certificate, mem_strdup(f->folder.folder));
}

static void
make_damaged(struct files *f)
{
    make_good(f);
    use(&f->certificate,
        tls_write(&f->folder, "damaged.pem",
                  "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
}

static void
make_key_in_place_of_certificate(struct files *f)
{
    make_good(f);
    use(&f->certificate, mem_strdup(f->key));
}

static void
make_no_key(struct files *f)
{
    make_good(f);
    use(&f->key, mem_strdup(f->certificate));
}

static void
make_encrypted_key(struct files *f)
{
    take(f, tls_make(&f->folder, "locked",
                     &(struct tls_wish){.names = names[0], .passphrase = "secret"}));
}

static void
make_other_key(struct files *f)
{
    struct tls_pair other = tls_make(&f->folder, "other", &(struct tls_wish){.names = names[0]});

    make_good(f);
    use(&f->key, mem_strdup(other.key));
    free_pair(&other);
}

/* The issuer, then the certificate whose key is named. */
static void
make_wrong_order(struct files *f)
{
    struct tls_pair issuer = tls_make(&f->folder, "issuer", &(struct tls_wish){.names = "ca"});
    const char *both[3] = {issuer.certificate};

    take(f, tls_make(&f->folder, "leaf",
                     &(struct tls_wish){.names = names[0], .issuer = issuer.certificate}));
    both[1] = f->certificate;
    use(&f->certificate, tls_join(&f->folder, "chain.pem", both));
    free_pair(&issuer);
}

static void
make_stranger_in_chain(struct files *f)
{
    struct tls_pair other = tls_make(&f->folder, "other", &(struct tls_wish){.names = names[1]});
    const char *both[3] = {NULL, other.certificate};

    make_good(f);
    both[0] = f->certificate;
    use(&f->certificate, tls_join(&f->folder, "chain.pem", both));
    free_pair(&other);
}

static void
make_chain(struct files *f)
{
    struct tls_pair issuer = tls_make(&f->folder, "issuer", &(struct tls_wish){.names = "ca"});
    const char *both[3] = {NULL, issuer.certificate};

    take(f, tls_make(&f->folder, "leaf",
                     &(struct tls_wish){.names = names[0], .issuer = issuer.certificate}));
    both[0] = f->certificate;
    use(&f->certificate, tls_join(&f->folder, "chain.pem", both));
    free_pair(&issuer);
}

static const struct {
    const char *name;
    void (*make)(struct files *f);
    int rc;
    const char *words; /* in the only problem */
} files[] = {
    {"good", make_good, ERR_OK, NULL},
    {"with its issuer", make_chain, ERR_OK, NULL},
    {"missing", make_missing, ERR_IO, "good.pem: cannot be read: No such file or directory"},
    {"a folder", make_folder, ERR_IO, ": cannot be read: Is a directory"},
    {"no PEM", make_no_pem, ERR_SYNTAX, "no.pem: holds no certificate in PEM form"},
    {"damaged", make_damaged, ERR_SYNTAX, "damaged.pem: certificate 1 in it is damaged"},
    {"a key in its place", make_key_in_place_of_certificate, ERR_SYNTAX,
     "good.key: holds no certificate in PEM form"},
    {"no key", make_no_key, ERR_SYNTAX, "tls-key "},
    {"an encrypted key", make_encrypted_key, ERR_SYNTAX, "locked.key: is encrypted"},
    {"the key of another", make_other_key, ERR_SYNTAX, "other.key: does not fit the certificate"},
    {"the issuer first", make_wrong_order, ERR_SYNTAX,
     "the chain is out of order: the certificate "
     "of key"},
    {"a stranger in the chain", make_stranger_in_chain, ERR_SYNTAX,
     "the chain is out of order: certificate 2 (/CN=mx2.example) is not the issuer"},
};

Test(tls_certificate, what_is_wrong_is_said)
{
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct tls_certificate *c;
        struct buf problems;
        struct files f;
        const char *text;

        buf_init(&problems, 0);
        tls_files_init(&f.folder);
        files[i].make(&f);
        cr_expect_eq(tls_certificate_load(f.certificate, f.key, &problems, &c), files[i].rc, "%s",
                     files[i].name);
        text = buf_text(&problems);
        cr_expect_eq(c != NULL, files[i].rc == ERR_OK, "%s", files[i].name);
        if (files[i].words == NULL)
            cr_expect_str_eq(text, "", "%s", files[i].name);
        else
            cr_expect(strstr(text, files[i].words) && strchr(text, '\n') == text + strlen(text) - 1,
                      "%s: %s", files[i].name, text);
        tls_certificate_free(&c);
        buf_fini(&problems);
        tls_files_fini(&f.folder);
        free(f.certificate);
        free(f.key);
    }
}

/* --- warnings --- */

static const struct {
    const char *name;
    struct tls_wish wish;
    mode_t key_mode;
    int later_days; /* asked so long after it was made */
    const char *words;
} warnings[] = {
    {"none", {.names = "mx1.example"}, 0600, 0, NULL},
    {"the group may read the key", {.names = "mx1.example"}, 0640, 0, NULL},
    {"everybody may", {.names = "mx1.example"}, 0644, 0, "every user of this host can read it"},
    {"15 days left", {.names = "mx1.example", .ends_in_days = 15}, 0600, 0, NULL},
    {"13 days left", {.names = "mx1.example", .ends_in_days = 13}, 0600, 0, "ends in 13 days"},
    {"13 days left, later", {.names = "mx1.example"}, 0600, 352, "ends in 13 days"},
    {"ended",
     {.names = "mx1.example", .begins_in_days = -9, .ends_in_days = -2},
     0600,
     0,
     "has ended 1 days ago"},
    {"not begun",
     {.names = "mx1.example", .begins_in_days = 2, .ends_in_days = 99},
     0600,
     0,
     "is not valid yet (its time begins in 2 days)"},
    {"of another name", {.names = "mx2.example"}, 0600, 0, "none is for the host name mx1.example"},
    {"of a wildcard", {.names = "*.example"}, 0600, 0, NULL},
};

static void
expect_warnings(const char *name, const struct tls_certificate *c, int64_t at_ms, const char *words)
{
    struct tls_certificate *const list[] = {(struct tls_certificate *)c};
    struct buf said;
    const char *text;

    buf_init(&said, 0);
    tls_certificates_warnings(list, 1, "MX1.example", at_ms, &said);
    text = buf_text(&said);
    if (words == NULL)
        cr_expect_str_eq(text, "", "%s", name);
    else
        cr_expect(strstr(text, words) && strchr(text, '\n') == text + strlen(text) - 1, "%s: %s",
                  name, text);
    buf_fini(&said);
}

/* The same with the key and without. */
Test(tls_certificate, what_to_know_is_said)
{
    for (size_t i = 0; i < ARRAY_SIZE(warnings); i++) {
        int64_t at_ms = clock_wall_ms() + warnings[i].later_days * DAY_MS;
        struct tls_certificate *c = NULL;
        struct tls_files folder;
        struct tls_pair pair;
        struct buf problems;

        buf_init(&problems, 0);
        tls_files_init(&folder);
        pair = tls_make(&folder, "one", &warnings[i].wish);
        cr_assert_eq(chmod(pair.key, warnings[i].key_mode), 0);
        cr_expect_eq(tls_certificate_load(pair.certificate, pair.key, &problems, &c), ERR_OK);
        expect_warnings(warnings[i].name, c, at_ms, warnings[i].words);
        tls_certificate_free(&c);
        cr_expect_eq(tls_certificate_read(pair.certificate, pair.key, &problems, &c), ERR_OK);
        expect_warnings(warnings[i].name, c, at_ms, warnings[i].words);
        tls_certificate_free(&c);
        cr_expect_str_eq(buf_text(&problems), "", "%s", warnings[i].name);
        buf_fini(&problems);
        tls_files_fini(&folder);
        free_pair(&pair);
    }
}

Test(tls_certificate, is_read_without_its_key)
{
    struct tls_wish wish = {
        .kind = "RSA", .names = "mx1.example,*.isp.example", .ends_in_days = 30};
    struct tls_certificate *c;
    struct tls_files folder;
    struct tls_pair pair;
    struct buf problems;

    buf_init(&problems, 0);
    tls_files_init(&folder);
    pair = tls_make(&folder, "one", &wish);
    cr_assert_eq(remove(pair.key), 0);
    cr_assert_eq(tls_certificate_read(pair.certificate, pair.key, &problems, &c), ERR_OK, "%s",
                 buf_text(&problems));
    cr_expect_str_eq(tls_certificate_kind(c), "RSA");
    cr_expect_str_eq(tls_certificate_path(c), pair.certificate);
    cr_expect_eq(tls_certificate_name_count(c), 2);
    cr_expect_str_eq(tls_certificate_name(c, 1), "*.isp.example");
    cr_expect(tls_certificate_is_for(c, "mx1.example") &&
              tls_certificate_is_for(c, "a.isp.example"));
    cr_expect_not(tls_certificate_is_for(c, "isp.example"));
    cr_expect_not(tls_certificate_is_for(c, "a.b.isp.example"));
    cr_expect_lt(llabs(tls_certificate_end_ms(c) - clock_wall_ms() - 30 * DAY_MS), DAY_MS);
    tls_certificate_free(&c);
    buf_fini(&problems);
    tls_files_fini(&folder);
    free_pair(&pair);
}
