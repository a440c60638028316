//! The goals: what is to be so, and which rows of which section tell.

use super::goal::Bound::{AtLeast, AtMost};
use super::goal::{Bound, Check, Find, Goal};

const fn check(what: &'static str, find: Find, bound: Bound) -> Check {
    Check { what, find, bound }
}

const fn rounds(section: &'static str, row: &'static str, over: &'static str) -> Find {
    Find::Rounds { section, row, over }
}

const fn minima(section: &'static str, row: &'static str, over: &'static str) -> Find {
    Find::Minima { section, row, over }
}

const fn fact(section: &'static str, row: &'static str, fact: &'static str) -> Find {
    Find::Fact { section, row, fact }
}

const WARM: &str = "gate: JWT, 661 B, policy, quota";
const WARM_LISTED: &str = "gate: static token, 661 B, policy, quota";
const WARM_CASE: &str = "gate: static token, policy and quota";
const SERVICE_CASE: &str = "floor: service alone";
const DIGEST: &str = "/ SHA-256 of the token";
const SHA_256: &str = "floor: SHA-256, 661 B";
const FIRST_CALLS: &str = "ours-gate-full ct: 100 at once, one new token";
const CLOSED: &str = "closed in deadline + 1 s";

/// All of them.
pub(super) const GOALS: &[Goal] = &[
    Goal {
        number: "1",
        text: "warm call in the layer, with policy and quota: ≤ 0.3 × SHA-256 of its token, ≤ 2.5 × \
               tonic's empty interceptor, ≤ 1,500 instructions, ≤ 1 allocation",
        command: "`micro --only micro-gate`, `bench/gate`",
        checks: &[
            check("JWT / SHA-256", fact("micro-gate", WARM, DIGEST), AtMost(0.3)),
            check("listed token / SHA-256", fact("micro-gate", WARM_LISTED, DIGEST), AtMost(0.3)),
            check(
                "JWT / empty interceptor",
                fact("micro-gate", WARM, "/ empty interceptor"),
                AtMost(2.5),
            ),
            check(
                "instructions above the service alone, listed token",
                Find::InstructionsMore { case: WARM_CASE, than: SERVICE_CASE },
                AtMost(1_500.0),
            ),
            check(
                "allocations above the service alone, listed token",
                Find::AllocationsMore { case: WARM_CASE, than: SERVICE_CASE },
                AtMost(1.0),
            ),
        ],
    },
    Goal {
        number: "2",
        text: "remembered token ≤ 1.5 × its SHA-256 among 10³, ≤ 2.5 × among 10⁵; two threads \
               ≤ 1.2 × one; ≤ 260 B an entry",
        command: "`micro --only micro-cache`, `micro --only micro-threads`, `memory --only JWT`",
        checks: &[
            check("among 1,000", minima("micro-cache", "1,000 tokens", SHA_256), AtMost(1.5)),
            check("among 100,000", minima("micro-cache", "100,000 tokens", SHA_256), AtMost(2.5)),
            // Threads get in each other's way by the median; the lowest sample may be of one
            // round in which they did not.
            check(
                "two threads, one token",
                rounds("micro-threads", "two threads, one token", "one thread, one token"),
                AtMost(1.2),
            ),
            check(
                "two threads, 1,000 tokens",
                rounds("micro-threads", "two threads, 1,000 tokens", "one thread, 1,000 tokens"),
                AtMost(1.2),
            ),
            check(
                "bytes an entry",
                Find::Median { section: "memory-entries", row: "JWT: a token that is remembered" },
                AtMost(260.0),
            ),
        ],
    },
    Goal {
        number: "3",
        text: "TLS, a remembered JWT, policy and quota ≤ 1.06 × the same server without",
        command: "`calls --only ours-`",
        checks: &[
            check(
                "multi-thread",
                rounds("calls", "ours-gate-full mt", "ours-tls mt"),
                AtMost(1.06),
            ),
            check(
                "current-thread",
                rounds("calls", "ours-gate-full ct", "ours-tls ct"),
                AtMost(1.06),
            ),
        ],
    },
    Goal {
        number: "4",
        text: "the same against grpc-go's cached interceptor over TLS: ≤ 0.65 × (multi-thread) and \
               ≤ 0.50 × (current-thread); against C++ gRPC without authentication ≤ 0.75 ×",
        command: "`calls`",
        checks: &[
            check(
                "grpc-go, multi-thread",
                rounds("calls", "ours-gate-full mt", "go tls-jwt-cached"),
                AtMost(0.65),
            ),
            check(
                "grpc-go, current-thread",
                rounds("calls", "ours-gate-full ct", "go tls-jwt-cached"),
                AtMost(0.5),
            ),
            check(
                "C++, multi-thread",
                rounds("calls", "ours-gate-full mt", "cpp tls"),
                AtMost(0.75),
            ),
            check(
                "C++, current-thread",
                rounds("calls", "ours-gate-full ct", "cpp tls"),
                AtMost(0.75),
            ),
        ],
    },
    Goal {
        number: "5",
        text: "uncached verification ≤ 1.05 × the bare signature, RS256 ≤ 1.10 × and ≤ 0.80 × \
               `jsonwebtoken`; ≤ 6 allocations; grpc-go with ES256 ≥ 1.3 × ours",
        command: "`micro --only micro-jwt`, `bench/gate`, `calls`",
        checks: &[
            check("ES256", minima("micro-jwt", "ES256: ours", "ES256: bare verify"), AtMost(1.05)),
            check("EdDSA", minima("micro-jwt", "EdDSA: ours", "EdDSA: bare verify"), AtMost(1.05)),
            check("RS256", minima("micro-jwt", "RS256: ours", "RS256: bare verify"), AtMost(1.1)),
            check(
                "RS256 over `jsonwebtoken`",
                minima("micro-jwt", "RS256: ours", "RS256: jsonwebtoken"),
                AtMost(0.8),
            ),
            check(
                "allocations",
                Find::Allocations { case: "jwt: ES256, not remembered" },
                AtMost(6.0),
            ),
            check(
                "grpc-go over ours",
                rounds("calls", "go tls-jwt", "ours-gate-uncached mt"),
                AtLeast(1.3),
            ),
        ],
    },
    Goal {
        number: "6",
        text: "a hundred first calls with one new token: one verification, as for key sets and a \
               client's tokens; p99 ≤ 2 × one uncached call",
        command: "`calls --only calls-first`, `cargo test -p countersign first_call`",
        checks: &[
            check(
                "JWT",
                Find::Test {
                    name: "a_hundred_first_calls_with_one_token_cost_one_verification",
                    file: "src/authentication/jwt/tests/remembered.rs",
                },
                AtMost(1.0),
            ),
            check(
                "introspection",
                Find::Test {
                    name: "a_hundred_first_calls_with_one_token_are_one_request",
                    file: "tests/introspection.rs",
                },
                AtMost(1.0),
            ),
            check(
                "a client's token",
                Find::Test {
                    name: "ten_thousand_first_callers_cause_one_fetch_and_share_its_result",
                    file: "src/credentials/cache/tests.rs",
                },
                AtMost(1.0),
            ),
            check(
                "key set",
                Find::Test {
                    name: "ten_thousand_unknown_kids_cost_one_fetch_per_cooldown",
                    file: "src/authentication/jwt/source/tests/life.rs",
                },
                AtMost(1.0),
            ),
            check(
                "p99 over a call that comes alone",
                first_calls("ours-gate-full ct: one call, a new token"),
                AtMost(2.0),
            ),
            // On a server with one core the last of a hundred waits for those before it in any
            // case; here they are as many.
            check(
                "p99 over a hundred calls of which one has a new token",
                first_calls("ours-gate-full ct: 100 at once, one of them with a new token"),
                AtMost(2.0),
            ),
        ],
    },
    Goal {
        number: "7",
        text: "refusals: no token ≤ 0.8 × an accepted call, expired ≤ 1.0 ×, forged ≤ 1.1 × a \
               verification and a call; good callers' p99 ≤ 1.5 × while half the traffic is forged",
        command: "`calls --only refused`, `calls --only calls-forged`",
        checks: &[
            check(
                "no token",
                rounds("calls", "ours-gate ct, refused", "ours-gate ct"),
                AtMost(0.8),
            ),
            check(
                "expired",
                rounds("calls", "ours-gate ct, refused: expired", "ours-gate ct"),
                AtMost(1.0),
            ),
            check(
                "forged over a good token that is not remembered",
                rounds("calls", "ours-gate ct, refused: forged", "ours-gate-uncached ct"),
                AtMost(1.1),
            ),
            check(
                "p99 beside 50 % forged",
                rounds(
                    "calls-forged",
                    "ours-gate-full ct, 50 % forged",
                    "ours-gate-full ct, none forged",
                ),
                AtMost(1.5),
            ),
            check(
                "the same with a quota of bad credentials",
                rounds(
                    "calls-forged",
                    "ours-gate-full ct, throttle, 50 % forged",
                    "ours-gate-full ct, throttle, none forged",
                ),
                AtMost(1.5),
            ),
        ],
    },
    Goal {
        number: "8",
        text: "handshakes ≤ 1.05 × bare tokio-rustls; mTLS ≤ 0.65 × grpc-go, ≤ 0.35 × nginx and \
               OpenSSL; mTLS resumed ≤ 0.55 × full; of 1,000 TLS clients that come back ≥ 95 % \
               resume",
        command: "`handshakes`",
        checks: &[
            check("TLS", rounds("handshakes", "ours-tls", "bare-tls"), AtMost(1.05)),
            check("mTLS", rounds("handshakes", "ours-gate-mtls", "bare-tls mtls"), AtMost(1.05)),
            // The floors cannot take a call; tonic can.
            check(
                "TLS over stock tonic",
                rounds("handshakes", "ours-tls", "tonic-tls"),
                AtMost(1.05),
            ),
            check(
                "mTLS over stock tonic",
                rounds("handshakes", "ours-gate-mtls", "tonic-tls mtls"),
                AtMost(1.05),
            ),
            check(
                "mTLS over grpc-go",
                rounds("handshakes", "ours-gate-mtls", "go mtls"),
                AtMost(0.65),
            ),
            check(
                "mTLS over nginx",
                rounds("handshakes", "ours-gate-mtls", "nginx mtls"),
                AtMost(0.35),
            ),
            check(
                "mTLS over OpenSSL",
                rounds("handshakes", "ours-gate-mtls", "openssl mtls"),
                AtMost(0.35),
            ),
            check(
                "mTLS resumed",
                Find::Lacking("we resume nothing where client certificates are asked for"),
                AtMost(0.55),
            ),
            check(
                "% that resume",
                Find::Median { section: "handshakes-returning", row: "ours-tls" },
                AtLeast(95.0),
            ),
        ],
    },
    Goal {
        number: "9",
        text: "idle mTLS connection ≤ 1.05 × stock tonic's and at most 1 KiB more, ≤ 0.45 × \
               grpc-go's over TLS; a call beside 2,000 idle connections ≤ 1.1 × beside 10",
        command: "`memory`, `curves --only curves-idle`",
        checks: &[
            check("over tonic", rounds("memory", "ours-gate-mtls", "tonic-tls mtls"), AtMost(1.05)),
            check(
                "KiB more",
                Find::MedianMore {
                    section: "memory",
                    row: "ours-gate-mtls",
                    than: "tonic-tls mtls",
                },
                AtMost(1.0),
            ),
            check("over grpc-go", rounds("memory", "ours-gate-mtls", "go tls"), AtMost(0.45)),
            check(
                "a call",
                rounds("curves-idle", "ours-gate @ 2000", "ours-gate @ 10"),
                AtMost(1.1),
            ),
        ],
    },
    Goal {
        number: "10",
        text: "1,000 silent or half-open clients: p99 of new connections ≤ 1.2 ×, ≤ 8 KiB each, all \
               closed a second after their deadline; no descriptors left: ≤ 5 % CPU, recovery \
               ≤ 1 s",
        command: "`accept`",
        checks: &[
            check("p99, silent", p99("ours-tls, silent"), AtMost(1.2)),
            check("p99, half a ClientHello", p99("ours-tls, half a ClientHello"), AtMost(1.2)),
            check("KiB each, silent", fact("accept", "ours-tls, silent", "KiB each"), AtMost(8.0)),
            check(
                "KiB each, half a ClientHello",
                fact("accept", "ours-tls, half a ClientHello", "KiB each"),
                AtMost(8.0),
            ),
            check("closed, silent", closed("ours-tls, silent"), AtMost(1.0)),
            check(
                "closed, half a ClientHello",
                closed("ours-tls, half a ClientHello"),
                AtMost(1.0),
            ),
            check("closed, silent after TLS", closed("ours-tls, TLS and then silent"), AtMost(1.0)),
            check("CPU %", fact("accept-descriptors", "ours-tls", "CPU %"), AtMost(5.0)),
            check(
                "recovery, s",
                fact("accept-descriptors", "ours-tls", "recovered after s"),
                AtMost(1.0),
            ),
        ],
    },
    Goal {
        number: "11",
        text: "limiter ≤ 0.25 × governor at 1, 10⁴ and 10⁶ callers, ≤ 16 B a caller; two threads \
               get no more than one",
        command: "`micro --only micro-limits`, `memory --only limiter`",
        checks: &[
            // A gate's callers are remembered; whoever asks a quota by a name pays for its hash.
            check("1 caller", limit("1 ours, remembered", "1 governor by name"), AtMost(0.25)),
            check(
                "10,000",
                limit("10,000 ours, remembered", "10,000 governor by name"),
                AtMost(0.25),
            ),
            check(
                "1,000,000",
                limit("1,000,000 ours, remembered", "1,000,000 governor by name"),
                AtMost(0.25),
            ),
            check(
                "1 caller, by name and a precise clock",
                limit("1 ours by name", "1 governor by name"),
                AtMost(0.25),
            ),
            check(
                "1,000,000, by name and a precise clock",
                limit("1,000,000 ours by name", "1,000,000 governor by name"),
                AtMost(0.25),
            ),
            check(
                "bytes a caller",
                Find::Median { section: "memory-entries", row: "limiter: a caller" },
                AtMost(16.0),
            ),
            check(
                "two threads",
                Find::Test {
                    name: "two_threads_get_no_more_than_one_while_meters_are_held_and_let_go",
                    file: "src/quota/map/tests.rs",
                },
                AtMost(1.0),
            ),
        ],
    },
    Goal {
        number: "12",
        text: "client credentials ≤ 1.02 × a hard-coded header, no allocation while the token is \
               fresh, one fetch for all calls; self-signed JWT ≤ 1.05 × the bare signature",
        command: "`client`, `micro --only micro-signing`, `bench/gate`",
        checks: &[
            check("bearer token", client("ours: bearer token"), AtMost(1.02)),
            check("client credentials", client("ours: cached, client credentials"), AtMost(1.02)),
            check("self-signed", client("ours: cached, self-signed"), AtMost(1.02)),
            check(
                "allocations above a bearer token's",
                Find::AllocationsMore {
                    case: "client: cached token",
                    than: "client: bearer token",
                },
                AtMost(0.0),
            ),
            check(
                "fetches",
                fact("client", "ours: cached, client credentials", "fetches"),
                AtMost(1.0),
            ),
            check("ES256", minima("micro-signing", "ES256: ours", "ES256: bare"), AtMost(1.05)),
            check("RS256", minima("micro-signing", "RS256: ours", "RS256: bare"), AtMost(1.05)),
        ],
    },
    Goal {
        number: "policy",
        text: "10,000 rules that cannot match ≤ 1.5 × ten, prefixes ≤ 3 ×; what a policy adds to a \
               call ≤ what grpc-go's `authz` adds",
        command: "`micro --only micro-policy`, `calls --only calls-authz`, `bench/gate`",
        checks: &[
            check("exact", policy("10,000 exact rules", "10 exact rules"), AtMost(1.5)),
            check("services", policy("10,000 service rules", "10 service rules"), AtMost(1.5)),
            check("prefixes", policy("10,000 prefix rules", "10 prefix rules"), AtMost(3.0)),
            check(
                "exact, instructions",
                Find::InstructionsOver { case: "policy: 10,000 exact", over: "policy: 10 exact" },
                AtMost(1.5),
            ),
            check(
                "added / added by grpc-go",
                fact("calls-authz", "ours-gate-mtls ct, policy", "added / added by grpc-go"),
                AtMost(1.0),
            ),
        ],
    },
    Goal {
        number: "per core",
        text: "one runtime per core with TLS, a remembered JWT, policy and quota against stock \
               tonic over TLS without authentication: ≤ 0.65 × on its usual runtime, ≤ 1.03 × on \
               the same one",
        command: "`calls --only ours-per-core`",
        checks: &[
            check(
                "multi-thread",
                rounds("calls", "ours-per-core, full", "tonic-tls mt"),
                AtMost(0.65),
            ),
            check(
                "current-thread",
                rounds("calls", "ours-per-core, full", "tonic-tls ct"),
                AtMost(1.03),
            ),
        ],
    },
];

const fn p99(row: &'static str) -> Find {
    Find::FactRatio { section: "accept", row, fact: "p99", over: "p99 alone" }
}

const fn first_calls(over: &'static str) -> Find {
    rounds("calls-first", FIRST_CALLS, over)
}

const fn closed(row: &'static str) -> Find {
    Find::Whole { section: "accept", row, fact: CLOSED }
}

const fn limit(row: &'static str, over: &'static str) -> Find {
    minima("micro-limits", row, over)
}

const fn client(row: &'static str) -> Find {
    rounds("client", row, "ours: hard-coded header")
}

const fn policy(row: &'static str, over: &'static str) -> Find {
    minima("micro-policy", row, over)
}
