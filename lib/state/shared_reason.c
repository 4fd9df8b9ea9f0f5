/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Whatever does not come in time is a backend that hangs, in any phase.
 */
#include "state/shared_reason.h"

enum shared_health_reason
shared_reason_of(enum smtp_phase phase, bool timed_out)
{
    if (timed_out)
        return SHARED_REASON_TIMEOUT;
    switch (phase) {
    case SMTP_PHASE_CONNECT:
        return SHARED_REASON_CONNECT;
    case SMTP_PHASE_BANNER:
        return SHARED_REASON_BANNER;
    case SMTP_PHASE_EHLO:
    case SMTP_PHASE_HELO:
        return SHARED_REASON_EHLO;
    case SMTP_PHASE_STARTTLS:
        return SHARED_REASON_TLS;
    case SMTP_PHASE_AUTH:
    case SMTP_PHASE_XFORWARD:
    case SMTP_PHASE_MAIL:
    case SMTP_PHASE_RCPT:
    case SMTP_PHASE_DATA:
    case SMTP_PHASE_DOT:
    case SMTP_PHASE_RSET:
    case SMTP_PHASE_QUIT:
    case SMTP_PHASE_COUNT:
        break;
    }
    return SHARED_REASON_LOST;
}
