/* SPDX-License-Identifier: BSD-2-Clause
 *
 * spool/spool_identity: what is written is read, what is damaged is not believed.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spool/spool_identity.h"
#include "tests/unit/scratch.h"

static char dir[SCRATCH_PATH];

static void
begin(void)
{
    scratch_folder(dir, "postern-identity");
}

static const char *
path(void)
{
    static char text[sizeof dir + 16];

    snprintf(text, sizeof text, "%s/identity", dir);
    return text;
}

static void
end(void)
{
    unlink(path());
    rmdir(dir);
}

static void
put(const char *text)
{
    FILE *file = fopen(path(), "w");

    cr_assert(file != NULL);
    fputs(text, file);
    fclose(file);
}

TestSuite(spool_identity, .init = begin, .fini = end);

Test(spool_identity, what_is_written_is_read)
{
    struct spool_identity a, b, other;

    cr_assert(eq(int, spool_identity_read(dir, &a), ERR_NOT_FOUND));
    spool_identity_make(&a);
    spool_identity_make(&other);
    cr_assert(ne(str, a.log, other.log));
    cr_assert(eq(int, spool_identity_write(dir, &a), ERR_OK));
    cr_assert(eq(int, spool_identity_read(dir, &b), ERR_OK));
    cr_assert(eq(str, a.log, b.log));
    cr_assert(not(b.is_refused));
    a.is_refused = true;
    a.position = (struct spool_position){7, 1ull << 40};
    cr_assert(eq(int, spool_identity_write(dir, &a), ERR_OK));
    cr_assert(eq(int, spool_identity_read(dir, &b), ERR_OK));
    cr_assert(b.is_refused);
    cr_assert(eq(u32, b.position.ledger, 7));
    cr_assert(eq(u64, b.position.octets, 1ull << 40));
}

#define NAME "0123456789abcdef0123456789abcdef"

Test(spool_identity, what_is_damaged_is_not_believed)
{
    static const char *const damaged[] = {
        "",
        "log \n",
        "log " NAME,
        "log 0123\n",
        "log " NAME "00\n",
        "log " NAME "\nrefused 1",
        "log " NAME "\nrefused\n",
        "name " NAME "\n",
    };
    struct spool_identity identity;

    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        put(damaged[i]);
        cr_expect(eq(int, spool_identity_read(dir, &identity), ERR_CORRUPT), "%zu: \"%s\"", i,
                  damaged[i]);
    }
}

Test(spool_identity, positions_are_in_order)
{
    cr_expect(
        spool_position_is_before((struct spool_position){1, 9}, (struct spool_position){2, 0}));
    cr_expect(
        spool_position_is_before((struct spool_position){1, 8}, (struct spool_position){1, 9}));
    cr_expect(not(
        spool_position_is_before((struct spool_position){1, 9}, (struct spool_position){1, 9})));
    cr_expect(not(
        spool_position_is_before((struct spool_position){2, 0}, (struct spool_position){1, 9})));
}
