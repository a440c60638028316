//! What the command line asks for.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What authentication costs, as ratios against the floor and against what people would use
/// instead, measured side by side in one run.
#[derive(Debug, Parser)]
#[command(name = "countersign-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every suite, one after another.
    All(Options),
    /// In process: token check, cache, limiter, policy, and the cryptography below them.
    Micro(Options),
    /// Server CPU per call over loopback.
    Calls(Options),
    /// Server CPU per connection.
    Handshakes(Options),
    /// CPU of a client per call: our credentials, stock tonic's and grpc-go's.
    Client(Options),
    /// Silent and half-open clients, and the end of file descriptors.
    Accept(Options),
    /// Memory per idle connection.
    Memory(Options),
    /// Cost at N over cost at 1: streams, callers, token size, idle connections, rules.
    Curves(Options),
    /// Puts what the suites found into the page that people read.
    Publish(PublishOptions),
    /// One server, as the suites start it.
    #[command(hide = true)]
    Serve(ServeOptions),
    /// One client, as the suite `client` starts it.
    #[command(hide = true)]
    Call(CallOptions),
    /// So many entries of a kind, and the memory that they take.
    #[command(hide = true)]
    Hold(HoldOptions),
}

/// A set of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    Micro,
    Calls,
    Client,
    Handshakes,
    Accept,
    Memory,
    Curves,
}

impl Suite {
    pub(crate) const ALL: [Self; 7] = [
        Self::Micro,
        Self::Calls,
        Self::Client,
        Self::Handshakes,
        Self::Accept,
        Self::Memory,
        Self::Curves,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Calls => "calls",
            Self::Client => "client",
            Self::Handshakes => "handshakes",
            Self::Accept => "accept",
            Self::Memory => "memory",
            Self::Curves => "curves",
        }
    }

    /// How long it takes with these options, about, on two cores of a server of today. Progress
    /// tells better once the first round is over.
    pub(crate) fn expected(self, options: &Options) -> Duration {
        // For a look; in full, with so many rounds and so many requests.
        let (quick, full, rounds, requests) = match self {
            Self::Micro => (10, 55, 31, None),
            Self::Calls => (30, 690, 31, Some(8_000)),
            Self::Client => (5, 90, 31, Some(8_000)),
            Self::Handshakes => (20, 190, 31, Some(300)),
            Self::Accept => (20, 120, 1, None),
            Self::Memory => (10, 180, 5, Some(2_000)),
            Self::Curves => (15, 200, 11, Some(8_000)),
        };
        if options.quick {
            return Duration::from_secs(quick);
        }
        let share = |wanted: Option<u32>, usual: Option<u32>| {
            wanted.zip(usual).map_or(1.0, |(wanted, usual)| f64::from(wanted) / f64::from(usual))
        };
        let more = share(options.rounds, Some(rounds)) * share(options.requests, requests);
        Duration::from_secs(full).mul_f64(more)
    }
}

/// How a run is to be.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// A look rather than figures to quote: few rounds, small samples.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds, each with one sample of every variant.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Only variants whose name has this in it, and what they are compared with.
    #[arg(long, value_name = "SUBSTRING")]
    pub(crate) only: Option<String>,
    /// Where report and charts go.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Requests or connections per sample.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests: Option<u32>,
    /// Leave the peers in other languages out.
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// Where the peers' programs are.
    #[arg(long, value_name = "DIR", default_value = "bench/.build/bin")]
    pub(crate) peers: PathBuf,
    /// A section alone, by its whole name, in a suite that has several; may be given several times.
    #[arg(long = "section", value_name = "NAME")]
    pub(crate) sections: Vec<String>,
}

impl Options {
    /// The rounds asked for, or these.
    pub(crate) fn rounds(&self, quick: u32, full: u32) -> u32 {
        self.rounds.unwrap_or(if self.quick { quick } else { full })
    }

    /// The rounds of rows that nothing is judged by within a few per cent. A run whose rounds are
    /// few or asked for has as many for all.
    pub(crate) fn fewer(&self, rounds: u32, full: u32) -> u32 {
        if self.quick || self.rounds.is_some() { rounds } else { full.min(rounds) }
    }

    /// Whether this section may be measured at all.
    pub(crate) fn allows(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|one| one == section)
    }

    /// The size of a sample asked for, or this.
    pub(crate) fn requests(&self, quick: u32, full: u32) -> u32 {
        self.requests.unwrap_or(if self.quick { quick } else { full })
    }

    /// Whether a variant is asked for.
    pub(crate) fn wants(&self, variant: &str) -> bool {
        self.only.as_ref().is_none_or(|part| variant.contains(part.as_str()))
    }
}

/// Where figures come from, and where they go.
#[derive(Args, Clone, Debug)]
pub(crate) struct PublishOptions {
    /// The folder with reports: what `--out` of the suites was.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) from: PathBuf,
    /// The folder for charts. The page is beside it: `performance.md` for `performance`.
    #[arg(long, value_name = "DIR", default_value = "docs/book/src/performance")]
    pub(crate) to: PathBuf,
    /// The committed counts of instructions and allocations.
    #[arg(long, value_name = "FILE", default_value = "bench/baseline.json")]
    pub(crate) counts: PathBuf,
}

/// What a server runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeKind {
    /// One thread that does everything.
    CurrentThread,
    /// tokio's default, here with one worker per core that it may use.
    MultiThread,
}

impl RuntimeKind {
    pub(crate) const BOTH: [Self; 2] = [Self::MultiThread, Self::CurrentThread];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current-thread",
            Self::MultiThread => "multi-thread",
        }
    }

    /// For tables.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::CurrentThread => "ct",
            Self::MultiThread => "mt",
        }
    }
}

/// The servers of our own that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The h2 crate alone, without TLS: the floor of a call.
    BareH2,
    /// The same over tokio-rustls: the floor of a connection that can take calls.
    BareH2Tls,
    /// A handshake by tokio-rustls and an HTTP/2 SETTINGS frame: the floor of a connection.
    BareTls,
    /// Stock tonic in plaintext.
    TonicPlain,
    /// Stock tonic over TLS. Its own TLS features are not allowed in this workspace, so the same
    /// tokio-rustls acceptor stands before it, one task per handshake as tonic does it.
    TonicTls,
    /// [`TonicTls`](Self::TonicTls) with an interceptor that verifies an ES256 token by the
    /// `jsonwebtoken` crate at every call.
    TonicTlsJwt,
    /// Our listener in plaintext.
    OursPlain,
    /// Our listener over TLS; nobody is asked who they are.
    OursTls,
    /// Our listener over TLS and our gate: verified or listed tokens, and rules.
    OursGate,
    /// The same, with client certificates instead of tokens.
    OursGateMtls,
    /// [`OursGate`](Self::OursGate) on one current-thread runtime per core.
    OursPerCore,
}

impl Kind {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BareH2 => "bare-h2",
            Self::BareH2Tls => "bare-h2-tls",
            Self::BareTls => "bare-tls",
            Self::TonicPlain => "tonic-plain",
            Self::TonicTls => "tonic-tls",
            Self::TonicTlsJwt => "tonic-tls-jwt",
            Self::OursPlain => "ours-plain",
            Self::OursTls => "ours-tls",
            Self::OursGate => "ours-gate",
            Self::OursGateMtls => "ours-gate-mtls",
            Self::OursPerCore => "ours-per-core",
        }
    }

    /// Whether it speaks TLS.
    pub(crate) fn is_tls(self) -> bool {
        !matches!(self, Self::BareH2 | Self::TonicPlain | Self::OursPlain)
    }
}

/// How a server is to be.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeOptions {
    pub(crate) kind: Kind,
    #[arg(long, value_enum, default_value = "current-thread")]
    pub(crate) runtime: RuntimeKind,
    /// Worker threads of the multi-thread runtime, or runtimes of `ours-per-core`.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// The certificate chain, PEM.
    #[arg(long)]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
    /// Who vouches for clients, PEM: clients have to show a certificate.
    #[arg(long)]
    pub(crate) client_ca: Option<PathBuf>,
    /// What tokens are verified with, PEM.
    #[arg(long)]
    pub(crate) jwt_public_key: Option<PathBuf>,
    /// The key set that the gate verifies tokens with.
    #[arg(long)]
    pub(crate) jwks: Option<PathBuf>,
    /// How many verified tokens the gate remembers.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) remember: usize,
    /// The tokens that the gate knows, as `StaticTokens` reads them.
    #[arg(long)]
    pub(crate) tokens: Option<PathBuf>,
    /// Rules of the gate.
    #[arg(long, default_value_t = 1)]
    pub(crate) rules: usize,
    /// A policy of gRFC A43, JSON, in the place of rules.
    #[arg(long, conflicts_with = "rules")]
    pub(crate) policy: Option<PathBuf>,
    /// So many calls a second for each caller, and as many at once.
    #[arg(long)]
    pub(crate) quota: Option<u64>,
    /// A file that a record of every decision goes to; without room for it a call is refused.
    #[arg(long)]
    pub(crate) audit: Option<PathBuf>,
    /// After so many bad credentials in a minute, others from the address are refused unseen.
    #[arg(long)]
    pub(crate) failures: Option<u64>,
    /// The deadline for handshakes in our listener, in milliseconds.
    #[arg(long)]
    pub(crate) handshake_timeout_ms: Option<u64>,
    /// Work in the handler: so many digests (SHA-256) of a KiB at every call.
    #[arg(long, default_value_t = 0)]
    pub(crate) work: usize,
    /// The limit on open files.
    #[arg(long)]
    pub(crate) open_files: Option<u64>,
    /// Where to listen; the port is the system's choice.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
}

/// What a client's calls carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Caller {
    /// Our channel, and a header that is put into each call by hand.
    Header,
    /// Our channel with a bearer token.
    Bearer,
    /// Our channel with a cached token from a file.
    File,
    /// Our channel with a cached token from a token endpoint.
    ClientCredentials,
    /// Our channel with a cached token that it signs itself.
    SelfSigned,
    /// tonic's channel with an interceptor.
    Tonic,
}

impl Caller {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Bearer => "bearer",
            Self::File => "file",
            Self::ClientCredentials => "client-credentials",
            Self::SelfSigned => "self-signed",
            Self::Tonic => "tonic",
        }
    }
}

/// How a client is to be.
#[derive(Args, Clone, Debug)]
pub(crate) struct CallOptions {
    pub(crate) caller: Caller,
    /// The server.
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// Who vouches for it, PEM.
    #[arg(long)]
    pub(crate) ca: PathBuf,
    /// A file with the token.
    #[arg(long)]
    pub(crate) token_file: PathBuf,
    /// A service account's key, JSON.
    #[arg(long)]
    pub(crate) key_file: Option<PathBuf>,
    /// Calls that count.
    #[arg(long, default_value_t = 8_000)]
    pub(crate) calls: usize,
    /// Calls before those.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) warm_up: usize,
    /// Calls at a time.
    #[arg(long, default_value_t = 100)]
    pub(crate) concurrency: usize,
}

/// What there is much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Held {
    /// Callers in our map of meters.
    Meters,
    /// Callers in governor's, by name.
    Governor,
    /// JWTs that were verified and are remembered.
    Tokens,
    /// API keys whose record is at hand, with the store behind them.
    Keys,
}

impl Held {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meters => "meters",
            Self::Governor => "governor",
            Self::Tokens => "tokens",
            Self::Keys => "keys",
        }
    }
}

/// What is to be held.
#[derive(Args, Clone, Debug)]
pub(crate) struct HoldOptions {
    pub(crate) held: Held,
    pub(crate) count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(arguments: &[&str]) -> Options {
        let line = ["countersign-bench", "all"].iter().chain(arguments);
        match Cli::try_parse_from(line).expect("a command line").command {
            Command::All(options) => options,
            other => panic!("not all: {other:?}"),
        }
    }

    #[test]
    fn all_suites_fit_into_fifty_minutes() {
        let options = all(&[]);
        let whole: Duration = Suite::ALL.iter().map(|suite| suite.expected(&options)).sum();
        assert!(whole < Duration::from_secs(50 * 60), "{whole:?}");
    }

    #[test]
    fn a_look_at_all_suites_fits_into_two_minutes() {
        let options = all(&["--quick"]);
        let whole: Duration = Suite::ALL.iter().map(|suite| suite.expected(&options)).sum();
        assert!(whole < Duration::from_secs(2 * 60), "{whole:?}");
    }

    #[test]
    fn only_a_full_run_has_fewer_rounds_for_some_rows() {
        assert_eq!(all(&[]).fewer(31, 11), 11);
        assert_eq!(all(&["--rounds", "13"]).fewer(13, 11), 13);
        assert_eq!(all(&["--quick"]).fewer(3, 11), 3);
    }

    #[test]
    fn a_repetition_allows_its_section_alone() {
        assert!(all(&[]).allows("calls"));
        let again = Options { sections: vec!["calls".to_owned()], ..all(&[]) };
        assert!(again.allows("calls") && !again.allows("calls-authz"));
    }
}
