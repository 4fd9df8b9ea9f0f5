# SPDX-License-Identifier: BSD-2-Clause
"""The table of relayctl's verbs: for each a line that succeeds in the world of verbs.py, lines that match nothing, lines with a
mistake, and what it does while the database is away. A command without a row, or a row without a command, fails test_verbs.py."""
from dataclasses import dataclass


@dataclass
class Verb:
    """`good` succeeds and prints `says`. `nothing`: lines that match nothing, their status and what they say; one with status 0
    is asked of a registry without rows. `bad`: lines, the word that is wrong and the remedy; `refused`: lines that are well
    formed, fail with 1, and what is said. `away`: what is printed while the database is away; None: exit 75. `place`: where it
    may do its work: "node", or a copy of the database "registry" or "empty", or "refused" (Prepared.place). `undo` makes what
    it did undone."""
    good: str
    says: str
    nothing: tuple = ()
    bad: tuple = ()
    refused: tuple = ()
    away: str | None = None
    away_says: str = ""  # on standard error
    place: str = "node"
    away_status: int = 0
    undo: str | None = None


NO_ACME = (3, "did you mean acme?")
CAPITALS = ('"ACME"', "capital letters")
LIKE_ID = "P001-4KX3T-0B7Q2CF"
MAIL_ADDRESS = ('"nobody"', "ops@acme.example")
REASON = ("--reason", "for example: relayctl ")
WORD = ("one word too many", "the form is: relayctl ")


def registry(good, says, **rest):
    """A verb that changes the registry."""
    return Verb(good, says, place="registry", **rest)


def order(line, says, *bad, **rest):
    """A verb that changes the spool."""
    verb, space, options = line.partition(" ")
    more = space + options
    return Verb(f"spool {verb} {{spare}}{more}", says, away=says, away_says="the order does not go through PostgreSQL",
                nothing=((f"spool {verb} --from nobody@sender.example{more}", 3, "no message matches"), (f"spool {verb} --customer akme{more}", *NO_ACME)),
                bad=((f"spool {verb}{more}", "--all", "selector"), (f"spool {verb} hello{more}", '"hello"', LIKE_ID), *bad), **rest)


VERBS = {
    "customer add": registry(
        "customer add new --contact ops@new.example", "added customer new",
        bad=(("customer add ACME", *CAPITALS), ("customer add new --max-message-size 20", "--max-message-size", "unit"),
             ("customer add new --contact nobody", '"nobody"', "--contact")),
        refused=(("customer add acme", "customer acme exists already"),)),
    "customer set": registry(
        "customer set acme --retention-days 7", "changed customer acme",
        nothing=(("customer set akme --retention-days 7", *NO_ACME),),
        bad=(("customer set acme", "nothing to set", "for example"), ("customer set acme --retention-days 0", "--retention-days", "1 to 365"),
             ("customer set acme --policy spf=mrk", "mrk", "did you mean mark?"), ("customer set ACME --language de", *CAPITALS))),
    "customer show": Verb(
        "customer show acme", "ops@isp.example", nothing=(("customer show akme", *NO_ACME),), bad=(("customer show ACME", *CAPITALS),)),
    "customer list": Verb(
        "customer list", "acme", nothing=(("customer list", 0, "there are no customers yet; for example: relayctl customer add"),), bad=(("customer list acme", *WORD),)),
    "customer suspend": registry(
        "customer suspend acme --reason x", "suspended customer acme",
        nothing=(("customer suspend akme --reason x", *NO_ACME),),
        bad=(("customer suspend acme", *REASON), ("customer suspend ACME --reason x", *CAPITALS))),
    "customer resume": registry(
        "customer resume late", "resumed customer late",
        nothing=(("customer resume akme", *NO_ACME),), bad=(("customer resume ACME", *CAPITALS),)),
    "customer remove": registry(
        "customer remove late --reason x", "removed customer late",
        nothing=(("customer remove akme --reason x", *NO_ACME),),
        bad=(("customer remove late", *REASON), ("customer remove late --reason x --spool bounce", '"bounce"', "keep or return")),
        refused=(("customer remove acme --reason x", "`relayctl customer suspend acme --reason TEXT`"),)),
    "domain add": registry(
        "domain add new.example --customer acme", "added domain new.example",
        nothing=(("domain add new.example --customer akme", *NO_ACME),),
        bad=(("domain add new.example", "--customer", "--customer NAME"), ("domain add new --customer acme", "new", "two labels"),
             ("domain add new.example --customer acme --mode falback", "falback", "did you mean fallback?")),
        refused=(("domain add acme.example --customer beta", "for customer acme"),)),
    "domain set": registry(
        "domain set acme.example --when-down defer", "changed domain acme.example",
        nothing=(("domain set akme.example --when-down defer", 3, "akme.example"),),
        bad=(("domain set acme.example", "nothing to set", "for example"), ("domain set acme.example --when-down rejct", "rejct", "did you mean reject?"))),
    "domain show": Verb(
        "domain show acme.example", "acme.example", nothing=(("domain show akme.example", 3, "did you mean acme.example?"),),
        bad=(("domain show info@acme.example", "info@acme.example", "behind the @"),)),
    "domain list": Verb(
        "domain list", "acme.example", nothing=(("domain list", 0, "no domain matches; for example: relayctl domain add"), ("domain list --customer late", 3, "no domain matches"),
                                                ("domain list --customer akme", *NO_ACME)),
        bad=(("domain list --customer ACME", *CAPITALS), ("domain list acme.example", *WORD))),
    "domain check": Verb(
        "domain check acme.example", "We are the first MX", nothing=(("domain check akme.example", 3, "did you mean acme.example?"),
                                                                     ("domain check --customer akme", *NO_ACME)),
        bad=(("domain check", "which domains", "--all"), ("domain check a..b", "a..b", "empty label"),
             ("domain check --sender nowhere", '"nowhere"', "address"))),
    "domain instructions": Verb(
        "domain instructions acme.example", "IN  MX  10  relay.example.",
        nothing=(("domain instructions akme.example", 3, "did you mean acme.example?"),),
        bad=(("domain instructions acme.example --language fr", '"fr"', "en, de, nl or da"),)),
    "domain remove": registry(
        "domain remove acme.example --reason x", "removed domain acme.example",
        nothing=(("domain remove akme.example --reason x", 3, "akme.example"),),
        bad=(("domain remove acme.example", *REASON), ("domain remove acme.example --reason x --spool bounce", '"bounce"', "keep or return"))),
    "recipient add": registry(
        "recipient add new@acme.example", "Added       1", nothing=(("recipient add new@akme.example", 3, "akme.example"),),
        bad=(("recipient add nobody", *MAIL_ADDRESS),)),
    "recipient import": registry(
        "recipient import {recipients_file} --domain acme.example", "Added       2",
        nothing=(("recipient import {strangers_file} --domain akme.example", 3, "akme.example"),),
        bad=(("recipient import {recipients_file}", "of which domain", "--domain acme.example"),
             ("recipient import {message_file} --domain acme.example", "line 1: ", "ops@acme.example"),
             ("recipient import {recipients_file} --domain acme.example --complete --not-complete", "--not-complete", "--complete")),
        refused=(("recipient import /nowhere/file --domain acme.example", "/nowhere/file"),)),
    "recipient list": Verb(
        "recipient list", "info@acme.example", nothing=(("recipient list", 0, "no registered recipient"), ("recipient list --customer beta", 3, "no registered recipient"),
                                                        ("recipient list --customer akme", *NO_ACME), ("recipient list --domain akme.example", 3, "did you mean acme.example?")),
        bad=(("recipient list --domain a..b", "a..b", "empty label"),)),
    "recipient forget": registry(
        "recipient forget former@acme.example", "Removed     1",
        nothing=(("recipient forget --domain akme.example", 3, "akme.example"),),
        bad=(("recipient forget", "which", "--domain"), ("recipient forget nobody", *MAIL_ADDRESS))),
    "backend add": registry(
        "backend add 192.0.2.9 --customer acme", "added backend acme/3", nothing=(("backend add 192.0.2.9 --customer akme", *NO_ACME),
                                                                                  ("backend add 192.0.2.9 --customer acme --domain akme.example", 3, "akme.example")),
        bad=(("backend add 192.0.2.9", "--customer", "--customer NAME"), ("backend add 192.0.2.9:0 --customer acme", "192.0.2.9:0", "port"),
             ("backend add 192.0.2.9 --customer acme --tls verfy", "verfy", "did you mean verify?")),
        refused=(("backend add 192.0.2.20 --customer acme", "already"),)),
    "backend set": registry(
        "backend set acme/1 --priority 5", "changed backend acme/1", nothing=(("backend set acme/9 --priority 5", 3, "no backend acme/9"),),
        bad=(("backend set acme/1", "nothing to set", "for example"), ("backend set acme --priority 5", '"acme"', "CUSTOMER/NUMBER"),
             ("backend set acme/1 --weight 0", "--weight", "1 to"))),
    "backend show": Verb(
        "backend show acme/1", "{server_port}", nothing=(("backend show acme/9", 3, "no backend acme/9"),),
        bad=(("backend show acme", '"acme"', "CUSTOMER/NUMBER"),)),
    "backend list": Verb(
        "backend list", "acme/1", nothing=(("backend list", 0, "no backend matches; for example: relayctl backend add"), ("backend list --customer late", 3, "no backend matches"),
                                           ("backend list --customer akme", *NO_ACME)),
        bad=(("backend list --customer ACME", *CAPITALS), ("backend list acme/1", *WORD))),
    "backend test": Verb(
        "backend test acme/1 --rcpt info@acme.example", "It takes connections", away="It takes connections", away_says="from this node's copy",
        nothing=(("backend test acme/9", 3, "acme/9"), ("backend test --customer akme", 3, "akme")),
        bad=(("backend test", "which?", "--customer"), ("backend test acme", '"acme"', "CUSTOMER/NUMBER"),
             ("backend test acme/1 --rcpt nobody", '"nobody"', "--rcpt"))),
    "backend hold": registry(
        "backend hold acme/1 --reason x", "held backend acme/1", nothing=(("backend hold acme/9 --reason x", 3, "no backend acme/9"),),
        bad=(("backend hold acme/1", *REASON), ("backend hold acme --reason x", '"acme"', "CUSTOMER/NUMBER"))),
    "backend release": registry(
        "backend release acme/2", "released backend acme/2", nothing=(("backend release acme/9", 3, "no backend acme/9"),),
        bad=(("backend release acme", '"acme"', "CUSTOMER/NUMBER"), ("backend release acme/1 --address nowhere", '"nowhere"', "--address"))),
    "backend remove": registry(
        "backend remove acme/2 --reason x", "removed backend acme/2", nothing=(("backend remove acme/9 --reason x", 3, "no backend acme/9"),),
        bad=(("backend remove acme/2", *REASON), ("backend remove acme --reason x", '"acme"', "CUSTOMER/NUMBER"),
             ("backend remove acme/2 --reason x --spool bounce", '"bounce"', "keep or return"))),
    "db init": Verb("db init", "applied migration 0001", place="empty", bad=(("db init now", *WORD),)),
    "db migrate": registry("db migrate", "The database has schema", bad=(("db migrate now", *WORD),)),
    "db status": Verb("db status", "fits", bad=(("db status now", *WORD),)),
    "greylist list": Verb(
        "greylist list", "waiting", away="waiting", nothing=(("greylist list 192.0.2.77", 3, "nobody of these"), ("greylist list --customer late", 3, "nobody of these"),
                                                         ("greylist list --customer akme", *NO_ACME)),
        bad=(("greylist list a..b", "a..b", ""), ("greylist list 192.0.2.1 192.0.2.2", *WORD))),
    "greylist forget": Verb(
        "greylist forget {grey}", "127.88.", away="127.88.", nothing=(("greylist forget 192.0.2.77", 3, "192.0.2.77"),),
        bad=(("greylist forget", "which", "--all"), ("greylist forget a..b", "a..b", ""))),
    "filter add": registry(
        "filter add 198.51.100.0/24 --customer acme", "added filter acme/filter", nothing=(("filter add 198.51.100.0/24 --customer akme", *NO_ACME),),
        bad=(("filter add 198.51.100.0/24", "--customer", "--customer NAME"), ("filter add 198.51.100.1/24 --customer acme", "198.51.100.1/24", "198.51.100.0/24"),
             ("filter add 198.51.100.0/24 --customer acme --exempt spf", "spf", "ptr"))),
    "filter set": registry(
        "filter set acme/barracuda --origin received", "changed filter acme/barracuda",
        nothing=(("filter set acme/barracudas --origin received", 3, "acme/barracudas"),),
        bad=(("filter set acme/barracuda", "nothing to set", "for example"), ("filter set acme/barracuda --origin recieved", "recieved", "did you mean received?"))),
    "filter show": Verb(
        "filter show acme/barracuda", "203.0.113.0/24", nothing=(("filter show acme/barracudas", 3, "acme/barracudas"),),
        bad=(("filter show acme", '"acme"', "CUSTOMER/"),)),
    "filter list": Verb(
        "filter list", "acme/barracuda", nothing=(("filter list", 0, "no filter matches; for example: relayctl filter add"), ("filter list --customer beta", 3, "no filter matches"),
                                                  ("filter list --customer akme", *NO_ACME)),
        bad=(("filter list acme", *WORD),)),
    "filter remove": registry(
        "filter remove acme/barracuda --reason x", "removed filter acme/barracuda",
        nothing=(("filter remove acme/barracudas --reason x", 3, "acme/barracudas"),),
        bad=(("filter remove acme/barracuda", *REASON), ("filter remove acme --reason x", '"acme"', "CUSTOMER/"))),
    "block add": registry(
        "block add 192.0.2.7 --customer acme --reason x", "added block 192.0.2.7",
        nothing=(("block add 192.0.2.7 --customer akme --reason x", *NO_ACME),),
        bad=(("block add 192.0.2.7", "--customer", "--node-wide"), ("block add a..b --customer acme", "a..b", "empty label"),
             ("block add 192.0.2.7 --customer acme --until tomorrow", '"tomorrow"', "2026-12-01"))),
    "block list": Verb(
        "block list", "203.0.113.7", nothing=(("block list", 0, "nothing is on this list"), ("block list --customer beta", 3, "nothing is on this list"),
                                              ("block list --customer akme", *NO_ACME)),
        bad=(("block list 203.0.113.7", *WORD),)),
    "block remove": registry(
        "block remove 203.0.113.7 --customer acme --reason x", "removed block 203.0.113.7",
        nothing=(("block remove 203.0.113.8 --customer acme --reason x", 3, "203.0.113.8"),),
        bad=(("block remove 203.0.113.7 --customer acme", *REASON), ("block remove 203.0.113.7 --reason x", "--customer", "--node-wide"))),
    "allow add": registry(
        "allow add 192.0.2.7 --customer acme", "added allow 192.0.2.7", nothing=(("allow add 192.0.2.7 --customer akme", *NO_ACME),),
        bad=(("allow add 192.0.2.7", "--customer", "--node-wide"), ("allow add a..b --customer acme", "a..b", "empty label"))),
    "allow list": Verb(
        "allow list", "partner.example", nothing=(("allow list", 0, "nothing is on this list"), ("allow list --customer beta", 3, "nothing is on this list"),
                                                  ("allow list --customer akme", *NO_ACME)),
        bad=(("allow list partner.example", *WORD),)),
    "allow remove": registry(
        "allow remove partner.example --customer acme --reason x", "removed allow partner.example",
        nothing=(("allow remove stranger.example --customer acme --reason x", 3, "stranger.example"),),
        bad=(("allow remove partner.example --customer acme", *REASON), ("allow remove partner.example --reason x", "--customer", "--node-wide"))),
    "spool list": Verb(
        "spool list", "{waiting}", away="{waiting}",
        nothing=(("spool list --from nobody@sender.example", 3, "no message matches"), ("spool list --customer late", 3, "no message matches"),
                 ("spool list P001-3F006-0000000", 3, "no message matches"), ("spool list --customer akme", *NO_ACME),
                 ("spool list --domain acme.exmaple", 3, "did you mean acme.example?"), ("spool list --domain stranger.example", 3, "`relayctl domain list` shows all")),
        bad=(("spool list --state wating", '"wating"', "did you mean waiting"), ("spool list --older 2", '"2"', "2h"), ("spool list hello", '"hello"', LIKE_ID))),
    "spool show": Verb(
        "spool show {waiting}", "waiting@sender.example", away="waiting@sender.example", nothing=(("spool show P001-3F006-0000000", 3, "P001-3F006-0000000 is not in the spool"),
                                                                                                  ("spool show -", 3, "no id on standard input")),
        bad=(("spool show hello", '"hello"', LIKE_ID), ("spool show {waiting} --body", "--body", "--reason TEXT"))),
    "spool summary": Verb(
        "spool summary", "beta", away="beta", nothing=(("spool summary --from nobody@sender.example", 3, "no message matches"), ("spool summary --customer akme", *NO_ACME)),
        bad=(("spool summary --by custmer", '"custmer"', "customer, domain or backend"), ("spool summary beta", *WORD))),
    "spool retry": order("retry", "retried 1 message"),
    "spool hold": order("hold --reason x", "held ", ("spool hold {waiting}", *REASON)),
    "spool release": order("release", "released "),
    "spool extend": order("extend --until +20d --reason x", "extended 1 message", ("spool extend {waiting} --reason x", "--until TIME", "+2d"),
                          ("spool extend {waiting} --until tomorrow", '"tomorrow"', "2026-12-01")),
    "spool redirect": order("redirect --to beta/2 --reason x", "redirected ", ("spool redirect {waiting} --to beta/2", *REASON),
                            ("spool redirect {waiting} --reason x", "--to", "CUSTOMER/N"), ("spool redirect {waiting} --to beta --reason x", '"beta"', "CUSTOMER/N")),
    "spool return": order("return --reason x", "returned 1 message", ("spool return {waiting}", *REASON)),
    "spool remove": order("remove --reason x", "removed 1 message", ("spool remove {waiting}", *REASON)),
    "spool export": Verb(
        "spool export {waiting} --reason x", "Subject: a test", away="Subject: a test",
        nothing=(("spool export --from nobody@sender.example --to {folder} --reason x", 3, "no message matches"),),
        bad=(("spool export {waiting}", *REASON), ("spool export --to {folder} --reason x", "--all", "selector"), ("spool export hello --reason x", '"hello"', LIKE_ID)),
        refused=(("spool export {waiting} --to /nowhere/folder --reason x", "/nowhere/folder"),)),
    "node list": Verb("node list", "running", nothing=(("node list", 0, "no node has been heard of"),), bad=(("node list 1", *WORD),)),
    "node show": Verb("node show", "Replica", away="Replica", bad=(("node show 1", *WORD),)),
    "node check": Verb("node check", "leads to us", away="leads to us", bad=(("node check 1", *WORD),)),
    "node drain": Verb(
        "node drain --reason x", "drained node 1", away="drained node 1", undo="node drain --end",
        bad=(("node drain", *REASON), ("node drain 1 --reason x", *WORD))),
    "node accept-registry": Verb(
        "node accept-registry --reason x", "accepted registry abc", away="accepted registry abc", place="refused",
        nothing=(("node accept-registry --reason x", 3, "nothing to accept"),), bad=(("node accept-registry", *REASON),)),
    "node accept-spool": registry(
        "node accept-spool --node 5 --reason x", "accepted spool of node 5", nothing=(("node accept-spool --node 6 --reason x", 3, "node 6"),),
        bad=(("node accept-spool", *REASON), ("node accept-spool --node x --reason x", '"x"', "--node"))),
    "simulate": Verb(
        "simulate --ip 192.0.2.10 --helo mail.good.example --from a@good.example --rcpt info@acme.example", "the sender is accepted",
        away="the sender is accepted",
        bad=(("simulate", "--ip", "for example"), ("simulate --ip nowhere --helo h --from a@b.example --rcpt info@acme.example", '"nowhere"', "--ip"),
             ("simulate --ip 192.0.2.10 --helo h --from nobody --rcpt info@acme.example", '--from: "nobody"', "info@acme.example"),
             ("simulate --ip 192.0.2.10 --helo h --from <> --rcpt nobody", '--rcpt: "nobody"', "info@acme.example"))),
    "scan open-relay": Verb(
        "scan open-relay --network {address}/32 --port {server_port} --consent x --per-minute 6000", "1 asked: 1 mail servers, 0 open",
        bad=(("scan open-relay", "--network", "for example"), ("scan open-relay --network 192.0.2.0/24", "--consent", "for example"),
             ("scan open-relay --network 192.0.2.1/24 --consent x", '"192.0.2.1/24"', "no network"))),
    "scan canary": Verb(
        "scan canary --rcpt info@acme.example", "delivered after", away="delivered after",
        bad=(("scan canary", "--rcpt", "--domain"), ("scan canary --rcpt nobody", '"nobody"', "--rcpt")),
        refused=(("scan canary --rcpt info@akme.example", "550 5.7.1"),)),
    "scan": Verb(
        "scan --customer acme --per-minute 6000", "2 tested", nothing=(("scan --customer late", 3, "nothing to scan"), ("scan --customer akme", 3, "akme")),
        bad=(("scan --kind server", '"server"', "backend or domain"), ("scan --per-minute 0", "--per-minute", "1 to"), ("scan acme", 'scan has no verb "acme"', "open-relay, canary"))),
    "trace": Verb(
        "trace --from passed@sender.example", "{passed}", away="{passed}", away_says="from the event log of this node",
        nothing=(("trace --from nobody@sender.example", 3, "PostgreSQL"), ("trace --customer akme", *NO_ACME), ("trace --customer akme --local", *NO_ACME),
                 ("trace --domain akme.example --since 1h", 3, "did you mean acme.example?"), ("trace --domain acme.exmaple --local", 3, "did you mean acme.example?")),
        bad=(("trace --since soon", '"soon"', "2h"), ("trace --limit 0", "--limit", "1"), ("trace --ip nowhere", '"nowhere"', "--ip"))),
    "explain": Verb(
        "explain {passed}", "Delivered", away="Delivered", away_says="the database is away",
        nothing=(("explain P001-3F006-0000000", 3, "looked at"),), bad=(("explain hello", "no reference", LIKE_ID),)),
    "audit": Verb(
        "audit", "postern", nothing=(("audit --by nobody", 3, "matches"), ("audit --customer akme", *NO_ACME)),
        bad=(("audit --what domain", '"domain"', "did you mean domains?"), ("audit --since soon", '"soon"', "2h"), ("audit --limit 0", '"0"', "--limit"))),
    "export": Verb(
        "export", '"name" : "acme"', nothing=(("export", 0, ""), ("export --customer akme", *NO_ACME)),
        bad=(("export --customer ACME", *CAPITALS), ("export acme", *WORD))),
    "import": registry(
        "import {registry_file}", "0 added, 1 changed, 0 removed",
        bad=(("import {recipients_file}", "line 1: ", "JSON"), ("import {registry_file} --prune", *REASON)),
        refused=(("import /nowhere/file", "/nowhere/file"),)),
    "report": Verb(
        "report", "acme", nothing=(("report", 0, "nothing was counted"), ("report --customer akme", *NO_ACME)),
        bad=(("report --by week", '"week"', "day or month"), ("report --since soon", '"soon"', "2026-12-01"), ("report acme", *WORD))),
    "completion": Verb("completion bash", "complete -F", away="complete -F", bad=(("completion tcsh", '"tcsh"', "bash, zsh or fish"), ("completion bash zsh", '"zsh"', "one word too many"))),
    "status": Verb("status", "relay.example, node 1", away="relay.example, node 1", away_status=1, bad=(("status now", *WORD),)),
}
