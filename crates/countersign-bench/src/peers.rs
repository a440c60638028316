//! The servers of other people: built by `bench/peers/build`, which also tells their versions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::options::Options;

/// What the build said of each peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    /// Of those that are ready.
    pub(crate) versions: BTreeMap<String, String>,
    /// Why the others are not.
    pub(crate) missing: BTreeMap<String, String>,
}

impl Peers {
    /// Builds what can be built. A quick run builds nothing: it takes what an earlier run made.
    pub(crate) fn build(options: &Options) -> Self {
        let built = options.peers.is_dir();
        if options.no_peers || (options.quick && !built) {
            return Self::default();
        }
        // From `bench/.build/bin` to `bench/peers/build`.
        let script: Option<PathBuf> =
            options.peers.ancestors().nth(2).map(|bench| bench.join("peers").join("build"));
        let Some(script) = script.filter(|script| script.is_file()) else {
            return Self::default();
        };
        eprintln!("peers: {}", script.display());
        let output = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        match output {
            // Also when it failed: what it could build, it built.
            Ok(output) => Self::parse(&String::from_utf8_lossy(&output.stdout)),
            Err(error) => {
                eprintln!("  cannot be built: {error}");
                Self::default()
            }
        }
    }

    /// Lines are `NAME ready VERSION` or `NAME missing REASON`.
    fn parse(text: &str) -> Self {
        let mut peers = Self::default();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(name), Some(state), Some(rest)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let list = match state {
                "ready" => &mut peers.versions,
                "missing" => &mut peers.missing,
                _ => continue,
            };
            list.insert(name.to_owned(), rest.to_owned());
        }
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builds_lines_tell_versions_and_reasons() {
        let said = "go ready grpc-go 1.85.0, Go 1.26\njava missing no javac\nnoise\n";
        let peers = Peers::parse(said);
        assert_eq!(peers.versions["go"], "grpc-go 1.85.0, Go 1.26");
        assert_eq!(peers.missing["java"], "no javac");
        assert_eq!((peers.versions.len(), peers.missing.len()), (1, 1));
    }
}
