/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Certificates for tests: made with OpenSSL's own functions, so that no test needs its tool.
 */
#include "tests/unit/tls_fixture.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

void
tls_files_init(struct tls_files *files)
{
    scratch_folder(files->folder, "postern-tls");
}

void
tls_files_fini(struct tls_files *files)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", files->folder);
    cr_assert_eq(system(command), 0);
}

static char *
path_of(struct tls_files *files, const char *name, const char *end)
{
    size_t size = strlen(files->folder) + strlen(name) + strlen(end) + 2;
    char *path = mem_alloc(size);

    snprintf(path, size, "%s/%s%s", files->folder, name, end);
    return path;
}

static FILE *
create(const char *path, mode_t mode)
{
    FILE *f = fopen(path, "w");

    cr_assert_not_null(f, "%s", path);
    cr_assert_eq(fchmod(fileno(f), mode), 0);
    return f;
}

static void
add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e;
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    cr_assert_not_null(e, "%s", value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static void
add_names(X509 *x, const char *names)
{
    char value[512] = "", copy[256], *at = copy, *name;

    snprintf(copy, sizeof copy, "%s", names);
    while ((name = strsep(&at, ",")) != NULL) {
        size_t used = strlen(value);

        if (used == 0)
            X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                       (const unsigned char *)name, -1, -1, 0);
        snprintf(value + used, sizeof value - used, "%sDNS:%s", used ? "," : "", name);
    }
    add_extension(x, NID_subject_alt_name, value);
}

static EVP_PKEY *
read_key(const char *certificate)
{
    char path[256];
    EVP_PKEY *key;
    FILE *f;

    snprintf(path, sizeof path, "%.*s.key", (int)strlen(certificate) - 4, certificate);
    f = fopen(path, "r");
    cr_assert_not_null(f);
    key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    cr_assert_not_null(key);
    return key;
}

static X509 *
read_certificate(const char *path)
{
    FILE *f = fopen(path, "r");
    X509 *x;

    cr_assert_not_null(f);
    x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    cr_assert_not_null(x);
    return x;
}

static void
sign(X509 *x, EVP_PKEY *own, const char *issuer)
{
    EVP_PKEY *key = issuer ? read_key(issuer) : own;
    X509 *above = issuer ? read_certificate(issuer) : x;

    X509_set_issuer_name(x, X509_get_subject_name(above));
    cr_assert_gt(X509_sign(x, key, EVP_sha256()), 0);
    if (issuer) {
        EVP_PKEY_free(key);
        X509_free(above);
    }
}

struct tls_pair
tls_make(struct tls_files *files, const char *name, const struct tls_wish *wish)
{
    bool rsa = wish->kind && strcmp(wish->kind, "RSA") == 0;
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    struct tls_pair pair = {path_of(files, name, ".pem"), path_of(files, name, ".key")};
    bool dated = wish->begins_in_days || wish->ends_in_days;
    X509 *x = X509_new();
    FILE *f;

    cr_assert(key && x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), (long)++files->count);
    X509_gmtime_adj(X509_getm_notBefore(x),
                    wish->begins_in_days ? wish->begins_in_days * 86400L : -3600);
    /* An hour more, so that "in 5 days" is five whole days whenever it is asked. */
    X509_gmtime_adj(X509_getm_notAfter(x), (dated ? wish->ends_in_days : 365) * 86400L + 3600);
    X509_set_pubkey(x, key);
    add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
    add_names(x, wish->names);
    sign(x, key, wish->issuer);
    f = create(pair.certificate, 0644);
    cr_assert_eq(PEM_write_X509(f, x), 1);
    fclose(f);
    f = create(pair.key, 0600);
    cr_assert_eq(PEM_write_PKCS8PrivateKey(
                     f, key, wish->passphrase ? EVP_aes_128_cbc() : NULL, wish->passphrase,
                     wish->passphrase ? (int)strlen(wish->passphrase) : 0, NULL, NULL),
                 1);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
    return pair;
}

char *
tls_join(struct tls_files *files, const char *name, const char *const *paths)
{
    char *path = path_of(files, name, ""), block[8192];
    FILE *out = create(path, 0644);

    for (; *paths; paths++) {
        FILE *in = fopen(*paths, "r");
        size_t n;

        cr_assert_not_null(in);
        while ((n = fread(block, 1, sizeof block, in)) > 0)
            cr_assert_eq(fwrite(block, 1, n, out), n);
        fclose(in);
    }
    fclose(out);
    return path;
}

char *
tls_write(struct tls_files *files, const char *name, const char *text)
{
    char *path = path_of(files, name, "");
    FILE *out = create(path, 0644);

    fputs(text, out);
    fclose(out);
    return path;
}
