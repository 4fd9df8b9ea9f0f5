/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Orders and what has come of them, as one line of JSON each goes over the keeper's control socket:
 *
 *   {"verb":"order","act":"hold","reason":"...","until_ms":0,"customer_id":0,"backend":0,
 *    "detail":"","ids":["P001-4KX3T-0B7Q2CF",...]}
 *   {"ok":true,"who":"root","ids":["..."],"already":1,
 *    "others":[{"id":"...","result":"ended","why":"it has ended"}]}
 *   {"ok":false,"error":"..."}; with "outcome":"not known" where it may have been done
 *
 * The operator's name is not in it: it is the socket's peer's.  ("for" names who has asked a reader
 * that the keeper itself has started; of anybody else it means nothing.)
 */
#ifndef ORDER_JSON_H
#define ORDER_JSON_H

#include <jansson.h>

#include "order/order.h"

/* So many fit into a line that a control socket takes. */
#define ORDER_IDS_MAX 2000

/* NULL: a text is no UTF-8. */
json_t *order_json_of(const struct order *order, const struct ref *refs, size_t count);

/* `order` and *problem borrow from `json`; *refs is a new array, free() it.  ERR_SYNTAX: *problem
 * says what is wrong, for people. */
MUST_USE int order_json_parse(const json_t *json, struct order *order, struct ref **refs,
                              size_t *count, const char **problem);

/* What came of one message goes into the answer: its id if it is done, a count if it was so
 * already, else its id and why. */
json_t *order_json_answer(const char *who);
void order_json_count(json_t *answer, struct ref ref, enum order_result result, const char *why);
json_t *order_json_error(const char *why);

#endif
