/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Entries to octets and back.  The spf process believes a worker as little as a worker believes it:
 * every enum is checked, every text has its bound.
 */
#include "spf/spf_protocol.h"

#include "spf/spf_record.h"

/* --- Questions. */

void
spf_question_encode(struct buf *b, const struct spf_question *question)
{
    put_u8(b, question->identity);
    put_u8(b, question->client.family);
    put_bytes(b, (struct slice){(const char *)question->client.addr, 16});
    put_text(b, question->helo);
    put_text(b, question->mail_from);
}

bool
spf_question_decode(struct decoder *d, struct spf_question_text *text,
                    struct spf_question *question)
{
    struct slice address;

    *question = (struct spf_question){.identity = get_u8(d) == SPF_HELO ? SPF_HELO : SPF_MAIL_FROM};
    question->client.family = get_u8(d);
    address = get_bytes(d);
    get_text(d, text->helo, sizeof text->helo);
    get_text(d, text->mail_from, sizeof text->mail_from);
    if (d->failed || address.n != 16 ||
        (question->client.family != 4 && question->client.family != 6))
        return false;
    memcpy(question->client.addr, address.p, 16);
    question->helo = text->helo;
    question->mail_from = text->mail_from;
    return true;
}

/* --- Answers. */

static bool
is_needed(enum spf_type type, struct slice item)
{
    return type != SPF_TYPE_TXT || spf_record_is(item);
}

static unsigned
items_max(enum spf_type type)
{
    switch (type) {
    case SPF_TYPE_MX:
    case SPF_TYPE_PTR:
        return SPF_HOSTS_SENT_MAX;
    case SPF_TYPE_TXT:
        return 2; /* that there is more than one is all that counts */
    case SPF_TYPE_A:
    case SPF_TYPE_AAAA:
        break;
    }
    return SPF_ITEMS_MAX;
}

void
spf_answer_encode(struct buf *b, const char *name, enum spf_type type,
                  const struct spf_answer *answer)
{
    struct slice chosen[SPF_ITEMS_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < answer->count && count < items_max(type); i++)
        if (is_needed(type, answer->items[i])) {
            chosen[count] = answer->items[i];
            if (chosen[count].n > SPF_RECORD_MAX)
                chosen[count].n = SPF_RECORD_MAX + 1;
            count++;
        }
    put_text(b, name);
    put_u8(b, type);
    put_u8(b, answer->result);
    put_u16(b, (uint16_t)count);
    for (unsigned i = 0; i < count; i++)
        put_bytes(b, chosen[i]);
}

bool
spf_answer_decode(struct decoder *d, char name[INET_DOMAIN_SIZE], enum spf_type *type,
                  struct spf_answer *answer, struct slice items[SPF_ITEMS_MAX])
{
    unsigned kind, result, count;

    get_text(d, name, INET_DOMAIN_SIZE);
    kind = get_u8(d);
    result = get_u8(d);
    count = get_u16(d);
    if (d->failed || kind >= SPF_TYPE_COUNT || result > SPF_ANSWER_TEMPORARY ||
        count > SPF_ITEMS_MAX)
        return false;
    for (unsigned i = 0; i < count; i++)
        items[i] = get_bytes(d);
    *type = (enum spf_type)kind;
    *answer = (struct spf_answer){(enum spf_answer_result)result, count, items};
    return !d->failed;
}

/* --- Results. */

void
spf_result_encode(struct buf *b, const struct spf_result *result)
{
    put_u8(b, result->verdict);
    put_u8(b, result->is_sound);
    put_u8(b, result->identity);
    put_u32(b, result->lookups);
    put_text(b, result->domain);
    put_text(b, result->mechanism);
    put_text(b, result->reason);
}

/* What the spf process sends is shown to people and written into headers. */
static bool
is_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

bool
spf_result_decode(struct decoder *d, struct spf_result *result)
{
    unsigned verdict = get_u8(d), is_sound = get_u8(d), identity = get_u8(d);

    *result = (struct spf_result){.is_sound = is_sound == 1, .lookups = get_u32(d)};
    get_text(d, result->domain, sizeof result->domain);
    get_text(d, result->mechanism, sizeof result->mechanism);
    get_text(d, result->reason, sizeof result->reason);
    result->verdict = (enum spf_verdict)verdict;
    result->identity = (enum spf_identity)identity;
    return !d->failed && verdict <= SPF_PERMERROR && identity <= SPF_MAIL_FROM &&
           (verdict == SPF_PASS || !result->is_sound) && is_printable(result->domain) &&
           is_printable(result->mechanism) && is_printable(result->reason);
}

/* --- Batches. */

void
spf_batch_send(struct channel *channel, enum spf_message type, struct buf *batch)
{
    /* A failure costs the checks, and their deadline tells. */
    if (channel != NULL && buf_size(batch) > 0)
        (void)!channel_send(channel, type, buf_slice(batch), NULL, 0);
    buf_clear(batch);
}

void
spf_batch_add(struct channel *channel, enum spf_message type, struct buf *batch, struct buf *entry)
{
    if (buf_size(batch) + buf_size(entry) > CHANNEL_MAX_BYTES)
        spf_batch_send(channel, type, batch);
    buf_add_slice(batch, buf_slice(entry));
    buf_clear(entry);
}
