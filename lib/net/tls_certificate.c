/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Certificates from PEM files.  The files are read by us and parsed from memory, so that an error
 * is either the system's or the format's, never a mixture.
 */
#include "net/tls_certificate.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net/tls.h"

#define FILE_MAX_BYTES (1024 * 1024)
#define DAY_S 86400

struct tls_certificate {
    char *path, *key_path;
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf */
    EVP_PKEY *key;
    char **names; /* lower case */
    size_t name_count;
    bool key_is_open; /* others than owner and group may read it */
};

/* --- files --- */

static int
read_file(const char *setting, const char *path, struct buf *content, bool *is_open,
          struct buf *problems)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    char *room;
    ssize_t n = -1;

    errno = fd < 0 ? errno : 0;
    if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    else if (fd >= 0) {
        while (buf_size(content) <= FILE_MAX_BYTES && buf_room(content, 16384, &room) == ERR_OK &&
               (n = read(fd, room, 16384)) > 0)
            buf_added(content, (size_t)n);
        if (is_open)
            *is_open = (st.st_mode & S_IROTH) != 0;
    }
    if (n != 0)
        buf_printf(problems, "%s %s: cannot be read: %s; %s\n", setting, path, strerror(errno),
                   errno == EACCES ? "let the user that relayd runs as read it (its group, or an "
                                     "access control list), or restart relayd as root"
                                   : "name a readable file in PEM form");
    if (fd >= 0)
        close(fd);
    return n == 0 ? ERR_OK : ERR_IO;
}

static BIO *
bio_of(const struct buf *content)
{
    BIO *bio = BIO_new_mem_buf(buf_slice(content).p, (int)buf_size(content));

    CHECK(bio != NULL);
    return bio;
}

/* --- certificates --- */

static int
parse_certificates(struct tls_certificate *c, const struct buf *content, struct buf *problems)
{
    BIO *bio = bio_of(content);
    char text[TLS_ERROR_SIZE];
    X509 *x;
    bool clean;

    ERR_clear_error();
    c->chain = sk_X509_new_null();
    CHECK(c->chain != NULL);
    while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (c->leaf == NULL)
            c->leaf = x;
        else
            CHECK(sk_X509_push(c->chain, x) > 0);
    }
    clean = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(bio);
    if (!clean)
        buf_printf(problems,
                   "tls-certificate %s: certificate %d in it is damaged: %s; write the file anew\n",
                   c->path, c->leaf ? sk_X509_num(c->chain) + 2 : 1, tls_error_text(text));
    else if (c->leaf == NULL)
        buf_printf(problems,
                   "tls-certificate %s: holds no certificate in PEM form; it should have this "
                   "host's certificate first, then its issuers\n",
                   c->path);
    ERR_clear_error();
    return clean && c->leaf ? ERR_OK : ERR_SYNTAX;
}

static const char *
subject_of(X509 *x, char *dst, size_t size)
{
    X509_NAME_oneline(X509_get_subject_name(x), dst, (int)size);
    return dst;
}

static int
check_chain(const struct tls_certificate *c, struct buf *problems)
{
    X509 *below = c->leaf;
    char upper[200], lower[200];

    for (int i = 0; i < sk_X509_num(c->chain); i++) {
        X509 *x = sk_X509_value(c->chain, i);

        if (X509_check_issued(x, below) != X509_V_OK) {
            buf_printf(problems,
                       "tls-certificate %s: the chain is out of order: certificate %d (%s) is not "
                       "the issuer of the one before it (%s); write this host's certificate "
                       "first, then each issuer behind what it has issued\n",
                       c->path, i + 2, subject_of(x, upper, sizeof upper),
                       subject_of(below, lower, sizeof lower));
            return ERR_SYNTAX;
        }
        below = x;
    }
    return ERR_OK;
}

static void
to_lower(char *text)
{
    for (; *text; text++)
        *text = (char)(*text >= 'A' && *text <= 'Z' ? *text + 32 : *text);
}

static void
add_name(struct tls_certificate *c, const ASN1_STRING *s)
{
    struct slice name = {(const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)};
    char *copy = mem_alloc(name.n + 1);

    if (!slice_to_text(name, copy, name.n + 1) || name.n == 0) {
        free(copy);
        return;
    }
    to_lower(copy);
    c->names = mem_realloc(c->names, (c->name_count + 1) * sizeof *c->names);
    c->names[c->name_count++] = copy;
}

/* The names of subjectAltName, or without it the common name (RFC 6125 6.4.4). */
static void
collect_names(struct tls_certificate *c)
{
    GENERAL_NAMES *list = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
    X509_NAME *subject = X509_get_subject_name(c->leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);

        if (name->type == GEN_DNS)
            add_name(c, name->d.dNSName);
    }
    if (list == NULL && at >= 0)
        add_name(c, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    GENERAL_NAMES_free(list);
    ERR_clear_error();
}

/* --- the key --- */

static int
on_passphrase(char *dst, int size, int writing, void *asked)
{
    (void)dst;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return 0;
}

static int
parse_key(struct tls_certificate *c, const struct buf *content, struct buf *problems)
{
    BIO *bio = bio_of(content);
    bool encrypted = false;

    ERR_clear_error();
    c->key = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &encrypted);
    BIO_free(bio);
    ERR_clear_error();
    if (c->key)
        return ERR_OK;
    if (encrypted)
        buf_printf(problems,
                   "tls-key %s: is encrypted, and nobody is there to type its passphrase; write it "
                   "without one: openssl pkey -in %s -out NEW-FILE\n",
                   c->key_path, c->key_path);
    else
        buf_printf(problems, "tls-key %s: holds no private key in PEM form\n", c->key_path);
    return ERR_SYNTAX;
}

static int
check_key(const struct tls_certificate *c, struct buf *problems)
{
    bool fits_another = false;

    if (X509_check_private_key(c->leaf, c->key) == 1)
        return ERR_OK;
    for (int i = 0; i < sk_X509_num(c->chain); i++)
        fits_another =
            fits_another || X509_check_private_key(sk_X509_value(c->chain, i), c->key) == 1;
    ERR_clear_error();
    if (fits_another)
        buf_printf(problems,
                   "tls-certificate %s: the chain is out of order: the certificate of key %s "
                   "stands behind another one; write it first, then its issuers\n",
                   c->path, c->key_path);
    else
        buf_printf(problems,
                   "tls-key %s: does not fit the certificate %s; the lists tls-certificate and "
                   "tls-key are paired by their order\n",
                   c->key_path, c->path);
    return ERR_SYNTAX;
}

/* --- life --- */

static int
load_certificates(struct tls_certificate *c, struct buf *problems)
{
    struct buf content;
    int rc;

    buf_init(&content, 0);
    rc = read_file("tls-certificate", c->path, &content, NULL, problems);
    if (rc == ERR_OK)
        rc = parse_certificates(c, &content, problems);
    if (rc == ERR_OK)
        collect_names(c);
    buf_fini(&content);
    return rc;
}

static int
load_key(struct tls_certificate *c, struct buf *problems)
{
    struct buf content;
    int rc;

    buf_init(&content, 0);
    rc = read_file("tls-key", c->key_path, &content, &c->key_is_open, problems);
    if (rc == ERR_OK)
        rc = parse_key(c, &content, problems);
    if (content.mem)
        OPENSSL_cleanse(content.mem, content.cap);
    buf_fini(&content);
    return rc;
}

static void
look_at_key(struct tls_certificate *c)
{
    struct stat st;

    c->key_is_open = stat(c->key_path, &st) == 0 && (st.st_mode & S_IROTH) != 0;
}

static struct tls_certificate *
begin(const char *path, const char *key_path)
{
    struct tls_certificate *c = mem_alloc(sizeof *c);

    c->path = mem_strdup(path);
    c->key_path = mem_strdup(key_path);
    return c;
}

/* Gives it to the caller, or an end. */
static int
finish(struct tls_certificate *c, int rc, struct tls_certificate **certificate)
{
    if (rc < 0)
        tls_certificate_free(&c);
    *certificate = c;
    return rc;
}

int
tls_certificate_load(const char *path, const char *key_path, struct buf *problems,
                     struct tls_certificate **certificate)
{
    struct tls_certificate *c = begin(path, key_path);
    int rc = load_certificates(c, problems), key_rc = load_key(c, problems);

    if (rc == ERR_OK)
        rc = key_rc;
    if (rc == ERR_OK)
        rc = check_key(c, problems);
    if (rc == ERR_OK)
        rc = check_chain(c, problems);
    return finish(c, rc, certificate);
}

int
tls_certificate_read(const char *path, const char *key_path, struct buf *problems,
                     struct tls_certificate **certificate)
{
    struct tls_certificate *c = begin(path, key_path);
    int rc = load_certificates(c, problems);

    look_at_key(c);
    return finish(c, rc, certificate);
}

void
tls_certificate_free(struct tls_certificate **certificate)
{
    struct tls_certificate *c = *certificate;

    *certificate = NULL;
    if (c == NULL)
        return;
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    for (size_t i = 0; i < c->name_count; i++)
        free(c->names[i]);
    free(c->names);
    free(c->path);
    free(c->key_path);
    free(c);
}

/* --- looking --- */

bool
tls_certificate_is_for(const struct tls_certificate *c, const char *name)
{
    const char *dot = strchr(name, '.');

    for (size_t i = 0; i < c->name_count; i++) {
        const char *own = c->names[i];

        if (strcmp(own, name) == 0)
            return true;
        if (own[0] == '*' && name[0] != '*' && dot && strcmp(own + 1, dot) == 0)
            return true;
    }
    return false;
}

size_t
tls_certificate_name_count(const struct tls_certificate *c)
{
    return c->name_count;
}

const char *
tls_certificate_name(const struct tls_certificate *c, size_t i)
{
    CHECK(i < c->name_count);
    return c->names[i];
}

const char *
tls_certificate_kind(const struct tls_certificate *c)
{
    const EVP_PKEY *key = X509_get0_pubkey(c->leaf); /* NULL: of a kind that is not known */
    const char *name = key ? EVP_PKEY_get0_type_name(key) : NULL;

    return name ? name : "";
}

const char *
tls_certificate_path(const struct tls_certificate *c)
{
    return c->path;
}

static int64_t
seconds_of(const ASN1_TIME *t)
{
    struct tm tm = {0};

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

int64_t
tls_certificate_end_ms(const struct tls_certificate *c)
{
    return seconds_of(X509_get0_notAfter(c->leaf)) * 1000;
}

/* --- DANE. */

/* What the selector means of a certificate: all of it, or its key; free with OPENSSL_free. */
static int
select_octets(X509 *x, unsigned selector, unsigned char **octets)
{
    *octets = NULL;
    if (selector == 0)
        return i2d_X509(x, octets);
    return selector == 1 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), octets) : -1;
}

static bool
fits(X509 *x, unsigned selector, unsigned matching, struct slice data)
{
    const EVP_MD *const digests[] = {NULL, EVP_sha256(), EVP_sha512()};
    unsigned char *octets, digest[EVP_MAX_MD_SIZE];
    int n = select_octets(x, selector, &octets);
    unsigned digest_size = 0;
    bool is_same = false;

    if (n > 0 && matching == 0)
        is_same = (size_t)n == data.n && memcmp(octets, data.p, data.n) == 0;
    else if (n > 0 && matching < ARRAY_SIZE(digests))
        is_same =
            EVP_Digest(octets, (size_t)n, digest, &digest_size, digests[matching], NULL) == 1 &&
            digest_size == data.n && memcmp(digest, data.p, data.n) == 0;
    OPENSSL_free(octets);
    return is_same;
}

bool
tls_certificate_fits_tlsa(const struct tls_certificate *c, struct slice tlsa)
{
    unsigned usage, selector, matching;
    struct slice data;

    if (tlsa.n < 4)
        return false;
    usage = (unsigned char)tlsa.p[0];
    selector = (unsigned char)tlsa.p[1];
    matching = (unsigned char)tlsa.p[2];
    data = (struct slice){tlsa.p + 3, tlsa.n - 3};
    if (usage == 3 && fits(c->leaf, selector, matching, data))
        return true;
    for (int i = 0; usage == 2 && i < sk_X509_num(c->chain); i++)
        if (fits(sk_X509_value(c->chain, i), selector, matching, data))
            return true;
    return false;
}

int
tls_certificate_use(const struct tls_certificate *c, SSL_CTX *ctx, struct buf *problems)
{
    char text[TLS_ERROR_SIZE];

    ERR_clear_error();
    if (SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 1) == 1)
        return ERR_OK;
    buf_printf(problems, "tls-certificate %s: cannot be used: %s; have a new one made\n", c->path,
               tls_error_text(text));
    ERR_clear_error();
    return ERR_SYNTAX;
}

void
tls_certificate_warnings(const struct tls_certificate *c, int64_t wall_ms, struct buf *warnings)
{
    int64_t now = wall_ms / 1000, begin = seconds_of(X509_get0_notBefore(c->leaf)),
            end = tls_certificate_end_ms(c) / 1000;

    if (end <= now)
        buf_printf(warnings, "tls-certificate %s: has ended %lld days ago; renew it, then reload\n",
                   c->path, (long long)((now - end) / DAY_S));
    else if (end - now < (int64_t)TLS_CERTIFICATE_WARN_DAYS * DAY_S)
        buf_printf(warnings, "tls-certificate %s: ends in %lld days; renew it, then reload\n",
                   c->path, (long long)((end - now) / DAY_S));
    if (begin > now)
        buf_printf(warnings,
                   "tls-certificate %s: is not valid yet (its time begins in %lld days); see "
                   "whether this host's clock is right\n",
                   c->path, (long long)((begin - now + DAY_S - 1) / DAY_S));
    if (c->key_is_open)
        buf_printf(warnings,
                   "tls-key %s: every user of this host can read it; take that away: chmod o= %s\n",
                   c->key_path, c->key_path);
}

void
tls_certificates_warnings(struct tls_certificate *const *certificates, size_t count,
                          const char *hostname, int64_t wall_ms, struct buf *warnings)
{
    char *name = mem_strdup(hostname);
    bool any = false;

    to_lower(name);
    for (size_t i = 0; i < count; i++) {
        tls_certificate_warnings(certificates[i], wall_ms, warnings);
        any = any || tls_certificate_is_for(certificates[i], name);
    }
    if (!any)
        buf_printf(warnings,
                   "tls-certificate: none is for the host name %s; clients that check names will "
                   "not trust this host\n",
                   name);
    free(name);
}
