/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The address is known, so it is looked for, not guessed: a name with four odd numbers in it that
 * are another's address is no match.  Each way is one pass over the text.
 */
#include "sender/sender_dialin_address.h"

#include <stdio.h>

#define TEXT_MAX 256
#define GROUPS_MAX 64

/* Numbers of a text, and whether one separator alone stands between each and the one before. */
struct numbers {
    unsigned count;
    struct {
        unsigned value;
        bool is_joined;
    } items[GROUPS_MAX];
};

static bool
is_digit(char c, bool hex)
{
    return (c >= '0' && c <= '9') || (hex && c >= 'a' && c <= 'f');
}

static unsigned
digit_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Those of at most `digits_max` digits; a longer one is one of no value. */
static void
read_numbers(const char *text, bool hex, unsigned digits_max, struct numbers *numbers)
{
    const char *behind_last = NULL;

    numbers->count = 0;
    while (*text != '\0' && numbers->count < GROUPS_MAX) {
        unsigned value = 0, digits = 0;
        const char *begin = text;

        for (; is_digit(*text, hex); text++, digits++)
            value = digits < digits_max ? value * (hex ? 16 : 10) + digit_value(*text) : 0xfffff;
        if (digits == 0) {
            text++;
            continue;
        }
        numbers->items[numbers->count].value = digits <= digits_max ? value : 0xfffff;
        numbers->items[numbers->count++].is_joined =
            behind_last != NULL && begin == behind_last + 1 && strchr(".-_", *behind_last) != NULL;
        behind_last = text;
    }
}

/* Are `count` of them in a row these, all joined? */
static bool
has_row(const struct numbers *numbers, const unsigned *wanted, unsigned count)
{
    unsigned matched = 0;

    for (unsigned begin = 0; begin + count <= numbers->count; begin++) {
        for (matched = 0; matched < count; matched++)
            if (numbers->items[begin + matched].value != wanted[matched] ||
                (matched > 0 && !numbers->items[begin + matched].is_joined))
                break;
        if (matched == count)
            return true;
    }
    return false;
}

static bool
has_text4(const char *text, const uint8_t a[4])
{
    char form[16];

    snprintf(form, sizeof form, "%03u%03u%03u%03u", a[0], a[1], a[2], a[3]);
    if (strstr(text, form) != NULL)
        return true;
    snprintf(form, sizeof form, "%02x%02x%02x%02x", a[0], a[1], a[2], a[3]);
    return strstr(text, form) != NULL;
}

/* As one number, which begins and ends there. */
static bool
has_decimal(const char *text, const uint8_t a[4])
{
    char form[16];
    int size = snprintf(form, sizeof form, "%u",
                        (unsigned)a[0] << 24 | (unsigned)a[1] << 16 | (unsigned)a[2] << 8 | a[3]);

    for (const char *at = text; (at = strstr(at, form)) != NULL; at++)
        if (!is_digit(at[size], false) && (at == text || !is_digit(at[-1], false)))
            return true;
    return false;
}

static bool
has_ipv4(const char *text, const uint8_t a[4])
{
    const uint8_t back[4] = {a[3], a[2], a[1], a[0]};
    const unsigned forwards[4] = {a[0], a[1], a[2], a[3]}, backwards[4] = {a[3], a[2], a[1], a[0]};
    struct numbers numbers;

    read_numbers(text, false, 3, &numbers);
    return has_row(&numbers, forwards, 4) || has_row(&numbers, backwards, 4) ||
           has_text4(text, a) || has_text4(text, back) || has_decimal(text, a);
}

static void
without_separators(const char *text, char dst[TEXT_MAX])
{
    size_t n = 0;

    for (; *text != '\0' && n < TEXT_MAX - 1; text++)
        if (strchr(".-_", *text) == NULL)
            dst[n++] = *text;
    dst[n] = '\0';
}

static bool
has_ipv6(const char *text, const uint8_t a[16])
{
    static const char digits[] = "0123456789abcdef";
    char forwards[33], backwards[33], plain[TEXT_MAX];
    unsigned groups[8];
    struct numbers numbers;

    for (unsigned i = 0; i < 16; i++) {
        forwards[2 * i] = backwards[31 - 2 * i] = digits[a[i] >> 4];
        forwards[2 * i + 1] = backwards[30 - 2 * i] = digits[a[i] & 15];
    }
    forwards[32] = backwards[32] = '\0';
    without_separators(text, plain);
    if (strstr(plain, forwards) != NULL || strstr(plain, backwards) != NULL ||
        strstr(plain, forwards + 16) != NULL)
        return true;
    for (unsigned i = 0; i < 8; i++)
        groups[i] = (unsigned)a[2 * i] << 8 | a[2 * i + 1];
    read_numbers(text, true, 4, &numbers);
    for (unsigned i = 0; i + 4 <= 8; i++)
        if ((groups[i] | groups[i + 1] | groups[i + 2] | groups[i + 3]) != 0 &&
            has_row(&numbers, groups + i, 4))
            return true;
    return false;
}

bool
sender_dialin_has_address(const char *text, const struct inet_endpoint *address)
{
    if (address->family == 0)
        return false;
    return address->family == 4 ? has_ipv4(text, address->addr) : has_ipv6(text, address->addr);
}
