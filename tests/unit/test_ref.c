/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P6: a reference is found in any pasted text, and no two are alike.
 */
#include <criterion/criterion.h>

#include "base/ref.h"

static const struct {
    const char *name, *text, *want;
} finds[] = {
    {"bare", "P001-4KX3T-0B7Q2CF", "P001-4KX3T-0B7Q2CF"},
    {"in a reply", "550 5.7.1 No [P001-4KX3T-0B7Q2CF]", "P001-4KX3T-0B7Q2CF"},
    {"lower case", "see p001-4kx3t-0b7q2cf please", "P001-4KX3T-0B7Q2CF"},
    {"look-alike letters", "POO1-4KX3T-OB7Q2CF", "P001-4KX3T-0B7Q2CF"},
    {"too short", "P001-4KX3T-0B7Q2C", NULL},
    {"no node", "P000-4KX3T-0B7Q2CF", NULL},
    {"none", "nothing here", NULL},
};

Test(ref, P6_is_found_in_pasted_text)
{
    for (size_t i = 0; i < ARRAY_SIZE(finds); i++) {
        struct ref r;
        char text[REF_SIZE];
        int rc = ref_find(slice_of(finds[i].text), &r);

        cr_expect_eq(rc, finds[i].want ? ERR_OK : ERR_NOT_FOUND, "%s", finds[i].name);
        if (finds[i].want)
            cr_expect_str_eq(ref_text(r, text), finds[i].want, "%s", finds[i].name);
    }
}

Test(ref, P6_survives_the_way_through_text)
{
    struct ref made = ref_make(7, 1795000000000, 130, 0xfffffff), read;
    char text[REF_SIZE];

    cr_assert_eq(ref_parse(slice_of(ref_text(made, text)), &read), ERR_OK);
    cr_expect(ref_equal(made, read));
    cr_expect_eq(ref_minute_wall_ms(read), 1795000000000 / 60000 * 60000);
}
