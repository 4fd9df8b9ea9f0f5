-- SPDX-License-Identifier: BSD-2-Clause
--
-- That a domain is the customer's can be proven by a TXT record with a token that nobody can guess.  It is looked for by
-- `relayctl domain check` and decides nothing: no node needs it.

ALTER TABLE postern.domains
    -- NULL: no proof is wanted.
    ADD COLUMN ownership_token text
        CONSTRAINT domains_ownership_token_form CHECK (ownership_token ~ '^[a-z0-9]{16,64}$');
