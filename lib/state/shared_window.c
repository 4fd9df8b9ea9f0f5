/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Hourly windows: one word for the minute that runs, a ring of words for the minutes before.  Every
 * word names its minute and, by a tag, its owner; what names another is "nothing".
 *
 *      now:      { minute 14:07, count 12 }
 *      minutes:  { 14:06, 3 } { 14:05, 9 } ... { 13:07, 1 }          sum of the sixty: 188
 *
 * One is taken by a compare-and-swap of `now` from 12 to 13, if 188 + 12 is below the limit.  Who
 * finds that the minute is over first writes its count into the ring and then moves `now` on; that
 * succeeds only from the very count that was written, so the ring is final before a later minute
 * can count, and the sum that goes with a minute never changes.  A process that stopped half way
 * writes, when it wakes, what is there already, or nothing: a word of the ring is replaced only by
 * a later minute or a higher count of its own, and only while `now` is still what it was.
 *
 * The table is open addressing with two rows of 16 places a key.  Without an empty place a newcomer
 * takes one that counts nothing any more, then the one unused for the longest time (of single
 * clients before whole customers), which is counted.  Two places for one key (two processes that
 * met it first at the same moment, in full rows) are summed.
 */
#include "state/shared_layout.h"

#define MINUTE_MS 60000
#define MINUTES 60    /* before the one that runs */
#define BEHIND_MAX 10 /* minutes by which the clock may be behind and is not taken for wrong */
#define FIELD_BITS 24
#define FIELD_MASK ((1u << FIELD_BITS) - 1)
#define PLACES_MAX (2 * SHARED_PLACES)
#define CLIENT_BIT 1u /* of a key: it is a single client's */
#define NEAR_PERCENT 80

/* --- Words: tag 16, minute 24, count 24.  Minutes are compared as a circle. */

struct moment {
    bool is_ours;
    uint32_t minute, count;
};

static uint64_t
tag_of(uint64_t key)
{
    return key >> 48 ? key >> 48 : 1;
}

static uint64_t
word_of(uint64_t key, uint32_t minute, uint32_t count)
{
    return tag_of(key) << 48 | (uint64_t)minute << FIELD_BITS | count;
}

static struct moment
moment_of(uint64_t key, uint64_t word)
{
    return (struct moment){word >> 48 == tag_of(key), word >> FIELD_BITS & FIELD_MASK,
                           word & FIELD_MASK};
}

static uint32_t
minute_of(int64_t wall_ms)
{
    return (uint32_t)(wall_ms / MINUTE_MS) & FIELD_MASK;
}

/* How many minutes `a` is after `b`. */
static int32_t
minutes_after(uint32_t a, uint32_t b)
{
    return (int32_t)((a - b) << (32 - FIELD_BITS)) >> (32 - FIELD_BITS);
}

/* --- Places. */

uint64_t
shared_window_key(const struct shared_table *table, uint32_t customer_id,
                  const struct inet_endpoint *client)
{
    uint8_t bytes[21] = {0};
    uint64_t key;

    memcpy(bytes, &customer_id, sizeof customer_id);
    if (client) {
        bytes[4] = client->family;
        memcpy(bytes + 5, client->addr, client->family == 4 ? 4 : 8);
    }
    key = siphash(bytes, sizeof bytes, table->memory->header.limits_key);
    key = client ? key | CLIENT_BIT : key & ~(uint64_t)CLIENT_BIT;
    return key ? key : 2;
}

static unsigned
place_of(uint64_t key, unsigned i)
{
    uint64_t row = key >> 8 & (SHARED_WINDOW_ROWS - 1);

    if (i >= SHARED_PLACES) /* never the same again */
        row ^= 1 + (key >> 24) % (SHARED_WINDOW_ROWS - 1);
    return (unsigned)row * SHARED_PLACES + i % SHARED_PLACES;
}

/* The places of `key`, mostly one; the first is the one that counts further. */
static unsigned
find_places(const struct shared_table *table, uint64_t key, struct shared_window *found[PLACES_MAX])
{
    struct shared_memory *m = table->memory;
    unsigned count = 0;

    for (unsigned i = 0; i < PLACES_MAX; i++)
        if (atomic_load(&m->window_keys[place_of(key, i)]) == key)
            found[count++] = &m->windows[place_of(key, i)];
    return count;
}

/* How little it hurts to take this place, 0 being best. */
static uint64_t
cost_of(const struct shared_table *table, unsigned place, uint64_t key, uint32_t minute)
{
    struct moment last = moment_of(key, atomic_load(&table->memory->windows[place].now));
    int32_t age = minutes_after(minute, last.minute);

    if (key == 0)
        return 0;
    if (!last.is_ours) /* somebody is just about to use it */
        age = 0;
    if (age > MINUTES || age < -BEHIND_MAX)
        return 1;
    return (key & CLIENT_BIT ? UINT64_C(1) << 32 : UINT64_C(2) << 32) -
           (uint64_t)(age + 2 * MINUTES);
}

static void
claim(struct shared_table *table, uint64_t key, uint32_t minute)
{
    struct shared_memory *m = table->memory;
    uint64_t least = UINT64_MAX, there = 0;
    unsigned place = 0;

    for (unsigned i = 0; i < PLACES_MAX && least > 0; i++) {
        uint64_t owner = atomic_load(&m->window_keys[place_of(key, i)]);
        uint64_t cost = cost_of(table, place_of(key, i), owner, minute);

        if (cost < least) {
            least = cost;
            there = owner;
            place = place_of(key, i);
        }
    }
    if (there != key && atomic_compare_exchange_strong(&m->window_keys[place], &there, key) &&
        least > 1)
        atomic_fetch_add(&m->header.window_evictions, 1);
}

static unsigned
find_or_claim(struct shared_table *table, uint64_t key, uint32_t minute,
              struct shared_window *found[PLACES_MAX])
{
    unsigned count;

    while ((count = find_places(table, key, found)) == 0)
        claim(table, key, minute);
    return count;
}

static bool
still_owns(const struct shared_table *table, const struct shared_window *window, uint64_t key)
{
    return atomic_load(&table->memory->window_keys[window - table->memory->windows]) == key;
}

/* --- Counting. */

/* Of the 60 minutes before `minute`. */
static uint64_t
sum_before(const struct shared_window *window, uint64_t key, uint32_t minute)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < SHARED_WINDOW_RING; i++) {
        struct moment m = moment_of(key, atomic_load(&window->minutes[i]));
        int32_t age = minutes_after(minute, m.minute);

        if (m.is_ours && age > 0 && age <= MINUTES)
            sum += m.count;
    }
    return sum;
}

/* Writes the minute that is over, of which `word` is the count, into the ring. */
static void
close_minute(const struct shared_table *table, struct shared_window *window, uint64_t key,
             uint64_t word)
{
    struct moment over = moment_of(key, word);
    _Atomic uint64_t *place = &window->minutes[over.minute % SHARED_WINDOW_RING];
    uint64_t there = atomic_load(place);

    do {
        struct moment m = moment_of(key, there);

        if (m.is_ours && m.minute == over.minute && m.count >= over.count)
            return;
        /* Somebody has moved on meanwhile, and has therefore done this. */
        if (atomic_load(&window->now) != word || !still_owns(table, window, key))
            return;
    } while (!atomic_compare_exchange_strong(place, &there, word));
}

/* The minute that a call at `minute` belongs to: later, if the clock has been set back a little. */
static uint32_t
minute_at(struct moment last, uint32_t minute)
{
    int32_t ahead = minutes_after(last.minute, minute);

    return last.is_ours && ahead > 0 && ahead <= BEHIND_MAX ? last.minute : minute;
}

/* The clock was far ahead and is right again: what was counted in times to come would come alive
 * then. */
static void
forget_times_to_come(struct shared_window *window, uint64_t key, uint32_t minute)
{
    for (unsigned i = 0; i < SHARED_WINDOW_RING; i++) {
        uint64_t word = atomic_load(&window->minutes[i]);
        struct moment m = moment_of(key, word);

        if (m.is_ours && minutes_after(m.minute, minute) > 0)
            (void)atomic_compare_exchange_strong(&window->minutes[i], &word, 0);
    }
}

/* Makes the ring ready for a later minute than that of `word`, or an earlier one. */
static void
leave_minute(const struct shared_table *table, struct shared_window *window, uint64_t key,
             uint64_t word, uint32_t minute)
{
    struct moment last = moment_of(key, word);

    if (!last.is_ours || last.minute == minute)
        return;
    if (minutes_after(minute, last.minute) > 0)
        close_minute(table, window, key, word);
    else
        forget_times_to_come(window, key, minute);
}

/* What was counted in `minute`; it may be in the ring if the clock was ahead in between. */
static uint32_t
count_at(const struct shared_window *window, uint64_t key, uint64_t word, uint32_t minute)
{
    struct moment last = moment_of(key, word);
    struct moment in_ring =
        moment_of(key, atomic_load(&window->minutes[minute % SHARED_WINDOW_RING]));

    if (last.is_ours && last.minute == minute)
        return last.count;
    return in_ring.is_ours && in_ring.minute == minute ? in_ring.count : 0;
}

/* With `minute` itself, for who does not count. */
static uint64_t
sum_all(const struct shared_window *window, uint64_t key, uint32_t minute)
{
    uint64_t word = atomic_load(&window->now), sum = sum_before(window, key, minute);
    struct moment last = moment_of(key, word);
    int32_t age = minutes_after(minute, last.minute);

    /* It ended without a later one: nobody has written it into the ring, or only just. */
    if (last.is_ours && age > 0 && age <= MINUTES) {
        uint32_t in_ring = count_at(window, key, 0, last.minute);

        sum += last.count > in_ring ? last.count - in_ring : 0;
    }
    return sum + count_at(window, key, word, minute);
}

static uint32_t
effective_limit(uint32_t limit)
{
    return limit == SHARED_WINDOW_UNLIMITED || limit < SHARED_WINDOW_LIMIT_MAX
               ? limit
               : SHARED_WINDOW_LIMIT_MAX;
}

/* One turn.  False: somebody else was quicker, look again. */
static bool
try_take(struct shared_table *table, uint64_t key, uint32_t minute, uint32_t limit,
         struct shared_window_answer *answer)
{
    struct shared_window *windows[PLACES_MAX];
    unsigned places = find_or_claim(table, key, minute, windows);
    uint64_t word = atomic_load(&windows[0]->now), sum;
    uint32_t count;

    minute = minute_at(moment_of(key, word), minute);
    leave_minute(table, windows[0], key, word, minute);
    count = count_at(windows[0], key, word, minute);
    sum = sum_before(windows[0], key, minute);
    for (unsigned i = 1; i < places; i++)
        sum += sum_all(windows[i], key, minute);
    *answer = (struct shared_window_answer){.count = (uint32_t)(sum + count)};
    if (sum + count >= limit)
        return atomic_load(&windows[0]->now) == word && still_owns(table, windows[0], key);
    /* Nobody counts millions in a minute; should it be, the word stays at its most. */
    if (!atomic_compare_exchange_strong(&windows[0]->now, &word,
                                        word_of(key, minute, count + (count < FIELD_MASK))))
        return false;
    answer->taken = still_owns(table, windows[0], key);
    answer->count++;
    return answer->taken;
}

/* --- What is told. */

/* What was counted `age` minutes before `minute`. */
static uint64_t
count_of_age(const struct shared_table *table, uint64_t key, uint32_t minute, uint32_t age)
{
    struct shared_window *windows[PLACES_MAX];
    unsigned places = find_places(table, key, windows);
    uint64_t sum = 0;

    for (unsigned p = 0; p < places; p++)
        sum +=
            count_at(windows[p], key, atomic_load(&windows[p]->now), (minute - age) & FIELD_MASK);
    return sum;
}

/* When there is room: as many of the oldest minutes must leave as hold what is too much. */
static int64_t
wait_ms(const struct shared_table *table, uint64_t key, int64_t wall_ms, uint32_t limit)
{
    struct shared_window *windows[PLACES_MAX];
    uint32_t minute = minute_of(wall_ms), age;
    uint64_t left = shared_window_count(table, key, wall_ms), gone;

    if (find_places(table, key, windows) > 0)
        minute = minute_at(moment_of(key, atomic_load(&windows[0]->now)), minute);
    for (age = MINUTES; age > 0; age--) {
        gone = count_of_age(table, key, minute, age);
        left -= gone < left ? gone : left;
        if (left < limit)
            break;
    }
    return (MINUTES + 1 - age + minutes_after(minute, minute_of(wall_ms))) * (int64_t)MINUTE_MS -
           wall_ms % MINUTE_MS;
}

static bool
is_first_near(struct shared_table *table, uint64_t key, uint32_t minute, uint32_t limit,
              uint32_t count)
{
    struct shared_window *windows[PLACES_MAX];
    struct moment told;
    uint64_t word;

    if (limit == SHARED_WINDOW_UNLIMITED ||
        (uint64_t)count * 100 < (uint64_t)limit * NEAR_PERCENT ||
        find_places(table, key, windows) == 0)
        return false;
    word = atomic_load(&windows[0]->told);
    told = moment_of(key, word);
    if (told.is_ours && minutes_after(minute, told.minute) >= 0 &&
        minutes_after(minute, told.minute) < MINUTES)
        return false;
    return atomic_compare_exchange_strong(&windows[0]->told, &word, word_of(key, minute, 0));
}

struct shared_window_answer
shared_window_take(struct shared_table *table, uint64_t key, int64_t wall_ms, uint32_t limit)
{
    struct shared_window_answer answer;
    uint32_t minute = minute_of(wall_ms);

    limit = effective_limit(limit);
    while (!try_take(table, key, minute, limit, &answer))
        ;
    if (answer.taken)
        answer.is_near = is_first_near(table, key, minute, limit, answer.count);
    else
        answer.wait_ms = wait_ms(table, key, wall_ms, limit);
    return answer;
}

struct shared_window_answer
shared_window_look(const struct shared_table *table, uint64_t key, int64_t wall_ms, uint32_t limit)
{
    struct shared_window_answer answer = {.count = shared_window_count(table, key, wall_ms)};

    limit = effective_limit(limit);
    answer.taken = answer.count < limit;
    if (!answer.taken)
        answer.wait_ms = wait_ms(table, key, wall_ms, limit);
    return answer;
}

uint32_t
shared_window_count(const struct shared_table *table, uint64_t key, int64_t wall_ms)
{
    struct shared_window *windows[PLACES_MAX];
    unsigned places = find_places(table, key, windows);
    uint64_t sum = 0;

    for (unsigned i = 0; i < places; i++) {
        struct moment last = moment_of(key, atomic_load(&windows[i]->now));

        sum += sum_all(windows[i], key, minute_at(last, minute_of(wall_ms)));
    }
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

uint64_t
shared_window_evictions(const struct shared_table *table)
{
    return atomic_load(&table->memory->header.window_evictions);
}

/* --- For the snapshot. */

static int64_t
wall_ms_of(uint32_t minute, int64_t wall_ms)
{
    return (wall_ms / MINUTE_MS - minutes_after(minute_of(wall_ms), minute)) * MINUTE_MS;
}

unsigned
shared_window_read(const struct shared_table *table, unsigned place, int64_t wall_ms, uint64_t *key,
                   struct shared_window_minute minutes[SHARED_WINDOW_MINUTES])
{
    const struct shared_window *window = &table->memory->windows[place];
    unsigned count = 0;
    struct moment now;
    uint32_t last;

    *key = atomic_load(&table->memory->window_keys[place]);
    now = moment_of(*key, atomic_load(&window->now));
    last = minute_at(now, minute_of(wall_ms));
    if (*key == 0 || !now.is_ours || minutes_after(last, now.minute) < 0 ||
        minutes_after(last, now.minute) > MINUTES)
        return 0;
    for (uint32_t i = 0; i <= MINUTES; i++) {
        uint32_t then = (last - MINUTES + i) & FIELD_MASK;
        uint32_t counted = count_at(window, *key, atomic_load(&window->now), then);

        if (counted > 0)
            minutes[count++] = (struct shared_window_minute){wall_ms_of(then, wall_ms), counted};
    }
    return count;
}

static void
restore_minute(struct shared_window *window, uint64_t key, uint32_t minute, uint32_t count)
{
    uint64_t now_word = atomic_load(&window->now);
    struct moment now = moment_of(key, now_word);
    _Atomic uint64_t *at = &window->minutes[minute % SHARED_WINDOW_RING];
    struct moment there;

    if (!now.is_ours || minutes_after(minute, now.minute) >= 0)
        at = &window->now;
    if (now.is_ours && minutes_after(minute, now.minute) > 0)
        atomic_store(&window->minutes[now.minute % SHARED_WINDOW_RING], now_word);
    there = moment_of(key, atomic_load(at));
    if (there.is_ours && there.minute == minute)
        count = count > FIELD_MASK - there.count ? FIELD_MASK : count + there.count;
    atomic_store(at, word_of(key, minute, count));
}

void
shared_window_restore(struct shared_table *table, uint64_t key,
                      const struct shared_window_minute *minutes, unsigned count)
{
    struct shared_window *windows[PLACES_MAX];

    CHECK(count > 0 && key != 0);
    (void)find_or_claim(table, key, minute_of(minutes[count - 1].wall_ms), windows);
    for (unsigned i = 0; i < count; i++)
        restore_minute(windows[0], key, minute_of(minutes[i].wall_ms),
                       minutes[i].count & FIELD_MASK);
}
