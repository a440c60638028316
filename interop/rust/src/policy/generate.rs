//! Policies and requests. A request is made from a policy, so that its rules are hit, and then
//! changed a little, so that they are missed by little.

use crate::case::{Certificate, Request, Socket};
use crate::random::Random;
use crate::written::Written;

/// What a policy says, before it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) deny: Vec<Rule>,
    pub(crate) allow: Vec<Rule>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    name: String,
    principals: Vec<String>,
    paths: Vec<String>,
    headers: Vec<(String, Vec<String>)>,
}

const PATHS: [&str; 7] = [
    "/a.B/C",
    "/a.B/D",
    "/a.Bc/C",
    "/a/C",
    "/orders.v1.Orders/Get",
    "/orders.v1.Orders/List",
    "/grpc.health.v1.Health/Check",
];
const URIS: [&str; 5] = [
    "spiffe://a/b",
    "spiffe://a/bc",
    "spiffe://prod.test/ns/web/sa/web",
    "https://web.test/x?y=z",
    "urn:x",
];
const DNS_NAMES: [&str; 5] =
    ["web.test", "a.web.test", "*.test", "localhost", "xn--bcher-kva.test"];
const SUBJECTS: [&str; 6] = [
    "",
    "CN=web",
    "CN=test-client1,O=gRPC,L=SVL,ST=CA,C=US",
    "CN=web\\, too,O=Org",
    "CN=Bücher,O=Org",
    "O=Org",
];
const KEYS: [&str; 6] = ["k", "K-2", "x-env", "authorization", "content-type", "user-agent"];
const FORBIDDEN_KEYS: [&str; 14] = [
    ":method",
    ":path",
    ":",
    "grpc-timeout",
    "GRPC-x",
    "Host",
    "connection",
    "Keep-Alive",
    "proxy-authenticate",
    "Proxy-Authorization",
    "TE",
    "trailer",
    "Transfer-Encoding",
    "upgrade",
];
const VALUES: [&str; 9] = ["", "a", "b", "a,b", "prod", "AQID", "ä", "*", "a b"];

/// URIs that Go writes in another way than they stand in the certificate.
const REWRITTEN_URIS: [&str; 4] =
    ["SPIFFE://a/b", "spiffe://a/b c", "spiffe://a/b#", "spiffe://a/b|c"];
/// URIs with which Go cannot read a certificate at all.
const UNREADABLE_URIS: [&str; 3] = ["spiffe://a/%zz", "://a", "spiffe://[a"];

pub(crate) fn plan(random: &mut Random) -> Plan {
    let count = |random: &mut Random, most: usize| match random.once_in(12) {
        true => random.below(3 * most),
        false => random.below(most),
    };
    let mut plan = Plan::default();
    for name in 0..count(random, 4) {
        let rule = rule(random, &format!("d{name}"), true);
        plan.deny.push(rule);
    }
    for name in 0..1 + count(random, 6) {
        let rule = rule(random, &format!("a{name}"), false);
        plan.allow.push(rule);
    }
    plan
}

fn rule(random: &mut Random, name: &str, denies: bool) -> Rule {
    let mut rule = Rule { name: name.to_owned(), ..Rule::default() };
    if random.once_in(10) {
        rule.name.push_str(random.pick(&["_", "é", " in engine with action ", "\n", "\"", "/*"]));
    }
    if random.below(3) > 0 {
        for _ in 0..random.below(4) {
            let name = client_name(random);
            rule.principals.push(pattern(random, &name));
        }
        if random.once_in(8) {
            rule.principals.push(String::new());
        }
    }
    // A rule that denies everything says little about the others.
    if denies || random.below(4) > 0 {
        for _ in 0..usize::from(denies) + random.below(4) {
            let path = random.pick(&PATHS);
            rule.paths.push(pattern(random, path));
        }
    }
    if random.once_in(2) {
        for _ in 0..1 + random.below(2) {
            let key = match random.once_in(12) {
                true => random.pick(&["x-bin", "Y-Bin"]),
                false => random.pick(&KEYS),
            };
            let values = 1 + random.below(3);
            let values = (0..values).map(|_| {
                let value = random.pick(&VALUES);
                pattern(random, value)
            });
            rule.headers.push((key.to_owned(), values.collect()));
        }
    }
    rule
}

/// A name of a certificate, of whichever kind.
fn client_name(random: &mut Random) -> String {
    match random.below(4) {
        0 => random.pick(&URIS),
        1 => random.pick(&DNS_NAMES),
        _ => random.pick(&SUBJECTS),
    }
    .to_owned()
}

/// A pattern with something to do with a text, the stars in every place.
fn pattern(random: &mut Random, text: &str) -> String {
    let at = random.cut(text);
    let (before, after) = text.split_at(at);
    match random.below(16) {
        0 | 1 => format!("{before}*"),
        2 | 3 => format!("*{after}"),
        4 => format!("{before}*{after}"),
        5 => format!("*{after}*"),
        6 => "*".to_owned(),
        7 => ["", "**", "*a*", "***", "a**", "*.*"][random.below(6)].to_owned(),
        8 => text.to_uppercase(),
        9 => format!("{text}x"),
        10 => match text.rfind('/') {
            Some(slash) => format!("{}*", &text[..=slash]),
            None => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}

impl Plan {
    pub(crate) fn write(&self, random: &mut Random) -> Written {
        let name = random.pick(&["p", "authz", "p_d0", "ü \"x\"", "policy"]);
        let mut policy = Written::object([("name", Written::text(name))]);
        if !self.deny.is_empty() || random.once_in(4) {
            policy.push("deny_rules", Written::List(rules(&self.deny, random)));
        }
        policy.push("allow_rules", Written::List(rules(&self.allow, random)));
        if random.once_in(6) {
            policy.push("audit_logging_options", audit(random));
        }
        policy
    }
}

fn rules(rules: &[Rule], random: &mut Random) -> Vec<Written> {
    rules.iter().map(|rule| rule.write(random)).collect()
}

impl Rule {
    fn write(&self, random: &mut Random) -> Written {
        let mut rule = Written::object([("name", Written::text(&self.name))]);
        if !self.principals.is_empty() {
            let principals = Written::texts(&self.principals);
            rule.push("source", Written::object([("principals", principals)]));
        } else if random.once_in(6) {
            let empty = Written::object([("principals", Written::List(Vec::new()))]);
            rule.push("source", if random.once_in(2) { Written::object([]) } else { empty });
        }
        let mut request = Written::object([]);
        if !self.paths.is_empty() || random.once_in(8) {
            request.push("paths", Written::texts(&self.paths));
        }
        if !self.headers.is_empty() || random.once_in(8) {
            let headers = self.headers.iter().map(|(key, values)| {
                Written::object([("key", Written::text(key)), ("values", Written::texts(values))])
            });
            request.push("headers", Written::List(headers.collect()));
        }
        if matches!(&request, Written::Object(members) if !members.is_empty()) {
            rule.push("request", request);
        }
        rule
    }
}

fn audit(random: &mut Random) -> Written {
    let mut audit = Written::object([]);
    if random.below(4) > 0 {
        let condition = random.pick(&["NONE", "ON_DENY", "ON_ALLOW", "ON_DENY_AND_ALLOW"]);
        let odd = random.pick(&["", "on_deny", "ABC", "ON_DENY "]);
        let written = if random.once_in(4) { odd } else { condition };
        audit.push("audit_condition", Written::text(written));
    }
    if random.below(4) > 0 {
        let loggers = (0..random.below(3)).map(|_| {
            let odd = ["mine", "", "x/stdout_logger", "stdout_logger/", "x/", "Stdout_Logger"];
            let known = random.below(3) > 0;
            let name = if known { "stdout_logger" } else { random.pick(&odd) };
            let mut logger = Written::object([("name", Written::text(name))]);
            if random.once_in(2) {
                logger.push("is_optional", Written::raw(random.pick(&["true", "true", "false"])));
            }
            if random.once_in(2) {
                let plain = random.once_in(2);
                let configs = [
                    "{}",
                    r#"{"a":[1,true,null,{"b":"c"}]}"#,
                    r#"{"a":-1.5e3,"b":12345678901234567890123}"#,
                    r#""abc""#,
                    "[]",
                    r#"{"a":1,"a":2}"#,
                    r#"{"a":1e999}"#,
                    r#"{"a":01}"#,
                ];
                let config = random.pick(&configs[..if plain { 1 } else { configs.len() }]);
                logger.push("config", Written::raw(config));
            }
            logger
        });
        audit.push("audit_loggers", Written::List(loggers.collect()));
    }
    audit
}

/// A header that no rule may ask for.
pub(crate) fn odd_key(random: &mut Random) -> &'static str {
    match random.below(3) {
        0 => random.pick(&["a b", "ü", "k:", "k\n", "\u{212a}eep-alive", "(k)"]),
        1 => random.pick(&FORBIDDEN_KEYS),
        _ => "",
    }
}

/// A call that one of the rules is likely to be about.
pub(crate) fn request(random: &mut Random, plan: &Plan) -> Request {
    let rules: Vec<&Rule> = plan.deny.iter().chain(&plan.allow).collect();
    let rule = random.choose(&rules).copied().cloned().unwrap_or_default();
    let mut request = Request { path: path(random, &rule), ..Request::default() };
    for (key, values) in &rule.headers {
        if random.below(6) > 0 {
            request.headers.push((key.clone(), value(random, values)));
        }
    }
    for _ in 0..random.below(3) {
        let key = random.pick(&KEYS).to_owned();
        let value = random.pick(&VALUES).to_owned();
        request.headers.push((key, value));
    }
    if random.once_in(2) {
        // One of them again: repeated headers are read in two ways.
        if let Some((key, _)) = random.choose(&request.headers[..]).cloned() {
            let about = rule.headers.iter().find(|(asked, _)| *asked == key);
            let value = match about {
                Some((_, values)) => value(random, values),
                None => random.pick(&VALUES).to_owned(),
            };
            let at = random.below(request.headers.len() + 1);
            request.headers.insert(at, (key, value));
        }
    }
    if random.once_in(60) {
        let odd = [("k", "a\nb"), ("", "a"), ("a b", "a"), ("k", "\u{7f}"), (":path", "/a.B/C")];
        let (key, value) = odd[random.below(odd.len())];
        request.headers.push((key.to_owned(), value.to_owned()));
    }
    request.tls = random.below(4) > 0;
    request.certificate = (random.below(6) > 0).then(|| certificate(random, &rule));
    if random.once_in(40) {
        request.socket = if random.once_in(2) { Socket::Unix } else { Socket::Memory };
    }
    request
}

/// A text that a pattern matches.
fn instance(random: &mut Random, pattern: &str, endings: &[&str]) -> String {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(prefix), _) => format!("{prefix}{}", random.pick(endings)),
        (None, Some(suffix)) => format!("{}{suffix}", random.pick(endings)),
        (None, None) => pattern.to_owned(),
    }
}

/// The same, or a little beside it.
fn slip(random: &mut Random, text: String) -> String {
    match random.below(12) {
        0 => format!("{text}x"),
        1 => text[..random.cut(&text)].to_owned(),
        2 => text.to_uppercase(),
        _ => text,
    }
}

fn path(random: &mut Random, rule: &Rule) -> String {
    let endings = ["", "/a.B/", "/a.B/C", "C", "Get", "/x/y", "v1.Orders/Get", "/"];
    let found = match random.choose(&rule.paths).cloned() {
        Some(pattern) => {
            let path = instance(random, &pattern, &endings);
            slip(random, path)
        }
        None => random.pick(&PATHS).to_owned(),
    };
    // What is no method is decided before any rule, so that it tells little.
    if is_canonical(&found) || random.once_in(12) { found } else { random.pick(&PATHS).to_owned() }
}

/// `/package.Service/Method`, in its one spelling.
pub(crate) fn is_canonical(path: &str) -> bool {
    let mut parts = path.split('/');
    let segment = |part: Option<&str>| {
        part.is_some_and(|part| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            !matches!(part, "" | "." | "..") && part.bytes().all(plain)
        })
    };
    parts.next() == Some("")
        && segment(parts.next())
        && segment(parts.next())
        && parts.next().is_none()
        && path.len() <= 1024
}

fn value(random: &mut Random, patterns: &[String]) -> String {
    let pattern = random.choose(patterns).cloned().unwrap_or_default();
    let value = instance(random, &pattern, &["", "a", "x", "ü"]);
    slip(random, value)
}

fn certificate(random: &mut Random, rule: &Rule) -> Certificate {
    let mut certificate = Certificate::default();
    let wanted = random.choose(&rule.principals).cloned().unwrap_or_default();
    let name = instance(random, &wanted, &["", "x", "spiffe://a/", "test", ".test"]);
    let name = slip(random, name);
    // Where a name can stand: a URI has a scheme, a subject an attribute.
    let is_uri = name.contains(':') && name.is_ascii();
    let is_dns = name.is_ascii() && !name.is_empty() && !name.contains(['=', ':', '/', ' ', '\\']);
    if is_uri && random.below(5) > 0 {
        certificate.uris.push(name.clone());
    } else if is_dns && random.below(5) > 0 {
        certificate.dns_names.push(name.clone());
    }
    for _ in 0..random.below(2) {
        certificate.uris.push(random.pick(&URIS).to_owned());
    }
    for _ in 0..random.below(2) {
        certificate.dns_names.push(random.pick(&DNS_NAMES).to_owned());
    }
    let subject = if SUBJECTS.contains(&name.as_str()) { &name } else { random.pick(&SUBJECTS) };
    subject.clone_into(&mut certificate.subject);
    match random.below(60) {
        0 => certificate.unverified = true,
        1 => {
            // Alone, as it would be lost among others.
            certificate.uris = vec![random.pick(&REWRITTEN_URIS).to_owned()];
        }
        2 if random.once_in(2) => {
            certificate.uris.push(random.pick(&UNREADABLE_URIS).to_owned());
        }
        3 => {
            // Only the subject counts then.
            certificate.uris.clear();
            certificate.dns_names.clear();
            certificate.subject = "CN=two\nlines".to_owned();
        }
        _ => {}
    }
    certificate
}
