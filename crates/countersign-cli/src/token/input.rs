use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use crate::output::{Failure, Output};
use crate::pki::files;

/// Where a token comes from.
#[derive(Args)]
pub(super) struct TokenInput {
    /// The token itself [default: standard input]. Other users of this machine may see it among
    /// the processes, and your shell remembers it: prefer a file
    #[arg(value_name = "TOKEN", conflicts_with = "file")]
    token: Option<String>,

    /// A file that holds the token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TokenInput {
    /// Far more than the longest token that is accepted.
    const MAX_BYTES: u64 = 1 << 20;

    /// The token without the space around it, and without `Bearer`.
    pub(super) fn read(&self, output: &mut Output) -> Result<Zeroizing<String>, Failure> {
        let text = match &self.token {
            Some(token) => Zeroizing::new(token.clone()),
            None => self.read_file(output)?,
        };
        let mut token = text.trim_ascii();
        if let Some((scheme, rest)) = token.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            output.note("`Bearer` belongs to the metadata and not to the token; it is left out");
            token = rest.trim_ascii();
        }
        match token {
            "" => Err(Failure::usage("there is no token")
                .hint("countersign token inspect --file FILE, or by standard input")),
            token => Ok(Zeroizing::new(token.to_owned())),
        }
    }

    fn read_file(&self, output: &mut Output) -> Result<Zeroizing<String>, Failure> {
        let path = self.file.as_deref().unwrap_or(Path::new("-"));
        if path == Path::new("-") && io::stdin().is_terminal() {
            output.say("Paste the token, then press Ctrl-D.");
        }
        let bytes = files::read(path, Self::MAX_BYTES)
            .map_err(|error| files::cannot("read", path, &error))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(Failure::config(format!("cannot read `{}`", path.display()))
                .cause("it is not text, and so no token")),
        }
    }
}

/// Without the token.
impl fmt::Debug for TokenInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenInput").field("file", &self.file).finish_non_exhaustive()
    }
}
