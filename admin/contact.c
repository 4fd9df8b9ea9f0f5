/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One query for both ways in which it comes about: a contact in a domain of the customer's own, and
 * one in another customer's domain that the same server takes mail for.
 */
#include "admin/contact.h"

/* The domain that takes the contact's mail here: its own name, or the nearest parent's. */
#define DEPENDENT_CONTACTS                                                                        \
    "SELECT c.name, c.contact, d.name, d.customer_id = c.id, shared.place "                       \
    "FROM postern.customers c "                                                                   \
    "CROSS JOIN LATERAL (SELECT lower(substring(c.contact FROM '[^@]*$')) AS name) at "           \
    "CROSS JOIN LATERAL (SELECT d.name, d.customer_id FROM postern.domains d "                    \
    "    WHERE d.name = at.name "                                                                 \
    "       OR (left(d.name, 1) = '.' AND right(at.name, length(d.name)) = d.name) "              \
    "    ORDER BY length(d.name) DESC LIMIT 1) d "                                                \
    "LEFT JOIN LATERAL (SELECT coalesce(b.host, host(b.address)) || ' port ' || b.port AS place " \
    "    FROM postern.backends b JOIN postern.backends own ON own.customer_id = c.id "            \
    "     AND own.port = b.port AND (own.host = b.host OR own.address = b.address) "              \
    "    WHERE b.customer_id = d.customer_id AND (b.domain = d.name OR (b.domain IS NULL AND "    \
    "          NOT EXISTS (SELECT FROM postern.backends o WHERE o.domain = d.name))) "            \
    "    ORDER BY b.number LIMIT 1) shared ON true "                                              \
    "WHERE (c.id = $1::integer OR d.customer_id = $1::integer) "                                  \
    "  AND (d.customer_id = c.id OR shared.place IS NOT NULL) ORDER BY c.name"

static void
warn(struct call *call, const PGresult *result, int row)
{
    const char *customer = PQgetvalue(result, row, 0), *contact = PQgetvalue(result, row, 1),
               *domain = PQgetvalue(result, row, 2);

    if (database_bool(result, row, 3))
        call_warn(call,
                  "%s, the contact of %s, is in the customer's own domain %s: notices of trouble "
                  "with its server wait until that server is back; give an address elsewhere: "
                  "relayctl customer set %s --contact ADDRESS",
                  contact, customer, domain, customer);
    else
        call_warn(call,
                  "%s, the contact of %s, is in %s, whose mail goes to the same server, %s: "
                  "notices of trouble with it wait until that server is back; give an address "
                  "elsewhere: relayctl customer set %s --contact ADDRESS",
                  contact, customer, domain, PQgetvalue(result, row, 4), customer);
}

enum command_status
contact_warn(struct call *call, const char *customer_id)
{
    const char *params[] = {customer_id};
    PGresult *result;
    enum command_status status = database_query(call, DEPENDENT_CONTACTS, 1, params, &result);

    if (status != COMMAND_DONE)
        return status;
    for (int row = 0; row < PQntuples(result); row++)
        warn(call, result, row);
    PQclear(result);
    return COMMAND_DONE;
}
